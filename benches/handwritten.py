"""The increment as somebody writes it by hand in SQL, without Metaxy: for DuckDB, and plainly for DataFusion."""

from dataclasses import dataclass

from workloads import CHILD, Workload, table

CODE_VERSION = "__metaxy_initial__"


@dataclass(frozen=True)
class Store:
    """What a hand-written query knows of a store: its hash, its feature versions, and where the rows are."""

    hash: str
    versions: dict[str, str]
    files: dict[str, list[str]]


class DataFusion:
    """Every row of a feature is in `history.FEATURE`; the latest row of each id comes from a window."""

    def __init__(self, store: Store):
        self.store = store

    def hash(self, text: str) -> str:
        return f"metaxy_hash('{self.store.hash}', 16, {text})"

    def rows(self, key: str) -> str:
        return f"history.{table(key)}"

    def latest(self, key: str, ids: tuple[str, ...], columns: dict[str, str]) -> str:
        named = "".join(f", {sql} AS {name}" for name, sql in columns.items())
        by = ", ".join(ids)
        return (
            f"SELECT {', '.join([*ids, *columns])} FROM (SELECT {by}{named}, metaxy_deleted_at, row_number() OVER "
            f"(PARTITION BY {by} ORDER BY coalesce(metaxy_deleted_at, metaxy_updated_at) DESC) AS place "
            f"FROM {self.rows(key)} WHERE metaxy_feature_version = '{self.store.versions[key]}') AS ranked "
            "WHERE place = 1 AND metaxy_deleted_at IS NULL"
        )


class DuckDB(DataFusion):
    """Rows are in Parquet files. The window is faster here than the aggregate `arg_max`, which was tried."""

    def hash(self, text: str) -> str:
        return f"left({self.store.hash}({text}), 16)"

    def rows(self, key: str) -> str:
        files = ", ".join(f"'{file}'" for file in self.store.files[key])
        return f"read_parquet([{files}])"


def answer(dialect: DataFusion, workload: Workload) -> str:
    """The rows of the increment, as `questions.py` describes them."""
    keys = ", ".join(workload.keys)
    tables = {}
    for number, parent in enumerate(workload.parents):
        needed = {name: name for name in workload.asked if name in parent.columns}
        needed |= {f"p{number}_{name}": f"metaxy_data_version_by_field['{name}']" for name in parent.fields}
        tables[f"parent{number}"] = dialect.latest(parent.key, tuple(parent.ids), needed)
    tables |= aggregated(dialect, workload) if workload.lineage == "N:1" else {}
    sources = ["grouped"] if workload.lineage == "N:1" else [f"parent{n}" for n in range(len(workload.parents))]
    first = sources[0]
    joined = first
    for source in sources[1:]:
        joined += f" JOIN {source} ON " + " AND ".join(f"{source}.{name} = {first}.{name}" for name in workload.keys)

    hashed = []
    for name in workload.fields:
        # Parents are in the order of their keys, which is that of what goes into the hash.
        parts = [f"'{name}|{CODE_VERSION}"]
        for number, parent in enumerate(workload.parents):
            parts.append(f"|{parent.key}.{name}|' || p{number}_{name} || '")
        text = "".join(parts).removesuffix(" || '")
        hashed.append(f"{dialect.hash(text)} AS hash_{name}")
    carried = [] if workload.lineage == "N:1" else list(workload.asked)
    ids = [f"{first}.{name} AS {name}" for name in workload.keys]
    tables["fields"] = f"SELECT {', '.join([*ids, *carried, *hashed])} FROM {joined}"
    versions = " || '|' || ".join(f"hash_{name}" for name in sorted(workload.fields))
    tables["expected"] = f"SELECT {', '.join([keys, *carried])}, {dialect.hash(versions)} AS version FROM fields"
    tables |= compared(dialect, workload, carried)
    return f"WITH {', '.join(f'{name} AS ({sql})' for name, sql in tables.items())} {selected(workload)}"


def aggregated(dialect: DataFusion, workload: Workload) -> dict[str, str]:
    """One row for each group, with the hashes of its members' versions."""
    parent, keys = workload.parents[0], ", ".join(workload.keys)
    order = ", ".join(name for name in parent.ids if name not in workload.keys)
    texts = ", ".join(
        dialect.hash(f"string_agg(p0_{name}, '|' ORDER BY {order})") + f" AS p0_{name}" for name in parent.fields
    )
    return {"grouped": f"SELECT {keys}, {texts} FROM parent0 GROUP BY {keys}"}


def compared(dialect: DataFusion, workload: Workload, carried: list[str]) -> dict[str, str]:
    """The stored rows, and those of either side that differ."""
    if not workload.stored:
        both = ", ".join([*workload.keys, *carried])
        return {"differing": f"SELECT 'new' AS class, {both}, version AS metaxy_provenance FROM expected"}
    needed = {"version": "metaxy_provenance"} | {f"stored_{name}": name for name in carried}
    tables = {"stored": dialect.latest(CHILD, workload.child_ids, needed)}
    least = "stored.version"
    if workload.lineage == "1:N":
        keys = ", ".join(workload.keys)
        user = "".join(f", min(stored_{name}) AS stored_{name}" for name in carried)
        least_and_greatest = "min(version) AS version, max(version) AS greatest"
        tables["collapsed"] = f"SELECT {keys}, {least_and_greatest}{user} FROM stored GROUP BY {keys}"
        least = "collapsed.version"
    right = least.split(".")[0]
    key = workload.keys[0]
    differs = f"expected.version IS DISTINCT FROM {least}"
    if workload.lineage == "1:N":
        differs = f"({differs}) OR (expected.version IS DISTINCT FROM {right}.greatest)"
    ids = ", ".join(f"coalesce(expected.{name}, {right}.{name}) AS {name}" for name in workload.keys)
    user = "".join(
        f", CASE WHEN expected.{key} IS NULL THEN {right}.stored_{name} ELSE expected.{name} END AS {name}"
        for name in carried
    )
    on = " AND ".join(f"expected.{name} = {right}.{name}" for name in workload.keys)
    tables["differing"] = (
        f"SELECT CASE WHEN {right}.{key} IS NULL THEN 'new' WHEN expected.{key} IS NULL THEN 'orphaned' ELSE 'stale' END "
        f"AS class, {ids}{user}, coalesce(expected.version, {least}) AS metaxy_provenance "
        f"FROM expected FULL JOIN {right} ON {on} WHERE {differs}"
    )
    return tables


def selected(workload: Workload) -> str:
    """The answer; those of a group are its members."""
    if workload.lineage != "N:1":
        return f"SELECT class, {', '.join([*workload.ids, *workload.asked])}, metaxy_provenance FROM differing"
    members = ", ".join(f"parent0.{n}" for n in (*workload.ids, *workload.asked) if n not in workload.keys)
    keys = ", ".join(f"differing.{name}" for name in workload.keys)
    on = " AND ".join(f"differing.{name} = parent0.{name}" for name in workload.keys)
    return f"SELECT class, {keys}, {members}, metaxy_provenance FROM differing LEFT JOIN parent0 ON {on}"

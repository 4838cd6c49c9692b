"""The workloads: which features there are, how their stores are made, and what is asked of them."""

from dataclasses import dataclass, field

CHILD = "bench/child"
GROUP = 20  # frames of a video, clips of a video

CONFIG = """\
project = "bench"
store = "bench"
hash_truncation_length = 16
[stores.bench]
# Python knows only this name of the type.
type = "metaxy.ext.polars.handlers.delta.DeltaMetadataStore"
config = {{ root_path = "store", hash_algorithm = "{hash}" }}
[ext.datafusion]
features = ["features.toml"]
"""


def table(key: str) -> str:
    return key.replace("/", "__")


@dataclass(frozen=True)
class Parent:
    """A root feature. Ids and columns are named with the SQL that makes them of a number, `value`."""

    key: str
    ids: dict[str, str]
    fields: tuple[str, ...]
    columns: dict[str, str]

    def write(self, rows: int, version: str = "", where: str = "true") -> str:
        """An INSERT of the samples with numbers up to `rows`; another `version` means other contents."""
        columns = ", ".join(f"{sql} AS {name}" for name, sql in (self.ids | self.columns).items())
        versions = ", ".join(f"'{name}', concat('{version}{name}', value)" for name in self.fields)
        return (
            f"INSERT INTO {table(self.key)} SELECT {columns}, named_struct({versions}) AS metaxy_provenance_by_field "
            f"FROM generate_series(1, {rows}) AS numbers(value) WHERE {where}"
        )

    def delete(self, where: str) -> str:
        return f"DELETE FROM {table(self.key)} WHERE {where}"


@dataclass(frozen=True)
class Workload:
    name: str
    says: str
    parents: tuple[Parent, ...]
    steps: tuple[str, ...]  # statements, with {rows}
    child_ids: tuple[str, ...]
    asked: tuple[str, ...]  # the user columns that the query asks for
    after: str | None = None  # the workload whose store this one goes on with
    on: tuple[str, ...] = ()  # what makes a group, or identifies the parent's row
    lineage: str = "1:1"
    per_parent: int = 1  # samples of the largest table for each number
    stored: bool = True  # whether the child was ever written
    changes: tuple[str, ...] = ()  # more statements, after a comparison to go on from
    fields: tuple[str, ...] = field(default=("audio", "frames"))

    def features(self) -> str:
        """The feature file."""

        def listed(names) -> str:
            return "[" + ", ".join(f'"{name}"' for name in names) + "]"

        def feature(key: str, ids, fields) -> str:
            return f'[[feature]]\nkey = "{key}"\nid_columns = {listed(ids)}\nfields = {listed(fields)}\n'

        parents = "".join(feature(p.key, p.ids, p.fields) for p in self.parents)
        child = feature(CHILD, self.child_ids, self.fields)
        on = "" if self.lineage == "1:1" else f', lineage = {{ type = "{self.lineage}", on = {listed(self.on)} }}'
        # The user columns by name are all of them. Without that, Python 0.1.11 can't join three parents: it leaves
        # `metaxy_deleted_at` in each.
        deps = ", ".join(f'{{ feature = "{p.key}", select = {listed(p.ids | p.columns)}{on} }}' for p in self.parents)
        return f"{parents}{child}deps = [{deps}]\n"

    @property
    def ids(self) -> tuple[str, ...]:
        """What identifies a row of the answer: the ids of the parents' rows."""
        return tuple(self.parents[0].ids)

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns on which expected and stored rows are compared."""
        return self.on or self.child_ids

    @property
    def integers(self) -> set[str]:
        """Those of the answer's columns that are no text."""
        made = {name: sql for p in self.parents for name, sql in (p.ids | p.columns).items()}
        return {name for name in self.ids + self.asked if not made[name].startswith(("concat", "md5", "substr"))}


SAMPLE_ID = "concat('sample-', lpad(CAST({} AS VARCHAR), 10, '0'))"
# Spread over the whole range: rows are written in an order that has nothing to do with their ids.
RANDOM_ID = "substr(md5(CAST({} AS VARCHAR)), 1, 17)"
USER_COLUMNS = {"size": "value", "path": "concat('s3://bucket/videos/', value, '.mp4')"}


def wide_columns(prefix: str) -> dict[str, str]:
    texts = {f"{prefix}_text{i}": f"concat('{prefix}{i}-', value * {i + 7} % 1000003)" for i in range(5)}
    return texts | {f"{prefix}_number{i}": f"value * {i + 11} % 1000003" for i in range(5)}


def workloads(random_ids: bool) -> dict[str, Workload]:
    def identifier(number: str) -> str:
        return (RANDOM_ID if random_ids else SAMPLE_ID).format(number)

    compute = (
        f"INSERT INTO {table(CHILD)} SELECT * FROM resolve_update('{CHILD}') WHERE metaxy_increment IN ('new', 'stale')"
    )
    parent = Parent("bench/parent", {"sample_id": identifier("value")}, ("audio", "frames"), USER_COLUMNS)
    one = {"parents": (parent,), "child_ids": ("sample_id",), "asked": ("size", "path")}

    def change(of: Parent, version: str) -> str:
        return of.write("{rows}", version, "value % 100 = 1")

    # A thousand that lie together, as those of one upload do, or everywhere.
    together = parent.write("{rows}", "x", "value > {rows} / 2 AND value <= {rows} / 2 + 1000")
    scattered = parent.write("{rows}", "x", "value % ({rows} / 1000) = 1")
    churn = (change(parent, "x"), parent.delete("size % 1000 = 500"))
    rewritten = tuple(step for i in range(5) for step in (parent.write("{rows}", f"r{i}"), compute))

    fields = tuple(f"f{i}" for i in range(1, 9))
    wide = [Parent(f"bench/{p}", {"sample_id": identifier("value")}, fields, wide_columns(p)) for p in "abc"]
    frame = Parent(
        "bench/frame",
        {"video_id": identifier(f"(value - 1) / {GROUP}"), "frame": f"value % {GROUP}"},
        ("audio", "frames"),
        USER_COLUMNS,
    )
    video = Parent("bench/video", {"video_id": identifier("value")}, ("audio", "frames"), USER_COLUMNS)
    aggregate = (
        f"INSERT INTO {table(CHILD)} SELECT video_id, first_value(metaxy_provenance_by_field) AS metaxy_provenance_by_field "
        f"FROM resolve_update('{CHILD}') GROUP BY video_id"
    )
    expand = (
        f"INSERT INTO {table(CHILD)} SELECT increment.*, clip "
        f"FROM resolve_update('{CHILD}') AS increment CROSS JOIN generate_series(1, {GROUP}) AS clips(clip)"
    )
    made = [
        Workload("initial", "all samples are new", steps=(parent.write("{rows}"),), stored=False, **one),
        Workload("steady", "nothing has changed", steps=(compute,), after="initial", **one),
        Workload("churn", "1 % changed, 0.1 % deleted", steps=(), changes=churn, after="steady", **one),
        Workload("together", "1,000 neighbours changed", steps=(), changes=(together,), after="steady", **one),
        Workload("scattered", "1,000 changed, far apart", steps=(), changes=(scattered,), after="steady", **one),
        Workload(
            "history",
            "every sample rewritten 5 times, then churn",
            steps=rewritten,
            changes=churn,
            after="steady",
            **one,
        ),
        Workload(
            "wide",
            "3 parents, 8 fields, 30 user columns of which 2 are asked for; churn",
            tuple(wide),
            (*(p.write("{rows}") for p in wide), compute),
            changes=(change(wide[1], "x"), wide[0].delete("a_number0 % 1000 = 500")),
            child_ids=("sample_id",),
            asked=("a_text1", "b_number2"),
            fields=fields,
        ),
        Workload(
            "aggregation",
            f"one row of {GROUP}; one changed in 1 % of the groups, 0.1 % of the groups deleted",
            (frame,),
            (frame.write("{rows}"), aggregate),
            changes=(
                frame.write("{rows}", "x", f"value % {100 * GROUP} = 61"),
                frame.delete(f"(size - 1) / {GROUP} % 1000 = 500"),
            ),
            child_ids=("video_id",),
            asked=("size", "path"),
            on=("video_id",),
            lineage="N:1",
        ),
        Workload(
            "expansion",
            f"{GROUP} rows of one; churn",
            (video,),
            (video.write("{rows}"), expand),
            changes=(change(video, "x"), video.delete("size % 1000 = 500")),
            child_ids=("video_id", "clip"),
            asked=("size", "path"),
            on=("video_id",),
            lineage="1:N",
            per_parent=GROUP,
        ),
    ]
    return {workload.name: workload for workload in made}

"""The questions in SQL: how metaxy-cli is asked, and what is asked of the rows of any answer.

An answer has a row for each sample of the increment: `class` (new, stale or orphaned), its ids, the user columns asked
for, and `metaxy_provenance`. Nobody prints it. Each side goes over all of it once and says, for each class,

- `rows` (measured): how many samples, the sum of each column (of a text, its length in bytes), and the least and the
  greatest version;
- `check` (not measured): how many samples, and a checksum of every column of every row, whatever their order;
- `counts` (measured if asked for): how many samples.
"""

from workloads import CHILD, Workload, table

QUESTIONS = ("rows", "counts")


def columns(workload: Workload) -> list[str]:
    """Those of an answer, without its class."""
    return [*workload.ids, *workload.asked, "metaxy_provenance"]


def asked_of(answer: str, question: str, workload: Workload, octets: str = "octet_length") -> str:
    """The question, of the rows of a query; `octets` is the function that tells the bytes of a text."""
    asked = ["count(*) AS samples"]
    if question == "check":
        texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in columns(workload))
        digits = f"translate(substr(md5(concat_ws('|', {texts})), 1, 15), 'abcdef', '012345')"
        asked.append(f"sum(CAST({digits} AS BIGINT) % 2147483647) AS checksum")
    elif question == "rows":
        for name in columns(workload):
            value = name if name in workload.integers else f"{octets}({name})"
            asked.append(f"coalesce(sum({value}), 0) AS sum_{name}")
        asked += ["min(metaxy_provenance) AS least", "max(metaxy_provenance) AS greatest"]
    return f"SELECT class, {', '.join(asked)} FROM ({answer}) AS answer GROUP BY class"


def increment(workload: Workload, engine: str) -> str:
    """The answer by metaxy-cli."""
    return (
        f"SELECT metaxy_increment AS class, {', '.join(columns(workload))} "
        f"FROM resolve_update('{CHILD}', engine => '{engine}')"
    )


def floor(workload: Workload) -> str:
    """Reads what an increment has to read (ids, versions, times) and compares nothing. Nothing can be faster."""
    texts = ["metaxy_feature_version"]
    times = ["metaxy_updated_at", "metaxy_deleted_at"]

    def scan(key: str, ids: tuple[str, ...], versions: list[str], user: list[str]) -> str:
        text = [name for name in (*ids, *user) if name not in integers]
        lengths = [f"sum(octet_length({name}))" for name in (*text, *texts, *versions)]
        numbers = [f"sum({number})" for number in (*ids, *user) if number in integers]
        return f"SELECT {', '.join([*lengths, *numbers, *(f'max({time})' for time in times)])} FROM history.{table(key)}"

    integers = workload.integers | {"clip"}
    scans = []
    for parent in workload.parents:
        versions = [f"metaxy_data_version_by_field['{name}']" for name in parent.fields]
        # Where all samples are in the answer, all of what was asked for has to be read, too.
        user = [] if workload.stored else [name for name in workload.asked if name in parent.columns]
        scans.append(scan(parent.key, tuple(parent.ids), versions, user))
    if workload.stored:
        scans.append(scan(CHILD, workload.child_ids, ["metaxy_provenance"], []))
    return "; ".join(scans)

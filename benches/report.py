"""The benchmark's table."""

from itertools import groupby

NAMES = {
    "changes": "metaxy-cli, changes",
    "memory": "metaxy-cli, memory",
    "native": "metaxy-cli, native",
    "python": "Python",
    "python-lazy": "Python, lazy",
    "duckdb": "DuckDB by hand",
    "naive": "DataFusion, naive",
    "floor": "only reading",
}
HEAD = (
    f"{'':<12} {'':<18} {'whole':>9} {'query':>9} {'':>12} {'peak':>9}   {'Python / this':^22}   {'DuckDB / this':^15}\n"
    f"{'workload':<12} {'side':<18} {'process':>9} {'alone':>9} {'rows/s':>12} {'memory':>9}"
    f"   {'whole':>6} {'query':>7} {'memory':>7}   {'whole':>7} {'query':>7}"
)


def table(records: list[dict]) -> str:
    """One table for each hash, number of samples, number of cores and question."""

    def case(record: dict) -> tuple:
        return record["rows"], record["hash"], record["cores"], record["question"]

    lines = []
    for (rows, algorithm, cores, question), of_case in groupby(sorted(records, key=case), case):
        lines += ["", f"{question}: {rows:,} samples, {algorithm}, {cores} cores", HEAD]
        for _, of_workload in groupby(of_case, lambda record: record["workload"]):
            sides = {record["side"]: record for record in of_workload}
            lines += [line(record, sides) for record in sides.values()]
    return "\n".join(lines)


def line(record: dict, sides: dict[str, dict]) -> str:
    head = f"{record['workload']:<12} {NAMES[record['side']]:<18}"
    if record.get("failed"):
        return f"{head} failed, or a wrong answer"
    query = f"{record['query_seconds']:>7.2f} s" if "query_seconds" in record else f"{'-':>9}"
    cells = f"{head} {record['seconds']:>7.2f} s {query} {record['rows_per_second']:>12,.0f} {record['memory_mb']:>6,.0f} MB"

    def ratio(peer: str, what: str, of: str, width: int) -> str:
        """How often this side goes into the peer: above 1, this side needs less."""
        other = sides.get(peer, {})
        if what not in other or peer == record["side"]:
            return f"{'-':>{width}}"
        return f"{other[what] / record[of]:>{width - 1}.1f}x"

    python = [ratio("python", "seconds", "seconds", 6), ratio("python", "query_seconds", "seconds", 7)]
    python.append(ratio("python", "memory_mb", "memory_mb", 7))
    duckdb = [ratio("duckdb", "seconds", "seconds", 7), ratio("duckdb", "query_seconds", "seconds", 7)]
    return f"{cells}   {' '.join(python)}   {' '.join(duckdb)}"

#!/usr/bin/env python3
"""Both executors against the plain scan of the same columns, over Delta tables.

    python3 benches/executors.py --rows 1000000 --runs 5

Makes three stores with metaxy-cli (nothing changed, 1 % changed, everything new) and asks each for the number of new
and stale samples, in turns: in memory, natively, and a query that only reads the columns that the increment reads.
README.md beside this file says what is measured. Exit code 1: the executors disagree.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

from steady import build, run

CONFIG = """
project = "bench"
store = "bench"
hash_truncation_length = 16
[stores.bench]
type = "delta"
config = { root_path = "store", hash_algorithm = "xxhash64" }
[ext.datafusion]
features = ["features.toml"]
"""
FEATURES = """
[[feature]]
key = "bench/parent"
id_columns = ["sample_id"]
fields = ["audio", "frames"]
[[feature]]
key = "bench/child"
id_columns = ["sample_id"]
fields = ["audio", "frames"]
deps = ["bench/parent"]
"""
PARENT = """
INSERT INTO bench__parent
SELECT concat('sample-', lpad(CAST(value AS VARCHAR), 10, '0')) AS sample_id, value AS size,
  concat('s3://bucket/videos/', value, '.mp4') AS path,
  named_struct('audio', concat('{v}a', value), 'frames', concat('{v}f', value)) AS metaxy_provenance_by_field
FROM generate_series(1, {rows}) WHERE value % {every} = 0
"""
CHILD = "INSERT INTO bench__child SELECT * FROM resolve_update('bench/child')"
WORKLOADS = {"unchanged": (True, 0), "1 % changed": (True, 100), "all new": (False, 0)}
COUNTS = "SELECT metaxy_increment, count(*) FROM resolve_update('bench/child', engine => '{}') GROUP BY 1"
# What an increment has to read of each table: ids, versions, times.
READS = {
    "bench__parent": ["metaxy_data_version_by_field['audio']", "metaxy_data_version_by_field['frames']"],
    "bench__child": ["metaxy_provenance"],
}
TEXTS = ["sample_id", "metaxy_feature_version"]
TIMES = ["metaxy_updated_at", "metaxy_deleted_at"]


def scan(tables: list[str]) -> str:
    def columns(table: str) -> str:
        texts = [f"sum(octet_length({text}))" for text in TEXTS + READS[table]]
        return ", ".join(texts + [f"max({time})" for time in TIMES])

    return "; ".join(f"SELECT {columns(table)} FROM history.{table}" for table in tables)


def make_store(cli: str, directory: Path, rows: int, written: bool, every: int) -> None:
    done = directory / "done"
    if done.exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metaxy.toml").write_text(CONFIG)
    (directory / "features.toml").write_text(FEATURES)
    statements = [PARENT.format(rows=rows, every=1, v="")]
    if written:
        statements.append(CHILD)
    if every:
        statements.append(PARENT.format(rows=rows, every=every, v="x"))
    for statement in statements:
        run([cli, "-q", "-c", statement], directory)
    done.touch()


def measure(cli: str, directory: Path, written: bool, runs: int, limit: list[str]) -> dict[str, tuple[float, float]]:
    tables = list(READS) if written else ["bench__parent"]
    # Under a limit an increment that was asked for in memory and does not fit is an error; `auto` streams it then.
    questions = {
        "in memory": ["-c", COUNTS.format("auto" if limit else "memory")],
        "native": ["-c", COUNTS.format("native")],
        "plain scan": ["-c", scan(tables)],
    }
    seconds = {name: [] for name in questions}
    memory = {name: [] for name in questions}
    answers = {}
    for turn in range(runs + 1):
        for name, arguments in questions.items():
            text, took, peak = run([cli, "-q", *limit, *arguments], directory)
            if name != "plain scan":
                answers[name] = sorted(re.findall(r"\b(new|stale|orphaned)\b\W+(\d+)", text))
            if turn:
                seconds[name].append(took)
                memory[name].append(peak)
        if answers["in memory"] != answers["native"]:
            sys.exit(f"the executors disagree in {directory}: {answers}")
    return {name: (statistics.median(seconds[name]), statistics.median(memory[name])) for name in questions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="samples in each store")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each question")
    parser.add_argument("--cores", type=int, nargs="+", help="run once for each of these numbers of cores")
    parser.add_argument("--memory-limit", help="as metaxy-cli has it, such as 1g")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the stores there, and use them the next time")
    parser.add_argument("--binary", type=Path, help="a metaxy-cli that is built already")
    options = parser.parse_args()

    cli = str(options.binary.resolve()) if options.binary else build()
    limit = ["--memory-limit", options.memory_limit] if options.memory_limit else []
    everywhere = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    with tempfile.TemporaryDirectory(prefix="metaxy-bench-") as temporary:
        root = (options.keep or Path(temporary)).resolve()
        print(f"{'rows':>11} {'cores':>5}  {'workload':<12} {'in memory':>18} {'native':>18} {'plain scan':>18}")
        for rows in options.rows:
            for workload, (written, every) in WORKLOADS.items():
                directory = root / f"{rows}-{workload.replace(' ', '').replace('%', '')}"
                make_store(cli, directory, rows, written, every)
                for cores in options.cores or [len(everywhere) or os.cpu_count()]:
                    if everywhere:
                        os.sched_setaffinity(0, sorted(everywhere)[:cores])
                    results = measure(cli, directory, written, options.runs, limit)
                    if everywhere:
                        os.sched_setaffinity(0, everywhere)
                    cells = " ".join(f"{took:8.2f} s {peak:5.0f} MB" for took, peak in results.values())
                    print(f"{rows:>11,} {cores:>5}  {workload:<12} {cells}", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""An increment that PostgreSQL computes itself, against the tables fetched and resolved in memory.

    METAXY_TEST_POSTGRES="$(tests/postgres/start.sh)" python3 benches/postgres.py --rows 1000000 --runs 5

Fills a schema of the database with metaxy-cli and asks for the number of new and stale samples, in turns, with nothing
changed and with 1 % changed. Prints the seconds of the whole process, and in memory / native: above 1, the database is
faster. Exit code 1: the executors disagree.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

from executors import CHILD, COUNTS, FEATURES, PARENT
from steady import build, run

SCHEMA = "metaxy_bench"
CONFIG = """
project = "bench"
store = "bench"
[stores.bench]
type = "postgresql"
[stores.bench.config]
connection_string = "${{METAXY_TEST_POSTGRES}}"
schema = "{schema}"
table_prefix = "{prefix}"
auto_create_tables = true
hash_algorithm = "md5"
[ext.datafusion]
features = ["features.toml"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="samples of the feature")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each question")
    parser.add_argument("--schema", default=SCHEMA, help="a schema that exists; the tables in it are left there")
    parser.add_argument("--binary", type=Path, help="a metaxy-cli that is built already")
    options = parser.parse_args()
    if not os.environ.get("METAXY_TEST_POSTGRES"):
        sys.exit("METAXY_TEST_POSTGRES has to be the URL of a database")

    cli = str(options.binary.resolve()) if options.binary else build()
    print(f"{'rows':>11}  {'workload':<12} {'native':>9} {'in memory':>10} {'ratio':>6}")
    with tempfile.TemporaryDirectory(prefix="metaxy-bench-") as temporary:
        directory = Path(temporary)
        (directory / "features.toml").write_text(FEATURES)
        # A prefix of its own for each run: nothing of an earlier one is in the way.
        config = CONFIG.format(schema=options.schema, prefix=f"b{os.getpid()}_")
        (directory / "metaxy.toml").write_text(config)
        steps = [
            ("unchanged", [PARENT.format(rows=options.rows, every=1, v=""), CHILD]),
            ("1 % changed", [PARENT.format(rows=options.rows, every=100, v="x")]),
        ]
        for workload, statements in steps:
            for statement in statements:
                run([cli, "-q", "-c", statement], directory)
            seconds = {"native": [], "memory": []}
            answers = {}
            for turn in range(options.runs + 1):
                for engine, taken in seconds.items():
                    text, took, _ = run([cli, "-q", "-c", COUNTS.format(engine)], directory)
                    answers[engine] = sorted(re.findall(r"\b(new|stale|orphaned)\b\W+(\d+)", text))
                    if turn:
                        taken.append(took)
            if answers["native"] != answers["memory"]:
                sys.exit(f"the executors disagree: {answers}")
            native, memory = (statistics.median(taken) for taken in seconds.values())
            print(f"{options.rows:>11,}  {workload:<12} {native:>7.2f} s {memory:>8.2f} s {memory / native:>6.2f}", flush=True)


if __name__ == "__main__":
    main()

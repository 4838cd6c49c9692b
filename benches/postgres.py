#!/usr/bin/env python3
"""An increment that PostgreSQL computes itself, against the tables fetched and resolved in memory.

    METAXY_TEST_POSTGRES="$(tests/postgres/start.sh)" python3 benches/postgres.py --rows 1000000 --runs 5

Fills a schema of the database with metaxy-cli and asks for the number of new, stale and orphaned samples, in turns, for
the workloads steady and churn. Prints the seconds of the whole process: the database with what has changed since the
comparison before the last writes, as it is by default, on a machine that finds that comparison in the database; the
database with everything; and the tables fetched and resolved in memory. The ratios are in memory / the database: above 1, the database is faster. Exit code 1: they disagree.

With --mbit, all bytes pass through a link of so many megabits a second.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import questions
from link import link
from processes import Failed, Run, binary, run
from workloads import workloads

SCHEMA = "metaxy_bench"
CONFIG = """
project = "bench"
store = "bench"
[stores.bench]
type = "postgresql"
[stores.bench.config]
connection_string = "${{METAXY_BENCH_POSTGRES}}"
schema = "{schema}"
table_prefix = "{prefix}"
auto_create_tables = true
hash_algorithm = "md5"
[ext.datafusion]
features = ["features.toml"]
"""


def measure(cli: str, directory: Path, schema: str, rows: int, runs: int) -> None:
    everything = workloads(False)
    for step in everything["initial"].steps:
        run([cli, "-q", "-c", step.format(rows=rows)], directory)
    url, records = os.environ["METAXY_TEST_POSTGRES"], f'{schema}."metaxy$comparisons"'

    def in_database(statement: str) -> None:
        subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement], check=True)

    def ask(workload, side: str) -> Run:
        engine = "memory" if side == "memory" else "native"
        query = questions.asked_of(questions.increment(workload, engine), "counts", workload)
        going_on = "auto" if side == "changes" else "false"
        in_database(f"BEGIN; DELETE FROM {records}; INSERT INTO {records} SELECT * FROM {schema}.kept; COMMIT")
        command = [cli, "-q", "--format", "nd-json", "-c", f"SET metaxy.incremental_resolve = {going_on}", "-c", query]
        with tempfile.TemporaryDirectory(prefix="metaxy-bench-cache-") as cache:
            return run(command, directory, cache=Path(cache))

    print(f"{'rows':>11}  {'workload':<10} {'changes':>9} {'everything':>11} {'in memory':>10}   ratios")
    for workload in (everything["steady"], everything["churn"]):
        for step in workload.steps:
            run([cli, "-q", "-c", step.format(rows=rows)], directory)
        query = questions.asked_of(questions.increment(workload, "native"), "counts", workload)
        run([cli, "-q", "-c", query], directory)
        in_database(f"DROP TABLE IF EXISTS {schema}.kept; CREATE TABLE {schema}.kept AS TABLE {records}")
        for step in workload.changes:
            run([cli, "-q", "-c", step.format(rows=rows)], directory)
        seconds = {"changes": [], "native": [], "memory": []}
        answers = {}
        for turn in range(runs + 1):
            for side, taken in seconds.items():
                ran = ask(workload, side)
                answers[side] = sorted(ran.text.splitlines())
                if turn:
                    taken.append(ran.seconds)
        if not answers["changes"] == answers["native"] == answers["memory"]:
            sys.exit(f"the executors disagree: {json.dumps(answers)}")
        changes, native, memory = (statistics.median(taken) for taken in seconds.values())
        print(
            f"{rows:>11,}  {workload.name:<10} {changes:>7.2f} s {native:>9.2f} s {memory:>8.2f} s   "
            f"{memory / changes:.2f}, {memory / native:.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="samples of the feature")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each executor")
    parser.add_argument("--schema", default=SCHEMA, help="a schema that exists; the tables in it are left there")
    parser.add_argument("--mbit", type=int, help="megabits a second of the link (default: nothing in between)")
    parser.add_argument("--binary", type=Path, help="a metaxy-cli that is built already")
    options = parser.parse_args()
    if not os.environ.get("METAXY_TEST_POSTGRES"):
        sys.exit("METAXY_TEST_POSTGRES has to be the URL of a database")

    cli = binary(options.binary)
    url = os.environ["METAXY_TEST_POSTGRES"]
    os.environ["METAXY_BENCH_POSTGRES"] = link(url, options.mbit) if options.mbit else url
    with tempfile.TemporaryDirectory(prefix="metaxy-bench-") as temporary:
        directory = Path(temporary)
        (directory / "features.toml").write_text(workloads(False)["initial"].features())
        # A prefix of its own for each run: nothing of an earlier one is in the way.
        config = CONFIG.format(schema=options.schema, prefix=f"b{os.getpid()}_")
        (directory / "metaxy.toml").write_text(config)
        try:
            measure(cli, directory, options.schema, options.rows, options.runs)
        except Failed as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()

"""DuckDB's side of the benchmark: runs the query of the standard input and prints one JSON line.

    peer_duckdb.py < query.sql

The first column of the query's rows is the class of samples; the others are what was asked of them.
"""

import json
import os
import sys
import time

import duckdb


def main() -> None:
    query = sys.stdin.read()
    # As many threads as cores that this process may use, which DuckDB doesn't ask for.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    start = time.perf_counter()
    relation = duckdb.connect(config={"threads": cores}).execute(query)
    names = [column[0] for column in relation.description]
    rows = [dict(zip(names, row)) for row in relation.fetchall()]
    seconds = time.perf_counter() - start
    print(json.dumps({"answer": {row.pop("class"): row for row in rows}, "seconds": seconds}))


if __name__ == "__main__":
    main()

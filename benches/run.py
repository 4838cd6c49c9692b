#!/usr/bin/env python3
"""Increments here, in the Python package, in hand-written SQL, and the time that it takes to merely read.

    python3 benches/run.py                                        # 1,000,000 samples, all workloads, all sides
    python3 benches/run.py --rows 100000 --workloads churn wide --hash md5 --keep bench-stores

Makes Delta stores with metaxy-cli and asks all sides the same question, in turns. README.md beside this file says what
is measured. Exit code 1: a side failed, or sides gave different answers.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import questions
import stores
from handwritten import DataFusion, DuckDB, answer
from processes import HERE, Failed, Run, binary, environment, run
from report import table
from workloads import CHILD, Workload, workloads

SIDES = ("changes", "memory", "native", "python", "python-lazy", "duckdb", "naive", "floor")
# DuckDB has these hashes without an extension.
DUCKDB_HASHES = ("md5", "sha256")
HASHES = ("xxhash64", "md5", "sha256")
# Asked again and again, only what has changed would be compared: nothing.
EVERYTHING = "SET metaxy.incremental_resolve = false"


@dataclass
class Measured:
    """What was measured of one side."""

    seconds: list[float] = field(default_factory=list)
    query: list[float] = field(default_factory=list)  # without the start of the process, as it says itself
    memory: list[float] = field(default_factory=list)
    failed: str = ""


@dataclass(frozen=True)
class Peers:
    cli: list[str]
    python: str | None
    duckdb: str | None
    limited: bool


def asks(side: str, peers: Peers, directory: Path, workload: Workload, store) -> Callable[[str], Run] | None:
    """How this side is asked a question, or None if it can't be."""

    def by_cli(sql: Callable[[str], str], first: str = EVERYTHING) -> Callable[[str], Run]:
        command = [*peers.cli, "-q", "--format", "nd-json", "-c", first, "-c"]
        return lambda question: run([*command, sql(question)], directory, cache=directory / "cache")

    def by_changes(sql: Callable[[str], str]) -> Callable[[str], Run]:
        # As it is by default.
        ask = by_cli(sql, "SET metaxy.incremental_resolve = auto")

        def asked(question: str) -> Run:
            # What is known is what was found before the last steps, each time.
            shutil.rmtree(directory / "cache", ignore_errors=True)
            shutil.copytree(directory / stores.NOTES, directory / "cache")
            return ask(question)

        return asked

    def by_python(question: str) -> Run:
        request = {"directory": str(directory), "feature": CHILD, "lazy": side == "python-lazy", "question": question}
        request |= {"columns": questions.columns(workload), "integers": sorted(workload.integers)}
        return run([peers.python, str(HERE / "peer_python.py"), json.dumps(request)], directory)

    def by_duckdb(question: str) -> Run:
        query = questions.asked_of(answer(DuckDB(store), workload), question, workload, octets="strlen")
        return run([peers.duckdb, str(HERE / "peer_duckdb.py")], directory, query)

    match side:
        case "changes":
            increment = questions.increment(workload, "memory")
            return by_changes(lambda q: questions.asked_of(increment, q, workload)) if workload.stored else None
        case "memory" | "native":
            # What was asked for in memory and does not fit under a limit is an error; `auto` streams it then.
            engine = "auto" if side == "memory" and peers.limited else side
            return by_cli(lambda q: questions.asked_of(questions.increment(workload, engine), q, workload))
        case "python" | "python-lazy":
            return by_python if peers.python else None
        case "duckdb":
            return by_duckdb if peers.duckdb and store.hash in DUCKDB_HASHES else None
        case "naive":
            return by_cli(lambda q: questions.asked_of(answer(DataFusion(store), workload), q, workload))
        case _:
            return by_cli(lambda q: questions.floor(workload))


def answered(side: str, text: str) -> tuple[dict | None, float | None]:
    """The answer in what a side printed, and how long the query alone took if it says so."""
    if side == "floor":
        return None, None
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    if side in ("changes", "memory", "native", "naive"):
        return {line.pop("class"): line for line in lines}, None
    return lines[-1]["answer"], lines[-1]["seconds"]


def measure(
    sides: dict[str, Callable[[str], Run]], question: str, runs: int, where: str
) -> tuple[dict[str, Measured], list[str]]:
    """All sides in turns. The first turn checks all of every answer, warms the caches, and isn't counted."""
    results = {side: Measured() for side in sides}
    problems = []
    for turn in range(runs + 1):
        asked = question if turn or question == "counts" else "check"
        answers: dict[str, list[str]] = {}
        for side, ask in sides.items():
            result = results[side]
            if result.failed:
                continue
            try:
                ran = ask(asked)
            except Failed as error:
                result.failed = str(error)
                problems.append(f"{where}: {side} failed: {error}")
                continue
            said, seconds = answered(side, ran.text)
            if said is not None:
                answers.setdefault(json.dumps(said, sort_keys=True), []).append(side)
            if turn:
                result.seconds.append(ran.seconds)
                result.memory.append(ran.memory)
                if seconds is not None:
                    result.query.append(seconds)
        if len(answers) > 1:
            listed = "\n".join(f"  {', '.join(of)}: {said}" for said, of in answers.items())
            problems.append(f"{where}: different answers ({asked}):\n{listed}")
            break
    return results, problems


def numbers(result: Measured, rows: int) -> dict:
    """Medians."""
    if result.failed or not result.seconds:
        return {"failed": True}
    seconds = statistics.median(result.seconds)
    found = {"seconds": seconds, "rows_per_second": rows / seconds, "memory_mb": statistics.median(result.memory)}
    if result.query:
        found["query_seconds"] = statistics.median(result.query)
    return found | {"runs": result.seconds}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(workloads(False))
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="samples of the largest feature")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE", help=", ".join(SIDES))
    parser.add_argument("--hash", nargs="+", choices=HASHES, default=["xxhash64", "md5"], help="the stores' algorithms")
    parser.add_argument("--questions", nargs="+", choices=questions.QUESTIONS, default=["rows"], help="rows, counts")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each side")
    parser.add_argument("--random-ids", action="store_true", help="rows aren't written in the order of their ids")
    parser.add_argument("--cores", type=int, nargs="+", help="measure with each of these numbers of cores (Linux)")
    parser.add_argument("--memory-limit", help="for metaxy-cli and in its words, such as 1g")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the stores there, and use them the next time")
    parser.add_argument("--binary", type=Path, help="a metaxy-cli that is built already")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    return parser.parse_args()


def ready(options: argparse.Namespace) -> Peers:
    """What is asked, as far as it is there."""
    cli = [binary(options.binary)]
    limit = ["--memory-limit", options.memory_limit] if options.memory_limit else []
    python = environment() if {"python", "python-lazy"} & set(options.sides) else None
    duckdb = environment(str(HERE / "duckdb.txt")) if "duckdb" in options.sides else None
    for missing, names in ((not python, {"python", "python-lazy"}), (not duckdb, {"duckdb"})):
        asked = sorted(names & set(options.sides))
        if missing and asked:
            print(f"missing: {', '.join(asked)} (the packages could not be installed); the others run without")
    return Peers(cli + limit, python, duckdb, bool(limit))


def main() -> None:
    options = parsed()
    peers = ready(options)
    everything = workloads(options.random_ids)
    everywhere = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    records, problems = [], []
    for rows in options.rows:
        for algorithm in options.hash:
            if "duckdb" in options.sides and algorithm not in DUCKDB_HASHES:
                print(f"{algorithm}: without DuckDB, which lacks this hash")
            with tempfile.TemporaryDirectory(prefix="metaxy-bench-") as temporary:
                name = f"{rows}-{algorithm}" + ("-random" if options.random_ids else "")
                root = (options.keep or Path(temporary)).resolve() / name
                for workload in (everything[name] for name in options.workloads):
                    try:
                        directory = stores.make(peers.cli[0], root, workload, rows, algorithm, everything)
                    except Failed as error:
                        sys.exit(f"the store could not be made: {error}")
                    store = stores.described(directory, workload, algorithm)
                    sides = {side: asks(side, peers, directory, workload, store) for side in options.sides}
                    sides = {side: ask for side, ask in sides.items() if ask}
                    for cores in options.cores or [len(everywhere) or os.cpu_count()]:
                        if options.cores and everywhere:
                            os.sched_setaffinity(0, everywhere[:cores])
                        for question in options.questions:
                            case = {"rows": rows, "hash": algorithm, "cores": cores, "question": question}
                            print(f"{workload.name}: {question} ({rows:,} samples, {algorithm})", flush=True)
                            where = f"{workload.name}, {rows:,} samples, {algorithm}, {cores} cores, {question}"
                            results, found = measure(sides, question, options.runs, where)
                            problems += found
                            for side, result in results.items():
                                records.append(case | {"workload": workload.name, "side": side} | numbers(result, rows))
                        if everywhere:
                            os.sched_setaffinity(0, everywhere)
    print(table(records))
    if options.json:
        options.json.write_text(json.dumps({"runs": options.runs, "results": records}, indent=1) + "\n")
    if problems:
        sys.exit("\n" + "\n".join(problems))


if __name__ == "__main__":
    main()

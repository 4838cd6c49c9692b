#!/usr/bin/env python3
"""What a user of a large store waits for: a small increment among many samples, here and in the Python package.

    python3 benches/steady.py --rows 1000000 --runs 5

Makes a Delta store with the Python package and asks both sides the same two questions about it, in turns.
README.md beside this file says what is measured. Exit code 1: the two sides disagree.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
INCREMENT = ("new", "stale", "orphaned")
CLI_ARGUMENTS = {
    "counts": ["-c", "SELECT metaxy_increment, count(*) FROM resolve_update('bench/child') GROUP BY 1"],
    "rows": ["--format", "nd-json", "-c", "SELECT * FROM resolve_update('bench/child')"],
}


def run(command: list[str], directory: Path) -> tuple[str, float, float]:
    """Output, wall seconds and peak resident MB of a process that must succeed."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=directory, stdout=output)
        # Not process.wait(): only this call tells how much memory this one child used at its peak.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        sys.exit(f"{text}\nexit code {process.returncode}: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return text, seconds, usage.ru_maxrss * unit / 1e6


def counts_in(question: str, text: str) -> dict[str, int]:
    """The counts in what metaxy-cli printed."""
    if question == "counts":
        found = {kind: int(number) for kind, number in re.findall(r"\b(new|stale|orphaned)\b\W+(\d+)", text)}
        return {kind: found.get(kind, 0) for kind in INCREMENT}
    kinds = re.findall(r'"metaxy_increment"\s*:\s*"(\w+)"', text)
    return {kind: kinds.count(kind) for kind in INCREMENT}


def build() -> str:
    """The optimised binary's path, as cargo reports it: the target folder may be anywhere."""
    command = ["cargo", "build", "--release", "--bin", "metaxy-cli", "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit("cargo build --release failed")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(m["executable"] for m in reversed(messages) if m.get("executable"))


def make_store(python: str, directory: Path, rows: int) -> None:
    made = directory / "made.json"
    if made.exists() and json.loads(made.read_text())["rows"] == rows:
        print(f"using the store in {directory}")
        return
    print(f"making a store of {rows:,} samples in {directory}")
    made.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    run([python, str(HERE / "steady_store.py"), "make", str(directory), str(rows)], directory)


def measure(question: str, python: str, cli: str, directory: Path, runs: int) -> dict[str, dict[str, list[float]]]:
    """Seconds and memory of every run, both sides in turns; the first turn only warms the caches."""
    commands = {
        "Python": [python, str(HERE / "steady_store.py"), "resolve", str(directory), question],
        "metaxy-cli": [cli, "-q", *CLI_ARGUMENTS[question]],
    }
    results = {side: {"resolve": [], "process": [], "memory": []} for side in commands}
    answers = {}
    for turn in range(runs + 1):
        for side, command in commands.items():
            text, seconds, memory = run(command, directory)
            result = results[side]
            if side == "Python":
                answer = json.loads(text.splitlines()[-1])
                answers[side] = answer["counts"]
                result["resolve"].append(answer["seconds"])
            else:
                answers[side] = counts_in(question, text)
            result["process"].append(seconds)
            result["memory"].append(memory)
            if turn == 0:
                for values in result.values():
                    values.clear()
        if answers["Python"] != answers["metaxy-cli"]:
            sys.exit(f"different answers to the same question ({question}): {json.dumps(answers)}")
    print(f"{question}: both say {json.dumps(answers['Python'])}")
    return results


def report(question: str, results: dict[str, dict[str, list[float]]]) -> None:
    median = {
        side: {what: statistics.median(values) for what, values in of_side.items() if values}
        for side, of_side in results.items()
    }
    python, cli = median["Python"], median["metaxy-cli"]
    print(f"\n{question:<8} {'resolve only':>14} {'whole process':>15} {'peak memory':>13}")
    for side, of_side in median.items():
        resolve = f"{of_side['resolve']:.2f} s" if "resolve" in of_side else "-"
        print(f"{side:<10} {resolve:>12} {of_side['process']:>13.2f} s {of_side['memory']:>10.0f} MB")
    print(
        f"{'ratio':<10} {python['resolve'] / cli['process']:>11.1f}x {python['process'] / cli['process']:>14.1f}x"
        f" {python['memory'] / cli['memory']:>12.1f}x   (first: Python's resolve only / metaxy-cli's whole process)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="processed samples in the store")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each side and question")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the store there, and use it the next time")
    parser.add_argument("--binary", type=Path, help="a metaxy-cli that is built already")
    options = parser.parse_args()

    if options.binary and not options.binary.is_file():
        parser.error(f"--binary {options.binary} doesn't exist")
    cli = str(options.binary.resolve()) if options.binary else build()
    venv = subprocess.run([HERE.parent / "tests/python/setup_venv.sh"], stdout=subprocess.PIPE, text=True)
    if venv.returncode != 0:
        sys.exit("the environment for the Python package could not be made")
    python = venv.stdout.strip()

    with tempfile.TemporaryDirectory(prefix="metaxy-bench-") as temporary:
        directory = (options.keep or Path(temporary)).resolve()
        make_store(python, directory, options.rows)
        results = {q: measure(q, python, cli, directory, options.runs) for q in CLI_ARGUMENTS}
        for question, of_question in results.items():
            report(question, of_question)


if __name__ == "__main__":
    main()

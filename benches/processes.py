"""Processes: how they are run and measured, and what has to be there to run them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """A process ended with another exit code than 0."""


@dataclass(frozen=True)
class Run:
    text: str  # what it printed
    seconds: float  # from its start to its end
    memory: float  # MB resident at its peak


def run(command: list[str], directory: Path, given: str = "", cache: Path | None = None) -> Run:
    """Runs a process that must succeed; `given` is its standard input, `cache` its cache folder if not the user's."""
    variables = os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as source:
        source.write(given)
        source.seek(0)
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=directory, stdin=source, stdout=output, env=variables)
        # Not process.wait(): only this call tells how much memory this one child used at its peak.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        raise Failed(f"{text}\nexit code {process.returncode}: {' '.join(command)[:1000]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(text, seconds, usage.ru_maxrss * unit / 1e6)


def binary(given: Path | None) -> str:
    """The metaxy-cli that was given, or an optimised one that is built now."""
    if given:
        if not given.is_file():
            sys.exit(f"--binary {given} doesn't exist")
        return str(given.resolve())
    command = ["cargo", "build", "--release", "--bin", "metaxy-cli", "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit("cargo build --release failed")
    # As cargo reports it: the target folder may be anywhere.
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(m["executable"] for m in reversed(messages) if m.get("executable"))


def environment(*requirements: str) -> str | None:
    """A Python interpreter with these requirements, or None when they can't be had."""
    script = HERE.parent / "tests/python/setup_venv.sh"
    made = subprocess.run([script, *requirements], stdout=subprocess.PIPE, text=True)
    return made.stdout.strip() if made.returncode == 0 else None

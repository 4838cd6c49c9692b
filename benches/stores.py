"""The benchmark's stores: made with metaxy-cli, once, and what a hand-written query has to know of them."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote

import questions
from handwritten import Store
from processes import run
from workloads import CHILD, CONFIG, Workload


NOTES = "notes"  # the cache folder with what a comparison before the last steps has found


def make(
    cli: str, root: Path, workload: Workload, rows: int, hash_algorithm: str, all_workloads: dict[str, Workload]
) -> Path:
    """The folder of a workload's store under `root`. It is used as it is if an earlier run has finished it."""
    directory = root / workload.name
    made = directory / "made.json"
    if made.exists():
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    if workload.after:
        before = make(cli, root, all_workloads[workload.after], rows, hash_algorithm, all_workloads)
        # Files of a Delta table never change, so both stores can have the same ones.
        shutil.copytree(before, directory, copy_function=os.link)
        made.unlink()
    else:
        directory.mkdir(parents=True)
        (directory / "metaxy.toml").write_text(CONFIG.format(hash=hash_algorithm))
        (directory / "features.toml").write_text(workload.features())
    print(f"making a store: {rows:,} samples, {hash_algorithm}, {workload.name} ({workload.says})", flush=True)

    def write(steps: tuple[str, ...]) -> None:
        for step in steps:
            run([cli, "-q", "-c", step.format(rows=rows // workload.per_parent)], directory)

    write(workload.steps)
    if workload.stored:
        question = questions.asked_of(questions.increment(workload, "memory"), "rows", workload)
        run([cli, "-q", "-c", question], directory, cache=directory / NOTES)
    # Python takes the features from the store.
    write((*workload.changes, "CALL push()"))
    text = run([cli, "-q", "--format", "json", "-c", "SELECT feature, feature_version FROM system.features"], directory).text
    made.write_text(json.dumps({row["feature"]: row["feature_version"] for row in json.loads(text)}))
    return directory


def described(directory: Path, workload: Workload, hash_algorithm: str) -> Store:
    versions = json.loads((directory / "made.json").read_text())
    features = [parent.key for parent in workload.parents] + ([CHILD] if workload.stored else [])
    return Store(hash_algorithm, versions, {key: live_files(directory / "store" / f"{key}.delta") for key in features})


def live_files(table: Path) -> list[str]:
    """The Parquet files of a Delta table's last version, by its log, of which nothing was cleaned up."""
    files: dict[str, None] = {}
    for commit in sorted((table / "_delta_log").glob("*.json")):
        for action in map(json.loads, commit.read_text().splitlines()):
            if "add" in action:
                files[unquote(action["add"]["path"])] = None
            elif "remove" in action:
                files.pop(unquote(action["remove"]["path"]), None)
    return [str(table / file) for file in files]

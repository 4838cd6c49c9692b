"""The part of the benchmark that runs in the Python package: makes the store, and measures an increment.

    steady_store.py make DIR ROWS               a project in DIR: a store of ROWS processed samples, then some changes
    steady_store.py resolve DIR counts|rows     one JSON line: counts and seconds of the increment of bench/child
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import metaxy as mx
import narwhals as nw
import polars as pl

CHILD = "bench/child"
INCREMENT = ("new", "stale", "orphaned")


def open_project(directory: str) -> mx.MetadataStore:
    """The project's store; the working directory moves there, because a store's path is relative to it."""
    os.chdir(directory)
    sys.path.insert(0, os.getcwd())
    return mx.init(Path("metaxy.toml")).get_store()


def samples(numbers: pl.Series, audio: int = 0, frames: int = 0) -> pl.DataFrame:
    """Root samples with these numbers; other seeds `audio` and `frames` mean other contents of that field."""
    n = pl.col("n")
    return numbers.to_frame("n").select(
        sample_id=pl.format("s{}", n.cast(pl.String).str.zfill(7)),
        path=pl.format("s3://bucket/videos/{}/{}.mp4", n // 1000, n),
        size=1_000_000 + n * 7919 % 900_000_000,
        codec=pl.when(n % 3 == 0).then(pl.lit("h264")).otherwise(pl.lit("av1")),
        owner=pl.format("team-{}", n % 17),
        note=pl.format("imported in batch {}", n // 10_000),
        metaxy_provenance_by_field=pl.struct(
            audio=n.hash(seed=2 * audio).cast(pl.String), frames=n.hash(seed=2 * frames + 1).cast(pl.String)
        ),
    )


def make(directory: str, rows: int) -> None:
    project = Path(__file__).parent / "steady_project"
    shutil.copytree(project, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(Path(directory) / "store", ignore_errors=True)
    numbers = pl.int_range(rows, dtype=pl.Int64, eager=True)
    with open_project(directory).open("w") as store:
        mx.SystemTableStorage(store).push_graph_snapshot(project="bench")
        store.write("bench/parent", samples(numbers))
        store.write(CHILD, store.resolve_update(CHILD).new)
        # Since then: 1 % of the samples changed, half of them in a field that the child doesn't use;
        # 0.1 % were deleted, and as many added as changed.
        store.write("bench/parent", samples(numbers.filter(numbers % 200 == 17), frames=1))
        store.write("bench/parent", samples(numbers.filter(numbers % 200 == 117), audio=1))
        deleted = samples(numbers.filter(numbers % 1000 == 500))["sample_id"].to_list()
        store.delete("bench/parent", nw.col("sample_id").is_in(deleted), soft=True)
        store.write("bench/parent", samples(pl.int_range(rows, rows + rows // 100, dtype=pl.Int64, eager=True)))


        (Path.cwd() / "made.json").write_text(json.dumps({"rows": rows}))


def resolve(directory: str, question: str) -> None:
    with open_project(directory) as store:
        start = time.perf_counter()
        if question == "rows":
            increment = store.resolve_update(CHILD)
            counts = {kind: len(getattr(increment, kind)) for kind in INCREMENT}
        else:
            # Lazily, so that Polars need not read what counting doesn't need.
            increment = store.resolve_update(CHILD, lazy=True).to_polars()
            lengths = pl.collect_all([getattr(increment, kind).select(pl.len()) for kind in INCREMENT])
            counts = {kind: length.item() for kind, length in zip(INCREMENT, lengths)}
        seconds = time.perf_counter() - start
    print(json.dumps({"counts": counts, "seconds": seconds}))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        resolve(sys.argv[2], sys.argv[3])

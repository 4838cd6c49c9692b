"""The Python package's side of the benchmark: asks a store for an increment and prints one JSON line.

    peer_python.py '{"directory": …, "feature": …, "lazy": false, "columns": […], "integers": […], "question": …}'

`columns` are those of the answer, without its class; questions.py says what is computed of them. Features come from
the store, to which metaxy-cli has pushed them: both sides have the same definitions.
"""

import json
import os
import sys
import time
from pathlib import Path

import metaxy as mx
import polars as pl
import polars_hash  # noqa: F401 (expressions have `nchash` by this)
from metaxy.metadata_store.system import SystemTableStorage

CLASSES = ("new", "stale", "orphaned")


def open_project(directory: str) -> mx.MetadataStore:
    """The project's store; the working directory moves there, because a store's path is relative to it."""
    os.chdir(directory)
    store = mx.init(Path("metaxy.toml")).get_store()
    with store:
        for definition in SystemTableStorage(store).resolve_selection(mx.FeatureSelection(all=True)):
            mx.current_graph().add_feature_definition(definition)
    return store


def asked_of(frame: pl.LazyFrame, request: dict) -> pl.LazyFrame:
    """One row: what the question asks of the samples of one class."""
    asked = [pl.len().alias("samples")]
    schema = frame.collect_schema()
    # Orphaned samples lack columns of the parents.
    columns = {c: pl.col(c) if c in schema else pl.lit(None, pl.String) for c in request["columns"]}
    if request["question"] == "check":
        line = pl.concat_str([column.cast(pl.String) for column in columns.values()], separator="|", ignore_nulls=True)
        digits = line.nchash.md5().str.slice(0, 15).str.replace_many(list("abcdef"), list("012345"))
        asked.append((digits.cast(pl.Int64) % 2147483647).sum().alias("checksum"))
    elif request["question"] == "rows":
        for name, column in columns.items():
            value = column.cast(pl.Int64) if name in request["integers"] else column.str.len_bytes()
            asked.append(value.sum().alias(f"sum_{name}"))
        version = columns["metaxy_provenance"]
        asked += [version.min().alias("least"), version.max().alias("greatest")]
    return frame.select(asked)


def main() -> None:
    request = json.loads(sys.argv[1])
    with open_project(request["directory"]) as store:
        start = time.perf_counter()
        increment = store.resolve_update(request["feature"], lazy=request["lazy"]).to_polars()
        frames = [asked_of(getattr(increment, kind).lazy(), request) for kind in CLASSES]
        answers = [answer.row(0, named=True) for answer in pl.collect_all(frames)]
        seconds = time.perf_counter() - start
    answer = {kind: answer for kind, answer in zip(CLASSES, answers) if answer["samples"]}
    print(json.dumps({"answer": answer, "seconds": seconds}))


if __name__ == "__main__":
    main()

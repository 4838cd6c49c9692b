"""The Python package's half of the interoperability test: a project on disk and what Python makes of it.

    round_trip.py create DIR                     a project with a store that has work left in every feature; a
                                                 metaxy.toml that is there already stays
    round_trip.py touch DIR                      changes, adds and deletes root samples
    round_trip.py update DIR                     does all the work that is left, in Python
    round_trip.py resolve DIR FEATURE OUT        Python's increment as Parquet
    round_trip.py read DIR FEATURE               Python's rows as sorted JSON lines
    round_trip.py read-all DIR                   Python's rows of every feature as one JSON object
    round_trip.py write-one-raw DIR NUMBER VERSION
                                                 writes one root sample
    round_trip.py check-up-to-date DIR           exit code 1 if Python finds anything left to do

The other half runs the statements of round_trip.sql and round_trip_orphans.sql with metaxy-cli.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import metaxy as mx
import narwhals as nw
import polars as pl

ROOTS = ["video/raw", "video/transcript", "video/license"]
CHILDREN = ["video/crop", "video/chunk", "video/label", "video/summary", "video/subtitle", "video/public"]
# The columns that an increment is compared on, where they aren't only the video's id.
KEYS = {"video/label": ["video_id", "chunk_no"]}
INCREMENT = ("new", "stale", "orphaned")


def open_project(directory: Path) -> mx.MetadataStore:
    """The project's store; the working directory moves there, because a store's path is relative to it."""
    os.chdir(directory)
    sys.path.insert(0, os.getcwd())
    return mx.init(Path("metaxy.toml")).get_store()


def samples(rows: list[dict], fields: list[str], schema: dict) -> pl.DataFrame:
    """Root samples: a row's `version` goes into the provenance of all fields, `FIELD_version` into that of one."""
    id_column = next(iter(schema))
    provenance = [
        {field: f"{row[id_column]}-{field}-{row.get(f'{field}_version', row['version'])}" for field in fields}
        for row in rows
    ]
    frame = pl.DataFrame([{column: row[column] for column in schema} for row in rows], schema=schema)
    return frame.with_columns(pl.Series("metaxy_provenance_by_field", provenance))


def raw(number: int, version: str = "v1", **overrides) -> dict:
    row = {"video_id": f"v{number:02}", "path": f"/videos/{number}.mp4", "size": number * 100, "version": version}
    return row | overrides


def write_raw(store: mx.MetadataStore, *rows: dict) -> None:
    schema = {"video_id": pl.String, "path": pl.String, "size": pl.Int64}
    store.write("video/raw", samples(list(rows), ["audio", "frames"], schema))


def write_transcripts(store: mx.MetadataStore, versions: dict[int, str]) -> None:
    rows = [{"video_id": f"v{n:02}", "language": None if n % 2 else "fr", "version": v} for n, v in versions.items()]
    store.write("video/transcript", samples(rows, ["text"], {"video_id": pl.String, "language": pl.String}))


def write_licenses(store: mx.MetadataStore, statuses: dict[int, str | None], version: str = "v1") -> None:
    rows = [{"id": f"v{n:02}", "path": f"c{n}.pdf", "status": s, "version": version} for n, s in statuses.items()]
    schema = {"id": pl.String, "path": pl.String, "status": pl.String}
    store.write("video/license", samples(rows, ["default"], schema))


def chunks(videos: pl.DataFrame) -> pl.DataFrame:
    """Eleven chunks of each video, so that numeric and text order differ, with data versions of their own."""
    provenance = pl.col("metaxy_provenance_by_field").struct
    versions = [pl.format("{}-{}", provenance.field(name), "chunk_no").alias(name) for name in ("audio", "frames")]
    return videos.join(pl.DataFrame({"chunk_no": range(11)}), how="cross").select(
        "video_id",
        "chunk_no",
        "path",
        "metaxy_provenance_by_field",
        "metaxy_provenance",
        pl.struct(versions).alias("metaxy_data_version_by_field"),
    )


def update_feature(store: mx.MetadataStore, feature: str) -> None:
    """What a job does: compute what is new or stale, write it, delete what is orphaned."""
    increment = store.resolve_update(feature).to_polars()
    rows = pl.concat([increment.new, increment.stale], how="diagonal")
    if feature == "video/chunk":
        rows = chunks(rows)
    elif feature == "video/summary":
        rows = rows.select("video_id", "metaxy_provenance_by_field", "metaxy_provenance").unique("video_id")
    if len(rows):
        store.write(feature, rows)
    if len(increment.orphaned):
        store.delete(feature, nw.col("video_id").is_in(increment.orphaned["video_id"].to_list()), soft=True)


def create(directory: Path) -> None:
    project = Path(__file__).parent / "round_trip_project"
    # A configuration that is there already names another store.
    own = ["metaxy.toml"] if (directory / "metaxy.toml").exists() else []
    shutil.copytree(project, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", *own))
    with open_project(directory).open("w") as store:
        mx.SystemTableStorage(store).push_graph_snapshot(project="round_trip")
        write_raw(store, *(raw(n) for n in range(1, 9)))
        write_transcripts(store, {1: "t1", 2: "t1", 8: "t1"})
        write_licenses(store, {1: "free", 3: "free", 4: None, 5: "private", 6: "free", 7: "free"})
        # Python computes some features, and then the world changes: the other side finds new, stale and
        # orphaned samples in tables that Python made, and features without a table.
        for feature in ("video/crop", "video/subtitle"):
            update_feature(store, feature)
        write_raw(store, raw(2, audio_version="v2"), raw(3, version="v2"), raw(9), raw(10))
        write_transcripts(store, {1: "t2", 3: "t1"})
        store.delete("video/raw", nw.col("video_id") == "v08", soft=True)


def touch(directory: Path) -> None:
    with open_project(directory).open("w") as store:
        # v01 changes, v04 for crops' frames only, v08 comes back, v11 is added; v07 goes.
        write_raw(store, raw(1, version="v3"), raw(4, frames_version="v2"), raw(8), raw(11))
        store.delete("video/raw", nw.col("video_id") == "v07", soft=True)
        # v02's transcript is lost, v05 gets one, the filter on licenses lets v06 go and v05 in.
        store.delete("video/transcript", nw.col("video_id") == "v02", soft=True)
        write_transcripts(store, {5: "t1"})
        write_licenses(store, {6: "private", 5: "free", 11: "free"}, version="v2")


def update(directory: Path) -> None:
    with open_project(directory).open("w") as store:
        for feature in CHILDREN:
            update_feature(store, feature)


def increment(store: mx.MetadataStore, feature: str) -> pl.DataFrame:
    frames = store.resolve_update(feature).to_polars()
    columns = [*KEYS.get(feature, ["video_id"]), "metaxy_provenance"]
    parts = [
        getattr(frames, kind).select(pl.lit(kind).alias("metaxy_increment"), *columns)
        for kind in INCREMENT
        if len(getattr(frames, kind))
    ]
    if not parts:
        return frames.new.select(pl.lit("new").alias("metaxy_increment"), *columns)
    return pl.concat(parts).sort("metaxy_increment", *columns)


def resolve(directory: Path, feature: str, out: Path) -> None:
    out = out.absolute()
    with open_project(directory) as store:
        increment(store, feature).write_parquet(out)


def live_rows(store: mx.MetadataStore, feature: str) -> list[dict]:
    ids = mx.get_feature_by_key(feature).spec.id_columns
    columns = [*ids, "metaxy_provenance", "metaxy_data_version"]
    return store.read(feature).collect().to_polars().select(columns).sort(ids).to_dicts()


def read(directory: Path, feature: str) -> None:
    with open_project(directory) as store:
        for row in live_rows(store, feature):
            print(json.dumps(row, sort_keys=True))


def read_all(directory: Path) -> None:
    with open_project(directory) as store:
        print(json.dumps({feature: live_rows(store, feature) for feature in ROOTS + CHILDREN}))


def write_one_raw(directory: Path, number: str, version: str) -> None:
    with open_project(directory).open("w") as store:
        write_raw(store, raw(int(number), version))


def check_up_to_date(directory: Path) -> None:
    with open_project(directory) as store:
        counts = {}
        for feature in CHILDREN:
            found = increment(store, feature)["metaxy_increment"].to_list()
            counts[feature] = {kind: found.count(kind) for kind in INCREMENT}
    print(json.dumps(counts, indent=1))
    if any(sum(of_feature.values()) for of_feature in counts.values()):
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function, *arguments in (
        (create,),
        (touch,),
        (update,),
        (resolve, "feature", "out"),
        (read, "feature"),
        (read_all,),
        (write_one_raw, "number", "version"),
        (check_up_to_date,),
    ):
        command = commands.add_parser(function.__name__.replace("_", "-"))
        command.set_defaults(function=function)
        command.add_argument("directory", type=Path)
        for name in arguments:
            command.add_argument(name, type=Path if name == "out" else str)
    options = vars(parser.parse_args())
    options.pop("function")(**options)


if __name__ == "__main__":
    main()

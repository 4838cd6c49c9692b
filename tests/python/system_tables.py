"""The Python package's half of the test of system tables and lock files.

    system_tables.py show DIR              what Python makes of what was pushed to the project's store, as JSON
    system_tables.py push DIR PROJECT      pushes again what was pushed, loaded from the store
    system_tables.py diff-lock DIR         what Python's lock file would change in the one that is there
"""

import argparse
import json
import os
import sys
from pathlib import Path

import metaxy as mx
from metaxy.metadata_store.system import EVENTS_KEY, SystemTableStorage
from metaxy.utils.lock_file import generate_lock_file


def open_project(directory: Path) -> mx.MetadataStore:
    """The project's store; the working directory moves there, because a store's path is relative to it."""
    os.chdir(directory)
    sys.path.insert(0, os.getcwd())
    return mx.init(Path("metaxy.toml")).get_store()


def show(directory: Path) -> dict:
    with open_project(directory) as store:
        storage = SystemTableStorage(store)
        found = storage.resolve_selection(mx.FeatureSelection(all=True))
        snapshots = storage.read_graph_snapshots().to_dicts()
        events = storage._read_system_metadata(EVENTS_KEY).collect().to_polars()
        loaded = [storage.load_graph_from_snapshot(s["metaxy_project_version"]) for s in snapshots]
    graph = mx.current_graph()
    for definition in found:
        graph.add_feature_definition(definition)
    return {
        "features": {d.key.to_string(): graph.get_feature_version(d.key) for d in found},
        "definitions": {d.key.to_string(): d.feature_definition_version for d in found},
        "columns": {d.key.to_string(): list(d.columns) for d in found},
        "snapshots": {s["metaxy_project_version"]: s["feature_count"] for s in snapshots},
        "events": [[e["project"], e["event_type"], json.loads(e["payload"])] for e in events.to_dicts()],
        "event_columns": events.columns,
        "loaded": [sorted(k.to_string() for k in g.feature_definitions_by_key) for g in loaded],
    }


def push(directory: Path, project: str) -> dict:
    with open_project(directory).open("w") as store:
        storage = SystemTableStorage(store)
        graph = mx.current_graph()
        for definition in storage.resolve_selection(mx.FeatureSelection(all=True)):
            graph.add_feature_definition(definition)
        return storage.push_graph_snapshot(project=project)._asdict()


def diff_lock(directory: Path) -> dict:
    store = open_project(directory)
    config = mx.MetaxyConfig.get()
    # What Python has loaded of the lock file has passed its model by now.
    loaded = {k.to_string(): d.project for k, d in mx.current_graph().feature_definitions_by_key.items() if d.is_external}
    result = generate_lock_file(store, config.lock_file, exclude_project=config.project)
    return {"loaded": loaded, **result.model_dump(mode="json")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function, *arguments in ((show,), (push, "project"), (diff_lock,)):
        command = commands.add_parser(function.__name__.replace("_", "-"))
        command.set_defaults(function=function)
        command.add_argument("directory", type=Path)
        for name in arguments:
            command.add_argument(name)
    options = vars(parser.parse_args())
    print(json.dumps(options.pop("function")(**options), sort_keys=True))


if __name__ == "__main__":
    main()

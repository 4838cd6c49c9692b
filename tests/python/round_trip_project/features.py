"""A video pipeline with every kind of dependency; both implementations write to its store."""

import metaxy as mx

__metaxy_project__ = "round_trip"


class Raw(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="video/raw",
        id_columns=["video_id"],
        fields=[mx.FieldSpec(key="audio", code_version="1"), mx.FieldSpec(key="frames", code_version="1")],
    ),
):
    """Videos (root)."""

    video_id: str
    path: str
    size: int


class Transcript(
    mx.BaseFeature,
    spec=mx.FeatureSpec(key="video/transcript", id_columns=["video_id"], fields=["text"]),
):
    """Transcripts typed by people, for some videos only (root)."""

    video_id: str
    language: str | None


class License(
    mx.BaseFeature,
    spec=mx.FeatureSpec(key="video/license", id_columns=["id"], fields=["default"]),
):
    """Who allows what; its id column has another name (root)."""

    id: str
    path: str
    status: str | None


class Crop(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="video/crop",
        id_columns=["video_id"],
        deps=[Raw],
        # No explicit dependencies: audio of audio, frames of frames.
        fields=[mx.FieldSpec(key="audio", code_version="1"), mx.FieldSpec(key="frames", code_version="2")],
    ),
):
    """1:1."""

    video_id: str


class Chunk(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="video/chunk",
        id_columns=["video_id", "chunk_no"],
        deps=[
            mx.FeatureDep(
                feature=Raw, select=("path",), lineage=mx.LineageRelationship.expansion(on=["video_id"])
            )
        ],
        fields=["audio", "frames"],
    ),
):
    """1:N: a video becomes chunks. Each chunk gets data versions of its own."""

    video_id: str
    chunk_no: int


class Label(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="video/label",
        id_columns=["video_id", "chunk_no"],
        deps=[mx.FeatureDep(feature=Chunk, select=())],
        fields=[mx.FieldSpec(key="label/person", deps=[mx.FieldDep(feature=Chunk, fields=["frames"])])],
    ),
):
    """1:1 on a composite, partly numeric id; a field key of two parts."""

    video_id: str
    chunk_no: int


class Summary(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="video/summary",
        id_columns=["video_id"],
        deps=[mx.FeatureDep(feature=Chunk, lineage=mx.LineageRelationship.aggregation(on=["video_id"]))],
        fields=["summary"],
    ),
):
    """N:1: back to one row per video; chunk 10 counts after chunk 9."""

    video_id: str


class Subtitle(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="video/subtitle",
        id_columns=["video_id"],
        deps=[mx.FeatureDep(feature=Raw, select=("path",)), mx.FeatureDep(feature=Transcript, optional=True)],
        fields=[
            mx.FieldSpec(key="text", deps=[mx.FieldDep(feature=Transcript), mx.FieldDep(feature=Raw, fields=["audio"])])
        ],
    ),
):
    """A required and an optional parent."""

    video_id: str


class Public(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="video/public",
        id_columns=["video_id"],
        deps=[
            mx.FeatureDep(feature=Crop, rename={"size": "bytes"}, select=("path", "bytes"), filters=["bytes >= 300"]),
            mx.FeatureDep(
                feature=License,
                rename={"id": "video_id", "path": "contract", "status": "license"},
                filters=["license != 'private'"],
                fields_mapping=mx.FieldsMapping.none(),
            ),
        ],
        fields=["frames", mx.FieldSpec(key="terms", deps=[mx.FieldDep(feature=License)])],
    ),
):
    """Renamed id and columns, filters on renamed columns; a license without status is no license."""

    video_id: str

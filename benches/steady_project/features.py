"""A root feature and one that depends on one of its two fields."""

import metaxy as mx

__metaxy_project__ = "bench"


class Parent(
    mx.BaseFeature,
    spec=mx.FeatureSpec(key="bench/parent", id_columns=["sample_id"], fields=["audio", "frames"]),
):
    sample_id: str
    path: str
    size: int
    codec: str
    owner: str
    note: str


class Child(
    mx.BaseFeature,
    spec=mx.FeatureSpec(
        key="bench/child",
        id_columns=["sample_id"],
        deps=[Parent],
        fields=[mx.FieldSpec(key="boxes", deps=[mx.FieldDep(feature=Parent, fields=["frames"])])],
    ),
):
    sample_id: str

//! Increments worked out by hand, for every executor and for the model: a mistake that they share would show here.
//!
//! The hashes are not the product's: those of videos are from the tables of the specification, the others were
//! computed as the MD5 of the parts joined with `|`, cut to eight characters.

use datafusion_metaxy::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, FEATURE_VERSION, PROVENANCE, PROVENANCE_BY_FIELD,
};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::FeatureSpec;
use serde_json::{Value as Json, json};

use super::case::{Case, Deleted, Feature, Further, Place, Question, Step};
use super::model::{self, CURRENT, OLDER};
use super::product::{EXECUTORS, Sessions, collect};
use super::value::{Row, Type, Value, table};
use super::world::World;
use crate::support;

fn feature(columns: &[(&str, Type)], spec: &Json) -> Feature {
    let spec = FeatureSpec::from_value(spec).unwrap();
    Feature {
        filters: vec![Vec::new(); spec.deps.len()],
        columns: columns.iter().map(|(name, column_type)| ((*name).to_owned(), *column_type)).collect(),
        spec,
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::String(text) => Value::text(text),
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| (key.clone(), value.as_str().map(str::to_owned));
            Value::Versions(members.iter().map(member).collect())
        }
        number => Value::Int(number.as_i64().unwrap()),
    }
}

/// A row; `provenance` and `data_version` stand for the long names of their `_by_field` columns.
fn row(json: &Json) -> Row {
    let name = |name: &str| match name {
        "increment" => "metaxy_increment".to_owned(),
        "provenance_by_field" => PROVENANCE_BY_FIELD.to_owned(),
        "provenance" => PROVENANCE.to_owned(),
        "data_version_by_field" => DATA_VERSION_BY_FIELD.to_owned(),
        "data_version" => DATA_VERSION.to_owned(),
        other => other.to_owned(),
    };
    json.as_object().unwrap().iter().map(|(key, json)| (name(key), value(json))).collect()
}

fn rows(json: &Json) -> Vec<Row> {
    json.as_array().unwrap().iter().map(row).collect()
}

/// A write of a feature's rows; with `data_version_by_field` in one of them it overrides data versions.
fn write(features: &[Feature], feature: usize, json: &Json) -> Step {
    let rows = rows(json);
    let overrides = rows.iter().any(|row| row.contains_key(DATA_VERSION_BY_FIELD));
    Step::Write { feature, columns: features[feature].columns.clone(), rows, overrides }
}

/// A row appended below all checks.
fn append(feature: usize, json: &Json, version: &str, deleted: Deleted) -> Step {
    let mut row = row(json);
    row.insert(FEATURE_VERSION.to_owned(), Value::text(version));
    Step::Append { feature, rows: vec![(row, deleted)], timed: true }
}

/// Fails unless the model and every executor, in every session, give these rows.
fn assert_increment(algorithm: HashAlgorithm, features: &[Feature], steps: &[Step], expected: &Json) {
    assert_answer(algorithm, features, steps, &Question::default(), expected);
}

fn assert_answer(
    algorithm: HashAlgorithm,
    features: &[Feature],
    steps: &[Step],
    question: &Question,
    expected: &Json,
) {
    let mut expected = rows(expected);
    expected.sort();
    for session in 0..Sessions::COUNT {
        let case = Case {
            features: features.to_vec(),
            steps: steps.to_vec(),
            question: question.clone(),
            further: Further::Nothing,
            settle: false,
            settings: HashSettings::new(algorithm, 8).unwrap(),
            session,
            place: Place::Memory,
        };
        let expected = expected.clone();
        support::run(async move {
            let sessions = Sessions::new();
            let mut world = World::new(&case, &sessions);
            for step in &case.steps {
                world.apply(step).await.unwrap();
            }
            let answer = model::answer(&case, &world.tables, case.target(), &case.question).unwrap();
            let same = |who: &str, rows: &[Row]| {
                assert_eq!(rows, expected, "{who} gave\n{}instead of\n{}", table(rows), table(&expected));
            };
            same("the model", &answer.rows);
            for executor in EXECUTORS {
                let frame = world.product.increment(&case.question, executor).await.unwrap();
                same(&format!("{executor:?}"), &collect(frame).await.unwrap().rows);
            }
        });
    }
}

/// Video 1 is unknown, video 2 has changed, video 3 has not, and video 4 is gone.
#[test]
fn identity_under_every_algorithm() {
    let field = |key: &str| json!({"key": key, "code_version": "1"});
    let fields = [field("audio"), field("frames")];
    let features = [
        feature(
            &[("video", Type::Text)],
            &json!({"key": "example/video", "id_columns": ["video"], "fields": fields}),
        ),
        feature(
            &[("video", Type::Text)],
            &json!({"key": "example/crop", "id_columns": ["video"], "deps": ["example/video"], "fields": fields}),
        ),
    ];
    let golden = [
        (HashAlgorithm::XxHash32, "97172777", "19636128", "88212411"),
        (HashAlgorithm::XxHash64, "11747453", "83395819", "44752368"),
        (HashAlgorithm::Xxh3_64, "27252011", "17825556", "51956631"),
        (HashAlgorithm::WyHash, "15673978", "70131134", "17783687"),
        (HashAlgorithm::Md5, "d2f2e3ef", "983ec111", "d69b4033"),
    ];
    for (algorithm, audio, frames, sample) in golden {
        let (fresh, old) =
            (json!({"audio": audio, "frames": frames}), json!({"audio": "x", "frames": frames}));
        let given = json!({"audio": "h1", "frames": "f1"});
        let video = |name: &str| json!({"video": name, "provenance_by_field": given});
        let stored = |name: &str, version: &str, by_field: &Json| {
            json!({
                "video": name,
                "provenance_by_field": by_field, "provenance": version,
                "data_version_by_field": by_field, "data_version": version
            })
        };
        let found = |class: &str, name: &str, version: &str, by_field: &Json| {
            let mut row = stored(name, version, by_field);
            row["increment"] = json!(class);
            row
        };
        let steps = [
            write(&features, 0, &json!([video("1"), video("2"), video("3")])),
            append(1, &stored("2", "12345678", &old), CURRENT, Deleted::No),
            append(1, &stored("3", sample, &fresh), CURRENT, Deleted::No),
            append(1, &stored("4", "4", &old), CURRENT, Deleted::No),
        ];
        let expected = json!([
            found("new", "1", sample, &fresh),
            found("stale", "2", sample, &fresh),
            found("orphaned", "4", "4", &old)
        ]);
        assert_increment(algorithm, &features, &steps, &expected);
    }
}

/// The expected row of a sample whose only field is called `default`.
fn due(class: &str, columns: &Json, field: &str, sample: &str) -> Json {
    let mut row = columns.clone();
    row["increment"] = json!(class);
    row["provenance"] = json!(sample);
    row["data_version"] = json!(sample);
    row["provenance_by_field"] = json!({"default": field});
    row["data_version_by_field"] = json!({"default": field});
    row
}

fn root(key: &str, id: &str, columns: &[(&str, Type)]) -> Feature {
    feature(columns, &json!({"key": key, "id_columns": [id]}))
}

fn fields() -> Json {
    json!([{"key": "default", "code_version": "1"}])
}

/// All parents are optional: every id of either is there once, and what is missing hashes as an empty string.
#[test]
fn optional_parents() {
    let deps = json!([{"feature": "a", "optional": true}, {"feature": "b", "optional": true}]);
    let features = [
        root("a", "id", &[("id", Type::Int64), ("x", Type::Text)]),
        root("b", "id", &[("id", Type::Int32), ("y", Type::Text)]),
        feature(
            &[("id", Type::Int64)],
            &json!({"key": "c", "id_columns": ["id"], "deps": deps, "fields": fields()}),
        ),
    ];
    let version = |version: &str| json!({"default": version});
    let steps = [
        write(
            &features,
            0,
            &json!([
                {"id": 1, "x": "x1", "provenance_by_field": version("a1")},
                {"id": 2, "x": null, "provenance_by_field": version("a2")}
            ]),
        ),
        write(
            &features,
            1,
            &json!([
                {"id": 1, "y": "y1", "provenance_by_field": version("b1")},
                {"id": 3, "y": "y3", "provenance_by_field": version("b3")}
            ]),
        ),
    ];
    let expected = json!([
        due("new", &json!({"id": 1, "x": "x1", "y": "y1"}), "c34bacfa", "dcc49a29"),
        due("new", &json!({"id": 2, "x": null, "y": null}), "606745f7", "cf6c6569"),
        due("new", &json!({"id": 3, "x": null, "y": "y3"}), "b8bd1aa2", "4d99ce63")
    ]);
    assert_increment(HashAlgorithm::Md5, &features, &steps, &expected);
}

/// Groups of clips: versions in the order of the clips' ids as numbers, NULL versions left out, NULL a group of
/// its own, a group without any version hashed as the empty string.
#[test]
fn aggregation_on_an_ordinary_column() {
    let deps = json!([{"feature": "clip", "lineage": {"type": "N:1", "on": ["scene"]}}]);
    let features = [
        root("clip", "id", &[("id", Type::Int64), ("scene", Type::Text)]),
        feature(
            &[("scene", Type::Text)],
            &json!({"key": "scene", "id_columns": ["scene"], "deps": deps, "fields": fields()}),
        ),
    ];
    let clip = |id: i64, scene: Json, version: &str| json!({"id": id, "scene": scene, "provenance_by_field": {"default": version}});
    let without = |id: i64, scene: &str| {
        json!({
            "id": id, "scene": scene, "provenance": null, "data_version": null,
            "provenance_by_field": {"default": null}, "data_version_by_field": {"default": null}
        })
    };
    let steps = [
        write(&features, 0, &json!([clip(10, json!("s"), "v10"), clip(2, json!("s"), "v2")])),
        write(&features, 0, &json!([clip(5, Json::Null, "vn"), clip(7, json!("s"), "gone")])),
        append(0, &without(3, "s"), CURRENT, Deleted::No),
        append(0, &without(4, "empty"), CURRENT, Deleted::No),
        append(0, &without(7, "s"), CURRENT, Deleted::Now),
    ];
    // Rows are not collapsed.
    let scene = |id: i64, scene: Json, field: &str, sample: &str| {
        due("new", &json!({"id": id, "scene": scene}), field, sample)
    };
    let expected = json!([
        scene(2, json!("s"), "6713475d", "8fb616e1"),
        scene(3, json!("s"), "6713475d", "8fb616e1"),
        scene(10, json!("s"), "6713475d", "8fb616e1"),
        scene(4, json!("empty"), "943a8eca", "e1f2123e"),
        scene(5, Json::Null, "02473d7f", "4ba404b5")
    ]);
    assert_increment(HashAlgorithm::Md5, &features, &steps, &expected);
}

/// Texts are joined in the order of their bytes: capitals first, letters with accents last.
#[test]
fn aggregation_in_the_order_of_bytes() {
    let deps = json!([{"feature": "clip", "lineage": {"type": "N:1", "on": ["scene"]}}]);
    let features = [
        root("clip", "id", &[("id", Type::Text), ("scene", Type::Text)]),
        feature(
            &[("scene", Type::Text)],
            &json!({"key": "scene", "id_columns": ["scene"], "deps": deps, "fields": fields()}),
        ),
    ];
    let clip = |id: &str, version: &str| json!({"id": id, "scene": "s", "provenance_by_field": {"default": version}});
    let steps = [write(&features, 0, &json!([clip("a", "va"), clip("ü", "vü"), clip("B", "vB")]))];
    let scene = |id: &str| due("new", &json!({"id": id, "scene": "s"}), "a2a74fef", "1337af51");
    let expected = json!([scene("B"), scene("a"), scene("ü")]);
    assert_increment(HashAlgorithm::Md5, &features, &steps, &expected);
}

/// Documents and their chunks: one stored chunk that differs makes the document stale, and a document that is gone
/// leaves one orphaned row, that of its first chunk.
#[test]
fn expansion() {
    let deps = json!([{"feature": "doc", "lineage": {"type": "1:N", "on": ["doc"]}}]);
    let ids = json!(["doc", "chunk"]);
    let features = [
        root("doc", "doc", &[("doc", Type::Text)]),
        feature(
            &[("doc", Type::Text), ("chunk", Type::Int64)],
            &json!({"key": "chunk", "id_columns": ids, "deps": deps, "fields": fields()}),
        ),
    ];
    let doc = |name: &str, version: &str| json!({"doc": name, "provenance_by_field": {"default": version}});
    let chunk = |doc: &str, chunk: i64, field: &str| json!({"doc": doc, "chunk": chunk, "provenance_by_field": {"default": field}});
    let steps = [
        write(&features, 0, &json!([doc("new", "c1"), doc("stale", "c2"), doc("fresh", "c3")])),
        write(
            &features,
            1,
            &json!([
                chunk("stale", 1, "ad30249e"),
                chunk("stale", 2, "other"),
                chunk("fresh", 1, "d6de2203"),
                chunk("fresh", 2, "d6de2203"),
                chunk("gone", 9, "second"),
                chunk("gone", 1, "d6de2203")
            ]),
        ),
    ];
    let expected = json!([
        due("new", &json!({"doc": "new"}), "6176d50c", "1b74dde0"),
        due("stale", &json!({"doc": "stale"}), "ad30249e", "33fd5d97"),
        due("orphaned", &json!({"doc": "gone"}), "d6de2203", "b4419bdc")
    ]);
    assert_increment(HashAlgorithm::Md5, &features, &steps, &expected);
}

/// Children hash data versions: the user's where there is one, the provenance elsewhere. Rows of an older feature
/// version and deleted rows don't count, and a sample that was written again does.
#[test]
fn overrides_deletions_and_older_versions() {
    let features = [
        root("raw", "id", &[("id", Type::Text)]),
        feature(
            &[("id", Type::Text)],
            &json!({"key": "clean", "id_columns": ["id"], "deps": ["raw"], "fields": fields()}),
        ),
    ];
    let raw = |id: &str, data_version: Json| json!({"id": id, "provenance_by_field": {"default": "p1"}, "data_version_by_field": data_version});
    let stored = |id: &str, field: &str, sample: &str| {
        json!({
            "id": id, "provenance": sample, "data_version": sample,
            "provenance_by_field": {"default": field}, "data_version_by_field": {"default": field}
        })
    };
    let steps = [
        write(
            &features,
            0,
            &json!([
                raw("kept", Json::Null),
                raw("mine", json!({"default": "mine"})),
                raw("deleted", Json::Null),
                raw("revived", Json::Null)
            ]),
        ),
        append(0, &stored("deleted", "p1", "x"), CURRENT, Deleted::Now),
        append(0, &stored("revived", "p1", "x"), CURRENT, Deleted::Now),
        write(&features, 0, &json!([raw("revived", json!({"default": "mine"}))])),
        // Up to date, but of another definition; and up to date, and of this one.
        append(1, &stored("kept", "1463c998", "fba6e6fc"), OLDER, Deleted::No),
        append(1, &stored("mine", "fe15c57a", "9a5c054a"), CURRENT, Deleted::No),
        append(1, &stored("deleted", "1463c998", "fba6e6fc"), CURRENT, Deleted::No),
    ];
    let expected = json!([
        due("new", &json!({"id": "kept"}), "1463c998", "fba6e6fc"),
        due("new", &json!({"id": "revived"}), "fe15c57a", "9a5c054a"),
        due("orphaned", &json!({"id": "deleted"}), "1463c998", "fba6e6fc")
    ]);
    assert_increment(HashAlgorithm::Md5, &features, &steps, &expected);
}

/// A parent's sample that is live at an older version, and was not yet computed at the current one, leaves its child
/// pending; one that was deleted at the current version leaves it orphaned, whatever the older version has.
#[test]
fn pending_samples() {
    let features = [
        root("raw", "id", &[("id", Type::Text)]),
        feature(
            &[("id", Type::Text)],
            &json!({"key": "clean", "id_columns": ["id"], "deps": ["raw"], "fields": fields()}),
        ),
    ];
    let stored = |id: &str| {
        json!({
            "id": id, "provenance": "fba6e6fc", "data_version": "fba6e6fc",
            "provenance_by_field": {"default": "1463c998"}, "data_version_by_field": {"default": "1463c998"}
        })
    };
    let steps = [
        append(0, &stored("waiting"), OLDER, Deleted::No),
        append(0, &stored("deleted"), OLDER, Deleted::No),
        append(0, &stored("deleted"), CURRENT, Deleted::Now),
        append(1, &stored("waiting"), CURRENT, Deleted::No),
        append(1, &stored("deleted"), CURRENT, Deleted::No),
    ];
    let of = |class: &str, id: &str| due(class, &json!({"id": id}), "1463c998", "fba6e6fc");
    let orphaned = of("orphaned", "deleted");
    assert_increment(HashAlgorithm::Md5, &features, &steps, &json!([orphaned]));
    let question = Question { include_pending: true, ..Question::default() };
    let both = json!([orphaned, of("pending", "waiting")]);
    assert_answer(HashAlgorithm::Md5, &features, &steps, &question, &both);
}

//! Delta tables that we make: layout, schema changes, properties, and writes that fail half-way.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion_metaxy::store::WriteOptions;
use serde_json::{Value, json};

use crate::support::{
    Project, actions, assert_no_strays, column, dev, error, files_below, log, one_line, only, query, run,
};

const RAW: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]
"#;

/// A row of `video/raw` with these further columns.
fn insert(id: &str, columns: &str) -> String {
    format!(
        "INSERT INTO video__raw SELECT '{id}' AS video_id, {columns} \
         named_struct('default', 'v-{id}') AS metaxy_provenance_by_field"
    )
}

fn schema(metadata: &Value) -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    let field = |field: &Value| (field["name"].as_str().unwrap().to_owned(), field["type"].clone());
    schema["fields"].as_array().unwrap().iter().map(field).collect()
}

fn type_of(metadata: &Value, column: &str) -> Value {
    schema(metadata).into_iter().find(|(name, _)| name == column).unwrap().1
}

fn one<'a>(commit: &'a [Value], kind: &str) -> &'a Value {
    let found = actions(commit, kind);
    let [action] = found[..] else { panic!("{} {kind} actions", found.len()) };
    action
}

async fn tables_of_layout(config: &str) -> Vec<String> {
    let features = "[[feature]]\nkey = \"a-x/b_c/d\"\nid_columns = [\"id\"]\n[[feature]]\nkey = \"e\"\nid_columns = [\"id\"]";
    let project = Project::with(features, "", config);
    let session = project.session().await;
    for (table, quoted) in [("a_x__b_c__d", false), ("e", false), ("a-x/b_c/d", true)] {
        let name = if quoted { format!("\"{table}\"") } else { table.to_owned() };
        let id = if quoted { 2 } else { 1 };
        query(
            &session,
            &format!("INSERT INTO {name} SELECT {id} AS id, named_struct('default', 'v') AS metaxy_provenance_by_field"),
        )
        .await;
    }
    assert_eq!(query(&project.session().await, "SELECT id FROM a_x__b_c__d").await.len(), 2);
    let logs = files_below(&project.path().join("store"));
    logs.iter()
        .filter_map(|file| file.strip_suffix("/_delta_log/00000000000000000000.json"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn nested_layout() {
    run(async {
        assert_eq!(tables_of_layout("").await, ["a-x/b_c/d.delta", "e.delta"]);
        assert_eq!(tables_of_layout("layout = \"nested\"").await, ["a-x/b_c/d.delta", "e.delta"]);
    });
}

#[test]
fn flat_layout() {
    run(async { assert_eq!(tables_of_layout("layout = \"flat\"").await, ["a_x__b_c__d.delta", "e.delta"]) });
}

#[test]
fn columns_come_in_any_order() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        query(&session, &insert("v1", "'a' AS path, 1 AS size,")).await;
        let reversed = "INSERT INTO video__raw SELECT named_struct('default', 'v-v2') AS \
                        metaxy_provenance_by_field, 2 AS size, 'b' AS path, 'v2' AS video_id";
        query(&session, reversed).await;
        // A new column in front, an old one missing.
        query(&session, &insert("v3", "true AS ok, 'c' AS path,")).await;
        let rows = query(&session, "SELECT video_id, path, size, ok FROM video__raw ORDER BY video_id").await;
        let expected = [
            json!({"video_id": "v1", "path": "a", "size": 1, "ok": null}),
            json!({"video_id": "v2", "path": "b", "size": 2, "ok": null}),
            json!({"video_id": "v3", "path": "c", "size": null, "ok": true}),
        ];
        assert_eq!(rows, expected);
        let versions =
            query(&session, "SELECT metaxy_data_version_by_field['default'] AS v FROM video__raw").await;
        let mut versions = column(&versions, "v");
        versions.sort_by_key(Value::to_string);
        assert_eq!(versions, [json!("v-v1"), json!("v-v2"), json!("v-v3")]);
    });
}

#[test]
fn members_of_a_new_field_are_null_in_old_rows() {
    run(async {
        let fields = |names: &str| {
            format!("[[feature]]\nkey = \"video/raw\"\nid_columns = [\"video_id\"]\nfields = [{names}]\n")
        };
        let project = Project::new(&fields("\"audio\""));
        let insert = |id: &str, versions: &str| {
            format!(
                "INSERT INTO video__raw SELECT '{id}' AS video_id, named_struct({versions}) AS metaxy_provenance_by_field"
            )
        };
        query(&project.session().await, &insert("v1", "'audio', 'a1'")).await;
        project.write("features.toml", &fields("\"frames\", \"audio\""));
        let session = project.session().await;
        // Rows of the older definition are history.
        assert_eq!(query(&session, "SELECT * FROM video__raw").await, Vec::<Value>::new());
        query(&session, &insert("v2", "'frames', 'f2', 'audio', 'a2'")).await;
        let current = query(&session, "SELECT video_id FROM video__raw").await;
        assert_eq!(column(&current, "video_id"), [json!("v2")]);
        let history = query(
            &session,
            "SELECT video_id, metaxy_provenance_by_field AS p, metaxy_data_version_by_field AS d \
             FROM history.video__raw ORDER BY video_id",
        )
        .await;
        assert_eq!(column(&history, "p"), column(&history, "d"));
        assert_eq!(
            column(&history, "p"),
            [json!({"audio": "a1", "frames": null}), json!({"audio": "a2", "frames": "f2"})]
        );
        // A field that is gone: its member stays, and is NULL in new rows.
        project.write("features.toml", &fields("\"frames\""));
        let session = project.session().await;
        query(&session, &insert("v3", "'frames', 'f3'")).await;
        let rows = query(&session, "SELECT metaxy_provenance_by_field AS p FROM video__raw").await;
        assert_eq!(column(&rows, "p"), [json!({"audio": null, "frames": "f3"})]);
        let log = log(&project.table("video/raw"));
        assert_eq!(actions(&log[1], "metaData").len(), 1);
        assert_eq!(actions(&log[2], "metaData").len(), 0, "nothing new in the schema");
    });
}

#[test]
fn naive_times_need_another_protocol() {
    run(async {
        let shot = "CAST('2024-05-01T10:11:12.123456' AS TIMESTAMP) AS shot_at,";
        let features = |feature: &Value, list: &str| feature[list].as_array().unwrap().clone();
        let read = "SELECT CAST(shot_at AS VARCHAR) AS shot_at FROM video__raw ORDER BY video_id";

        // At the creation.
        let project = Project::new(RAW);
        let session = project.session().await;
        query(&session, &insert("v1", shot)).await;
        query(&session, &insert("v2", shot)).await;
        let commits = log(&project.table("video/raw"));
        let protocol = one(&commits[0], "protocol");
        assert_eq!((&protocol["minReaderVersion"], &protocol["minWriterVersion"]), (&json!(3), &json!(7)));
        for list in ["readerFeatures", "writerFeatures"] {
            assert!(features(protocol, list).contains(&json!("timestampNtz")), "{protocol}");
        }
        assert_eq!(type_of(one(&commits[0], "metaData"), "shot_at"), json!("timestamp_ntz"));
        assert_eq!(type_of(one(&commits[0], "metaData"), "metaxy_updated_at"), json!("timestamp"));
        assert!(actions(&commits[1], "protocol").is_empty() && actions(&commits[1], "metaData").is_empty());
        let times = column(&query(&session, read).await, "shot_at");
        assert_eq!(times, vec![json!("2024-05-01T10:11:12.123456"); 2]);

        // By a later change, also inside a list.
        for column_of_later in
            [shot.to_owned(), shot.replace("CAST(", "make_array(CAST(").replace("TIMESTAMP)", "TIMESTAMP))")]
        {
            let project = Project::new(RAW);
            let session = project.session().await;
            query(&session, &insert("v1", "")).await;
            query(&session, &insert("v2", &column_of_later)).await;
            query(&session, &insert("v3", &column_of_later)).await;
            let commits = log(&project.table("video/raw"));
            let first = one(&commits[0], "protocol");
            assert_eq!((&first["minReaderVersion"], &first["minWriterVersion"]), (&json!(1), &json!(2)));
            let protocol = one(&commits[1], "protocol");
            assert_eq!(
                (&protocol["minReaderVersion"], &protocol["minWriterVersion"]),
                (&json!(3), &json!(7))
            );
            assert_eq!(features(protocol, "readerFeatures"), [json!("timestampNtz")]);
            // What writer version 2 implied has to be said now.
            for feature in ["timestampNtz", "appendOnly", "invariants"] {
                assert!(features(protocol, "writerFeatures").contains(&json!(feature)), "{protocol}");
            }
            assert!(
                actions(&commits[2], "protocol").is_empty() && actions(&commits[2], "metaData").is_empty()
            );
            let rows = query(&session, read).await;
            assert_eq!(rows.len(), 3);
            assert_eq!(rows[0]["shot_at"], Value::Null);
            assert!(
                rows[1]["shot_at"].as_str().unwrap().contains("2024-05-01T10:11:12.123456"),
                "{}",
                rows[1]
            );
        }
    });
}

#[test]
fn properties_are_recorded_once() {
    run(async {
        let project = Project::with(RAW, "hash_truncation_length = 12", "hash_algorithm = \"sha256\"");
        let session = project.session().await;
        query(&session, &insert("v1", "")).await;
        query(&session, &insert("v2", "")).await;
        query(&session, &insert("v3", "1 AS size,")).await;
        let log = log(&project.table("video/raw"));
        let recorded = &one(&log[0], "metaData")["configuration"];
        assert_eq!(
            *recorded,
            json!({
                "metaxy.hash_algorithm": "sha256",
                "metaxy.hash_truncation_length": "12",
                "delta.checkpointInterval": "10",
            })
        );
        assert!(actions(&log[1], "metaData").is_empty());
        assert_eq!(one(&log[2], "metaData")["configuration"], *recorded);
    });
}

#[test]
fn a_table_of_other_recorded_hash_settings_is_an_error() {
    run(async {
        let features = format!(
            "{RAW}\n[[feature]]\nkey = \"video/crop\"\nid_columns = [\"video_id\"]\ndeps = [\"video/raw\"]"
        );
        let project = Project::new(&features);
        query(&project.session().await, &insert("v1", "")).await;
        let before = log(&project.table("video/raw"));
        for (top, store, parts) in [
            ("", "hash_algorithm = \"xxhash64\"", ["xxhash32", "xxhash64"]),
            ("hash_truncation_length = 9", "", [" 8", " 9"]),
        ] {
            project.configure(top, store);
            let session = project.session().await;
            for sql in [
                "SELECT * FROM video__raw",
                "SELECT * FROM history.video__raw",
                "SELECT * FROM resolve_update('video/crop')",
                "SELECT * FROM resolve_update('video/raw', (SELECT 'x' AS video_id, \
                 named_struct('default', 'v') AS metaxy_provenance_by_field))",
                &insert("v2", ""),
            ] {
                let message = error(&session, sql).await;
                for part in ["video/raw", "hash_algorithm", "hash_truncation_length"].iter().chain(&parts) {
                    assert!(message.contains(part), "{part} is not in: {message} ({sql})");
                }
            }
        }
        assert_eq!(log(&project.table("video/raw")), before);
        assert_no_strays(&project.table("video/raw"));
    });
}

#[test]
fn a_corrupt_log_is_an_error_of_one_line() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        query(&session, &insert("v1", "")).await;
        query(&session, &insert("v2", "")).await;
        let commit =
            |version: usize| project.table("video/raw").join(format!("_delta_log/{version:020}.json"));
        let saved = [0, 1].map(|version| fs::read(commit(version)).unwrap());
        let half = String::from_utf8(saved[1][..saved[1].len() / 2].to_vec()).unwrap();
        for (version, text) in [(0, "garbage"), (1, "garbage"), (1, "{\"add\":{"), (1, &half), (0, "")] {
            fs::write(commit(version), text).unwrap();
            for sql in ["SELECT * FROM video__raw", "SELECT * FROM history.video__raw", &insert("v3", "")] {
                let message = error(&project.session().await, sql).await;
                assert!(message.contains("video/raw") && message.contains("dev"), "{message}");
            }
            fs::write(commit(version), &saved[version]).unwrap();
        }
        fs::remove_file(commit(0)).unwrap();
        error(&project.session().await, "SELECT * FROM video__raw").await;
        fs::write(commit(0), &saved[0]).unwrap();
        assert_eq!(query(&project.session().await, "SELECT * FROM video__raw").await.len(), 2);
        assert_no_strays(&project.table("video/raw"));
    });
}

/// Writes that fail at their last row, over many batches.
pub const FAILING: [(&str, &str); 3] = [
    (
        "duplicate id",
        "SELECT CAST(value AS VARCHAR) AS video_id, value FROM generate_series(1, 50000) UNION ALL SELECT '7', 7",
    ),
    (
        "NULL id",
        "SELECT CASE WHEN value < 50000 THEN CAST(value AS VARCHAR) END AS video_id, value FROM generate_series(1, 50000)",
    ),
    (
        "failing query",
        "SELECT CAST(value AS VARCHAR) AS video_id, 10 / (50000 - value) AS value FROM generate_series(1, 50000)",
    ),
];

#[test]
fn a_write_that_fails_leaves_nothing() {
    run(async {
        let failing = |rows: &str| {
            format!(
                "INSERT INTO video__raw SELECT *, named_struct('default', 'v') AS metaxy_provenance_by_field FROM ({rows})"
            )
        };
        for (what, rows) in FAILING {
            let project = Project::new(RAW);
            let session = project.session().await;
            error(&session, &failing(rows)).await;
            assert_eq!(files_below(&project.path().join("store")).len(), 0, "{what} in a first write");
            query(&session, &insert("v1", "")).await;
            let before = files_below(&project.path().join("store"));
            error(&session, &failing(rows)).await;
            assert_eq!(files_below(&project.path().join("store")), before, "{what} in a later write");
            assert_eq!(query(&session, "SELECT * FROM video__raw").await.len(), 1, "{what}");
        }
    });
}

/// Text that no compression makes small.
pub fn noise(length: usize, state: &mut u64) -> String {
    let digit = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        char::from(b'!' + u8::try_from(*state % 90).unwrap())
    };
    (0..length).map(|_| digit(state)).collect()
}

/// So many bytes that a part of the file has been handed to the file system before the check fails.
#[test]
fn a_large_write_that_fails_leaves_nothing() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        let mut state = 42;
        let batches: Vec<RecordBatch> = (0..24)
            .map(|i| {
                let id: ArrayRef = Arc::new(StringArray::from(vec![format!("v{}", i % 23)]));
                let blob: ArrayRef = Arc::new(StringArray::from(vec![noise(1 << 20, &mut state)]));
                let version: ArrayRef = Arc::new(StringArray::from(vec!["v"]));
                let field = Arc::new(Field::new("default", DataType::Utf8, true));
                let provenance: ArrayRef = Arc::new(StructArray::from(vec![(field, version)]));
                RecordBatch::try_from_iter([
                    ("video_id", id),
                    ("blob", blob),
                    ("metaxy_provenance_by_field", provenance),
                ])
                .unwrap()
            })
            .collect();
        let frame = |batches: &[RecordBatch]| session.context().read_batches(batches.to_vec()).unwrap();
        let store = dev(&session);
        let refused = store.write("video/raw", frame(&batches), &WriteOptions::default()).await.unwrap_err();
        assert!(one_line(&refused).contains("video_id=v0"), "{refused}");
        assert_eq!(files_below(&project.path().join("store")).len(), 0);
        let report = store.write("video/raw", frame(&batches[..23]), &WriteOptions::default()).await.unwrap();
        assert_eq!(report.rows, 23);
        assert_no_strays(&project.table("video/raw"));
    });
}

#[test]
fn staged_files_without_a_commit_are_not_seen() {
    run(async {
        let project = Project::new(RAW);
        query(&project.session().await, &insert("v1", "")).await;
        let table = project.table("video/raw");
        let staged = |table: &Path| {
            files_below(table)
                .into_iter()
                .find(|file| file.ends_with(".parquet"))
                .map(|file| table.join(file))
                .unwrap()
        };
        // A writer that died before its commit, in a table and in the folder of a table to be.
        fs::copy(staged(&table), table.join("part-00001-stray.zstd.parquet")).unwrap();
        let session = project.session().await;
        assert_eq!(only(&query(&session, "SELECT count(*) FROM history.video__raw").await), json!(1));
        fs::remove_dir_all(table.join("_delta_log")).unwrap();
        let session = project.session().await;
        assert!(error(&session, "SELECT * FROM video__raw").await.contains("has no data"));
        query(&session, &insert("v9", "")).await;
        let rows = query(&session, "SELECT video_id FROM history.video__raw").await;
        assert_eq!(column(&rows, "video_id"), [json!("v9")]);
    });
}

#[test]
fn an_empty_write_creates_nothing() {
    run(async {
        let project = Project::new(RAW);
        let session = project.session().await;
        let rows = query(&session, &format!("{} WHERE false", insert("v1", ""))).await;
        assert_eq!(only(&rows), json!(0));
        assert_eq!(files_below(&project.path().join("store")).len(), 0);
    });
}

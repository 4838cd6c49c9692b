//! What the statements mean, worked out by hand, and what is said of wrong ones.

use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::{CreateFeature, Kind, print};
use crate::model::*;
use crate::session::definitions::Existing;
use crate::session::statement::{MetaxyStatement, parse};

fn read(sql: &str) -> Kind {
    let mut statements = parse(sql, &GenericDialect {}).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    match (statements.pop(), statements.is_empty()) {
        (Some(MetaxyStatement::Feature(statement)), true) => statement.0,
        other => panic!("{sql}: {other:?}"),
    }
}

fn create(sql: &str) -> CreateFeature {
    match read(sql) {
        Kind::Create(create) => *create,
        other => panic!("{sql}: {other:?}"),
    }
}

fn error(sql: &str) -> String {
    match parse(sql, &GenericDialect {}) {
        Ok(statements) => panic!("{sql}: {statements:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_statement_says_all_that_a_file_can() {
    let created = create(
        r#"CREATE FEATURE "video/scene" (
               frames,
               sound CODE VERSION '2' FROM video (audio),
               "audio/french" FROM ("video/rating" (*), video (audio, "frames")),
               rest FROM *,
               cover FROM video
           )
           ID COLUMNS (video_id, "Scene")
           FROM
               video__raw
                   RENAME (movie AS video_id, "Länge" AS seconds)
                   WHERE seconds > 0 -- not broken
                   WHERE codec = NULL OR codec <> 'raw; ''x'''
                   SELECT (path, seconds)
                   EXPANDED BY (video_id) ID PATTERN '{video_id}-{scene}',
               "video/rating" OPTIONAL AGGREGATED SELECT () FIELDS BY SUFFIX EXCEPT ("audio/raw"),
               a FIELDS ALL, b FIELDS NONE AGGREGATED BY (x), c FIELDS (faces FROM frames, hands FROM (frames, d))
           DESCRIPTION 'Scenes; it''s all'
           METADATA '{"team": "media", "since": [2024]}'
           PROJECT clips"#,
    );
    let read = FeatureSpec::from_json(
        r#"{"key": "video/scene", "id_columns": ["video_id", "Scene"],
            "fields": ["frames",
                {"key": "sound", "code_version": "2", "deps": [{"feature": "video", "fields": ["audio"]}]},
                {"key": "audio/french", "deps": [{"feature": "video/rating"},
                                                 {"feature": "video", "fields": ["audio", "frames"]}]},
                {"key": "rest", "deps": "__METAXY_ALL_DEP__"},
                {"key": "cover", "deps": [{"feature": "video"}]}],
            "deps": [
                {"feature": "video/raw", "rename": {"movie": "video_id", "Länge": "seconds"},
                 "filters": ["seconds > 0", "codec = NULL OR codec <> 'raw; ''x'''"], "select": ["path", "seconds"],
                 "lineage": {"type": "1:N", "on": ["video_id"], "id_generation_pattern": "{video_id}-{scene}"}},
                {"feature": "video/rating", "optional": true, "lineage": "N:1", "select": [],
                 "fields_mapping": {"type": "default", "match_suffix": true, "exclude_fields": ["audio/raw"]}},
                {"feature": "a", "fields_mapping": "all"},
                {"feature": "b", "fields_mapping": "none", "lineage": {"type": "N:1", "on": ["x"]}},
                {"feature": "c", "fields_mapping": {"type": "specific",
                                                    "mapping": {"faces": ["frames"], "hands": ["frames", "d"]}}}],
            "description": "Scenes; it's all", "metadata": {"team": "media", "since": [2024]}}"#,
    );
    assert_eq!(created.spec, read.unwrap());
    assert_eq!((created.existing, created.project.as_deref()), (Existing::Refuse, Some("clips")));
    assert_eq!(created.name, "video/scene");
    assert!(created.external.is_none());
}

#[test]
fn the_least_that_can_be_said() {
    let created = create("create feature Video__Crop id columns (Video_ID) from VIDEO;");
    let read =
        FeatureSpec::from_json(r#"{"key": "video/crop", "id_columns": ["video_id"], "deps": ["video"]}"#);
    assert_eq!(created.spec, read.unwrap());
    assert_eq!(create("CREATE OR REPLACE FEATURE a ID COLUMNS (x)").existing, Existing::Replace);
    assert_eq!(create("CREATE FEATURE IF NOT EXISTS a ID COLUMNS (x)").existing, Existing::Keep);
    // Words of ours are names like any other.
    let odd = create(
        "CREATE FEATURE feature (fields FROM optional, id) ID COLUMNS (columns) FROM optional OPTIONAL",
    );
    assert_eq!((odd.spec.fields.len(), odd.spec.deps[0].optional), (2, true));
}

#[test]
fn expectations() {
    let created = create(
        "CREATE OR REPLACE EXTERNAL FEATURE \"up/a\" (f CODE VERSION '1' PROVENANCE 'abc', g) ID COLUMNS (x) PROJECT \"Up\" \
         ON MISMATCH ERROR",
    );
    let external = created.external.unwrap();
    assert_eq!(external.on_version_mismatch, OnMismatch::Error);
    assert_eq!(external.provenance_by_field, [(FieldKey::parse("f").unwrap(), "abc".to_owned())].into());
    assert_eq!((created.project.as_deref(), created.existing), (Some("Up"), Existing::Replace));
}

#[test]
fn conditions_are_kept_as_they_are_written() {
    let filters = |text: &str| {
        let sql = format!("CREATE FEATURE a ID COLUMNS (x) FROM p WHERE {text} SELECT (y), q");
        create(&sql).spec.deps[0].filters.clone().unwrap()
    };
    for text in
        ["a>1", "a\n  >  1 /* why */ AND b", "größe = '🙂' OR \"Ä\"", "a IN (1, 2)", "CASE WHEN a THEN b END"]
    {
        assert_eq!(filters(text), [text]);
    }
    assert_eq!(filters("a > 1 -- why\n"), ["a > 1"]);
    // A string is the text of a condition, which may be anything.
    assert_eq!(filters("'it''s; (' WHERE b"), ["it's; (", "b"]);
    assert!(filters("()").is_empty());
}

#[test]
fn the_other_statements() {
    assert!(
        matches!(read("DROP FEATURE video__crop;"), Kind::Drop { name, if_exists: false } if name == "video__crop")
    );
    assert!(
        matches!(read("drop feature if exists \"a-b/c\""), Kind::Drop { name, if_exists: true } if name == "a-b/c")
    );
    assert!(matches!(read("SHOW FEATURES"), Kind::Show { like: None }));
    assert!(matches!(read("show features like 'a%'"), Kind::Show { like: Some(like) } if like == "a%"));
    assert!(matches!(read("SHOW CREATE FEATURE 'a/b'"), Kind::ShowCreate(name) if name == "a/b"));
    assert!(matches!(read("DESCRIBE FEATURE a"), Kind::Describe(name) if name == "a"));
    assert!(matches!(read("desc feature feature"), Kind::Describe(name) if name == "feature"));
    // DataFusion's own, of a table with this name.
    for theirs in
        ["DESCRIBE feature", "CREATE TABLE feature (x INT)", "DROP TABLE feature", "SELECT * FROM feature"]
    {
        let statements = parse(theirs, &GenericDialect {}).unwrap();
        assert!(matches!(statements[..], [MetaxyStatement::DataFusion(_)]), "{theirs}");
    }
}

#[test]
fn wrong_statements_say_what_and_where() {
    for (sql, message) in [
        ("CREATE FEATURE", "Expected: a feature, found: EOF"),
        (
            "CREATE FEATURE a",
            "Expected: ID COLUMNS and the columns that identify a sample, as in ID COLUMNS (video_id), found: EOF",
        ),
        (
            "CREATE FEATURE a/b ID COLUMNS (x)",
            "in double quotes, or its table name, as in video__crop, found: / at Line: 1, Column: 17",
        ),
        (
            "CREATE FEATURE a-b ID COLUMNS (x)",
            "in double quotes, or its table name, as in video__crop, found: -",
        ),
        (
            "CREATE FEATURE a ID (x)",
            "Expected: ID COLUMNS, FROM, DESCRIPTION, METADATA, PROJECT or the end of the statement, found: ID",
        ),
        ("CREATE FEATURE a ID COLUMNS x", "Expected: (, found: x at Line: 1, Column: 29"),
        ("CREATE FEATURE a ID COLUMNS (x y)", "Expected: , or ), found: y"),
        ("CREATE FEATURE a ID COLUMNS (x,)", "Expected: a column, found: )"),
        ("CREATE FEATURE a ID COLUMNS (x) ID COLUMNS (y)", "ID COLUMNS is given twice"),
        (
            "CREATE OR REPLACE FEATURE IF NOT EXISTS a ID COLUMNS (x)",
            "OR REPLACE and IF NOT EXISTS exclude each other",
        ),
        (
            "CREATE FEATURE a (f VERSION '2') ID COLUMNS (x)",
            "Expected: CODE VERSION, FROM, a comma or ), found: VERSION",
        ),
        (
            "CREATE FEATURE a (f CODE VERSION 2) ID COLUMNS (x)",
            "Expected: a string in single quotes, found: 2",
        ),
        (
            "CREATE FEATURE a (f FROM p.g) ID COLUMNS (x)",
            "Expected: CODE VERSION, FROM, a comma or ), found: .",
        ),
        ("CREATE FEATURE a (f FROM p (*, g)) ID COLUMNS (x)", "Expected: ), found: ,"),
        (
            "CREATE FEATURE a (f PROVENANCE 'x') ID COLUMNS (x)",
            "Expected: CODE VERSION, FROM, a comma or ), found: PROVENANCE",
        ),
        ("CREATE FEATURE a (audio/f) ID COLUMNS (x)", "a field with / or - in double quotes, found: /"),
        (
            "CREATE FEATURE a ID COLUMNS (x)\nFROM p\n  FILTER (y)",
            "RENAME, WHERE, SELECT, AGGREGATED, EXPANDED, FIELDS, OPTIONAL",
        ),
        ("CREATE FEATURE a ID COLUMNS (x)\nFROM p\n  FILTER (y)", "found: FILTER at Line: 3, Column: 3"),
        ("CREATE FEATURE a ID COLUMNS (x) FROM p WHERE", "Expected: an expression"),
        ("CREATE FEATURE a ID COLUMNS (x) FROM p SELECT y", "Expected: (, found: y"),
        ("CREATE FEATURE a ID COLUMNS (x) FROM p RENAME (y z)", "Expected: AS, found: z"),
        (
            "CREATE FEATURE a ID COLUMNS (x) FROM p RENAME (y AS z, y AS w)",
            "column y is renamed twice, to z and to w",
        ),
        ("CREATE FEATURE a ID COLUMNS (x) FROM p EXPANDED", "Expected: BY, found: EOF"),
        (
            "CREATE FEATURE a ID COLUMNS (x) FROM p AGGREGATED EXPANDED BY (x)",
            "the lineage of a parent is given twice",
        ),
        (
            "CREATE FEATURE a ID COLUMNS (x) FROM p FIELDS SOME",
            "Expected: ALL, NONE, BY NAME, BY SUFFIX or (field FROM field of the parent, …), found: SOME",
        ),
        ("CREATE FEATURE a ID COLUMNS (x) FROM p FIELDS (f FROM g, f FROM h)", "field f is given twice"),
        ("CREATE FEATURE a ID COLUMNS (x) FROM p OPTIONAL OPTIONAL", "OPTIONAL is given twice"),
        ("CREATE FEATURE a ID COLUMNS (x) METADATA '{'", "METADATA is not JSON"),
        ("CREATE FEATURE a ID COLUMNS (x) METADATA '1'", "METADATA is a JSON object in a string"),
        ("CREATE EXTERNAL FEATURE a ID COLUMNS (x)", "Expected: PROJECT and the owner"),
        (
            "CREATE EXTERNAL FEATURE a ID COLUMNS (x) PROJECT p ON MISMATCH STOP",
            "Expected: WARN or ERROR, found: STOP",
        ),
        (
            "CREATE FEATURE a ID COLUMNS (x) PROJECT p ON MISMATCH WARN",
            "or the end of the statement, found: ON",
        ),
        ("CREATE FEATURE \"Video\" ID COLUMNS (x)", "invalid key \"Video\""),
        ("CREATE FEATURE a (\"F\") ID COLUMNS (x)", "invalid key \"F\""),
        ("CREATE FEATURE a ID COLUMNS (x) FROM 'b c'", "invalid key \"b c\""),
        ("DROP FEATURE", "Expected: a feature, found: EOF"),
        ("DROP FEATURE a b", "Expected: end of statement, found: b"),
        ("SHOW CREATE FEATURE", "Expected: a feature, found: EOF"),
        ("SHOW FEATURES LIKE a", "Expected: a string in single quotes, found: a"),
    ] {
        let found = error(sql);
        assert!(found.contains(message), "{sql}\n{found}");
        assert!(!found.contains('\n'), "{found}");
    }
}

#[test]
fn print_looks_like_what_one_would_write() {
    let sql = "CREATE FEATURE \"video/scene\" (\n    frames,\n    sound CODE VERSION '2' FROM video (audio)\n)\n\
               ID COLUMNS (video_id, scene)\nFROM video\n    WHERE seconds > 0\n    SELECT (path)\n    EXPANDED BY (video_id)\n\
               DESCRIPTION 'Scenes'\nMETADATA '{\"team\":\"media\"}'";
    let several = "CREATE FEATURE summary\nID COLUMNS (video_id)\nFROM\n    \"video/scene\"\n        AGGREGATED BY (video_id),\n    \
                   \"video/rating\"\n        RENAME (movie AS video_id)\n        OPTIONAL";
    let plain = "CREATE FEATURE crop\nID COLUMNS (\"Video\")\nFROM video, \"video/rating\"";
    for sql in [sql, several, plain, "CREATE FEATURE video\nID COLUMNS (video_id)"] {
        let definition = FeatureDefinition::declared(create(sql).spec, "demo", Origin::Statement);
        assert_eq!(print::create(&definition, "demo"), sql);
    }
}

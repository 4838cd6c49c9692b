//! The program: what it runs, how it prints, where its settings come from, and what it never prints.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Cli, Project, files_below};

const FEATURES: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]
"#;

const INSERT: &str = "INSERT INTO video__raw SELECT 'v1' AS video_id, named_struct('default', 'a') AS metaxy_provenance_by_field";

#[test]
fn help_and_version() {
    let folder = tempfile::tempdir().unwrap();
    let help = Cli::new(folder.path()).args(["--help"]).run().ok();
    for option in
        ["--command", "--file", "--config", "--store", "--format", "--quiet", "Usage:", "resolve_update"]
    {
        assert!(help.contains(option), "{option} is not in:\n{help}");
    }
    let version = Cli::new(folder.path()).args(["--version"]).run().ok();
    assert!(version.starts_with(&format!("metaxy-cli {}", env!("CARGO_PKG_VERSION"))), "{version}");
    assert!(version.contains("DataFusion"), "{version}");
}

#[test]
fn commands_and_files_run_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.sql"), "-- a comment\nSELECT 2 AS n;\nSELECT 3 AS n;\n").unwrap();
    fs::write(folder.path().join("five.sql"), "SELECT 5 AS n").unwrap();
    let args = [
        "-q",
        "--format",
        "csv",
        "-c",
        "SELECT 1 AS n",
        "-f",
        "two.sql",
        "-c",
        "SELECT 4 AS n; SELECT 45 AS n",
        "-f",
        "five.sql",
    ];
    let out = Cli::new(folder.path()).args(args).run().ok();
    assert_eq!(out, "n\n1\nn\n2\nn\n3\nn\n4\nn\n45\nn\n5\n");
}

#[test]
fn piped_sql_is_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Cli::new(folder.path())
        .args(["-q", "--format", "csv"])
        .run_with_input("SELECT 1 AS n; SELECT 2 AS n");
    assert_eq!(ran.ok(), "n\n1\nn\n2\n");
    let ran =
        Cli::new(folder.path()).args(["-q", "--format", "csv", "-f", "-"]).run_with_input("SELECT 7 AS n");
    assert_eq!(ran.ok(), "n\n7\n");
}

#[test]
fn the_first_error_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.sql"), "SELECT 1 AS n;\n\nSELECT nope;\nSELECT 3 AS n").unwrap();
    let args = ["-q", "--format", "csv", "-f", "x.sql", "-c", "SELECT 4 AS n"];
    let ran = Cli::new(folder.path()).args(args).run();
    assert_eq!(ran.stdout, "n\n1\n");
    let message = ran.failed();
    assert!(message.starts_with("x.sql:3: ") && message.contains("nope"), "{message}");
}

#[test]
fn wrong_arguments_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["--format", "x"][..],
        &["--nope"],
        &["-c"],
        &["-c", ""],
        &["stray"],
        &["--maxrows", "x"],
        &["-m", "1x"],
    ] {
        let ran = Cli::new(folder.path()).args(args).run();
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:#?}");
        assert!(ran.stdout.is_empty() && ran.stderr.starts_with("error: "), "{args:?}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    }
    assert!(files_below(folder.path()).is_empty());
}

#[test]
fn quiet_prints_results_only() {
    let folder = tempfile::tempdir().unwrap();
    let loud = Cli::new(folder.path()).args(["-c", "SELECT 1 AS n"]).run().ok();
    assert!(loud.contains("1 row(s) fetched") && loud.contains("Elapsed"), "{loud}");
    let table = "+---+\n| n |\n+---+\n| 1 |\n+---+\n";
    assert!(loud.starts_with(table), "{loud}");
    for flag in ["-q", "--quiet"] {
        assert_eq!(Cli::new(folder.path()).args([flag, "-c", "SELECT 1 AS n"]).run().ok(), table);
    }
    // What programs read has results only, without being told so; a statement without a result has none.
    let sql = ["-c", "CREATE VIEW v AS SELECT 1 AS n", "-c", "SELECT n FROM v"];
    for (format, rows) in
        [("json", "[{\"n\":1}]\n"), ("nd-json", "{\"n\":1}\n"), ("csv", "n\n1\n"), ("tsv", "n\n1\n")]
    {
        assert_eq!(Cli::new(folder.path()).args(["--format", format]).args(sql).run().ok(), rows);
    }
    let help = Cli::new(folder.path()).args(["--format", "csv", "-f", "-"]).run_with_input("\\?\n").ok();
    assert!(help.starts_with("Command,Description\n") && !help.contains("Elapsed"), "{help}");
}

#[test]
fn formats() {
    let folder = tempfile::tempdir().unwrap();
    let print = |format: &str, sql: &str| {
        Cli::new(folder.path()).args(["-q", "--format", format, "-c", sql]).run().ok()
    };
    let sql = "SELECT * FROM (VALUES (1, 'x, \"y\"'), (2, NULL)) AS t(a, b) ORDER BY a";
    assert_eq!(print("csv", sql), "a,b\n1,\"x, \"\"y\"\"\"\n2,\n");
    assert_eq!(print("tsv", sql), "a\tb\n1\t\"x, \"\"y\"\"\"\n2\t\n");
    let table =
        "+---+--------+\n| a | b      |\n+---+--------+\n| 1 | x, \"y\" |\n| 2 |        |\n+---+--------+\n";
    assert_eq!(print("table", sql), table);
    assert_eq!(print("automatic", sql), table);
    let rows: Value = serde_json::from_str(&print("json", sql)).unwrap();
    // Every row has every column.
    assert_eq!(rows, json!([{"a": 1, "b": "x, \"y\""}, {"a": 2, "b": null}]));
    assert_eq!(print("json", "SELECT NULL AS a, 1 AS b"), "[{\"a\":null,\"b\":1}]\n");
    let lines: Vec<Value> =
        print("nd-json", sql).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), rows);
    // Nested values, and no row at all.
    let nested = print("nd-json", "SELECT named_struct('a', 1) AS s, make_array('x') AS l");
    assert_eq!(serde_json::from_str::<Value>(&nested).unwrap(), json!({"s": {"a": 1}, "l": ["x"]}));
    assert!(!print("csv", "SELECT 1 AS a WHERE false").contains('1'));
    // A result of more rows than a batch has: whole, and one header.
    let many = print("csv", "SELECT value FROM generate_series(1, 20000) ORDER BY value");
    let expected: String = (1..=20_000).fold("value\n".to_owned(), |text, n| text + &format!("{n}\n"));
    assert_eq!(many, expected);
}

#[test]
fn without_a_configuration_nothing_is_made_until_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let stores = "SELECT store, type, is_default FROM system.stores";
    let out = Cli::new(folder.path())
        .args(["--format", "csv"])
        .sql(&[stores, "SELECT count(*) AS n FROM system.features"])
        .run()
        .ok();
    assert_eq!(out, "store,type,is_default\ndev,delta,true\nn\n0\n");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "a read makes nothing");
    // Features come through the environment here, as there is no file.
    fs::write(folder.path().join("features.toml"), FEATURES).unwrap();
    let cli = || Cli::new(folder.path()).env("METAXY_EXT__DATAFUSION__FEATURES", "[\"features.toml\"]");
    cli().sql(&["SELECT * FROM resolve_update('video/raw', (SELECT 'v1' AS video_id, named_struct('default', 'a') AS metaxy_provenance_by_field))"]).run().ok();
    assert_eq!(files_below(folder.path()).len(), 1);
    let ran = cli().sql(&[INSERT]).run();
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            Some(0),
            "Warning: store dev: no project is set, so writes are made for project \"default\"; set project in \
             metaxy.toml or METAXY_PROJECT\n"
        )
    );
    assert!(folder.path().join("metaxy-store/video/raw.delta/_delta_log").is_dir());
    let out = cli().args(["--format", "csv"]).sql(&["SELECT video_id FROM video__raw"]).run().ok();
    assert_eq!(out, "video_id\nv1\n");
}

fn two_stores() -> Project {
    let project = Project::new(FEATURES);
    let root = project.path().join("prod-store");
    let config = fs::read_to_string(project.path().join("metaxy.toml")).unwrap();
    project.write(
        "metaxy.toml",
        &format!("{config}\n[stores.prod]\ntype = \"delta\"\n[stores.prod.config]\nroot_path = {root:?}\n"),
    );
    project
}

#[test]
fn the_store_is_chosen_by_argument_variable_or_statement() {
    let project = two_stores();
    project.cli().args(["--store", "prod"]).sql(&[INSERT]).run().ok();
    assert!(project.path().join("prod-store/video/raw.delta").is_dir());
    assert!(!project.path().join("store").exists());
    let read = "SELECT count(*) AS n FROM video__raw";
    let one = "n\n1\n";
    let csv = || project.cli().args(["--format", "csv"]);
    assert_eq!(csv().args(["--store", "prod"]).sql(&[read]).run().ok(), one);
    assert_eq!(csv().env("METAXY_STORE", "prod").sql(&[read]).run().ok(), one);
    assert_eq!(csv().sql(&["SELECT count(*) AS n FROM prod.features.video__raw"]).run().ok(), one);
    assert!(csv().sql(&["USE STORE prod", read]).run().ok().ends_with(one));
    // The argument goes over the variable.
    csv().args(["--store", "dev"]).env("METAXY_STORE", "prod").sql(&[read]).run().failed();
    let default = "SELECT store FROM system.stores WHERE is_default";
    assert_eq!(csv().args(["--store", "prod"]).sql(&[default]).run().ok(), "store\nprod\n");
}

#[test]
fn the_configuration_is_named_or_found_upwards() {
    let project = two_stores();
    project.cli().sql(&[INSERT]).run().ok();
    let below = project.path().join("deep/deeper");
    fs::create_dir_all(&below).unwrap();
    let read = "SELECT video_id FROM video__raw";
    let csv = || Cli::new(&below).args(["--format", "csv"]);
    assert_eq!(csv().sql(&[read]).run().ok(), "video_id\nv1\n");

    let elsewhere = tempfile::tempdir().unwrap();
    let config = project.path().join("metaxy.toml");
    let config = config.to_str().unwrap();
    let csv = || Cli::new(elsewhere.path()).args(["--format", "csv"]);
    assert_eq!(csv().args(["--config", config]).sql(&[read]).run().ok(), "video_id\nv1\n");
    assert_eq!(csv().env("METAXY_CONFIG", config).sql(&[read]).run().ok(), "video_id\nv1\n");
    let wrong =
        csv().env("METAXY_CONFIG", config).args(["--config", "nope.toml"]).sql(&[read]).run().failed();
    assert!(wrong.contains("nope.toml"), "{wrong}");
}

#[test]
fn variables_go_over_the_file() {
    let project = Project::new(FEATURES);
    let other = project.path().join("other");
    let root = other.to_str().unwrap();
    let cli = || project.cli().env("METAXY_STORES__DEV__CONFIG__ROOT_PATH", root).args(["--format", "csv"]);
    cli().sql(&[INSERT]).run().ok();
    assert!(other.join("video/raw.delta").is_dir() && !project.path().join("store").exists());

    let settings = "SELECT hash_algorithm, hash_truncation_length FROM system.stores";
    let out = project
        .cli()
        .args(["--format", "csv"])
        .env("METAXY_STORES__DEV__CONFIG__HASH_ALGORITHM", "md5")
        .env("METAXY_HASH_TRUNCATION_LENGTH", "12")
        .sql(&[settings])
        .run()
        .ok();
    assert_eq!(out, "hash_algorithm,hash_truncation_length\nmd5,12\n");

    let option = |name: &str, value: &str, sql: &str| {
        project.cli().args(["--format", "csv"]).env(name, value).sql(&[sql]).run()
    };
    let out = option("METAXY_EXT__DATAFUSION__ENGINE", "native", "SHOW metaxy.engine").ok();
    assert_eq!(out, "name,value\nmetaxy.engine,native\n");
    let wrong = option("METAXY_EXT__DATAFUSION__ENGINE", "quick", "SELECT 1").failed();
    assert!(wrong.contains("quick") && wrong.contains("engine"), "{wrong}");
    let wrong = option("METAXY_HASH_TRUNCATION_LENGTH", "7", "SELECT 1").failed();
    assert!(wrong.contains("METAXY_HASH_TRUNCATION_LENGTH") && wrong.contains('8'), "{wrong}");
}

const SECRET: &str = "hunter2-not-to-be-seen";

/// Everything a user may look at or get wrong, in a project full of secrets.
#[test]
fn secrets_are_never_shown() {
    let project = Project::new(FEATURES);
    let root = project.path().join("store");
    let config = |store: &str| {
        format!(
            "store = \"{store}\"\n[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nroot_path = {root:?}\n\
             storage_options = {{ AWS_SECRET_ACCESS_KEY = \"{SECRET}\", PLAIN = \"${{PASSWORD}}\" }}\n\
             [stores.db]\ntype = \"metaxy.ext.duckdb.DuckDBMetadataStore\"\n\
             [stores.db.config]\nconnection_string = \"postgres://ada:{SECRET}@host/x\"\n\
             [stores.odd]\ntype = \"postgresql://ada:{SECRET}@host/x\"\n\
             [stores.s3]\ntype = \"delta\"\n[stores.s3.config]\nroot_path = \"s3://ada:{SECRET}@bucket/x?sig={SECRET}\"\n\
             [ext.datafusion]\nfeatures = [\"features.toml\"]\n"
        )
    };
    let mut outputs = Vec::new();
    let mut look = |sql: &str| {
        for log in ["", "trace"] {
            let ran = project
                .cli()
                .env("PASSWORD", SECRET)
                .env("METAXY_STORES__DEV__CONFIG__STORAGE_OPTIONS__TOKEN", SECRET)
                .env("RUST_LOG", log)
                .sql(&[sql])
                .run();
            outputs.push((sql.to_owned(), ran.code, ran.stdout, ran.stderr));
        }
    };
    project.write("metaxy.toml", &config("dev"));
    for sql in [
        "SHOW ALL",
        "SELECT * FROM system.stores",
        "SELECT * FROM information_schema.df_settings",
        INSERT,
        "SELECT * FROM video__raw",
        "EXPLAIN VERBOSE SELECT * FROM video__raw",
        "EXPLAIN ANALYZE SELECT * FROM video__raw",
        "SELECT nope FROM video__raw",
        "SELECT * FROM db.features.video__raw",
        "SELECT * FROM s3.features.video__raw",
        "USE STORE db",
        "USE STORE s3",
        "SELECT * FROM resolve_update('video/raw', store => 's3')",
    ] {
        look(sql);
    }
    fs::write(project.table("video/raw").join("_delta_log/00000000000000000000.json"), "garbage").unwrap();
    look("SELECT * FROM video__raw");
    for wrong in [
        config("dev").replace("{ AWS", "[ AWS"),
        config("dev").replace(", PLAIN", ", \nPLAIN"),
        config("dev").replace(&format!("\"{SECRET}\", PLAIN"), &format!("\"{SECRET}, PLAIN")),
        config("dev").replace("storage_options = {", "storage_options = \"").replace("\" }", "\""),
        config("dev").replace("storage_options", "storage_option"),
        config("dev").replace("connection_string = \"", "root_path = [\"").replace("host/x\"", "host/x\"]"),
        config("s3"),
        config("db"),
        config("odd"),
        config(&format!("postgresql://ada:{SECRET}@host/x")),
        config("dev")
            .replace("root_path = ", &format!("fallback_stores = [\"s3://{SECRET}@b/x\"]\nroot_path = ")),
    ] {
        project.write("metaxy.toml", &wrong);
        look("SELECT 1");
    }
    project.write("metaxy.toml", &config("dev"));
    let json = format!("{{\"a\": {SECRET}");
    let ran =
        project.cli().env("METAXY_STORES__DEV__CONFIG__STORAGE_OPTIONS", &json).sql(&["SELECT 1"]).run();
    outputs.push(("broken JSON".into(), ran.code, ran.stdout, ran.stderr));

    for (what, code, stdout, stderr) in &outputs {
        assert!(!stdout.contains(SECRET), "{what}:\n{stdout}");
        assert!(!stderr.contains(SECRET), "{what}:\n{stderr}");
        assert!(code.is_some_and(|code| code < 2), "{what}: {code:?}");
    }
    // The statements did what they should, and so had the secrets at hand.
    let went_well = |sql: &str| outputs.iter().any(|(what, code, ..)| what == sql && *code == Some(0));
    assert!(went_well("SHOW ALL") && went_well(INSERT) && went_well("SELECT * FROM video__raw"));
}

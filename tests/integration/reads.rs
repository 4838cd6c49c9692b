//! What an increment over Delta tables reads, as EXPLAIN shows it.

use datafusion_metaxy::session::MetaxySession;
use serde_json::{Value, json};

use crate::support::{Project, column, query, run};

const FEATURES: &str = r#"
[[feature]]
key = "raw"
id_columns = ["id"]
fields = ["audio"]
[[feature]]
key = "crop"
id_columns = ["id"]
fields = ["image"]
deps = ["raw"]
"#;
const RAW: &str = "INSERT INTO raw SELECT concat('s', value) AS id, value AS size, \
                   named_struct('audio', concat('{v}', value)) AS metaxy_provenance_by_field FROM generate_series({rows})";

async fn write(session: &MetaxySession, version: &str, rows: &str) {
    query(session, &RAW.replace("{v}", version).replace("{rows}", rows)).await;
}

async fn explained(session: &MetaxySession, select: &str) -> String {
    let rows = query(session, &format!("EXPLAIN FORMAT INDENT {select}")).await;
    let plans = column(&rows, "plan");
    plans.last().and_then(Value::as_str).unwrap().to_owned()
}

#[test]
fn a_version_that_the_files_prove_is_not_read() {
    run(async {
        let project = Project::new(FEATURES);
        let session = project.session().await;
        write(&session, "a", "1, 5").await;
        let count = "SELECT count(*) FROM raw";
        let plan = explained(&session, count).await;
        assert!(!plan.contains("metaxy_feature_version"), "{plan}");
        drop(session);
        // The same table under another definition: rows of the old version are told apart by reading.
        let newer = FEATURES.replace(r#"["audio"]"#, r#"[{ key = "audio", code_version = "2" }]"#);
        project.write("features.toml", &newer);
        let session = project.session().await;
        write(&session, "b", "4, 6").await;
        let plan = explained(&session, count).await;
        assert!(plan.contains("metaxy_feature_version"), "{plan}");
        let rows = query(&session, "SELECT id FROM raw ORDER BY id").await;
        assert_eq!(column(&rows, "id"), ["s4", "s5", "s6"]);
    });
}

#[test]
fn user_columns_are_read_for_the_answer_alone() {
    run(async {
        let project = Project::new(FEATURES);
        let session = project.session().await;
        write(&session, "a", "1, 1000").await;
        query(&session, "INSERT INTO crop SELECT * FROM resolve_update('crop')").await;
        let all = "SELECT * FROM resolve_update('crop', engine => 'memory')";
        let plan = explained(&session, all).await;
        let (executor, scans) = plan.split_once("late=[").unwrap();
        assert!(executor.contains("IncrementExec") && scans.starts_with("size, "), "{plan}");
        assert!(!scans.split_once(']').unwrap().1.contains("size"), "{plan}");
        assert_eq!(query(&session, all).await, Vec::<Value>::new());
        // One sample has changed, one is new, one is gone.
        write(&session, "b", "7, 7").await;
        write(&session, "b", "1001, 1001").await;
        query(&session, "DELETE FROM raw WHERE id = 's9'").await;
        let ordered = |engine: &str| {
            format!("SELECT * FROM resolve_update('crop', engine => '{engine}') ORDER BY metaxy_increment")
        };
        let rows = query(&session, &ordered("memory")).await;
        assert_eq!(rows, query(&session, &ordered("native")).await);
        assert_eq!(column(&rows, "metaxy_increment"), ["new", "orphaned", "stale"]);
        assert_eq!(column(&rows, "id"), ["s1001", "s9", "s7"]);
        assert_eq!(column(&rows, "size"), [json!(1001), json!(9), json!(7)]);
    });
}

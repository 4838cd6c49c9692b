//! What it costs to know that a sample waits: rows of older versions are read only when something depends on them.

use std::fs;

use serde_json::json;

use crate::support::{Project, column, error, query, run};

/// The version of the code that makes the pictures of videos; texts are of their sounds only.
pub fn features(picture: &str) -> String {
    format!(
        r#"
[[feature]]
key = "video"
id_columns = ["video_id"]
fields = ["sound", {{ key = "picture", code_version = "{picture}" }}]

[[feature]]
key = "video/text"
id_columns = ["video_id"]
deps = ["video"]
fields = [{{ key = "words", deps = [{{ feature = "video", fields = ["sound"] }}] }}]
"#
    )
}

fn videos(ids: &str) -> String {
    format!(
        "INSERT INTO video SELECT column1 AS video_id, named_struct('sound', 's', 'picture', 'p') \
         AS metaxy_provenance_by_field FROM (VALUES {ids})"
    )
}

const RESOLVE: &str = "SELECT video_id FROM resolve_update('video/text', include_pending => true)";

#[test]
fn older_rows_are_read_only_for_samples_without_a_parent() {
    run(async {
        let project = Project::new(&features("1"));
        let session = project.session().await;
        query(&session, &videos("('a'), ('b')")).await;
        query(&session, "INSERT INTO video__text SELECT * FROM resolve_update('video/text')").await;
        let data = |project: &Project| {
            let files = fs::read_dir(project.table("video")).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| path.extension().is_some_and(|e| e == "parquet")).collect::<Vec<_>>()
        };
        let older = data(&project);
        project.write("features.toml", &features("2"));
        let session = project.session().await;
        query(&session, &videos("('a'), ('b'), ('c')")).await;
        // Whoever reads these files from now on finds out.
        older.iter().for_each(|file| fs::write(file, "no Parquet").unwrap());

        assert_eq!(column(&query(&session, RESOLVE).await, "video_id"), [json!("c")]);
        query(
            &session,
            "INSERT INTO video__text SELECT 'x' AS video_id, named_struct('words', 'p') AS metaxy_provenance_by_field",
        )
        .await;
        let message = error(&session, RESOLVE).await;
        assert!(message.to_lowercase().contains("parquet"), "{message}");
        for condition in [
            "metaxy_increment IN ('new', 'stale')",
            "metaxy_increment = 'new'",
            "video_id > 'a' AND metaxy_increment <> 'orphaned' AND metaxy_increment <> 'pending'",
        ] {
            for engine in ["memory", "native"] {
                let sql = format!(
                    "{} WHERE {condition}",
                    RESOLVE.replace("true", &format!("true, engine => '{engine}'"))
                );
                assert_eq!(column(&query(&session, &sql).await, "video_id"), [json!("c")], "{sql}");
            }
        }
        let progress = "INSERT INTO video__text SELECT * FROM resolve_update('video/text') \
                        WHERE metaxy_increment IN ('new', 'stale')";
        query(&session, progress).await;
    });
}

#[test]
fn the_plan_says_what_may_be_looked_up() {
    run(async {
        let project = Project::new(&features("1"));
        let session = project.session().await;
        query(&session, &videos("('a')")).await;
        query(&session, "INSERT INTO video__text SELECT * FROM resolve_update('video/text')").await;
        for (condition, looks) in
            [("true", true), ("metaxy_increment = 'orphaned'", true), ("metaxy_increment = 'stale'", false)]
        {
            let sql =
                format!("EXPLAIN FORMAT INDENT SELECT * FROM resolve_update('video/text') WHERE {condition}");
            let plan = format!("{:?}", query(&session, &sql).await);
            assert_eq!(plan.contains("ReviewExec: may_wait_for=[video]"), looks, "{condition}: {plan}");
        }
    });
}

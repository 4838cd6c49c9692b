//! Increments under a memory limit: the same counts, from operators that spill.

use crate::support::{Project, Ran};

const FEATURES: &str = r#"
[[feature]]
key = "clip"
id_columns = ["id", "part"]

[[feature]]
key = "clip/face"
id_columns = ["id", "part"]
deps = ["clip"]

[[feature]]
key = "clip/summary"
id_columns = ["id"]
deps = [{ feature = "clip", lineage = { type = "N:1", on = ["id"] } }]
"#;

const ROWS: &str = "INSERT INTO clip SELECT concat('clip ', value / 4) AS id, value % 4 AS part,
    named_struct('default', concat('{v}', value)) AS metaxy_provenance_by_field
    FROM generate_series(0, 199999) WHERE value % {every} = 0";

/// A small file is read in pieces, too, as a large one is.
const IN_PIECES: &str = "SET datafusion.optimizer.repartition_file_min_size = 1";

fn project() -> Project {
    let project = Project::new(FEATURES);
    let rows = |v: &str, every: &str| ROWS.replace("{v}", v).replace("{every}", every);
    let write = "INSERT INTO clip__face SELECT * FROM resolve_update('clip/face')";
    // One clip in ten changes after the faces were computed, and one face loses its clip.
    let orphan = "INSERT INTO clip__face SELECT 'no clip' AS id, CAST(0 AS BIGINT) AS part,
        named_struct('default', 'x') AS metaxy_provenance_by_field";
    project.cli().sql(&[&rows("a", "1"), write, orphan, &rows("b", "10")]).run().ok();
    project
}

fn ask(project: &Project, limit: &str, engine: &str, feature: &str) -> Ran {
    let query = format!(
        "SELECT metaxy_increment, count(*) AS n, count(DISTINCT metaxy_provenance) AS versions
         FROM resolve_update('{feature}', engine => '{engine}') GROUP BY 1 ORDER BY 1"
    );
    // Of what has changed since the last comparison alone, everything fits.
    let everything = "SET metaxy.incremental_resolve = false";
    project
        .cli()
        .args(["--memory-limit", limit, "--format", "csv"])
        .sql(&[IN_PIECES, everything, &query])
        .run()
}

#[test]
fn executors_agree_under_a_limit() {
    let project = project();
    for feature in ["clip/face", "clip/summary"] {
        let free = ask(&project, "10g", "memory", feature).ok();
        assert!(free.contains(if feature == "clip/face" { "stale,20000," } else { "new,200000," }), "{free}");
        assert_eq!(ask(&project, "10g", "native", feature).ok(), free, "{feature}");
        assert_eq!(ask(&project, "64m", "native", feature).ok(), free, "{feature}");
    }
}

#[test]
fn what_does_not_fit_is_streamed_with_a_notice() {
    let project = project();
    let (limit, feature) = ("24m", "clip/face");
    let free = ask(&project, "10g", "memory", feature).ok();
    let streamed = ask(&project, limit, "auto", feature);
    assert_eq!((streamed.code, &streamed.stdout), (Some(0), &free), "{streamed:#?}");
    let notice = "Warning: the increment of clip/face does not fit into the memory limit; the streaming plan computes it\n";
    assert_eq!(streamed.stderr, notice);
    // Who asks for memory by name gets an error that says what to do.
    let error = ask(&project, limit, "memory", feature).failed();
    assert!(error.contains("clip/face does not fit into memory; leave the engine to 'auto'"), "{error}");
}

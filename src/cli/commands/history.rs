//! `history`: what has happened to a feature, or which versions of the project were pushed.

use datafusion::catalog::TableProvider;

use crate::catalog::{HISTORY_SCHEMA, SYSTEM_SCHEMA};
use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::cli::sql_text::{name, string};
use crate::columns::{CREATED_AT, DELETED_AT, FEATURE_VERSION, UPDATED_AT};
use crate::error::Result;
use crate::store::Store;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli history photo --format csv
  time,event,feature_version,rows,detail
  20…,push_completed,b7daf55b,,project version 325fa65b
  20…,rows_written,b7daf55b,3,

Without a feature: the versions of the project that were pushed to the store, in the order of their latest pushes. The
last one is what `latest` means in other subcommands.";

/// Show what has happened to a feature: its versions, writes, deletes and events
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The feature, by key (video/crop) or table name (video__crop)
    feature: Option<String>,

    /// Without a feature: versions of this project instead of the configured one
    #[arg(long, value_name = "NAME", conflicts_with = "feature")]
    project: Option<String>,

    /// Without a feature: versions of all projects
    #[arg(long, conflicts_with_all = ["feature", "project"])]
    all_projects: bool,

    /// Show only the last of it
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

/// Prints the history, oldest first.
///
/// # Errors
///
/// An unknown feature, or a store that can't be read.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let session = program.session().await?;
    let store = program.store().await?;
    let query = match &args.feature {
        Some(feature) => of_feature(&store, feature).await?,
        None => {
            let project = args.project.as_deref().or_else(|| store.project());
            of_project(&store, project.filter(|_| !args.all_projects))
        }
    };
    let limit = args.limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    let newest = format!("SELECT * FROM ({query}) ORDER BY 1 DESC NULLS LAST{limit}");
    let rows = Rows::collect(session.sql(&format!("SELECT * FROM ({newest}) ORDER BY 1")).await?).await?;
    program.print(&rows)?;
    if rows.len() == 0 && args.limit != Some(0) {
        program.notice(match args.feature {
            Some(_) => "Nothing has happened to it in this store yet.",
            None => "Nothing was pushed to this store yet.",
        });
    }
    Ok(Outcome::Done)
}

/// Each version where it was pushed last.
fn of_project(store: &Store, project: Option<&str>) -> String {
    let table = format!("{}.{SYSTEM_SCHEMA}.project_versions", name(store.name()));
    let own = project.map(|project| format!(" WHERE project = {}", string(project)));
    format!(
        "SELECT recorded_at AS time, project, project_version, features, tags, is_current FROM {table}{}",
        own.unwrap_or_default()
    )
}

/// Pushes of the feature's definition, writes and deletes of its rows, and what was recorded about it.
async fn of_feature(store: &std::sync::Arc<Store>, feature: &str) -> Result<String> {
    let definition = store.feature(feature).await?;
    let key = string(&definition.key().to_string());
    let system = format!("{}.{SYSTEM_SCHEMA}", name(store.name()));
    let mut parts = vec![
        format!(
            "SELECT recorded_at AS time, 'push_completed' AS event, metaxy_feature_version AS feature_version, \
             CAST(NULL AS BIGINT) AS rows, concat('project version ', metaxy_project_version) AS detail \
             FROM {system}.feature_versions WHERE feature_key = {key}"
        ),
        format!(
            "SELECT \"timestamp\", event_type, NULL, NULL, payload FROM {system}.events WHERE feature_key = {key}"
        ),
    ];
    let table = store.history_table(&definition).await?;
    if table.exists() {
        let schema = table.schema();
        let has = |column: &str| schema.field_with_name(column).is_ok();
        let history =
            format!("{}.{HISTORY_SCHEMA}.{}", name(store.name()), name(&definition.key().table_name()));
        let version = if has(FEATURE_VERSION) { FEATURE_VERSION } else { "CAST(NULL AS VARCHAR)" };
        // Every row of a write has the same time.
        let written = [UPDATED_AT, CREATED_AT].into_iter().find(|column| has(column));
        let live = if has(DELETED_AT) { format!(" WHERE {DELETED_AT} IS NULL") } else { String::new() };
        let mut of_rows = |time: &str, event: &str, condition: &str| {
            parts.push(format!(
                "SELECT CAST({time} AS TIMESTAMP), '{event}', {version}, count(*), NULL FROM {history}{condition} \
                 GROUP BY {time}, {version}"
            ));
        };
        if let Some(time) = written {
            of_rows(time, "rows_written", &live);
        }
        if has(DELETED_AT) {
            of_rows(DELETED_AT, "rows_deleted", &format!(" WHERE {DELETED_AT} IS NOT NULL"));
        }
    }
    Ok(parts.join(" UNION ALL "))
}

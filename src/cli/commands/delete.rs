//! `delete`: rows of features, softly or for good.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, lit, utils::conjunction};
use serde_json::json;
use uuid::Uuid;

use crate::catalog::{FEATURES_SCHEMA, HISTORY_SCHEMA};
use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::cli::select::Selection;
use crate::cli::sql_text;
use crate::columns::{FEATURE_VERSION, ROW_IDENTITY};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureDefinition;
use crate::session::MetaxySession;
use crate::store::{
    DeleteMode, DeleteOptions, FeatureVersions, ReadOptions, Store, WriteOptions, WriteScope, check_deletable,
};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli delete photo --where \"path LIKE '%.tmp'\" --dry-run
  +---------+------+
  | feature | rows |
  +---------+------+
  | photo   | 1    |
  +---------+------+
  This was a dry run: nothing was deleted.

A soft delete, the default, keeps the rows' history, and a sample that is written again is live again. --hard takes
rows out of the store's files; it asks before, or needs --yes where nobody can be asked.";

/// Delete rows of features: softly, or for good with --hard
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    features: Selection,

    /// The rows to delete, as the condition of a WHERE; of several, all have to hold. Without one: all rows
    #[arg(short, long = "where", visible_alias = "filter", value_name = "SQL", allow_hyphen_values = true)]
    conditions: Vec<String>,

    /// Take the rows out of the store's files
    #[arg(long)]
    hard: bool,

    /// Mark the rows as deleted, which is the default
    #[arg(long, hide = true, conflicts_with = "hard")]
    soft: bool,

    /// Rows of every version of the feature's definition, not of the current one only
    #[arg(long)]
    with_feature_history: bool,

    /// SQL to run first, for features and views that the command names (repeatable)
    #[arg(long, value_name = "FILE")]
    prepare: Vec<PathBuf>,

    /// Print how many rows it would be, and delete nothing
    #[arg(long)]
    dry_run: bool,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

/// Counts, asks, deletes, and prints the counts.
///
/// # Errors
///
/// An unknown feature, a condition that is not one, a feature of another project, a store that can't be written. The
/// features before the one that fails are done, and printed.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    if !args.features.is_given() {
        return Ok(Outcome::Usage("name the features, or say --all-features".to_owned()));
    }
    let asks = (args.hard || args.conditions.is_empty()) && !args.yes && !args.dry_run;
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if asks && !can_ask {
        let what = if args.hard { "--hard" } else { "a delete without --where" };
        return Ok(Outcome::Usage(format!("{what} needs --yes where nobody can be asked")));
    }
    let session = program.session().await?;
    program.prepare(&args.prepare).await?;
    let store = program.store().await?;
    let scope = WriteOptions::from_session(session.context().copied_config().options())?.scope;
    let features = deletable(&store, &args, &scope).await?;
    let mut deletions = Vec::new();
    for feature in &features {
        deletions.push(Deletion::new(session, &store, feature, &args, &scope).await?);
    }
    // One delete must not change what the condition of the next one finds.
    let fixed = deletions.len() > 1 && sql_text::have_subquery(session, &args.conditions)?;
    // Counted for all before anything is done: a condition that doesn't fit one of them is found out in time.
    let mut counts = Vec::new();
    let bar = program.bar().await?;
    if asks || args.dry_run || deletions.len() > 1 {
        for (deletion, feature) in deletions.iter_mut().zip(&features) {
            let count = match fixed {
                true => Box::pin(deletion.fix(session, feature)).await,
                false => deletion.count(session).await,
            };
            counts.push(count.map_err(|error| sql_text::failure(&args.conditions, error))?);
        }
    }
    drop(bar);
    if asks && !confirm(&features, counts.iter().sum(), args.hard).await? {
        program.notice("Nothing was deleted.");
        return Ok(Outcome::Failed);
    }
    if !args.dry_run {
        counts.clear();
        let bar = program.bar().await?;
        for deletion in &deletions {
            match deletion.carry_out(session).await {
                Ok(count) => counts.push(count),
                Err(error) => {
                    drop(bar);
                    if !counts.is_empty() {
                        print(program, &features, &counts)?;
                    }
                    return Err(sql_text::failure(&args.conditions, error));
                }
            }
        }
    }
    print(program, &features, &counts)?;
    let none = counts.iter().all(|count| *count == 0);
    program.notice(match (args.dry_run, none, args.hard) {
        (true, ..) => "This was a dry run: nothing was deleted.",
        (false, true, _) if args.conditions.is_empty() => "There are no rows: nothing was deleted.",
        (false, true, _) => "No rows met the condition: nothing was deleted.",
        (false, false, true) => "Rows were removed for good.",
        (false, false, false) => "Rows were marked as deleted; a sample that is written again is live again.",
    });
    Ok(Outcome::Done)
}

/// The chosen features, once it is known of all of them that they may be deleted. Of all features, those are meant that
/// this store has rows of.
async fn deletable(
    store: &Arc<Store>,
    args: &Args,
    scope: &WriteScope,
) -> Result<Vec<Arc<FeatureDefinition>>> {
    let mut found = Vec::new();
    for feature in args.features.features(store).await? {
        let table = match args.hard || args.with_feature_history {
            true => store.history_table(&feature).await?,
            false => store.current_table(&feature).await?,
        };
        let has_rows = table.exists() && table.search().and_then(|search| search.fallback()).is_none();
        if has_rows || args.features.is_named() {
            check_deletable(&table, scope)?;
            found.push(feature);
        }
    }
    Ok(found)
}

fn print(program: &Program, features: &[Arc<FeatureDefinition>], counts: &[u64]) -> Result<()> {
    let mut rows = Rows::new(["feature", "rows"]);
    for (feature, count) in features.iter().zip(counts) {
        rows.push([json!(feature.key().to_string()), json!(count)]);
    }
    program.print(&rows)
}

/// Asks at the terminal; anything but a clear yes is a no.
async fn confirm(features: &[Arc<FeatureDefinition>], rows: u64, hard: bool) -> Result<bool> {
    let names: Vec<String> = features.iter().map(|feature| feature.key().to_string()).collect();
    let how = if hard { "for good" } else { "softly" };
    let question = format!("Delete {rows} row(s) of {} {how}? [y/N] ", names.join(", "));
    // On a thread of its own, so that Ctrl-C is heard meanwhile.
    let answered = tokio::task::spawn_blocking(move || ask(&question)).await;
    match answered {
        Ok(Ok(answer)) => Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")),
        Ok(Err(error)) => Err(MetaxyError::Invalid(format!("the terminal can't be used: {error}"))),
        Err(_) => Ok(false),
    }
}

fn ask(question: &str) -> std::io::Result<String> {
    let mut terminal = std::io::stderr();
    write!(terminal, "{question}")?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer)
}

/// The rows of one feature that go.
enum Deletion {
    /// Those of a table that SQL has: table and condition.
    Sql { table: String, condition: Option<String>, hard: bool },
    /// The latest rows of every feature version, softly, which SQL has no table for.
    AllVersions { store: Arc<Store>, feature: String, condition: Expr, scope: WriteScope },
}

impl Deletion {
    async fn new(
        session: &MetaxySession,
        store: &Arc<Store>,
        feature: &Arc<FeatureDefinition>,
        args: &Args,
        scope: &WriteScope,
    ) -> Result<Self> {
        if !args.hard && args.with_feature_history {
            let table = store.history_table(feature).await?;
            let schema = DFSchema::try_from(datafusion::catalog::TableProvider::schema(&table))?;
            let conditions = sql_text::expressions(session, &args.conditions, &schema)?;
            return Ok(Self::AllVersions {
                store: Arc::clone(store),
                feature: feature.key().to_string(),
                condition: conjunction(conditions).unwrap_or_else(|| lit(true)),
                scope: scope.clone(),
            });
        }
        let schema = if args.hard { HISTORY_SCHEMA } else { FEATURES_SCHEMA };
        let table = [store.name(), schema, &feature.key().table_name()].map(sql_text::name).join(".");
        let mut condition = sql_text::conditions(session, &args.conditions)?;
        if args.hard && !args.with_feature_history {
            let version = store.graph().await?.feature_version(feature.key())?;
            let current = format!("{FEATURE_VERSION} = {}", sql_text::string(&version));
            condition = Some(condition.map_or_else(|| current.clone(), |own| format!("{own} AND {current}")));
        }
        Ok(Self::Sql { table, condition, hard: args.hard })
    }

    /// Puts the rows that meet the condition now in the place of the condition, and counts them.
    async fn fix(&mut self, session: &MetaxySession, feature: &FeatureDefinition) -> Result<u64> {
        let Self::Sql { table, condition: Some(condition), .. } = self else {
            return self.count(session).await;
        };
        let stored = session.sql(&format!("SELECT * FROM {table}")).await?;
        let ids: Vec<&str> = feature.spec.id_columns.iter().map(String::as_str).collect();
        let more = ROW_IDENTITY.into_iter().filter(|column| !ids.contains(column));
        let columns: Vec<&str> = ids
            .iter()
            .copied()
            .chain(more)
            .filter(|column| stored.schema().has_column_with_unqualified_name(column))
            .collect();
        let (mut selected, mut same) = (Vec::new(), Vec::new());
        for (i, column) in columns.iter().enumerate() {
            let (key, own) = (sql_text::name(&format!("__metaxy_key{i}")), sql_text::name(column));
            // No id is NULL; a time or a version may be.
            let equal = if ids.contains(column) { "=" } else { "IS NOT DISTINCT FROM" };
            same.push(format!("({key} {equal} {own})"));
            selected.push(format!("{own} AS {key}"));
        }
        let query = format!("SELECT {} FROM {table} WHERE {condition}", selected.join(", "));
        let found = session.sql(&query).await?;
        let planned = Arc::clone(found.schema().inner());
        let rows = found.collect().await?;
        let schema = rows.first().map_or(planned, RecordBatch::schema);
        let count = rows.iter().map(|batch| batch.num_rows() as u64).sum();
        let name = format!("__metaxy_found_{}", Uuid::new_v4().simple());
        session.context().register_table(name.as_str(), Arc::new(MemTable::try_new(schema, vec![rows])?))?;
        *condition = format!("EXISTS (SELECT 1 FROM {} WHERE {})", sql_text::name(&name), same.join(" AND "));
        Ok(count)
    }

    async fn count(&self, session: &MetaxySession) -> Result<u64> {
        match self {
            Self::Sql { table, condition, .. } => {
                let rows = session.sql(&format!("SELECT 1 FROM {table}{}", clause(condition))).await?;
                Ok(rows.count().await? as u64)
            }
            Self::AllVersions { store, feature, condition, .. } => {
                let options = ReadOptions { feature_version: FeatureVersions::All, ..ReadOptions::default() };
                let rows = store.read(session.context(), feature, &options).await?;
                Ok(rows.filter(condition.clone())?.count().await? as u64)
            }
        }
    }

    async fn carry_out(&self, session: &MetaxySession) -> Result<u64> {
        match self {
            Self::Sql { table, condition: None, hard: true } => {
                only_count(session, &format!("TRUNCATE TABLE {table}")).await
            }
            Self::Sql { table, condition, .. } => {
                only_count(session, &format!("DELETE FROM {table}{}", clause(condition))).await
            }
            Self::AllVersions { store, feature, condition, scope } => {
                let options = DeleteOptions {
                    mode: DeleteMode::Soft,
                    feature_versions: FeatureVersions::All,
                    scope: scope.clone(),
                    ..DeleteOptions::default()
                };
                store.delete(session.context(), feature, condition.clone(), &options).await
            }
        }
    }
}

fn clause(condition: &Option<String>) -> String {
    condition.as_ref().map_or_else(String::new, |condition| format!(" WHERE {condition}"))
}

/// The count that a DELETE answers with.
async fn only_count(session: &MetaxySession, sql: &str) -> Result<u64> {
    let answer = Rows::collect(session.sql(sql).await?).await?;
    Ok(answer.first().and_then(serde_json::Value::as_u64).unwrap_or_default())
}

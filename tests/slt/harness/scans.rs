//! What a query's physical plan reads: its leaves, as EXPLAIN shows them.

use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion_metaxy::error::Result;
use datafusion_metaxy::session::MetaxySession;

/// One row per scan: the table, the columns that are read, and the conditions of the query that reach its files.
pub async fn scans(session: &MetaxySession, query: &str) -> Result<Vec<Vec<String>>> {
    Ok(leaves(&session.sql(query).await?.create_physical_plan().await?))
}

fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Vec<Vec<String>> {
    match plan.children() {
        none if none.is_empty() => vec![scan(plan)],
        children => children.into_iter().flat_map(leaves).collect(),
    }
}

fn scan(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let text = displayable(plan.as_ref()).one_line().to_string();
    let part = |start: &str, end: &str| Some(text.split_once(start)?.1.split(end).next()?.to_owned());
    let fields = plan.schema().fields().clone();
    let schema = || fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    let columns = part("projection=[", "]").unwrap_or_else(schema);
    // Whether the version has to be read depends on what the store knows of its files: see `reads.rs`.
    let own = |name: &&str| name.starts_with("__") || *name == "metaxy_feature_version";
    let columns: Vec<&str> = columns.split(", ").filter(|name| !own(name)).collect();
    let conditions = part(" predicate=", ", pruning_predicate=").unwrap_or_default();
    // The feature version is a condition of every read of current rows.
    let ours = |condition: &&str| !condition.is_empty() && !condition.contains("metaxy_feature_version");
    let mut conditions: Vec<String> = conditions.split(" AND ").filter(ours).map(plain).collect();
    conditions.dedup();
    let ending = [".delta/", ".parquet/"].into_iter().find(|ending| text.contains(ending));
    let table = ending.and_then(|ending| part("/main/", ending));
    let table = table.or_else(|| Some(part("PostgresScanExec: table=", ",")?.replace("__", "/")));
    let table = table.unwrap_or_else(|| "memory".to_owned());
    vec![table, columns.join(","), if conditions.is_empty() { "-".into() } else { conditions.join(" AND ") }]
}

/// A condition as all stores could write it: without the place of a column, or SQL's quotes.
fn plain(condition: &str) -> String {
    let condition = condition.replace(" COLLATE \"C\"", "");
    let mut plain = String::new();
    let mut letters = condition.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '@' => while letters.next_if(char::is_ascii_digit).is_some() {},
            '(' | ')' | '"' | '\'' => {}
            other => plain.push(other),
        }
    }
    plain
}

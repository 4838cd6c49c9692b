//! What a query's physical plan reads: the leaves of the plan.

use std::sync::Arc;

use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::{split_conjunction, utils::collect_columns};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::session::MetaxySession;

/// One row per scan: the table, the columns that are read, and the conditions on user columns that reach it.
pub async fn scans(session: &MetaxySession, query: &str) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for statement in session.parse(query)? {
        let plan = session.plan(statement).await?;
        leaves(&session.context().state().create_physical_plan(&plan).await?, &mut rows)?;
    }
    Ok(rows)
}

fn leaves(plan: &Arc<dyn ExecutionPlan>, rows: &mut Vec<Vec<String>>) -> Result<()> {
    for child in plan.children() {
        leaves(child, rows)?;
    }
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        rows.push(scan(source)?);
    } else if plan.children().is_empty() {
        rows.push(vec![plan.name().to_owned(), columns(plan), "-".to_owned()]);
    }
    Ok(())
}

fn scan(source: &DataSourceExec) -> Result<Vec<String>> {
    let plan: Arc<dyn ExecutionPlan> = Arc::new(source.clone());
    if source.data_source().downcast_ref::<MemorySourceConfig>().is_some() {
        return Ok(vec!["memory".to_owned(), columns(&plan), "-".to_owned()]);
    }
    let Some(files) = source.data_source().downcast_ref::<FileScanConfig>() else {
        return Err(MetaxyError::Invalid(format!("a scan of another kind: {plan:?}")));
    };
    let path = files.file_groups.iter().flat_map(|group| group.iter()).map(|file| file.path().to_string()).next();
    let table = path.as_deref().and_then(|path| path.split_once(".delta/")).map_or("no file", |(table, _)| table);
    let table = table.rsplit_once("/main/").map_or(table, |(_, table)| table);
    let filter = files.file_source().filter();
    let conditions: Vec<String> = filter
        .iter()
        .flat_map(|filter| split_conjunction(filter))
        .filter(|condition| !collect_columns(condition).iter().all(|column| column.name().starts_with("metaxy_")))
        .map(ToString::to_string)
        .collect();
    let conditions = if conditions.is_empty() { "-".to_owned() } else { conditions.join(" AND ") };
    Ok(vec![table.to_owned(), columns(&plan), conditions])
}

/// The columns' names without those that only help the scan.
fn columns(plan: &Arc<dyn ExecutionPlan>) -> String {
    let schema = plan.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str()).filter(|name| !name.starts_with("__"));
    names.collect::<Vec<_>>().join(",")
}

//! A session as sqllogictest sees it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::LogicalPlan;
use datafusion_metaxy::config::Environment;
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::session::{MetaxySession, MetaxyStatement};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};

use crate::fixture::Fixture;
use crate::scans::scans;

type Output = DBOutput<DefaultColumnType>;

/// One session of a trial. Beside SQL it takes two statements that only tests have:
///
/// - `REOPEN [folder] [VARIABLE=value …]` goes on in a new session over the same stores, which forgets what was in
///   memory; the features are those in the folder, `features` if none is named;
/// - `SCANS query` shows what the query's plan reads, one row per scan.
///
/// `store_hash(…)` stands for `metaxy_hash` with the settings of the default store, which differ between trials.
pub struct Database {
    fixture: Arc<Fixture>,
    session: MetaxySession,
}

impl Database {
    pub async fn open(fixture: Arc<Fixture>) -> Result<Self> {
        let session = fixture.session("features", &Environment::default()).await?;
        Ok(Self { fixture, session })
    }

    async fn execute(&self, statement: MetaxyStatement) -> Result<Output> {
        let frame = self.session.execute(statement).await?;
        let writes = matches!(frame.logical_plan(), LogicalPlan::Dml(_));
        let types = types(frame.schema().as_arrow());
        let rows = rows(&frame.collect().await?)?;
        if writes || types.is_empty() {
            let count = rows.first().and_then(|row| row.first()?.parse().ok());
            return Ok(Output::StatementComplete(count.unwrap_or_default()));
        }
        Ok(Output::Rows { types, rows })
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = MetaxyError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<Output> {
        let sql = &sql.replace("store_hash(", &format!("metaxy_hash('{}', 8, ", self.fixture.hash()));
        if let Some(words) = sql.strip_prefix("REOPEN") {
            let env: Environment = words.split_whitespace().filter_map(|word| word.split_once('=')).collect();
            let features = words.split_whitespace().find(|word| !word.contains('=')).unwrap_or("features");
            self.session = self.fixture.session(features, &env).await?;
            return Ok(Output::StatementComplete(0));
        }
        if let Some(query) = sql.strip_prefix("SCANS ") {
            let rows = scans(&self.session, query).await?;
            return Ok(Output::Rows { types: vec![DefaultColumnType::Text; 3], rows });
        }
        let mut output = Output::StatementComplete(0);
        for statement in self.session.parse(sql)? {
            output = self.execute(statement).await?;
        }
        Ok(output)
    }

    async fn shutdown(&mut self) {}
}

fn types(schema: &Schema) -> Vec<DefaultColumnType> {
    let kind = |data_type: &DataType| match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DefaultColumnType::FloatingPoint,
        number if number.is_integer() => DefaultColumnType::Integer,
        _ => DefaultColumnType::Text,
    };
    schema.fields().iter().map(|field| kind(field.data_type())).collect()
}

/// Rows as text: NULL is `NULL`, the empty string `(empty)`.
fn rows(batches: &[RecordBatch]) -> DataFusionResult<Vec<Vec<String>>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let cell = |text: String| if text.is_empty() { "(empty)".to_owned() } else { text };
        let row = |row| columns.iter().map(|column| cell(column.value(row).to_string())).collect();
        rows.extend((0..batch.num_rows()).map(row));
    }
    Ok(rows)
}

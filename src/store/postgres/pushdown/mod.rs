//! A whole increment as one statement of PostgreSQL, so that nothing but the answer leaves the database.
//!
//! The statement is put together from the description of the increment and the plans of its inputs, from the inside
//! out: the latest live rows of each table ([`rows`]), what the plan above a scan makes of them ([`input`]), groups and
//! joins ([`expected`]), hashes ([`versions`]), the stored side ([`stored`]), and the comparison ([`statement`]).
//! What has changed since an earlier increment is a statement of the same kind over fewer rows ([`changes`],
//! [`going_on`]).
//!
//! We write the SQL ourselves, without `datafusion-federation`: its unparser works on plans of standard nodes, and an
//! increment isn't one. Spelled out in such nodes, it reads the parents once for each branch of the answer, becomes a
//! query for each scan that has our own functions above it, and knows neither members of JSONB nor ordered aggregates with
//! a collation. From the description of an increment the statement is one, with each table in it once.
//!
//! Conditions and expressions are translated where their SQL means exactly what they mean to DataFusion ([`expr`]);
//! anything else is a reason for not computing in the database, which EXPLAIN shows.

mod changes;
mod exec;
mod expected;
mod expr;
mod function;
mod going_on;
mod input;
mod literal;
mod rows;
mod sql;
mod statement;
mod stored;
mod versions;

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::ExecutionPlan;

use super::database::Database;
use super::names::identifier;
use super::table::PostgresTable;
use super::types::PostgresType;
use crate::columns::ROW_ORDER;
use crate::store::pushed::{Asked, PushDown};
use changes::Changes;
use exec::PostgresExec;
use input::Find;
use rows::{Source, SourceColumn};

/// What can't be put into SQL, in words that EXPLAIN shows.
type Sql<T> = Result<T, String>;

/// The plan that computes an increment in `database`, or why it can't be computed there. `auto_create`: tables of ours may
/// be created.
pub(super) fn push_down(database: &Arc<Database>, auto_create: bool, asked: &Asked<'_>) -> PushDown {
    let find = Find { relation: &|provider| relation(database, provider), changed: None };
    match statement::statement(asked, find, database.is_utf8()) {
        Ok(statement) => {
            // Where an increment can't go on from an earlier one, everything is compared.
            let changes =
                Changes::try_new(asked, find, database.is_utf8(), database.shown(), auto_create).ok();
            let schema = SchemaRef::clone(asked.schema);
            let plan = PostgresExec::new(Arc::clone(database), statement, changes.map(Arc::new), schema);
            PushDown::Plan(Arc::new(plan) as Arc<dyn ExecutionPlan>)
        }
        Err(reason) => PushDown::Unable(reason),
    }
}

/// The table of the database that a provider reads.
fn relation(database: &Arc<Database>, provider: &Arc<dyn TableProvider>) -> Sql<Source> {
    let Some(table) = provider.downcast_ref::<PostgresTable>() else {
        return Err("one of its tables is not in PostgreSQL".to_owned());
    };
    let relation = table.relation();
    if !Arc::ptr_eq(&relation.database, database) {
        return Err(format!("table {} is in another database", relation.table));
    }
    if !relation.is_utf8() {
        return Err(format!(
            "the encoding of the database is {}, in which text may compare in another way than in UTF8",
            relation.encoding
        ));
    }
    let columns = relation.columns.iter().map(|column| SourceColumn {
        name: column.name.clone(),
        quoted: identifier(&column.name),
        data_type: column.data_type.clone(),
        stored_as: match column.postgres {
            PostgresType::Bool => "boolean",
            PostgresType::Int2 => "smallint",
            PostgresType::Int4 => "integer",
            PostgresType::Int8 => "bigint",
            PostgresType::Float4 => "real",
            PostgresType::Float8 => "double precision",
            PostgresType::Text => "text",
            PostgresType::Bytea => "bytea",
            PostgresType::Date => "date",
            PostgresType::Timestamp => "timestamp",
            PostgresType::TimestampTz => "timestamptz",
            PostgresType::Jsonb => "jsonb",
            _ => "",
        },
    });
    Ok(Source {
        name: relation.qualified(),
        order: relation.selected(ROW_ORDER),
        plain: relation.is_plain,
        rows: relation.rows,
        comparisons: relation.comparisons.clone(),
        columns: columns.collect(),
    })
}

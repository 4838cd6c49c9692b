//! An input of an increment: what a plan makes of the rows of one table.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::Sql;
use super::expr::translate;
use super::rows::{Rows, Source, Unread};
use super::sql::Typed;
use crate::store::FeatureTable;
use crate::update::plain;

/// Finds the table of the database that a provider reads.
pub(super) type Find<'a> = &'a dyn Fn(&Arc<dyn TableProvider>) -> Sql<Source>;

/// A plan of scan, projections and filters, laid flat: everything is said of the scan's own columns.
struct Flat {
    provider: Arc<dyn TableProvider>,
    outputs: HashMap<String, Expr>,
    conditions: Vec<Expr>,
}

/// One input.
pub(super) struct Input<'a> {
    rows: Rows<'a>,
    outputs: &'a HashMap<String, Expr>,
    conditions: Vec<String>,
}

/// What an [`Input`] is made from.
pub(super) struct Laid(Flat);

impl Laid {
    pub(super) fn new(plan: &LogicalPlan) -> Sql<Self> {
        flat(plan).map(Self)
    }

    pub(super) fn input(&self, find: Find<'_>) -> Sql<Input<'_>> {
        let Some(table) = self.0.provider.downcast_ref::<FeatureTable>() else { return Err(session()) };
        let stored = table.stored().ok_or_else(|| format!("{} has no table", table.definition().spec.key))?;
        let rows = Rows::new(table, find(&stored.provider)?);
        let conditions = self.0.conditions.iter();
        let conditions = conditions.map(|c| Ok(translate(c, &rows)?.sql)).collect::<Sql<_>>()?;
        Ok(Input { rows, outputs: &self.0.outputs, conditions })
    }
}

impl Input<'_> {
    fn output(&self, name: &str) -> Sql<&Expr> {
        self.outputs.get(name).ok_or_else(|| format!("no input has the column {name:?}"))
    }

    /// A column of the input over the rows that count.
    pub(super) fn column(&self, name: &str) -> Sql<Typed> {
        translate(self.output(name)?, &self.rows)
    }

    /// Two expressions for a column of these values that tell them apart: one that is never NULL, and whether the column
    /// is. Of an id they are what the rows are sorted by.
    pub(super) fn parts(&self, name: &str, column: &Typed) -> Sql<Option<(String, String)>> {
        if let Expr::Column(id) = unaliased(self.output(name)?.clone())
            && let Some(parts) = self.rows.id(&id.name)
        {
            return Ok(Some(parts));
        }
        let placeholder = column.family().placeholder();
        let sql = &column.sql;
        Ok(placeholder.map(|any| (format!("coalesce({sql}, {any})"), format!("({sql} IS NULL)"))))
    }

    /// A column of the input over all rows of its table.
    pub(super) fn unread(&self, name: &str) -> Sql<Typed> {
        translate(self.output(name)?, &Unread(&self.rows))
    }

    /// Where a row is: see [`Rows::place`].
    pub(super) fn place(&self) -> Option<String> {
        self.rows.place()
    }

    /// What is in the row of a place: see [`Rows::found`].
    pub(super) fn found(&self, columns: &[(String, String)], place: &str) -> String {
        self.rows.found(columns, place)
    }

    /// The name under which something made of [`unread`](Self::unread) columns is read.
    pub(super) fn read(&self, sql: &str) -> String {
        self.rows.read(sql)
    }

    /// The expressions, each with a name, over the input's rows.
    pub(super) fn select(&self, columns: &[(String, String)]) -> Sql<String> {
        self.rows.select(columns, &self.conditions)
    }
}

fn session() -> String {
    "samples come from the session".to_owned()
}

fn flat(plan: &LogicalPlan) -> Sql<Flat> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            let provider = source_as_provider(&scan.source).map_err(|_| session())?;
            let names = scan.projected_schema.fields().iter().map(|field| field.name());
            let outputs = names.map(|name| (name.clone(), plain(name))).collect();
            Ok(Flat { provider, outputs, conditions: scan.filters.clone() })
        }
        LogicalPlan::Projection(projection) => {
            let mut inner = flat(&projection.input)?;
            let named = projection.expr.iter().zip(projection.schema.fields());
            let outputs = named.map(|(expr, field)| Ok((field.name().clone(), inner.over(expr)?)));
            inner.outputs = outputs.collect::<Sql<_>>()?;
            Ok(inner)
        }
        LogicalPlan::Filter(filter) => {
            let mut inner = flat(&filter.input)?;
            inner.conditions.push(inner.over(&filter.predicate)?);
            Ok(inner)
        }
        LogicalPlan::SubqueryAlias(alias) => flat(&alias.input),
        LogicalPlan::EmptyRelation(_) => Err("nothing is read of one of its tables".to_owned()),
        _ => Err(session()),
    }
}

impl Flat {
    /// An expression over the plan, said of the scan's columns.
    fn over(&self, expr: &Expr) -> Sql<Expr> {
        let replaced = expr.clone().transform_up(|node| {
            Ok(match &node {
                Expr::Column(column) => match self.outputs.get(&column.name) {
                    Some(output) => Transformed::yes(unaliased(output.clone())),
                    None => Transformed::no(node),
                },
                _ => Transformed::no(node),
            })
        });
        replaced.map(|replaced| replaced.data).map_err(|error| error.to_string())
    }
}

fn unaliased(expr: Expr) -> Expr {
    match expr {
        Expr::Alias(alias) => unaliased(*alias.expr),
        other => other,
    }
}

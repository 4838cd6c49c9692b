//! An input of an increment: what a plan makes of the rows of one table.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::Sql;
use super::expr::translate;
use super::rows::{Rows, Source, Unread};
use super::sql::{Family, Typed};
use crate::store::FeatureTable;
use crate::types::cast_never_fails;
use crate::update::plain;

/// What inputs are read from.
#[derive(Clone, Copy)]
pub(super) struct Find<'a> {
    /// Finds the table of the database that a provider reads.
    pub relation: &'a dyn Fn(&Arc<dyn TableProvider>) -> Sql<Source>,
    /// If only some rows are read, which.
    pub changed: Option<Changed<'a>>,
}

/// The rows whose comparison key is one of those that have changed.
#[derive(Clone, Copy)]
pub(super) struct Changed<'a> {
    /// The key's columns.
    pub keys: &'a [String],
    /// An array with the values of the only column, none of which is NULL. Without one they are in a table [`CHANGED`].
    pub array: Option<&'a str>,
}

/// The table of the keys that are looked at: of each key `h` and its number, which has any value in place of NULL, and `m`,
/// whether it is NULL.
pub(super) const CHANGED: &str = "changed";

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
        let mut rows = Rows::new(table, (find.relation)(&stored.provider)?);
        if let Some(Changed { keys, array: Some(array) }) = find.changed {
            let own = own_keys(&rows, &self.0.outputs, keys)?;
            let [OwnKey { value, missing, .. }] = own.as_slice() else {
                return Err("a key of one column".into());
            };
            rows = rows.only(format!("({value} = ANY ({array}) AND NOT {missing})"));
        } else if let Some(Changed { keys, array: None }) = find.changed {
            let own = own_keys(&rows, &self.0.outputs, keys)?;
            let (own, names): (Vec<String>, Vec<String>) = own.iter().enumerate().map(OwnKey::named).unzip();
            rows = rows.only(format!("({}) IN (SELECT {} FROM {CHANGED})", own.join(", "), names.join(", ")));
        }
        let conditions = self.0.conditions.iter();
        let conditions = conditions.map(|c| Ok(translate(c, &rows)?.sql)).collect::<Sql<_>>()?;
        Ok(Input { rows, outputs: &self.0.outputs, conditions })
    }
}

/// A comparison key over the columns of a table.
pub(super) struct OwnKey {
    /// The key, with any value in place of NULL.
    pub value: String,
    /// Whether it is NULL.
    pub missing: String,
    pub family: Family,
    /// The type of both executors for the key.
    pub data_type: DataType,
}

impl OwnKey {
    /// The two parts of the key, and their names in [`CHANGED`].
    pub(super) fn named((number, key): (usize, &Self)) -> (String, String) {
        (format!("{}, {}", key.value, key.missing), format!("h{number}, m{number}"))
    }
}

/// The keys, if each is an id of the table or a cast of one that has a value for every value: then all rows of a sample
/// have the same, whether they count or not.
fn own_keys(rows: &Rows<'_>, outputs: &HashMap<String, Expr>, keys: &[String]) -> Sql<Vec<OwnKey>> {
    let (feature, ids) = (rows.table(), &rows.table().definition().spec.id_columns);
    if feature.search().is_some() {
        return Err(format!("{} is looked for in several stores", feature.definition().spec.key));
    }
    let own = |key: &String| {
        let expr = outputs.get(key).ok_or_else(|| format!("no input has the column {key:?}"))?;
        let id = id_below(expr, rows).filter(|(name, _)| ids.contains(name));
        id.ok_or_else(|| format!("{key:?} is no id of {}", feature.definition().spec.key))?;
        let Typed { sql, data_type } = translate(expr, &Unread(rows))?;
        let family = Family::of(&data_type);
        // A time that can't be read is an error wherever it is, and only that of a row that counts may be one.
        let is_time = matches!(family, Family::Instant | Family::Time | Family::Day);
        let any = family.placeholder().filter(|_| !is_time);
        let any = any.ok_or_else(|| format!("{key:?} is of type {data_type}"))?;
        Ok(OwnKey {
            value: format!("coalesce({sql}, {any})"),
            missing: format!("({sql} IS NULL)"),
            family,
            data_type,
        })
    };
    keys.iter().map(own).collect()
}

/// The column below casts that never fail, and the type that they make of it.
fn id_below(expr: &Expr, rows: &Rows<'_>) -> Option<(String, DataType)> {
    match expr {
        Expr::Alias(alias) => id_below(&alias.expr, rows),
        Expr::Cast(cast) => {
            let (name, from) = id_below(&cast.expr, rows)?;
            let to = cast.field.data_type();
            cast_never_fails(&from, to).then(|| (name, to.clone()))
        }
        Expr::Column(column) => Some((column.name.clone(), rows.source().column(&column.name)?.data_type)),
        _ => None,
    }
}

impl Input<'_> {
    /// The keys over the columns of the table; see [`own_keys`].
    pub(super) fn own_keys(&self, keys: &[String]) -> Sql<Vec<OwnKey>> {
        own_keys(&self.rows, self.outputs, keys)
    }

    /// The table of the database.
    pub(super) fn source(&self) -> &Source {
        self.rows.source()
    }

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

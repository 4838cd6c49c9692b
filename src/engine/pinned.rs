//! The tables of an increment held at one moment each, and the question that the increment asks of them.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::functions::core::{coalesce, get_field, named_struct};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, TableScan, cast,
};

use super::chosen::can_be_chosen;
use super::ranges::Ranges;
use crate::records::{KEYS, Moment, Record};
use crate::store::{DeltaRows, FeatureTable};
use crate::update::Increment;

/// What is asked is written down in this form; another one means that older records answer nothing.
const FORM: u32 = 1;

/// Of changed samples and those of an earlier answer, one in so many of all rows are worth being looked up.
const ONE_IN: u64 = 8;

/// An increment whose answer for a sample depends on the rows with its key alone, over tables that say what was written
/// to them since a moment.
pub(super) struct Pinned {
    /// The increment over the tables as they were when they were pinned.
    pub increment: Increment,
    /// All that its answer depends on but the rows.
    pub question: String,
    tables: Vec<Table>,
}

/// A table that is read.
struct Table {
    rows: DeltaRows,
    /// The same for one who looks at each row himself.
    rough: Arc<dyn TableProvider>,
    moment: Moment,
    /// The comparison key of a row, over the columns of the table.
    keys: Vec<Expr>,
}

/// What has to be looked at, as a record has it.
pub(super) enum Since {
    /// Everything, for this reason.
    Everything(String),
    /// The keys of the record, and those of rows that were written since: these plans have them.
    Changes { rows: Vec<LogicalPlan>, files: usize },
}

impl Pinned {
    /// Holds the tables, if the increment is of that kind and they have at least so many rows, as far as their logs say.
    pub(super) async fn try_new(increment: &Increment, session: &str, least: u64) -> Result<Option<Self>> {
        let description = &increment.description;
        let Some(sides) = description.current.as_ref().map(|_| description.expected.len() + 1) else {
            return Ok(None);
        };
        if increment.inputs.len() < sides {
            return Ok(None);
        }
        let mut question = format!("{FORM} {} {session:?}\n{description:?}\n", env!("CARGO_PKG_VERSION"));
        let mut opened = Vec::new();
        for input in increment.inputs.iter().take(sides) {
            let Some(scan) = only_scan(input) else { return Ok(None) };
            let provider = source_as_provider(&scan.source)?;
            let Some(feature) = provider.downcast_ref::<FeatureTable>() else { return Ok(None) };
            let Some(stored) = feature.stored().filter(|_| feature.search().is_none()) else {
                return Ok(None);
            };
            let Some(rows) = stored.provider.downcast_ref::<DeltaRows>() else { return Ok(None) };
            let ids = &feature.definition().spec.id_columns;
            let keys = description.keys.iter().map(|key| key_of(input, key, ids)).collect::<Option<Vec<_>>>();
            let Some(keys) = keys.filter(|_| can_be_chosen(input, &description.keys)) else {
                return Ok(None);
            };
            if !describe(input, feature, rows, &mut question)? {
                return Ok(None);
            }
            opened.push((feature.clone(), rows.clone(), keys));
        }
        if least > 0 && all_rows(opened.iter().map(|(_, rows, _)| rows)).is_none_or(|rows| rows < least) {
            return Ok(None);
        }
        let mut pinned = increment.clone();
        let mut tables = Vec::new();
        for (input, (feature, rows, keys)) in pinned.inputs.iter_mut().zip(opened) {
            let Some((rows, moment)) = rows.at_a_moment().await? else { return Ok(None) };
            let rough = Arc::new(feature.clone().with_rows(Arc::new(rows.clone().rough())));
            let held = Arc::new(feature.with_rows(Arc::new(rows.clone())));
            *input = over(input, &(held as Arc<dyn TableProvider>))?;
            tables.push(Table { rows, rough, moment, keys });
        }
        Ok(Some(Self { increment: pinned, question, tables }))
    }

    /// How many rows there are, as far as the tables' logs say.
    pub(super) fn rows(&self) -> Option<u64> {
        all_rows(self.tables.iter().map(|table| &table.rows))
    }

    /// Ranges of keys with about so many rows, if there are several that can be compared one after another.
    ///
    /// # Errors
    /// A column that an input lacks.
    pub(super) async fn ranges(&self, rows: u64) -> Result<Option<Ranges>> {
        let Some(key) = self.increment.description.keys.first() else { return Ok(None) };
        if self.rows().is_none_or(|all| all < rows.saturating_mul(2)) {
            return Ok(None);
        }
        let mut tables = Vec::new();
        for (table, input) in self.tables.iter().zip(&self.increment.inputs) {
            // A text has another order than the number that it is cast from.
            let shown = input.schema().field_with_unqualified_name(key)?.data_type();
            let Some(column) = table.keys.first().and_then(|key| in_order_of(key, shown.is_string())) else {
                return Ok(None);
            };
            let stored = table.rows.schema().field_with_name(column)?.data_type().clone();
            if !(shown.is_string() && stored.is_string() || shown.is_integer() && stored.is_integer()) {
                return Ok(None);
            }
            // The rows of a few keys are few: a plan for each range would take longer.
            if chooses_by(input, &[key, column])? {
                return Ok(None);
            }
            // A file that can't be read is for the scan to tell, if it gets to be read.
            let Ok(Some(groups)) = table.rows.groups(column).await else { return Ok(None) };
            tables.push(groups);
        }
        Ok(Ranges::of(key, &tables, rows))
    }

    /// The increment of the rows that are in a range.
    pub(super) fn of_range(&self, ranges: &Ranges, range: usize) -> Result<Increment> {
        let mut part = self.increment.clone();
        for (input, table) in part.inputs.iter_mut().zip(&self.tables) {
            *input = ranges.rows(over(input, &table.rough)?, range)?;
        }
        Ok(part)
    }

    /// What an answer with these keys says of the tables.
    pub(super) fn record(&self) -> impl Fn(RecordBatch) -> Record + Send + Sync + 'static {
        let moments: Vec<Moment> = self.tables.iter().map(|table| table.moment.clone()).collect();
        let question = self.question.clone();
        move |keys| Record { question: question.clone(), moments: moments.clone(), keys }
    }

    /// What has to be looked at if this record is true. `keys` has the columns of the key in their common type. With
    /// `gain`, everything is unless less would save time.
    pub(super) async fn since(&self, record: &Record, keys: &SchemaRef, gain: bool) -> Result<Since> {
        let everything = |reason: &str| Ok(Since::Everything(reason.to_owned()));
        if record.moments.len() != self.tables.len() || record.keys.schema().fields() != keys.fields() {
            return everything("the earlier comparison was another one");
        }
        let mut written = record.keys.num_rows() as u64;
        let (mut plans, mut count) = (Vec::new(), 0);
        for (table, then) in self.tables.iter().zip(&record.moments) {
            let files = match table.rows.added_since(then, &table.moment).await {
                Ok(files) => files,
                Err(reason) => return Ok(Since::Everything(reason)),
            };
            if files.is_empty() {
                continue;
            }
            let Some(rows) = table.rows.rows_in(Some(&files)) else {
                return everything("files have no statistics");
            };
            written += rows;
            count += files.len();
            let rows = Arc::new(table.rows.clone().of_files(files));
            let named = table.keys.iter().zip(keys.fields());
            let exprs: Vec<Expr> = named.map(|(key, field)| key.clone().alias(field.name())).collect();
            plans.push(
                LogicalPlanBuilder::scan("written", provider_as_source(rows), None)?
                    .project(exprs)?
                    .build()?,
            );
        }
        if written > KEYS as u64 {
            return everything("much has changed");
        }
        if gain && self.rows().is_none_or(|all| written > all / ONE_IN) {
            return everything("much has changed");
        }
        Ok(Since::Changes { rows: plans, files: count })
    }
}

/// How many rows tables have, as far as their logs say.
fn all_rows<'a>(tables: impl Iterator<Item = &'a DeltaRows>) -> Option<u64> {
    tables.map(|rows| rows.rows_in(None)).sum()
}

/// The scan below projections and filters.
fn only_scan(plan: &LogicalPlan) -> Option<&TableScan> {
    match plan {
        LogicalPlan::Projection(projection) => only_scan(&projection.input),
        LogicalPlan::Filter(filter) => only_scan(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => only_scan(&alias.input),
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => Some(scan),
        _ => None,
    }
}

/// The plan over another table in the same place.
fn over(plan: &LogicalPlan, table: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    let replaced = plan.clone().transform_up(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            scan.source = provider_as_source(Arc::clone(table));
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        node => Ok(Transformed::no(node)),
    });
    Ok(replaced?.data)
}

/// A key over the columns of the table, if it is one of the ids or a cast of one: then all rows of a sample have the
/// same, and none of them can leave its key.
fn key_of(plan: &LogicalPlan, name: &str, ids: &[String]) -> Option<Expr> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let index = projection.schema.fields().iter().position(|field| field.name() == name)?;
            let (column, casts) = column_of(projection.expr.get(index)?)?;
            let key = key_of(&projection.input, column, ids)?;
            Some(casts.into_iter().rev().fold(key, cast))
        }
        LogicalPlan::Filter(filter) => key_of(&filter.input, name, ids),
        LogicalPlan::SubqueryAlias(alias) => key_of(&alias.input, name, ids),
        LogicalPlan::TableScan(_) => {
            let is_id = ids.iter().any(|id| id == name);
            is_id.then(|| Expr::Column(Column::new_unqualified(name)))
        }
        _ => None,
    }
}

/// Whether a condition leaves an input with the rows of a few values of one of these columns.
fn chooses_by(input: &LogicalPlan, columns: &[&str]) -> Result<bool> {
    let is_own = |expr: &Expr| column_of(expr).is_some_and(|(name, _)| columns.contains(&name));
    let chooses = |condition: &Expr| match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            is_own(left) && right.column_refs().is_empty() || is_own(right) && left.column_refs().is_empty()
        }
        Expr::InList(list) => !list.negated && is_own(&list.expr),
        _ => false,
    };
    input.exists(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(false) };
        Ok(split_conjunction(&filter.predicate).into_iter().any(chooses))
    })
}

/// The column below casts that keep the order of its values.
fn in_order_of(key: &Expr, text: bool) -> Option<&str> {
    match key {
        Expr::Column(column) => Some(&column.name),
        Expr::Cast(cast) => {
            let to = cast.field.data_type();
            let keeps = if text { to.is_string() } else { to.is_integer() };
            if keeps { in_order_of(&cast.expr, text) } else { None }
        }
        _ => None,
    }
}

/// The column below aliases and casts, and the types of these from the outside in.
fn column_of(expr: &Expr) -> Option<(&str, Vec<DataType>)> {
    match expr {
        Expr::Alias(alias) => column_of(&alias.expr),
        Expr::Cast(cast) => {
            let (column, mut casts) = column_of(&cast.expr)?;
            casts.insert(0, cast.field.data_type().clone());
            Some((column, casts))
        }
        Expr::Column(column) => Some((&column.name, Vec::new())),
        _ => None,
    }
}

/// Writes down all that an input makes of its table's rows; `false` if something could make another thing of the same
/// row another time.
fn describe(
    plan: &LogicalPlan,
    feature: &FeatureTable,
    rows: &DeltaRows,
    question: &mut String,
) -> Result<bool> {
    let mut pure = true;
    plan.apply(|node| {
        let columns = match node {
            LogicalPlan::TableScan(scan) => scan.projection.as_ref(),
            _ => None,
        };
        let _ = writeln!(question, "{columns:?} {:?}", node.schema().as_arrow());
        for expr in node.expressions() {
            pure &= is_pure(&expr);
            let (expr, literals) = without_literals(expr)?;
            let _ = writeln!(question, "{expr:?} {literals:?}");
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let ids = &feature.definition().spec.id_columns;
    let (view, versions) = (feature.view(), feature.version_keys());
    let _ = writeln!(question, "{:?} {view:?} {ids:?} {versions:?}", rows.address());
    Ok(pure)
}

/// The type of each value, and its text unless it is NULL.
type Values = Vec<(DataType, Option<String>)>;

/// An expression and the values that it had, as type and text: printed as a part of it, different texts can look the same.
fn without_literals(expr: Expr) -> Result<(Expr, Values)> {
    let mut literals = Values::new();
    let rest = expr.transform_up(|node| match node {
        Expr::Literal(value, _) => {
            literals.push((value.data_type(), (!value.is_null()).then(|| value.to_string())));
            Ok(Transformed::yes(Expr::Literal(ScalarValue::Null, None)))
        }
        node => Ok(Transformed::no(node)),
    });
    Ok((rest?.data, literals))
}

/// Whether an expression says the same of the same row at any time and in any session.
fn is_pure(expr: &Expr) -> bool {
    let is_known = |node: &Expr| match node {
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_) => true,
        // The text of a nested value says too little of it.
        Expr::Literal(value, _) => !value.data_type().is_nested(),
        // Their meaning is not the session's.
        Expr::ScalarFunction(function) => {
            [coalesce(), get_field(), named_struct()].iter().any(|known| **known == *function.func)
        }
        _ => false,
    };
    !expr.exists(|node| Ok(!is_known(node))).unwrap_or(true)
}

//! The expected side: the inputs in groups, joined on the keys.

use super::input::{Find, Input, Laid};
use super::sql::{Family, Typed};
use super::{Sql, versions};
use crate::update::internal::{DATA_VERSION, DATA_VERSIONS};
use crate::update::{Aggregation, Description, FieldSource};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::LogicalPlan;

/// What is needed of the expected side.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    /// User columns, by their number among all of the increment's.
    pub user: Vec<usize>,
    /// The texts that versions are hashed from.
    pub versions: bool,
    /// The sample's provenance, as `p`.
    pub provenance: bool,
    /// The data versions that samples bring, by field and of the sample.
    pub given: (bool, bool),
    /// Whether the database keeps its text in UTF-8.
    pub utf8: bool,
    /// Whether few of the rows may be left in the end, so that the others need not be read whole.
    pub few: bool,
}

/// The expected side as a SELECT.
pub(super) struct Expected {
    pub sql: String,
    /// The types of the keys, which are called `k0`, `k1`, …. Beside each there is `h`, which has any value in place of
    /// NULL, and `m`, whether it is NULL.
    pub keys: Vec<DataType>,
    /// The types of the user columns that are needed, which are called `u` and their number.
    pub user: Vec<(usize, DataType)>,
    /// What reads the user columns and the texts of versions, if the sides' rows don't have them: a SELECT for one row
    /// `e`.
    pub late: Option<String>,
}

/// The name of a version column: that of one input, by its place there.
pub(super) fn version_name(description: &Description, input: usize, column: &str) -> Sql<String> {
    let names = version_columns(description, input);
    let at = names.iter().position(|name| *name == column).ok_or_else(|| format!("no version {column:?}"))?;
    Ok(format!("v{input}_{at}"))
}

/// The columns that versions are read from.
fn version_columns(description: &Description, input: usize) -> Vec<&str> {
    let given = description.fields.iter().filter_map(|field| match &field.source {
        FieldSource::Given(column) if input == 0 => Some(column.as_str()),
        _ => None,
    });
    description.expected[input].versions.iter().map(String::as_str).chain(given).collect()
}

/// All expected rows: keys, what is needed, and `q`, whether they pass the caller's filters, if there are any.
pub(super) fn expected(
    plans: &[LogicalPlan],
    description: &Description,
    needs: &Needs,
    find: Find<'_>,
) -> Sql<Expected> {
    let mut joined: Option<Side> = None;
    let all_optional = description.expected.iter().all(|input| input.optional);
    let alone = matches!(description.expected.as_slice(), [only] if only.aggregation.is_none());
    for (number, plan) in plans.iter().enumerate() {
        let laid = Laid::new(plan)?;
        let input = laid.input(find)?;
        let side = side(number, &input, description, needs, alone)?;
        joined = Some(match joined {
            None => side,
            Some(left) => {
                let kind = match (all_optional, description.expected[number].optional) {
                    (true, _) => "FULL",
                    (false, true) => "LEFT",
                    (false, false) => "INNER",
                };
                join(left, side, description.keys.len(), kind)
            }
        });
    }
    let Some(Side { mut sql, keys, user, mut columns, late }) = joined else {
        return Err("nothing is expected".to_owned());
    };
    if !alone && (needs.provenance || description.is_filtered()) {
        let version = |input: usize, column: &str| version_name(description, input, column);
        let mut select = columns.clone();
        if needs.provenance {
            let fields = versions::fields(description, version, needs.utf8)?;
            select.push(format!("{} AS p", versions::sample(description, &fields, needs.utf8)?));
        }
        // An optional parent that is missing has not failed its filter.
        let passes = columns.iter().filter(|name| name.starts_with('q'));
        let passes: Vec<String> = passes.map(|name| format!("coalesce({name}, true)")).collect();
        if !passes.is_empty() {
            select.push(format!("({}) AS q", passes.join(" AND ")));
        }
        sql = format!("SELECT {} FROM ({sql}) j", select.join(", "));
        columns.push("p".to_owned());
    } else if description.is_filtered() {
        sql = format!("SELECT *, q0 AS q FROM ({sql}) j");
    }
    Ok(Expected { sql, keys, user, late })
}

/// One or more inputs, joined so far.
struct Side {
    sql: String,
    keys: Vec<DataType>,
    user: Vec<(usize, DataType)>,
    columns: Vec<String>,
    late: Option<String>,
}

fn side(
    number: usize,
    input: &Input<'_>,
    description: &Description,
    needs: &Needs,
    alone: bool,
) -> Sql<Side> {
    let own = &description.expected[number];
    let mut select: Vec<(String, String)> = Vec::new();
    let mut keys = Vec::new();
    for (i, key) in description.keys.iter().enumerate() {
        keys.push(select_key(input, key, i, &mut select)?);
    }
    // Wide columns are slow to sort, so they are read of the rows that are left.
    let place =
        (alone && needs.few && (needs.versions || !needs.user.is_empty())).then(|| input.place()).flatten();
    let mut late: Vec<(String, String)> = Vec::new();
    let mut user = Vec::new();
    for (n, (_, name)) in description.user_columns().enumerate().filter(|(_, (of, _))| *of == number) {
        if needs.user.contains(&n) {
            let column = if place.is_some() { input.unread(name)? } else { input.column(name)? };
            let to = if place.is_some() { &mut late } else { &mut select };
            to.push((column.sql, format!("u{n}")));
            user.push((n, column.data_type));
        }
    }
    if let Some(pass) = &own.pass {
        select.push((truth(input.column(pass)?)?, format!("q{number}")));
    }
    let hashed = needs.versions || needs.provenance;
    // A lone input is hashed as it is read, before it is sorted: that is what several processes can share.
    let early = alone && needs.provenance;
    if early {
        let version = |_: usize, column: &str| text(input.unread(column)?);
        let fields = versions::fields(description, version, needs.utf8)?;
        select.push((input.read(&versions::sample(description, &fields, needs.utf8)?), "p".to_owned()));
    }
    let aggregation = own.aggregation.as_ref().filter(|_| hashed);
    if hashed && (!early || needs.versions) {
        for column in version_columns(description, number) {
            let name = version_name(description, number, column)?;
            match place {
                Some(_) => late.push((text(input.unread(column)?)?, name)),
                None => select.push((text(input.column(column)?)?, name)),
            }
        }
    }
    for (wanted, column, name) in [(needs.given.0, DATA_VERSIONS, "dv"), (needs.given.1, DATA_VERSION, "dw")]
    {
        if wanted && description.overridden {
            select.push((input.column(column)?.sql, name.to_owned()));
        }
    }
    if let Some(place) = &place {
        select.push((place.clone(), "o".to_owned()));
    }
    let columns = select.iter().map(|(_, name)| name.clone()).collect();
    let late = place.map(|_| input.found(&late, "e.o"));
    let sql = match aggregation {
        Some(aggregation) => grouped(number, input, description, aggregation, (select, needs.utf8))?,
        None => input.select(&select)?,
    };
    Ok(Side { sql, keys, user, columns, late })
}

/// The rows with the versions of their groups in place of their own.
fn grouped(
    number: usize,
    input: &Input<'_>,
    description: &Description,
    aggregation: &Aggregation,
    (mut select, utf8): (Vec<(String, String)>, bool),
) -> Sql<String> {
    let names: Vec<String> = select.iter().map(|(_, name)| name.clone()).collect();
    let mut groups = Vec::new();
    for (i, column) in aggregation.groups.iter().enumerate() {
        select.push((key_column(input, column)?.sql, format!("a{i}")));
        groups.push(format!("a{i}"));
    }
    let mut order = Vec::new();
    for (i, column) in aggregation.order.iter().enumerate() {
        select.push((key_column(input, column)?.sql, format!("b{i}")));
        order.push(format!("b{i} NULLS FIRST"));
    }
    let versions = version_columns(description, number);
    let versions =
        versions.iter().map(|v| version_name(description, number, v)).collect::<Sql<Vec<String>>>()?;
    let columns = names.iter().map(|name| {
        Ok(if versions.contains(name) {
            let group = format!("coalesce(string_agg({name}, '|') OVER w, '')");
            format!("{} AS {name}", versions::hash(description.settings, &group, utf8)?)
        } else {
            name.clone()
        })
    });
    let columns = columns.collect::<Sql<Vec<_>>>()?.join(", ");
    Ok(format!(
        "SELECT {columns} FROM ({}) g WINDOW w AS (PARTITION BY {} ORDER BY {} \
         ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
        input.select(&select)?,
        groups.join(", "),
        order.join(", "),
    ))
}

/// A column that rows are joined, grouped or ordered by.
pub(super) fn key_column(input: &Input<'_>, name: &str) -> Sql<Typed> {
    let column = input.column(name)?;
    if column.family().placeholder().is_none() {
        return Err(format!(
            "column {name:?} is of type {}, whose values PostgreSQL may compare in another way",
            column.data_type
        ));
    }
    Ok(column)
}

/// Selects the key of this number in its three forms; its type.
pub(super) fn select_key(
    input: &Input<'_>,
    name: &str,
    number: usize,
    select: &mut Vec<(String, String)>,
) -> Sql<DataType> {
    let column = key_column(input, name)?;
    if let Some((value, missing)) = input.parts(name, &column)? {
        select.extend([(value, format!("h{number}")), (missing, format!("m{number}"))]);
    }
    select.push((column.sql, format!("k{number}")));
    Ok(column.data_type)
}

fn text(column: Typed) -> Sql<String> {
    match column.family() {
        Family::Text => Ok(column.sql),
        _ => Err(format!("a version is of type {}", column.data_type)),
    }
}

pub(super) fn truth(column: Typed) -> Sql<String> {
    match column.family() {
        Family::Truth => Ok(column.sql),
        _ => Err(format!("a condition is of type {}", column.data_type)),
    }
}

/// Joins two sides on the keys, of which one copy stays. What is NULL finds no partner.
fn join(left: Side, right: Side, keys: usize, kind: &str) -> Side {
    let on = (0..keys).map(|i| match kind {
        // Full joins know nothing but equality.
        "FULL" => format!("l.k{i} = r.k{i}"),
        _ => format!("l.h{i} = r.h{i} AND NOT l.m{i} AND NOT r.m{i}"),
    });
    let on: Vec<String> = on.collect();
    let mut select = Vec::new();
    for name in &left.columns {
        select.push(match name.strip_prefix(['k', 'h', 'm']) {
            Some(_) if kind == "FULL" => format!("coalesce(l.{name}, r.{name}) AS {name}"),
            _ => format!("l.{name}"),
        });
    }
    let others = right.columns.iter().filter(|name| !left.columns.contains(name));
    let others: Vec<String> = others.cloned().collect();
    select.extend(others.iter().map(|name| format!("r.{name}")));
    let sql = format!(
        "SELECT {} FROM ({}) l {kind} JOIN ({}) r ON {}",
        select.join(", "),
        left.sql,
        right.sql,
        on.join(" AND ")
    );
    let mut columns = left.columns;
    columns.extend(others);
    let mut user = left.user;
    user.extend(right.user);
    Side { sql, keys: left.keys, user, columns, late: None }
}

//! The stored side: rows with what is said of all rows that share their key.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::LogicalPlan;

use super::Sql;
use super::expected::{key_column, select_key, truth};
use super::input::{Find, Laid};
use super::sql::Family;
use crate::columns::PROVENANCE;
use crate::update::internal::{STALE, TARGET, stored as stored_name};
use crate::update::{CurrentInput, Description, StoredRows};

/// The stored side as a SELECT.
pub(super) struct Stored {
    pub sql: String,
    pub keys: Vec<DataType>,
    /// Columns for orphaned rows, which are called `o` and their place here.
    pub columns: Vec<(String, DataType)>,
    /// What reads those columns, if the side's rows don't have them: a SELECT for one row `s`.
    pub late: Option<String>,
    /// What of an expected row's `e.p` says that it is up to date.
    pub same: &'static str,
    /// What says that an orphan fails the target filters.
    pub fails: &'static str,
    /// What says that a row which others of its key speak for is left out.
    pub first: Option<&'static str>,
}

/// The stored rows, with those columns that orphaned rows are asked for: keys, `target`, `stale`, and their provenance.
pub(super) fn stored(
    plan: &LogicalPlan,
    description: &Description,
    current: &CurrentInput,
    wanted: &[String],
    find: Find<'_>,
) -> Sql<Stored> {
    let laid = Laid::new(plan)?;
    let input = laid.input(find)?;
    let mut select: Vec<(String, String)> = Vec::new();
    let mut keys = Vec::new();
    for (i, key) in description.keys.iter().enumerate() {
        keys.push(select_key(&input, key, i, &mut select)?);
    }
    let provenance = input.column(&stored_name(PROVENANCE))?;
    if provenance.family() != Family::Text {
        return Err(format!("the stored provenance is of type {}", provenance.data_type));
    }
    select.push((provenance.sql, "p".to_owned()));
    select.push((truth(input.column(TARGET)?)?, "target".to_owned()));
    select.push((truth(input.column(STALE)?)?, "stale".to_owned()));
    let mut columns = Vec::new();
    let mut more: Vec<(String, String)> = Vec::new();
    let is_more = wanted.iter().any(|name| current.stored.contains(name));
    let place = (is_more && current.rows == StoredRows::Unique).then(|| input.place()).flatten();
    for name in wanted.iter().filter(|name| current.stored.contains(name)) {
        let name_here = stored_name(name);
        let column = if place.is_some() { input.unread(&name_here)? } else { input.column(&name_here)? };
        more.push((column.sql, format!("o{}", columns.len())));
        columns.push((name.clone(), column.data_type));
    }
    let late = place.as_ref().map(|_| input.found(&more, "s.o"));
    match place {
        Some(place) => select.push((place, "o".to_owned())),
        None => select.extend(more),
    }
    if current.rows == StoredRows::Unique {
        return Ok(Stored {
            sql: input.select(&select)?,
            keys,
            columns,
            late,
            same: "e.p = s.p AND NOT s.stale",
            fails: "NOT s.target",
            first: None,
        });
    }
    let mut shown: Vec<String> = select
        .iter()
        .map(|(_, name)| name.clone())
        .filter(|name| !["p", "target", "stale"].contains(&name.as_str()))
        .collect();
    let mut order = Vec::new();
    for (i, id) in current.order.iter().enumerate() {
        select.push((key_column(&input, id)?.sql, format!("z{i}")));
        order.push(format!("z{i} NULLS FIRST"));
    }
    let key_names: Vec<String> = (0..keys.len()).map(|i| format!("k{i}")).collect();
    shown.extend([
        "min(p) OVER w AS lo".to_owned(),
        "max(p) OVER w AS hi".to_owned(),
        "bool_or(p IS NULL) OVER w AS unknown".to_owned(),
        "bool_or(target) OVER w AS target".to_owned(),
        "bool_or(stale) OVER w AS stale".to_owned(),
        "target AS own".to_owned(),
    ]);
    let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
    let mut sql = format!(
        "SELECT {}, row_number() OVER (w{order}) AS rank FROM ({}) c WINDOW w AS (PARTITION BY {})",
        shown.join(", "),
        input.select(&select)?,
        key_names.join(", "),
    );
    let same = "e.p = s.lo AND e.p = s.hi AND NOT s.unknown AND NOT s.stale";
    if current.rows == StoredRows::Collapsed {
        sql = format!("SELECT * FROM ({sql}) c WHERE rank = 1");
        return Ok(Stored { sql, keys, columns, late, same, fails: "NOT s.target", first: None });
    }
    Ok(Stored {
        sql,
        keys,
        columns,
        late,
        same,
        fails: "NOT s.own",
        first: Some("(s.rank = 1 OR s.x IS NULL OR e.x IS NULL)"),
    })
}

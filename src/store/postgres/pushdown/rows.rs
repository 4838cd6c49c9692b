//! The rows of a stored table that count, as [`FeatureTable`] defines them: the latest of each id, if it is live.

use std::cell::RefCell;

use datafusion::arrow::datatypes::DataType;

use super::Sql;
use super::expr::Scope;
use super::function::{has_text, json_member};
use super::sql::{Family, Typed, literal, null, type_name};
use crate::columns::{
    DATA_VERSION_BY_FIELD, DELETED_AT, FEATURE_VERSION, UPDATED_AT, WAITING, field_version,
};
use crate::store::FeatureTable;
use crate::store::postgres::comparisons::Comparisons;
use crate::store::view::Others;

/// A table of the database.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Its name with that of its schema, quoted.
    pub name: String,
    /// What decides between rows of one time: the greatest is the latest.
    pub order: String,
    /// Whether that finds the row again.
    pub plain: bool,
    /// How many rows it has about.
    pub rows: i64,
    /// The records of increments that are kept beside it.
    pub comparisons: Comparisons,
    pub columns: Vec<SourceColumn>,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct SourceColumn {
    pub name: String,
    /// The name in SQL.
    pub quoted: String,
    pub data_type: DataType,
    /// The name of its type in the database; nothing for a type that has no Arrow type of its own.
    pub stored_as: &'static str,
}

impl Source {
    /// A column in the type in which its values are handed around.
    pub(super) fn column(&self, name: &str) -> Option<Typed> {
        let column = self.columns.iter().find(|column| column.name == name)?;
        let (quoted, stored_as) = (&column.quoted, column.stored_as);
        let sql = match type_name(&column.data_type) {
            Some("text") if stored_as == "text" => format!("({quoted} COLLATE \"C\")"),
            Some("text") => format!("({quoted}::text COLLATE \"C\")"),
            Some(own) if own != stored_as => format!("({quoted}::{own})"),
            _ => quoted.clone(),
        };
        Some(Typed::new(sql, column.data_type.clone()))
    }
}

/// The rows of a feature's table, and what is read of them.
pub(super) struct Rows<'a> {
    table: &'a FeatureTable,
    source: Source,
    /// What is read of each row; the names are `c0`, `c1`, ….
    read: RefCell<Vec<String>>,
    /// What all rows have to meet that are looked at, over the table's own columns.
    only: Option<String>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(table: &'a FeatureTable, source: Source) -> Self {
        Self { table, source, read: RefCell::default(), only: None }
    }

    /// Looks at no rows but those that meet a condition, which has to hold for all rows of an id or for none.
    pub(super) fn only(mut self, condition: String) -> Self {
        self.only = Some(condition);
        self
    }

    /// The table of the database.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The feature's table.
    pub(super) fn table(&self) -> &FeatureTable {
        self.table
    }

    /// The name under which an expression over the table's own columns is read.
    pub(super) fn read(&self, sql: &str) -> String {
        let mut read = self.read.borrow_mut();
        let at = read.iter().position(|known| known == sql).unwrap_or_else(|| {
            read.push(sql.to_owned());
            read.len() - 1
        });
        format!("c{at}")
    }

    /// The expressions, each with a name, over the rows that count and meet the conditions; both are over what is
    /// [`read`](Self::read).
    pub(super) fn select(&self, columns: &[(String, String)], conditions: &[String]) -> Sql<String> {
        let view = self.table.view();
        let deleted = self.source.column(DELETED_AT);
        let mut conditions = conditions.to_vec();
        let mut from = if view.sample_history {
            let live = deleted.filter(|_| !view.deleted).map(|deleted| format!("{} IS NULL", deleted.sql));
            self.base(&[], live)?
        } else {
            if !view.deleted && deleted.is_some() {
                conditions.push("live".to_owned());
            }
            self.latest()?
        };
        let columns: Vec<String> = columns.iter().map(|(sql, name)| format!("{sql} AS {name}")).collect();
        let columns = if columns.is_empty() { "1 AS one".to_owned() } else { columns.join(", ") };
        from = format!("SELECT {columns} FROM ({from}) r");
        if !conditions.is_empty() {
            from += &format!(" WHERE {}", conditions.join(" AND "));
        }
        Ok(from)
    }

    /// The latest row of each id.
    fn latest(&self) -> Sql<String> {
        let spec = &self.table.definition().spec;
        let mut ids = Vec::new();
        for id in &spec.id_columns {
            let column =
                self.source.column(id).ok_or_else(|| format!("table of {} has no {id:?}", spec.key))?;
            if column.family().placeholder().is_none() {
                return Err(format!(
                    "id column {id:?} of {} is of type {}, which PostgreSQL may order in another way",
                    spec.key, column.data_type
                ));
            }
            let Some((value, missing)) = self.id(id) else { continue };
            ids.extend([value, missing]);
        }
        if let (None, Some(version)) =
            (&self.table.view().feature_version, self.source.column(FEATURE_VERSION))
        {
            ids.push(self.read(&version.sql));
        }
        let mut order: Vec<String> = ids.clone();
        let mut hidden = Vec::new();
        if self.table.view().others == Others::Behind {
            order.push(self.read(&self.waiting()?.sql));
        }
        if let Some(time) = self.time()? {
            hidden.push(format!("{time} AS t"));
            order.push("t DESC NULLS LAST".to_owned());
        }
        hidden.push(format!("{} AS o", self.source.order));
        order.push("o DESC".to_owned());
        let mut live = "";
        if let Some(deleted) = self.source.column(DELETED_AT) {
            // A truth value, since the planner thinks that hardly any time is NULL.
            hidden.push(format!("({} IS NULL) AS live", deleted.sql));
            live = ", live";
        }
        let base = self.base(&hidden, None)?;
        let names: Vec<String> = (0..self.read.borrow().len()).map(|i| format!("c{i}")).collect();
        Ok(format!(
            "SELECT DISTINCT ON ({}) {}{live} FROM ({base}) b ORDER BY {}",
            ids.join(", "),
            names.join(", "),
            order.join(", ")
        ))
    }

    /// What is read, of all rows that count by their feature version.
    fn base(&self, hidden: &[String], condition: Option<String>) -> Sql<String> {
        let view = self.table.view();
        let mut conditions: Vec<String> = self.only.iter().cloned().chain(condition).collect();
        if let (Some(wanted), Some(column)) = (&view.feature_version, self.source.column(FEATURE_VERSION)) {
            let (column, wanted) = (column.sql, literal(wanted)?);
            match view.others {
                Others::Hidden => conditions.push(format!("{column} = {wanted}")),
                Others::Alone => conditions.push(format!("({column} <> {wanted} OR {column} IS NULL)")),
                Others::Behind => {}
            }
        }
        let read = self.read.borrow();
        let mut columns: Vec<String> =
            read.iter().enumerate().map(|(i, sql)| format!("{sql} AS c{i}")).collect();
        columns.extend_from_slice(hidden);
        if columns.is_empty() {
            columns.push("1 AS one".to_owned());
        }
        let mut sql = format!("SELECT {} FROM {}", columns.join(", "), self.source.name);
        if !conditions.is_empty() {
            sql += &format!(" WHERE {}", conditions.join(" AND "));
        }
        Ok(sql)
    }

    /// The names under which an id is read, with any value in place of NULL, and whether it is NULL. Rows are sorted by
    /// both, and a join on both finds them sorted.
    pub(super) fn id(&self, name: &str) -> Option<(String, String)> {
        if self.table.view().sample_history
            || !self.table.definition().spec.id_columns.iter().any(|id| id == name)
        {
            return None;
        }
        let column = self.source.column(name)?;
        let placeholder = column.family().placeholder()?;
        let value = self.read(&format!("coalesce({}, {placeholder})", column.sql));
        Some((value, self.read(&format!("({} IS NULL)", column.sql))))
    }

    /// The name under which the place of a row is read, if [`found`](Self::found) can find the row by it.
    pub(super) fn place(&self) -> Option<String> {
        let found = self.source.plain && !self.table.view().sample_history;
        found.then(|| self.read(&self.source.order))
    }

    /// The expressions, each with a name, over the table's own columns in the row of a place. Without the OFFSET the
    /// server may prefer to read the whole table for a few rows.
    pub(super) fn found(&self, columns: &[(String, String)], place: &str) -> String {
        let columns: Vec<String> = columns.iter().map(|(sql, name)| format!("{sql} AS {name}")).collect();
        let Source { name, order, .. } = &self.source;
        format!("SELECT {} FROM {name} WHERE {order} = {place} OFFSET 0", columns.join(", "))
    }

    /// When a row was written or deleted.
    fn time(&self) -> Sql<Option<String>> {
        let mut times = Vec::new();
        for column in [DELETED_AT, UPDATED_AT].iter().filter_map(|name| self.source.column(name)) {
            times.push(match column.family() {
                Family::Instant => column,
                // In this crate a time without a zone is one in UTC.
                Family::Time => {
                    Typed::new(format!("({} AT TIME ZONE 'UTC')", column.sql), crate::columns::timestamp())
                }
                _ => return Err(format!("a time of {} is no timestamp", self.table.definition().spec.key)),
            });
        }
        Ok(match times.as_slice() {
            [] => None,
            [only] => Some(only.sql.clone()),
            [deleted, updated, ..] => Some(format!("coalesce({}, {})", deleted.sql, updated.sql)),
        })
    }

    /// Whether a row is of another feature version than the one whose rows count.
    fn waiting(&self) -> Sql<Typed> {
        match (&self.table.view().feature_version, self.source.column(FEATURE_VERSION)) {
            (Some(wanted), Some(column)) => {
                Ok(Typed::truth(format!("(({} = {}) IS NOT TRUE)", column.sql, literal(wanted)?)))
            }
            _ => Err(format!("rows of {} have no versions", self.table.definition().spec.key)),
        }
    }

    /// A column of the feature over the table's own columns.
    fn own(&self, name: &str) -> Sql<Typed> {
        if name == WAITING {
            return self.waiting();
        }
        if let Some(key) = self.table.version_keys().iter().find(|key| field_version(key) == name) {
            return match self.source.column(DATA_VERSION_BY_FIELD) {
                Some(column) if has_text(&column.data_type, key) => json_member(&column.sql, key),
                _ => Ok(Typed::text(null(&DataType::Utf8))),
            };
        }
        let feature = &self.table.definition().spec.key;
        let column = self.source.column(name);
        readable(name, column.ok_or_else(|| format!("table of {feature} has no column {name:?}"))?)
    }
}

/// A column of times: an infinite one, which can't be read, is an error here as well.
fn readable(name: &str, column: Typed) -> Sql<Typed> {
    let kind = match column.family() {
        Family::Instant => "timestamptz",
        Family::Time => "timestamp",
        Family::Day => "date",
        _ => return Ok(column),
    };
    let (sql, reason) = (&column.sql, literal(&format!(" in column {name:?} can't be read"))?);
    // The message is that of a text which is no time.
    let sql = format!(
        "(CASE WHEN isfinite({sql}) THEN {sql} WHEN {sql} IS NOT NULL THEN ({sql}::text || {reason})::{kind} END)"
    );
    Ok(Typed::new(sql, column.data_type))
}

/// The columns of a feature by the names under which they are read.
impl Scope for Rows<'_> {
    fn column(&self, name: &str) -> Sql<Typed> {
        let own = self.own(name)?;
        Ok(match self.id(name) {
            Some((value, missing)) => {
                Typed::new(format!("(CASE WHEN {missing} THEN NULL ELSE {value} END)"), own.data_type)
            }
            None => Typed::new(self.read(&own.sql), own.data_type),
        })
    }

    fn member(&self, column: &str, name: &str) -> Option<Sql<Typed>> {
        let own = self.own(column).ok().filter(|own| has_text(&own.data_type, name))?;
        Some(json_member(&own.sql, name).map(|member| Typed::text(self.read(&member.sql))))
    }
}

/// The columns of a feature over the table's own, for what is worked out of all its rows.
pub(super) struct Unread<'a>(pub &'a Rows<'a>);

impl Scope for Unread<'_> {
    fn column(&self, name: &str) -> Sql<Typed> {
        self.0.own(name)
    }

    fn member(&self, column: &str, name: &str) -> Option<Sql<Typed>> {
        let own = self.0.own(column).ok().filter(|own| has_text(&own.data_type, name))?;
        Some(json_member(&own.sql, name))
    }
}

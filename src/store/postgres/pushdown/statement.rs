//! The whole statement: expected and stored rows compared once, and what the query wants of the answer.

use datafusion::arrow::datatypes::DataType;

use super::expected::{Expected, Needs, expected, version_name};
use super::input::Find;
use super::sql::{Family, null};
use super::stored::{Stored, stored};
use super::{Sql, function, versions};
use crate::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, INCREMENT, PROVENANCE, PROVENANCE_BY_FIELD, VERSION_COLUMNS,
};
use crate::store::pushed::Asked;
use crate::update::orphan_key;

/// A statement, and what its rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub sql: String,
    /// Whether each row stands for as many as its last column says: where only the class is asked for, a million new
    /// samples are one row.
    pub counted: bool,
}

/// The statement that answers what is asked, or why there is none.
/// `utf8`: the database keeps its text in UTF-8.
pub(super) fn statement(asked: &Asked<'_>, find: Find<'_>, utf8: bool) -> Sql<Statement> {
    let description = asked.increment.description.as_ref();
    let wanted: Vec<String> = asked.schema.fields().iter().map(|field| field.name().clone()).collect();
    let wants = |name: &str| wanted.iter().any(|column| column == name);
    let current = asked.increment.current().zip(description.current.as_ref());
    let own = |name| !description.overridden && wants(name);
    let fields = wants(PROVENANCE_BY_FIELD) || own(DATA_VERSION_BY_FIELD);
    let sample = wants(PROVENANCE) || own(DATA_VERSION);
    let user = description.user_columns().enumerate();
    let needs = Needs {
        user: user.filter(|(_, (_, name))| wants(name)).map(|(n, _)| n).collect(),
        versions: fields,
        provenance: sample || current.is_some(),
        given: (wants(DATA_VERSION_BY_FIELD), wants(DATA_VERSION)),
        utf8,
        few: current.is_some(),
    };
    let count = description.expected.len();
    let inputs = asked.increment.inputs.get(..count).ok_or("inputs are missing")?;
    let expected = expected(inputs, description, &needs, find)?;
    let orphans = current.is_some() && asked.classes.contains(&"orphaned");
    let stored = match current {
        Some((plan, input)) => {
            let wanted = if orphans { wanted.as_slice() } else { &[] };
            Some(stored(plan, description, input, wanted, find)?)
        }
        None => None,
    };
    let answer = Answer { asked, stored: stored.as_ref(), orphans, expected: &expected };
    let columns = wanted.iter().map(|name| answer.column(name)).collect::<Sql<Vec<_>>>()?;
    let mut conditions = Vec::new();
    let mut from = format!("(SELECT *, true AS x FROM ({}) t) e", expected.sql);
    match &stored {
        Some(stored) => {
            if stored.keys.len() != expected.keys.len() {
                return Err("the stored rows have other keys".to_owned());
            }
            let on = expected.keys.iter().zip(&stored.keys).enumerate();
            let on = on.map(|(i, (left, right))| same_key(i, left, right)).collect::<Sql<Vec<_>>>()?;
            let kind = if orphans { "FULL" } else { "LEFT" };
            from += &format!(
                " {kind} JOIN (SELECT *, true AS x FROM ({}) t) s ON {}",
                stored.sql,
                on.join(" AND ")
            );
            conditions.extend(stored.first.map(str::to_owned));
            for (side, late) in [("eu", &expected.late), ("su", &stored.late)] {
                if let Some(late) = late {
                    from += &format!(" LEFT JOIN LATERAL ({late}) {side} ON true");
                }
            }
        }
        None if description.is_filtered() => conditions.push("e.q".to_owned()),
        None => {}
    }
    if stored.is_some() {
        let shown: Vec<String> = asked.classes.iter().map(|class| format!("'{class}'")).collect();
        conditions.push(match shown.is_empty() {
            true => "false".to_owned(),
            false => format!("{} IN ({})", answer.class(), shown.join(", ")),
        });
    } else if !asked.classes.contains(&"new") {
        conditions.push("false".to_owned());
    }
    let named: Vec<String> = columns.iter().enumerate().map(|(i, sql)| format!("{sql} AS r{i}")).collect();
    if fields {
        // Several columns are made of the fields' versions. Without the OFFSET each would be hashed for each of them.
        let version = |input: usize, column: &str| {
            Ok(format!("{}.{}", answer.side(), version_name(description, input, column)?))
        };
        let hashed = versions::fields(description, version, utf8)?;
        let hashed: Vec<String> =
            hashed.iter().enumerate().map(|(i, sql)| format!("{sql} AS f{i}")).collect();
        from += &format!(" CROSS JOIN LATERAL (SELECT {} OFFSET 0) f", hashed.join(", "));
    }
    let filter =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let is_counted =
        |name: &String| name == INCREMENT || description.keys.iter().any(|key| orphan_key(key) == *name);
    let counted = wanted.iter().all(is_counted);
    let mut sql = if counted {
        let all = named.iter().map(String::as_str).chain(["count(*) AS n"]).collect::<Vec<_>>().join(", ");
        let groups: Vec<String> = (1..=named.len()).map(|i| i.to_string()).collect();
        let groups =
            if groups.is_empty() { String::new() } else { format!(" GROUP BY {}", groups.join(", ")) };
        format!("SELECT {all} FROM {from}{filter}{groups}")
    } else {
        format!("SELECT {} FROM {from}{filter}", named.join(", "))
    };
    if let (Some(limit), false) = (asked.limit, counted) {
        sql += &format!(" LIMIT {limit}");
    }
    Ok(Statement { sql, counted })
}

/// The condition under which two keys are the same; NULLs are. Full joins know nothing but equality.
fn same_key(number: usize, left: &DataType, right: &DataType) -> Sql<String> {
    if Family::of(left) != Family::of(right) {
        return Err(format!("keys are of type {left} and {right}"));
    }
    Ok(format!("e.h{number} = s.h{number} AND e.m{number} = s.m{number}"))
}

/// What columns of the answer are in SQL, over the sides `e` and `s`.
struct Answer<'a> {
    asked: &'a Asked<'a>,
    stored: Option<&'a Stored>,
    /// Whether there may be rows that are only stored.
    orphans: bool,
    expected: &'a Expected,
}

impl Answer<'_> {
    /// The class of a row; NULL when it is up to date or filtered out.
    fn class(&self) -> String {
        let Some(stored) = self.stored else { return "'new'::text".to_owned() };
        let mut sql = "CASE".to_owned();
        if self.asked.increment.description.is_filtered() {
            sql += " WHEN NOT e.q THEN NULL";
        }
        sql += " WHEN s.x IS NULL THEN 'new' WHEN NOT s.target THEN NULL";
        if self.orphans {
            sql += &format!(" WHEN e.x IS NULL AND {} THEN NULL", stored.fails);
            sql += " WHEN e.x IS NULL THEN 'orphaned'";
        }
        // An expected provenance that is NULL is never up to date, nor is a stored one.
        sql + &format!(" WHEN ({}) IS NOT TRUE THEN 'stale' END", stored.same)
    }

    /// The side that has the user columns and the texts of versions.
    fn side(&self) -> &'static str {
        if self.expected.late.is_some() { "eu" } else { "e" }
    }

    fn column(&self, name: &str) -> Sql<String> {
        let description = self.asked.increment.description.as_ref();
        if name == INCREMENT {
            return Ok(self.class());
        }
        if let Some(i) = description.keys.iter().position(|key| key == name) {
            return Ok(match self.orphans {
                true => format!("coalesce(e.k{i}, s.k{i})"),
                false => format!("e.k{i}"),
            });
        }
        if let Some(i) = description.keys.iter().position(|key| orphan_key(key) == name) {
            return Ok(match self.orphans {
                true => format!("CASE WHEN e.x IS NULL THEN s.k{i} END"),
                false => {
                    let field = self.asked.schema.field_with_name(name).map_err(|e| e.to_string())?;
                    null(field.data_type())
                }
            });
        }
        let expected = if VERSION_COLUMNS.contains(&name) {
            self.version(name)?
        } else {
            let n = description.user_columns().position(|(_, column)| column == name);
            let n = n.filter(|n| self.expected.user.iter().any(|(known, _)| known == n));
            format!("{}.u{}", self.side(), n.ok_or_else(|| format!("an increment has no column {name:?}"))?)
        };
        if !self.orphans {
            return Ok(expected);
        }
        let stored = self.stored.and_then(|stored| {
            let o = stored.columns.iter().position(|(own, _)| own == name)?;
            Some(format!("{}.o{o}", if stored.late.is_some() { "su" } else { "s" }))
        });
        let Some(stored) = stored else {
            // A missing expected row has only NULLs, but an object made of NULLs is none.
            return Ok(match name {
                PROVENANCE_BY_FIELD | DATA_VERSION_BY_FIELD => {
                    format!("CASE WHEN e.x THEN {expected} END")
                }
                _ => expected,
            });
        };
        let field = self.asked.schema.field_with_name(name).map_err(|error| error.to_string())?;
        // An array on one side may be JSON on the other.
        Ok(if matches!(field.data_type(), DataType::List(_) | DataType::LargeList(_)) {
            format!("CASE WHEN e.x THEN to_jsonb({expected}) ELSE to_jsonb({stored}) END")
        } else {
            format!("CASE WHEN e.x THEN {expected} ELSE {stored} END")
        })
    }

    /// A version of an expected row.
    fn version(&self, name: &str) -> Sql<String> {
        let description = self.asked.increment.description.as_ref();
        match (description.overridden, name) {
            (true, DATA_VERSION_BY_FIELD) => Ok("e.dv".to_owned()),
            (true, DATA_VERSION) => Ok("e.dw".to_owned()),
            (_, PROVENANCE | DATA_VERSION) => Ok("e.p".to_owned()),
            _ => {
                let keys = description.field_keys().into_iter().enumerate();
                let members = keys.map(|(i, key)| (key.to_owned(), format!("f.f{i}")));
                Ok(function::object(&members.collect::<Vec<_>>())?.sql)
            }
        }
    }
}

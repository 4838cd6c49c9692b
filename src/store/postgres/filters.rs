//! Conditions that mean the same in PostgreSQL, as text of a statement. All others are applied above the scan.

use chrono::{DateTime, Datelike};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::names::{identifier, literal};
use super::relation::Relation;
use super::types::PostgresType;

/// Most conditions that one list may have.
const LONGEST_LIST: usize = 1000;

/// The condition in SQL; `None` if it could mean something else there.
pub(crate) fn condition(relation: &Relation, filter: &Expr) -> Option<String> {
    let inner = |filter: &Expr| condition(relation, filter);
    Some(match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            format!("({} {op} {})", inner(left)?, inner(right)?)
        }
        Expr::Not(of) => format!("(NOT {})", inner(of)?),
        Expr::IsTrue(of) => format!("({} IS TRUE)", inner(of)?),
        Expr::IsFalse(of) => format!("({} IS FALSE)", inner(of)?),
        Expr::IsNotTrue(of) => format!("({} IS NOT TRUE)", inner(of)?),
        Expr::IsNotFalse(of) => format!("({} IS NOT FALSE)", inner(of)?),
        Expr::IsNull(of) => format!("({} IS NULL)", nullable(relation, of)?),
        Expr::IsNotNull(of) => format!("({} IS NOT NULL)", nullable(relation, of)?),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let op = comparison(*op)?;
            match (left.as_ref(), right.as_ref()) {
                (Expr::Column(_), Expr::Literal(value, _)) => {
                    let (column, kind) = comparable(relation, left)?;
                    format!("({column} {op} {})", constant(value, kind)?)
                }
                (Expr::Literal(value, _), Expr::Column(_)) => {
                    let (column, kind) = comparable(relation, right)?;
                    format!("({} {op} {column})", constant(value, kind)?)
                }
                (Expr::Column(_), Expr::Column(_)) => {
                    let ((left, of_left), (right, of_right)) =
                        (comparable(relation, left)?, comparable(relation, right)?);
                    (of_left == of_right).then(|| format!("({left} {op} {right})"))?
                }
                _ => return None,
            }
        }
        Expr::InList(InList { expr, list, negated }) if (1..=LONGEST_LIST).contains(&list.len()) => {
            let (column, kind) = comparable(relation, expr)?;
            let values = list.iter().map(|value| match value {
                Expr::Literal(value, _) => constant(value, kind),
                _ => None,
            });
            let values = values.collect::<Option<Vec<_>>>()?;
            format!("({column} {}IN ({}))", if *negated { "NOT " } else { "" }, values.join(", "))
        }
        Expr::Column(column) => {
            let found = relation.column(&column.name)?;
            (found.postgres == PostgresType::Bool).then(|| identifier(&column.name))?
        }
        _ => return None,
    })
}

fn comparison(op: Operator) -> Option<&'static str> {
    Some(match op {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        Operator::IsDistinctFrom => "IS DISTINCT FROM",
        Operator::IsNotDistinctFrom => "IS NOT DISTINCT FROM",
        _ => return None,
    })
}

/// What can be compared with what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Whole,
    Text,
    Date,
    Timestamp,
    TimestampTz,
}

/// A column whose NULLs are those that are seen above: JSON has two kinds of them.
fn nullable(relation: &Relation, of: &Expr) -> Option<String> {
    let Expr::Column(column) = of else { return None };
    let found = relation.column(&column.name)?;
    (!found.postgres.is_json() && !found.recorded && found.data_type == found.postgres.arrow())
        .then(|| identifier(&column.name))
}

fn comparable(relation: &Relation, of: &Expr) -> Option<(String, Kind)> {
    let Expr::Column(column) = of else { return None };
    let found = relation.column(&column.name)?;
    if found.data_type != found.postgres.arrow() {
        return None;
    }
    let name = identifier(&column.name);
    Some(match found.postgres {
        PostgresType::Bool => (name, Kind::Bool),
        PostgresType::Int2 | PostgresType::Int4 | PostgresType::Int8 => (name, Kind::Whole),
        // Strings are compared by their bytes here.
        PostgresType::Text if relation.is_utf8() => (format!("{name} COLLATE \"C\""), Kind::Text),
        PostgresType::Date => (name, Kind::Date),
        PostgresType::Timestamp => (name, Kind::Timestamp),
        PostgresType::TimestampTz => (name, Kind::TimestampTz),
        _ => return None,
    })
}

fn constant(value: &ScalarValue, kind: Kind) -> Option<String> {
    Some(match (kind, value) {
        (Kind::Bool, ScalarValue::Boolean(Some(value))) => value.to_string(),
        (Kind::Whole, ScalarValue::Int8(Some(value))) => value.to_string(),
        (Kind::Whole, ScalarValue::Int16(Some(value))) => value.to_string(),
        (Kind::Whole, ScalarValue::Int32(Some(value))) => value.to_string(),
        (Kind::Whole, ScalarValue::Int64(Some(value))) => value.to_string(),
        (
            Kind::Text,
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
        ) if !text.contains('\0') => literal(text),
        (Kind::Timestamp, ScalarValue::TimestampMicrosecond(Some(time), None)) => {
            format!("timestamp '{}'", shown_time(*time)?)
        }
        (Kind::TimestampTz, ScalarValue::TimestampMicrosecond(Some(time), Some(_))) => {
            format!("timestamptz '{}+00'", shown_time(*time)?)
        }
        (Kind::Date, ScalarValue::Date32(Some(days))) => {
            let day = DateTime::from_timestamp(i64::from(*days) * 86_400, 0)?.date_naive();
            usual(day.year()).then(|| format!("date '{day}'"))?
        }
        _ => return None,
    })
}

fn shown_time(micros: i64) -> Option<String> {
    let time = DateTime::from_timestamp_micros(micros)?.naive_utc();
    usual(time.year()).then(|| time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

/// Years that are written with four digits.
fn usual(year: i32) -> bool {
    (1..=9999).contains(&year)
}

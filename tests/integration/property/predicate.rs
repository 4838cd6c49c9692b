//! Conditions in three forms: for the model, for DataFusion, and as the SQL of a spec.

use std::fmt;

use datafusion::logical_expr::{Expr, ident, lit};

use super::value::{Row, Value, cell};

/// A condition on the columns of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicate {
    Greater(String, i64),
    Equals(String, Value),
    Differs(String, Value),
    IsNull(String),
    IsNotNull(String),
    Not(Box<Predicate>),
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
}

use Predicate::{And, Differs, Equals, Greater, IsNotNull, IsNull, Not, Or};

impl Predicate {
    /// What SQL's three-valued logic says of a row; `None` is unknown.
    pub fn eval(&self, row: &Row) -> Option<bool> {
        let known = |column: &str| Some(cell(row, column)).filter(|value| !value.is_null());
        match self {
            Greater(column, bound) => known(column).map(|value| value > Value::Int(*bound)),
            Equals(column, wanted) => known(column).map(|value| value == *wanted),
            Differs(column, wanted) => known(column).map(|value| value != *wanted),
            IsNull(column) => Some(known(column).is_none()),
            IsNotNull(column) => Some(known(column).is_some()),
            Not(inner) => inner.eval(row).map(|value| !value),
            And(left, right) => match (left.eval(row), right.eval(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Or(left, right) => match (left.eval(row), right.eval(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }

    /// Whether a row meets the condition; unknown is no.
    pub fn holds(&self, row: &Row) -> bool {
        self.eval(row) == Some(true)
    }

    /// The columns that it speaks of.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Greater(column, _)
            | Equals(column, _)
            | Differs(column, _)
            | IsNull(column)
            | IsNotNull(column) => {
                vec![column]
            }
            Not(inner) => inner.columns(),
            And(left, right) | Or(left, right) => [left.columns(), right.columns()].concat(),
        }
    }

    pub fn expr(&self) -> Expr {
        match self {
            Greater(column, bound) => ident(column).gt(lit(*bound)),
            Equals(column, value) => ident(column).eq(literal(value)),
            Differs(column, value) => ident(column).not_eq(literal(value)),
            IsNull(column) => ident(column).is_null(),
            IsNotNull(column) => ident(column).is_not_null(),
            Not(inner) => Expr::Not(Box::new(inner.expr())),
            And(left, right) => left.expr().and(right.expr()),
            Or(left, right) => left.expr().or(right.expr()),
        }
    }

    /// The text of a spec's filter. With `python`, NULL is compared with as the Python package's users may do:
    /// `x = NULL`.
    pub fn sql(&self, python: bool) -> String {
        match self {
            Greater(column, bound) => format!("{column} > {bound}"),
            Equals(column, value) => format!("{column} = {}", sql_literal(value)),
            Differs(column, value) => format!("{column} <> {}", sql_literal(value)),
            IsNull(column) if python => format!("{column} = NULL"),
            IsNotNull(column) if python => format!("{column} <> NULL"),
            IsNull(column) => format!("{column} IS NULL"),
            IsNotNull(column) => format!("{column} IS NOT NULL"),
            // In a spec a negated truth test drops NULLs, as a plain NOT does.
            Not(inner) if python => format!("({}) IS NOT TRUE", inner.sql(python)),
            Not(inner) => format!("NOT ({})", inner.sql(python)),
            And(left, right) => format!("({}) AND ({})", left.sql(python), right.sql(python)),
            Or(left, right) => format!("({}) OR ({})", left.sql(python), right.sql(python)),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql(false))
    }
}

fn literal(value: &Value) -> Expr {
    match value {
        Value::Int(number) => lit(*number),
        Value::Text(text) => lit(text.as_str()),
        _ => lit(datafusion::common::ScalarValue::Null),
    }
}

fn sql_literal(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        _ => "NULL".to_owned(),
    }
}

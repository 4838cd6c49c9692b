//! Text of the command line within SQL: names, strings, and conditions that are one expression and nothing more.

use std::ops::ControlFlow;

use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{ExprWithAlias, Query, Statement as SqlStatement, Visit, Visitor};

use super::report;
use crate::error::{MetaxyError, Result};
use crate::session::{MetaxySession, MetaxyStatement};

/// How DataFusion begins when it has looked for a column in vain.
const NO_COLUMN: &str = "Schema error: ";

/// A string literal.
pub(super) fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as it is, whatever letters it has.
pub(super) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The conditions, all of which have to hold, as text that can stand in a statement; `None` if there are none.
///
/// # Errors
///
/// Text that is not exactly one expression: what follows it is never run.
pub(super) fn conditions(session: &MetaxySession, texts: &[String]) -> Result<Option<String>> {
    let state = session.context().state();
    // The text itself, since what the parser has read doesn't always mean the same once it is printed. All of it was
    // read as one expression, so nothing can hide in it; a comment at its end stops with the line.
    let checked: Vec<String> = texts
        .iter()
        .map(|text| parsed(&state, text).map(|_| format!("({text}\n)")))
        .collect::<Result<_>>()?;
    Ok((!checked.is_empty()).then(|| checked.join(" AND ")))
}

/// Whether one of the conditions asks tables for something.
///
/// # Errors
///
/// As [`conditions`].
pub(super) fn have_subquery(session: &MetaxySession, texts: &[String]) -> Result<bool> {
    let state = session.context().state();
    for text in texts {
        if asks(&parsed(&state, text)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn asks(condition: &ExprWithAlias) -> bool {
    struct AnyQuery;
    impl Visitor for AnyQuery {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    condition.expr.visit(&mut AnyQuery).is_break()
}

/// As [`expressions`], for filters of an increment, which look at nothing but the row.
///
/// # Errors
///
/// As [`expressions`], or a subquery.
pub(super) fn filters(session: &MetaxySession, texts: &[String], schema: &DFSchema) -> Result<Vec<Expr>> {
    let state = session.context().state();
    for text in texts {
        if asks(&parsed(&state, text)?) {
            let reason = "it has a subquery, which is not supported here; write the values themselves";
            return Err(refusal(text, reason));
        }
    }
    expressions(session, texts, schema)
}

/// The conditions as expressions over columns; subqueries that ask tables can't be used here.
///
/// # Errors
///
/// Text that is not exactly one expression, or speaks of a column that isn't there.
pub(super) fn expressions(session: &MetaxySession, texts: &[String], schema: &DFSchema) -> Result<Vec<Expr>> {
    let state = session.context().state();
    let planned = |text: &String| {
        let expr = parsed(&state, text)?;
        let has_query = asks(&expr);
        state.create_logical_expr_from_sql_expr(expr, schema).map_err(|error| {
            let reason = report::describe(&error.into());
            // Tables are not looked for: those that are said not to be there may well be.
            match has_query && reason.starts_with("table '") {
                true => refusal(text, "its subquery can't ask for tables here; write the values themselves"),
                false => refusal(text, &reason),
            }
        })
    };
    texts.iter().map(planned).collect()
}

fn parsed(state: &SessionState, text: &str) -> Result<ExprWithAlias> {
    let dialect = state.config_options().sql_parser.dialect;
    let parsed = state.sql_to_expr_with_alias(text, &dialect).map_err(|error| refused(text, error))?;
    if parsed.alias.is_some() {
        return Err(MetaxyError::Invalid(format!("condition {text:?} can't be used: it is one with a name")));
    }
    Ok(parsed)
}

/// The error of a statement in which these conditions stand: if it is about a column that isn't there, it is theirs.
pub(super) fn failure(texts: &[String], error: MetaxyError) -> MetaxyError {
    match report::describe(&error) {
        reason if reason.starts_with(NO_COLUMN) && !texts.is_empty() => {
            refusal(&texts.join(" AND "), &reason)
        }
        _ => error,
    }
}

fn refused(text: &str, error: DataFusionError) -> MetaxyError {
    refusal(text, &report::describe(&error.into()))
}

fn refusal(text: &str, reason: &str) -> MetaxyError {
    // The list of all columns that there are is longer than everything else that is to be said.
    let reason = match reason.split_once(" Valid fields are ") {
        Some((said, _)) => said.strip_suffix('.').unwrap_or(said),
        None => reason,
    };
    let reason = reason.trim_start_matches(NO_COLUMN);
    MetaxyError::Invalid(format!("condition {text:?} can't be used: {reason}"))
}

/// The query that a table's name, a view's name or a SELECT stands for.
///
/// # Errors
///
/// Text that is neither.
pub(super) fn query(session: &MetaxySession, text: &str) -> Result<MetaxyStatement> {
    let text = text.trim();
    let first: String = text.chars().take_while(|letter| letter.is_alphabetic()).collect();
    let is_query =
        text.starts_with('(') || matches!(first.to_uppercase().as_str(), "SELECT" | "WITH" | "VALUES");
    let sql = if is_query { text.to_owned() } else { format!("SELECT * FROM {text}") };
    let mut statements = session.parse(&sql)?;
    let wrong = || MetaxyError::Invalid(format!("{text:?} is neither a table nor one query"));
    match (statements.pop(), statements.is_empty()) {
        (Some(MetaxyStatement::DataFusion(statement)), true) if matches!(&*statement, Statement::Statement(inner) if matches!(**inner, SqlStatement::Query(_))) => {
            Ok(MetaxyStatement::DataFusion(statement))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(string("it's"), "'it''s'");
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
    }
}

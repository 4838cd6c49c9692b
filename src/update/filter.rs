//! The SQL filters of a spec, which mean what they mean to the Python package.

use std::sync::LazyLock;

use datafusion::common::DFSchema;
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{self, BinaryOperator, UnaryOperator, Value, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::{MetaxyError, Result, one_line};
use crate::model::FeatureKey;

/// Plans the expressions of specs. Specs are portable, so they see only DataFusion's own functions.
static PLANNER: LazyLock<SessionState> =
    LazyLock::new(|| SessionStateBuilder::new().with_default_features().build());

/// One filter string of `feature`'s dependency on `parent`, over the parent's columns after renames.
///
/// # Errors
/// Text that is not SQL, or a column that the parent lacks.
pub(crate) fn spec_filter(
    text: &str,
    schema: &DFSchema,
    feature: &FeatureKey,
    parent: &FeatureKey,
) -> Result<Expr> {
    let fail = |reason: String| MetaxyError::Spec {
        feature: feature.to_string(),
        reason: format!("filter {text:?} on parent {parent}: {reason}"),
    };
    let parsed = parse(text).map_err(&fail)?;
    PLANNER
        .create_logical_expr_from_sql_expr(ast_with_alias(parsed), schema)
        .map_err(|error| fail(one_line(&error.strip_backtrace())))
}

fn ast_with_alias(expr: ast::Expr) -> ast::ExprWithAlias {
    ast::ExprWithAlias { expr, alias: None }
}

/// Whether a text can be a filter of a spec; which columns it may name depends on the parent's table.
///
/// # Errors
/// Why it is no SQL expression.
pub(crate) fn check_filter(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// Parses a filter and rewrites it so that SQL's rules give what Python's do.
fn parse(text: &str) -> Result<ast::Expr, String> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(text).map_err(|e| e.to_string())?;
    let mut expr = parser.parse_expr().map_err(|e| e.to_string())?;
    let rest = parser.peek_token();
    if rest.token != datafusion::sql::sqlparser::tokenizer::Token::EOF {
        return Err(format!("unexpected {rest}"));
    }
    let _ = expr.visit(&mut AsPython);
    Ok(expr)
}

/// `x = NULL` means IS NULL, `IS [NOT] TRUE` compares (so that NULL drops out), and names keep their case.
struct AsPython;

impl VisitorMut for AsPython {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> std::ops::ControlFlow<()> {
        let taken = std::mem::replace(expr, ast::Expr::value(Value::Null));
        *expr = rewrite(taken);
        std::ops::ControlFlow::Continue(())
    }
}

fn rewrite(expr: ast::Expr) -> ast::Expr {
    match expr {
        ast::Expr::BinaryOp { left, op: op @ (BinaryOperator::Eq | BinaryOperator::NotEq), right }
            if is_null(&left) != is_null(&right) =>
        {
            let operand = if is_null(&left) { right } else { left };
            match op {
                BinaryOperator::Eq => ast::Expr::IsNull(operand),
                _ => ast::Expr::IsNotNull(operand),
            }
        }
        ast::Expr::IsTrue(operand) => equals(operand, true),
        ast::Expr::IsFalse(operand) => equals(operand, false),
        ast::Expr::IsNotTrue(operand) => not(equals(operand, true)),
        ast::Expr::IsNotFalse(operand) => not(equals(operand, false)),
        ast::Expr::Identifier(name) => ast::Expr::Identifier(quoted(&name.value)),
        // A dotted name is one column's name in Python.
        ast::Expr::CompoundIdentifier(parts) => {
            let name = parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join(".");
            ast::Expr::Identifier(quoted(&name))
        }
        other => other,
    }
}

fn is_null(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Value(value) => value.value == Value::Null,
        ast::Expr::Nested(inner) => is_null(inner),
        _ => false,
    }
}

fn quoted(name: &str) -> ast::Ident {
    ast::Ident::with_quote('"', name)
}

fn equals(operand: Box<ast::Expr>, value: bool) -> ast::Expr {
    ast::Expr::Nested(Box::new(ast::Expr::BinaryOp {
        left: operand,
        op: BinaryOperator::Eq,
        right: Box::new(ast::Expr::value(Value::Boolean(value))),
    }))
}

fn not(operand: ast::Expr) -> ast::Expr {
    ast::Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(operand) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse(text).unwrap().to_string()
    }

    #[test]
    fn null_and_truth_mean_what_they_mean_in_python() {
        assert_eq!(shown("x = NULL"), "\"x\" IS NULL");
        assert_eq!(shown("NULL <> x"), "\"x\" IS NOT NULL");
        assert_eq!(shown("x IS NOT TRUE"), "NOT (\"x\" = true)");
        assert_eq!(shown("NOT (b IS NOT FALSE)"), "NOT (NOT (\"b\" = false))");
    }

    #[test]
    fn names_keep_their_case_and_full_sql_is_allowed() {
        assert_eq!(shown("sizeMB >= 0.5"), "\"sizeMB\" >= 0.5");
        assert_eq!(shown("lower(Name) LIKE 'a%'"), "lower(\"Name\") LIKE 'a%'");
        assert_eq!(shown("a.b > 1"), "\"a.b\" > 1");
    }

    #[test]
    fn what_follows_an_expression_is_an_error() {
        assert!(parse("x > 1 y").is_err());
        assert!(parse("").is_err());
    }
}

//! Finding the calls of `resolve_update` in a statement, before it is planned.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableFactor, Visit,
    VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::Result;
use crate::functions::{RESOLVE_UPDATE, as_text, check_resolve_update, our_function};

/// A call whose tables have to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub feature: String,
    pub store: Option<String>,
    pub samples: bool,
}

/// Finds the calls, and writes samples given by name as queries: DataFusion looks up names only where tables are.
pub(super) fn resolve_calls(statement: &mut Statement) -> Vec<Call> {
    match statement {
        Statement::Statement(statement) => {
            let _ = VisitMut::visit(statement.as_mut(), &mut NamedSamples);
            let mut calls = Calls::default();
            let _ = Visit::visit(statement.as_ref(), &mut calls);
            calls.0
        }
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => {
                let _ = VisitMut::visit(query.as_mut(), &mut NamedSamples);
                let mut calls = Calls::default();
                let _ = Visit::visit(query.as_ref(), &mut calls);
                calls.0
            }
            CopyToSource::Relation(_) => Vec::new(),
        },
        Statement::Explain(explain) => resolve_calls(&mut explain.statement),
        _ => Vec::new(),
    }
}

/// Checks the arguments of all calls, as far as nothing has to be looked up for that.
///
/// # Errors
/// An argument that `resolve_update` doesn't have, or one of the wrong kind.
pub(super) fn check_calls(statement: &Statement) -> Result<()> {
    let mut checks = Checks;
    let checked = match statement {
        Statement::Statement(statement) => Visit::visit(statement.as_ref(), &mut checks),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => Visit::visit(query.as_ref(), &mut checks),
            CopyToSource::Relation(_) => return Ok(()),
        },
        Statement::Explain(explain) => return check_calls(&explain.statement),
        _ => return Ok(()),
    };
    match checked {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err((*error).into()),
    }
}

struct Checks;

impl Visitor for Checks {
    type Break = Box<DataFusionError>;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match arguments(factor).map(|args| check_resolve_update(args.clone())) {
            Some(Err(error)) => ControlFlow::Break(Box::new(error)),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn arguments(factor: &TableFactor) -> Option<&Vec<FunctionArg>> {
    let (name, args) = match factor {
        TableFactor::Table { name, args: Some(args), .. } => (name, &args.args),
        TableFactor::Function { name, args, .. } => (name, args),
        _ => return None,
    };
    (our_function(name) == Some(RESOLVE_UPDATE)).then_some(args)
}

fn named<'a>(args: &'a [FunctionArg], parameter: &str, position: Option<usize>) -> Option<&'a Expr> {
    // A positional argument after a named one is an error, which planning reports.
    let positional = args.iter().take_while(|arg| matches!(arg, FunctionArg::Unnamed(_))).count();
    let position = position.filter(|position| *position < positional);
    args.iter().enumerate().find_map(|(i, arg)| match arg {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            if name.value.eq_ignore_ascii_case(parameter) =>
        {
            Some(value)
        }
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if Some(i) == position => Some(value),
        _ => None,
    })
}

#[derive(Default)]
struct Calls(Vec<Call>);

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let Some(args) = arguments(factor)
            && let Some(feature) = named(args, "feature", Some(0)).and_then(as_text)
        {
            let call = Call {
                feature,
                store: named(args, "store", None).and_then(as_text),
                samples: named(args, "samples", Some(1)).is_some(),
            };
            if !self.0.contains(&call) {
                self.0.push(call);
            }
        }
        ControlFlow::Continue(())
    }
}

struct NamedSamples;

impl VisitorMut for NamedSamples {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let (name, args) = match factor {
            TableFactor::Table { name, args: Some(args), .. } => (name, &mut args.args),
            TableFactor::Function { name, args, .. } => (name, args),
            _ => return ControlFlow::Continue(()),
        };
        if our_function(name) != Some(RESOLVE_UPDATE) {
            return ControlFlow::Continue(());
        }
        let positional = args.iter().take_while(|arg| matches!(arg, FunctionArg::Unnamed(_))).count();
        for (position, arg) in args.iter_mut().enumerate() {
            let value = match arg {
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
                    if name.value.eq_ignore_ascii_case("samples") =>
                {
                    value
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if position == 1 && positional > 1 => {
                    value
                }
                _ => continue,
            };
            if let Some(query) = table_name(value).and_then(|name| select_all(&name)) {
                *value = Expr::Subquery(Box::new(query));
            }
        }
        ControlFlow::Continue(())
    }
}

/// The table that samples name: bare, with catalog and schema, or as a string.
fn table_name(value: &Expr) -> Option<ObjectName> {
    let parts: Vec<Ident> = match value {
        Expr::Identifier(name) => vec![name.clone()],
        Expr::CompoundIdentifier(parts) => parts.clone(),
        other => {
            let text = as_text(other)?;
            let parsed = Parser::new(&GenericDialect {})
                .try_with_sql(&text)
                .and_then(|mut parser| parser.parse_object_name(false));
            match parsed {
                // A path, for example, is one quoted name.
                Ok(name) if name.to_string().len() == text.trim().len() => return Some(name),
                _ => vec![Ident::with_quote('"', text)],
            }
        }
    };
    Some(ObjectName(parts.into_iter().map(ObjectNamePart::Identifier).collect()))
}

fn select_all(name: &ObjectName) -> Option<ast::Query> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(&format!("SELECT * FROM {name}")).ok()?;
    parser.parse_query().ok().map(|query| *query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::parser::DFParser;

    fn calls(sql: &str) -> (Vec<Call>, String) {
        let mut statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        let calls = resolve_calls(&mut statement);
        (calls, statement.to_string())
    }

    #[test]
    fn calls_are_found_wherever_a_query_can_be() {
        for sql in [
            "SELECT * FROM resolve_update('a/b')",
            "EXPLAIN SELECT (SELECT count(*) FROM resolve_update('a/b'))",
            "COPY (SELECT * FROM Resolve_Update(feature => 'a/b')) TO 'x.parquet'",
            "CREATE VIEW v AS WITH t AS (SELECT * FROM resolve_update('a/b')) SELECT * FROM t",
        ] {
            let expected = Call { feature: "a/b".into(), store: None, samples: false };
            assert_eq!(calls(sql).0, [expected], "{sql}");
        }
    }

    #[test]
    fn samples_become_queries() {
        let (found, sql) = calls("SELECT * FROM resolve_update('a', listing, store => 'prod')");
        assert_eq!(found, [Call { feature: "a".into(), store: Some("prod".into()), samples: true }]);
        assert!(sql.contains("(SELECT * FROM listing)"), "{sql}");
        let (_, sql) = calls("SELECT * FROM resolve_update('a', samples => 'dir/x.parquet')");
        assert!(sql.contains("(SELECT * FROM \"dir/x.parquet\")"), "{sql}");
    }
}

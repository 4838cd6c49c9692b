//! Splitting text into statements, ours and DataFusion's.

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::define::{self, FeatureStatement};
use crate::error::Result;

/// A parsed statement.
#[derive(Debug, Clone)]
pub enum MetaxyStatement {
    /// `USE STORE name`: the default store of the statements that follow.
    UseStore(String),
    /// A statement about feature definitions, such as `CREATE FEATURE`.
    Feature(Box<FeatureStatement>),
    /// Anything that DataFusion parses.
    DataFusion(Box<Statement>),
}

impl MetaxyStatement {
    /// Whether it calls a procedure, whose work says itself how far it is.
    pub(crate) fn is_call(&self) -> bool {
        let Self::DataFusion(statement) = self else { return false };
        matches!(statement.as_ref(), Statement::Statement(inner) if matches!(**inner, SqlStatement::Call(_)))
    }
}

/// Parses every statement of `sql`.
pub(super) fn parse(sql: &str, dialect: &dyn Dialect) -> Result<Vec<MetaxyStatement>> {
    let mut parser = DFParserBuilder::new(sql).with_dialect(dialect).build()?;
    let mut statements = Vec::new();
    loop {
        while parser.parser.consume_token(&Token::SemiColon) {}
        if parser.parser.peek_token_ref().token == Token::EOF {
            return Ok(statements);
        }
        let statement = if let Some(name) = use_store(&mut parser.parser) {
            MetaxyStatement::UseStore(name)
        } else if let Some(statement) = define::statement(&mut parser.parser, sql)? {
            MetaxyStatement::Feature(Box::new(statement))
        } else {
            MetaxyStatement::DataFusion(Box::new(parser.parse_statement()?))
        };
        statements.push(statement);
        let next = parser.parser.peek_token_ref();
        if next.token != Token::SemiColon && next.token != Token::EOF {
            let message = format!("Expected: end of statement, found: {next}{}", next.span.start);
            let error = Box::new(ParserError::ParserError(message));
            return Err(DataFusionError::SQL(error, None).into());
        }
    }
}

fn use_store(parser: &mut Parser<'_>) -> Option<String> {
    parser
        .maybe_parse(|parser| {
            parser.expect_keyword(Keyword::USE)?;
            let word = parser.parse_identifier()?;
            if !word.value.eq_ignore_ascii_case("store") || word.quote_style.is_some() {
                return parser.expected_ref("STORE", parser.peek_token_ref());
            }
            parser.parse_identifier().map(|name| name.value)
        })
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    fn shown(sql: &str) -> Vec<String> {
        parse(sql, &GenericDialect {})
            .unwrap()
            .iter()
            .map(|statement| match statement {
                MetaxyStatement::UseStore(name) => format!("store {name}"),
                MetaxyStatement::Feature(statement) => format!("{statement:?}"),
                MetaxyStatement::DataFusion(statement) => statement.to_string(),
            })
            .collect()
    }

    #[test]
    fn ours_and_theirs_in_one_text() {
        assert_eq!(shown("use store prod; SELECT 1;; USE other"), ["store prod", "SELECT 1", "USE other"]);
        assert!(shown("-- nothing\n").is_empty());
    }

    #[test]
    fn what_follows_a_statement_is_an_error() {
        assert!(parse("SELECT 1 SELECT 2", &GenericDialect {}).is_err());
    }
}

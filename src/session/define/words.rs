//! What our statements are made of: words, names, strings, lists, and SQL expressions as they are written.

use std::fmt::Display;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Word};

use crate::error::Result;
use crate::model::{FeatureKey, FieldKey};

/// DataFusion's parser, for words that it has no keywords for.
pub(super) struct Words<'a, 'b> {
    parser: &'a mut Parser<'b>,
    /// The text that the parser's tokens were made of.
    sql: &'a str,
}

impl<'a, 'b> Words<'a, 'b> {
    pub(super) fn new(parser: &'a mut Parser<'b>, sql: &'a str) -> Self {
        Self { parser, sql }
    }

    /// Whether these words come next.
    pub(super) fn ahead(&self, phrase: &str) -> bool {
        phrase.split(' ').enumerate().all(|(place, word)| {
            let token = &self.parser.peek_nth_token_ref(place).token;
            matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
        })
    }

    /// Takes these words if they come next.
    pub(super) fn take(&mut self, phrase: &str) -> bool {
        let ahead = self.ahead(phrase);
        if ahead {
            phrase.split(' ').for_each(|_| self.parser.advance_token());
        }
        ahead
    }

    /// Takes these words.
    pub(super) fn expect(&mut self, phrase: &str) -> Result<()> {
        if self.take(phrase) { Ok(()) } else { self.expected(phrase) }
    }

    /// Whether a symbol comes next.
    pub(super) fn symbol_ahead(&self, symbol: &Token) -> bool {
        self.parser.peek_token_ref().token == *symbol
    }

    /// Takes a symbol if it comes next.
    pub(super) fn symbol(&mut self, symbol: &Token) -> bool {
        self.parser.consume_token(symbol)
    }

    /// Whether two symbols come next.
    pub(super) fn symbols_ahead(&self, first: &Token, second: &Token) -> bool {
        let [a, b] = self.parser.peek_tokens_ref();
        a.token == *first && b.token == *second
    }

    /// Whether the statement is over.
    pub(super) fn at_end(&self) -> bool {
        self.symbol_ahead(&Token::EOF) || self.symbol_ahead(&Token::SemiColon)
    }

    /// Whether a name could come `place` tokens from here.
    pub(super) fn name_ahead(&self, place: usize) -> bool {
        let token = &self.parser.peek_nth_token_ref(place).token;
        matches!(token, Token::Word(_) | Token::SingleQuotedString(_))
    }

    /// The error for something else than what may come next.
    pub(super) fn expected<T>(&self, what: &str) -> Result<T> {
        sql_error(self.parser.expected_ref(what, self.parser.peek_token_ref()))
    }

    /// The error for something that is wrong just here.
    pub(super) fn fault<T>(&self, message: impl Display) -> Result<T> {
        let place = self.parser.peek_token_ref().span.start;
        sql_error(Err(ParserError::ParserError(format!("{message}{place}"))))
    }

    /// Sets what may be given once.
    pub(super) fn once<T>(&self, place: &mut Option<T>, value: T, what: &str) -> Result<()> {
        if place.replace(value).is_some() {
            return self.fault(format!("{what} is given twice"));
        }
        Ok(())
    }

    /// A name: in lower case, or in quotes as it is.
    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        let name = match &self.parser.peek_token_ref().token {
            Token::Word(Word { value, quote_style: None, .. }) => value.to_ascii_lowercase(),
            Token::Word(Word { value, .. }) => value.clone(),
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
            _ => return self.expected(what),
        };
        self.parser.advance_token();
        Ok(name)
    }

    /// The key or table name of a feature.
    pub(super) fn feature_name(&mut self) -> Result<String> {
        let name = self.name("a feature")?;
        if self.symbol_ahead(&Token::Div) || self.symbol_ahead(&Token::Minus) {
            return self.expected("a key with / or - in double quotes, or its table name, as in video__crop");
        }
        Ok(name)
    }

    /// A feature. Which one a table name means is only certain once all features are known.
    pub(super) fn feature(&mut self) -> Result<FeatureKey> {
        feature_key(&self.feature_name()?)
    }

    /// A field.
    pub(super) fn field(&mut self) -> Result<FieldKey> {
        let name = self.name("a field")?;
        if self.symbol_ahead(&Token::Div) || self.symbol_ahead(&Token::Minus) {
            return self.expected("a field with / or - in double quotes");
        }
        FieldKey::parse(&name)
    }

    /// A list of columns.
    pub(super) fn columns(&mut self) -> Result<Vec<String>> {
        self.list(|words| words.name("a column"))
    }

    /// A string.
    pub(super) fn text(&mut self) -> Result<String> {
        let text = match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            _ => return self.expected("a string in single quotes"),
        };
        self.parser.advance_token();
        Ok(text)
    }

    /// Items with commas between them, in parentheses; there may be none.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if !self.symbol(&Token::LParen) {
            return self.expected("(");
        }
        if self.symbol(&Token::RParen) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.symbol(&Token::RParen) {
                return Ok(items);
            }
            if !self.symbol(&Token::Comma) {
                return self.expected(", or )");
            }
        }
    }

    /// A condition, as it is written. A string alone is the text of a condition.
    pub(super) fn condition(&mut self) -> Result<String> {
        let start = self.parser.peek_token_ref().span.start;
        let before = self.parser.index();
        sql_error(self.parser.parse_expr())?;
        let is_space = |token: &Token| matches!(token, Token::Whitespace(_));
        let mut tokens = (before..self.parser.index())
            .map(|place| self.parser.token_at(place))
            .filter(|token| !is_space(&token.token));
        let first = tokens.next();
        let last = tokens.next_back();
        match (first, last) {
            (Some(only), None) => match &only.token {
                Token::SingleQuotedString(text) => Ok(text.clone()),
                _ => Ok(self.written(start, only.span.end)),
            },
            (_, Some(last)) => Ok(self.written(start, last.span.end)),
            (None, None) => self.expected("a condition"),
        }
    }

    /// The text between two places.
    fn written(&self, start: Location, end: Location) -> String {
        let (mut line, mut column) = (1, 1);
        let (mut from, mut to) = (self.sql.len(), self.sql.len());
        for (byte, c) in self.sql.char_indices() {
            if (line, column) == (start.line, start.column) {
                from = byte;
            }
            if (line, column) == (end.line, end.column) {
                to = byte;
                break;
            }
            (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        self.sql.get(from..to).unwrap_or_default().to_owned()
    }
}

/// The key that a name stands for: a key, or a table name.
pub(super) fn feature_key(name: &str) -> Result<FeatureKey> {
    FeatureKey::parse(&name.replace("__", "/"))
}

fn sql_error<T>(outcome: Result<T, ParserError>) -> Result<T> {
    outcome.map_err(|error| DataFusionError::SQL(Box::new(error), None).into())
}

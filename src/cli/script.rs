//! Text cut into statements and backslash commands, one after the other.

use std::collections::VecDeque;
use std::ops::Range;

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// One thing to run, as a byte range of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A statement, its `;` included. The range starts at its first word, not at comments before it.
    Sql(Range<usize>),
    /// A line that starts with a backslash, without its line end.
    Command(Range<usize>),
}

/// How a text ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Behind a `;` or a command, or there is nothing but comments.
    Complete,
    /// Within a statement, a string or a comment: more may come.
    Open,
    /// With something that no further text can make right.
    Broken,
}

/// A text and how far it has been run.
///
/// It is cut as late as possible: a statement may change the SQL dialect, and with that what the rest means.
pub(super) struct Script<'a> {
    text: &'a str,
    ready: VecDeque<Piece>,
    next: usize,
    dialect: String,
}

impl<'a> Script<'a> {
    /// Starts at the beginning of the text, behind a `#!` line.
    pub(super) fn new(text: &'a str) -> Self {
        let next = if text.starts_with("#!") { text.find('\n').unwrap_or(text.len()) } else { 0 };
        Self { text, ready: VecDeque::new(), next, dialect: String::new() }
    }

    /// The next piece under the dialect of this name, if any is left.
    pub(super) fn next(&mut self, name: &str, dialect: &dyn Dialect) -> Option<Piece> {
        if self.ready.is_empty() || self.dialect != name {
            name.clone_into(&mut self.dialect);
            self.ready = cut(self.text, self.next, dialect).0.into();
        }
        let piece = self.ready.pop_front()?;
        let (Piece::Sql(range) | Piece::Command(range)) = &piece;
        self.next = range.end;
        Some(piece)
    }

    /// A piece's text.
    pub(super) fn text(&self, range: &Range<usize>) -> &'a str {
        &self.text[range.clone()]
    }

    /// The line of a position, counted from 1.
    pub(super) fn line(&self, position: usize) -> usize {
        self.text[..position].matches('\n').count() + 1
    }

    /// The range's text behind as many lines and columns as it has before it in the script, so that an
    /// error in it names the right place.
    pub(super) fn in_place(&self, range: &Range<usize>) -> String {
        let before = self.text[..range.start].chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        before.chain(self.text[range.clone()].chars()).collect()
    }
}

/// Whether a text can be run as it is.
pub(super) fn ending(text: &str, dialect: &dyn Dialect) -> Ending {
    let mut start = 0;
    loop {
        let (pieces, ending) = cut(text, start, dialect);
        match pieces.last() {
            // What follows a command line was not looked at yet.
            Some(Piece::Command(range)) if range.end < text.len() => start = range.end,
            _ => return ending,
        }
    }
}

/// Cuts the text from `start` on, up to and including the first command.
fn cut(text: &str, start: usize, dialect: &dyn Dialect) -> (Vec<Piece>, Ending) {
    let rest = &text[start..];
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    let failure = Tokenizer::new(dialect, rest).tokenize_with_location_into_buf(&mut tokens).err();

    let mut offsets = Offsets::new(rest);
    let mut pieces = Vec::new();
    let mut first = None;
    for token in &tokens {
        match (&token.token, first) {
            (Token::Whitespace(_) | Token::EOF, _) | (Token::SemiColon, None) => {}
            (Token::SemiColon, Some(from)) => {
                pieces.push(Piece::Sql(from..start + offsets.at(token.span.start) + 1));
                first = None;
            }
            (Token::Backslash, None) => {
                let from = offsets.at(token.span.start);
                let end = rest[from..].find('\n').map_or(rest.len(), |length| from + length);
                let line = rest[from..end].trim_end();
                pieces.push(Piece::Command(start + from..start + from + line.len()));
                return (pieces, Ending::Complete);
            }
            (_, None) => first = Some(start + offsets.at(token.span.start)),
            (_, Some(_)) => {}
        }
    }

    // Words that the tokenizer stumbled over are part of the last piece: the parser says what's wrong.
    let first = first.or_else(|| {
        let behind = tokens.last().map_or(0, |token| offsets.at(token.span.end));
        failure.is_some().then_some(start + behind)
    });
    let ending = match (first, &failure) {
        (None, _) => Ending::Complete,
        (Some(_), Some(failure)) if !is_unterminated(&failure.message) => Ending::Broken,
        (Some(_), _) => Ending::Open,
    };
    // A comment without an end holds nothing to run, but it must not pass in silence either.
    pieces.extend(first.map(|from| Piece::Sql(from..text.len())));
    (pieces, ending)
}

/// Whether the tokenizer ran out of text, which it tells in words only.
fn is_unterminated(message: &str) -> bool {
    message.starts_with("Unterminated")
        || message.starts_with("Unexpected EOF")
        || message.ends_with("before EOF.")
}

/// Turns the tokenizer's lines and columns into byte offsets, in one walk over the text.
struct Offsets<'a> {
    text: &'a str,
    byte: usize,
    place: Location,
}

impl<'a> Offsets<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, byte: 0, place: Location::new(1, 1) }
    }

    /// The byte at a place that is not before the one asked for last.
    fn at(&mut self, place: Location) -> usize {
        for c in self.text[self.byte..].chars() {
            if (self.place.line, self.place.column) >= (place.line, place.column) {
                break;
            }
            self.byte += c.len_utf8();
            self.place = match c {
                '\n' => Location::new(self.place.line + 1, 1),
                _ => Location::new(self.place.line, self.place.column + 1),
            };
        }
        self.byte
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::{GenericDialect, MySqlDialect};

    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        let mut script = Script::new(text);
        std::iter::from_fn(|| script.next("generic", &GenericDialect {}))
            .map(|piece| match piece {
                Piece::Sql(range) | Piece::Command(range) => &text[range],
            })
            .collect()
    }

    #[test]
    fn several_on_a_line_and_over_lines() {
        assert_eq!(pieces("SELECT 1; SELECT\n 2 ;\nSELECT 3"), ["SELECT 1;", "SELECT\n 2 ;", "SELECT 3"]);
        assert_eq!(pieces(""), [""; 0]);
        assert_eq!(pieces(" ;; \n ; "), [""; 0]);
        assert_eq!(pieces("SELECT 1;;SELECT 2;\r\n"), ["SELECT 1;", "SELECT 2;"]);
    }

    #[test]
    fn semicolons_that_end_nothing() {
        for one in [
            "SELECT ';'",
            r#"SELECT ";""#,
            "SELECT 'it''s;'",
            "SELECT $$a;b$$",
            "SELECT $x$a;$$;b$x$",
            "SELECT `;`",
        ] {
            assert_eq!(pieces(one), [one]);
            let two = format!("{one};SELECT 2");
            assert_eq!(pieces(&two), [&format!("{one};"), "SELECT 2"]);
        }
        assert_eq!(pieces("SELECT 1 -- no; end\n + 1; SELECT 2"), ["SELECT 1 -- no; end\n + 1;", "SELECT 2"]);
        assert_eq!(
            pieces("SELECT /* ; /* ; */ ; */ 1; SELECT 2"),
            ["SELECT /* ; /* ; */ ; */ 1;", "SELECT 2"]
        );
    }

    #[test]
    fn comments_alone_are_nothing_to_run() {
        assert_eq!(pieces("-- first\n/* second; */ -- third"), [""; 0]);
        assert_eq!(pieces("-- about it\nSELECT 1;\n-- the end"), ["SELECT 1;"]);
        assert_eq!(pieces("#!/usr/bin/env -S metaxy-cli -f\nSELECT 1"), ["SELECT 1"]);
    }

    #[test]
    fn letters_of_several_bytes() {
        assert_eq!(
            pieces("SELECT 'größe;なにか'; SELECT '🙂;'; SELECT 1"),
            ["SELECT 'größe;なにか';", "SELECT '🙂;';", "SELECT 1"]
        );
    }

    #[test]
    fn commands_take_their_line() {
        assert_eq!(
            pieces("\\d\nSELECT 1;\n  \\h it's;  \nSELECT 2"),
            ["\\d", "SELECT 1;", "\\h it's;", "SELECT 2"]
        );
        assert_eq!(pieces("\\?"), ["\\?"]);
    }

    #[test]
    fn an_unfinished_end_is_still_a_piece() {
        assert_eq!(pieces("SELECT 1; SELECT 'abc"), ["SELECT 1;", "SELECT 'abc"]);
        assert_eq!(pieces("SELECT 1; 'abc;"), ["SELECT 1;", "'abc;"]);
        assert_eq!(pieces("SELECT 1; /* abc;"), ["SELECT 1;", "/* abc;"]);
    }

    #[test]
    fn a_new_dialect_cuts_the_rest_anew() {
        let text = "SELECT 1; # it's; \nSELECT 2;";
        let mut script = Script::new(text);
        assert_eq!(script.next("generic", &GenericDialect {}), Some(Piece::Sql(0..9)));
        let Some(Piece::Sql(range)) = script.next("mysql", &MySqlDialect {}) else { panic!("no piece") };
        assert_eq!(&text[range], "SELECT 2;");
    }

    #[test]
    fn places_in_the_script() {
        let text = "SELECT 1;\n\n  SELECT ü;";
        let script = Script::new(text);
        assert_eq!(script.line(0), 1);
        assert_eq!(script.line(13), 3);
        assert_eq!(script.in_place(&(13..text.len())), "         \n\n  SELECT ü;");
    }

    #[test]
    fn endings() {
        let check = |text| ending(text, &GenericDialect {});
        for complete in [
            "",
            "  ",
            "SELECT 1;",
            "SELECT 1; -- done",
            "SELECT ';';",
            "\\d",
            "\\h it's",
            "-- only words",
            ";",
            "SELECT 1;\\d",
        ] {
            assert_eq!(check(complete), Ending::Complete, "{complete}");
        }
        for open in [
            "SELECT 1",
            "SELECT ';",
            "SELECT 1; SELECT",
            "SELECT \";",
            "SELECT $$;",
            "/* ;",
            "SELECT 1 -- ;",
            "\\d\nSELECT 1",
        ] {
            assert_eq!(check(open), Ending::Open, "{open}");
        }
        assert_eq!(check("SELECT U&'\\zz';"), Ending::Broken);
    }
}

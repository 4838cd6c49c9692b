//! What helps at the prompt while a line is typed.

use std::borrow::Cow;

use datafusion::config::Dialect;
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion_cli::helper::CliHelper;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::script::{self, Ending};

/// datafusion-cli's helper with a validator of ours.
///
/// Theirs parses with DataFusion's parser, which refuses our statements, and holds on to a line that it refuses
/// until the user has repaired it.
pub(super) struct PromptHelper {
    inner: CliHelper,
    dialect: Dialect,
}

impl PromptHelper {
    pub(super) fn new(dialect: Dialect, color: bool) -> Self {
        Self { inner: CliHelper::new(&dialect, color), dialect }
    }

    /// Follows the session's dialect, which a statement can change.
    pub(super) fn set_dialect(&mut self, dialect: Dialect) {
        self.inner.set_dialect(&dialect);
        self.dialect = dialect;
    }

    /// Shows the hint of the empty line again.
    pub(super) fn reset_hint(&self) {
        self.inner.reset_hint();
    }

    /// Whether Enter runs the input. It doesn't while the input is within a statement, a string or a comment;
    /// anything that is wrong is run, to be told what is wrong.
    fn is_complete(&self, input: &str) -> bool {
        match dialect_from_str(self.dialect) {
            Some(dialect) => match script::ending(input, dialect.as_ref()) {
                Ending::Complete => true,
                Ending::Broken => input.trim_end().ends_with(';'),
                Ending::Open => false,
            },
            None => true,
        }
    }
}

impl Validator for PromptHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if !self.is_complete(context.input()) {
            return Ok(ValidationResult::Incomplete);
        }
        self.reset_hint();
        Ok(ValidationResult::Valid(None))
    }
}

impl Highlighter for PromptHelper {
    fn highlight<'l>(&self, line: &'l str, position: usize) -> Cow<'l, str> {
        self.inner.highlight(line, position)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        self.inner.highlight_hint(hint)
    }

    fn highlight_char(&self, line: &str, position: usize, kind: CmdKind) -> bool {
        self.inner.highlight_char(line, position, kind)
    }
}

impl Hinter for PromptHelper {
    type Hint = String;

    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<String> {
        self.inner.hint(line, position, context)
    }
}

impl Completer for PromptHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        self.inner.complete(line, position, context)
    }
}

impl Helper for PromptHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_runs_what_is_complete() {
        let helper = PromptHelper::new(Dialect::Generic, false);
        for complete in [
            "",
            "\\d",
            "\\d a/b",
            "SELECT 1;",
            "SELECT\n 1 ; ",
            "SELEC 1;",
            "CREATE FEATURE x;",
            "SELECT 1; -- x",
        ] {
            assert!(helper.is_complete(complete), "{complete}");
        }
        for open in
            ["SELECT 1", "SELECT ';", "SELECT 'a\n;", "SELECT $$;", "SELECT 1; SELECT 2", "SELECT 1 -- ;"]
        {
            assert!(!helper.is_complete(open), "{open}");
        }
    }

    #[test]
    fn no_line_is_a_trap() {
        let helper = PromptHelper::new(Dialect::Generic, false);
        assert!(helper.is_complete("SELECT U&'\\zz';"));
        assert!(helper.is_complete("');';"));
    }

    #[test]
    fn the_dialect_is_followed() {
        let mut helper = PromptHelper::new(Dialect::Generic, false);
        assert!(helper.is_complete("SELECT 'it\\'s;"));
        assert!(!helper.is_complete("SELECT 1; # it's"));
        helper.set_dialect(Dialect::MySQL);
        assert!(!helper.is_complete("SELECT 'it\\'s;"));
        assert!(helper.is_complete("SELECT 1; # it's"));
    }
}

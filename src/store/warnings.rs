//! Messages for the user that are no errors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

/// Messages for the user that are no errors, collected until somebody shows them. One that waits already is not
/// added again.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    waiting: Vec<String>,
    /// For messages about statements, the last statement that gave each.
    statements: HashMap<String, DateTime<Utc>>,
}

impl Warnings {
    /// Adds a message, and writes it to the log.
    pub fn push(&self, message: impl Into<String>) {
        self.lock().add(message.into());
    }

    /// Adds a message about a statement, known by its start: once, however often the statement gives it.
    pub(crate) fn push_once(&self, message: String, statement: DateTime<Utc>) {
        let mut collected = self.lock();
        if collected.statements.insert(message.clone(), statement) != Some(statement) {
            collected.add(message);
        }
    }

    /// The messages since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collected {
    fn add(&mut self, message: String) {
        log::warn!("{message}");
        if !self.waiting.contains(&message) {
            self.waiting.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_says_a_thing_once() {
        let warnings = Warnings::default();
        let (first, second) = (DateTime::from_timestamp_nanos(1), DateTime::from_timestamp_nanos(2));
        warnings.push_once("a".into(), first);
        warnings.push_once("b".into(), first);
        warnings.push_once("a".into(), first);
        assert_eq!(warnings.take(), ["a", "b"]);
        warnings.push_once("a".into(), first);
        assert_eq!(warnings.take(), [""; 0]);
        warnings.push_once("a".into(), second);
        warnings.push("a");
        assert_eq!(warnings.take(), ["a"]);
    }
}

//! Messages for the user that are no errors.

use std::sync::{Arc, Mutex, PoisonError};

/// Messages for the user that are no errors, collected until somebody shows them.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds a message, and writes it to the log.
    pub fn push(&self, message: impl Into<String>) {
        let message = message.into();
        log::warn!("{message}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// The messages since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

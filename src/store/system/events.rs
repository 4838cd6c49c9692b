//! The record of what was done in a store, in the columns and payloads of the Python package.

use std::fmt;
use std::sync::Arc;

use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::error::DataFusionError;
use serde_json::json;

use super::SystemTable;
use crate::error::Result;
use crate::model::FeatureKey;
use crate::store::Store;

/// What an event is about.
///
/// The Python package has a column for this and, in version 0.1.11, no value for it; it reads any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it all, once one of them is explained")]
pub enum EventType {
    /// Definitions of a project were recorded.
    PushCompleted,
    CopyStarted,
    CopyCompleted,
    CopyFailed,
    RebaseStarted,
    RebaseCompleted,
    RebaseFailed,
    /// Rows were removed for good.
    HardDeleteCompleted,
    HardDeleteFailed,
}

impl EventType {
    /// The text in the column `event_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PushCompleted => "push_completed",
            Self::CopyStarted => "copy_started",
            Self::CopyCompleted => "copy_completed",
            Self::CopyFailed => "copy_failed",
            Self::RebaseStarted => "rebase_started",
            Self::RebaseCompleted => "rebase_completed",
            Self::RebaseFailed => "rebase_failed",
            Self::HardDeleteCompleted => "hard_delete_completed",
            Self::HardDeleteFailed => "hard_delete_failed",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an event tells beside its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    Empty,
    /// How many rows were written or removed.
    RowsAffected(u64),
    /// Why it failed, and how many rows were written before, if that is known.
    Error {
        /// The error, in one line.
        message: String,
        /// Rows that were written all the same.
        rows_affected: Option<u64>,
    },
}

impl Payload {
    /// As the Python package writes it.
    fn to_json(&self) -> String {
        match self {
            Self::Empty => json!({"type": "empty"}),
            Self::RowsAffected(rows) => json!({"type": "rows_affected", "rows_affected": rows}),
            Self::Error { message, rows_affected } => {
                json!({"type": "error", "error_message": message, "rows_affected": rows_affected})
            }
        }
        .to_string()
    }
}

/// Something that was done in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The project it was done for.
    pub project: String,
    /// Ties the events of one piece of work together.
    pub execution_id: String,
    /// What it is about.
    pub event_type: EventType,
    /// The feature it was done to; `None` for the work as a whole.
    pub feature: Option<FeatureKey>,
    /// What there is to tell.
    pub payload: Payload,
}

impl Event {
    /// An event of a piece of work that has no other.
    pub fn new(project: impl Into<String>, event_type: EventType, payload: Payload) -> Self {
        let execution_id = uuid::Uuid::new_v4().to_string();
        Self { project: project.into(), execution_id, event_type, feature: None, payload }
    }

    /// This event, about a feature.
    #[must_use]
    pub fn about(mut self, feature: FeatureKey) -> Self {
        self.feature = Some(feature);
        self
    }

    /// This event, as one of those that share an id.
    #[must_use]
    pub fn of(mut self, execution_id: impl Into<String>) -> Self {
        self.execution_id = execution_id.into();
        self
    }

    fn row(&self) -> Result<RecordBatch> {
        let text = |value: Option<&str>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
        let feature = self.feature.as_ref().map(FeatureKey::to_string);
        let columns = vec![
            text(Some(&self.project)),
            text(Some(&self.execution_id)),
            text(Some(self.event_type.name())),
            Arc::new(TimestampMicrosecondArray::from(vec![Utc::now().timestamp_micros()])),
            text(feature.as_deref()),
            text(Some(&self.payload.to_json())),
        ];
        let row = RecordBatch::try_new(SystemTable::Events.schema(), columns);
        Ok(row.map_err(DataFusionError::from)?)
    }
}

impl Store {
    /// Records an event in `system.events`, with the time it is now.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn record_event(&self, event: &Event) -> Result<()> {
        self.append_system(SystemTable::Events, event.row()?, None).await.map(drop)
    }

    /// Records an event of something that is done already: if that fails it is only a warning.
    pub(crate) async fn note_event(&self, event: &Event) {
        if let Err(error) = self.record_event(event).await {
            let (name, kind) = (self.name(), event.event_type);
            self.warnings().push(format!("store {name}: event {kind} could not be recorded: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_those_of_python() {
        assert_eq!(Payload::Empty.to_json(), r#"{"type":"empty"}"#);
        assert_eq!(Payload::RowsAffected(3).to_json(), r#"{"type":"rows_affected","rows_affected":3}"#);
        let failed = Payload::Error { message: "nö".to_owned(), rows_affected: None };
        assert_eq!(failed.to_json(), r#"{"type":"error","error_message":"nö","rows_affected":null}"#);
    }

    #[test]
    fn a_row_has_the_columns_of_the_table() {
        let key = FeatureKey::parse("a/b").unwrap();
        let event = Event::new("demo", EventType::CopyFailed, Payload::Empty).of("run").about(key);
        let row = event.row().unwrap();
        assert_eq!(row.schema(), SystemTable::Events.schema());
        assert_eq!(row.num_rows(), 1);
    }
}

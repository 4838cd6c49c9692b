//! The events of a piece of work: when it started, and how it ended.

use std::sync::Arc;

use crate::error::{MetaxyError, one_line};
use crate::model::FeatureDefinition;
use crate::store::{Event, EventType, Payload, Store};

/// Work whose start is recorded.
pub(in crate::store) struct Recorded {
    store: Arc<Store>,
    /// What its events have in common.
    event: Event,
}

impl Recorded {
    /// Records the start.
    pub(in crate::store) async fn start(
        store: &Arc<Store>,
        project: &str,
        started: EventType,
        feature: Option<&FeatureDefinition>,
    ) -> Self {
        let work = Self::silently(store, project, started, feature);
        store.note_event(&work.event).await;
        work
    }

    /// Work of which only the end is recorded.
    pub(in crate::store) fn silently(
        store: &Arc<Store>,
        project: &str,
        kind: EventType,
        feature: Option<&FeatureDefinition>,
    ) -> Self {
        let mut event = Event::new(project, kind, Payload::Empty);
        if let Some(feature) = feature {
            event = event.about(feature.key().clone());
        }
        Self { store: Arc::clone(store), event }
    }

    /// Records the end: how many rows it was about, or why it failed.
    pub(in crate::store) async fn end(
        self,
        completed: EventType,
        failed: EventType,
        outcome: Result<u64, &MetaxyError>,
    ) {
        let (event_type, payload) = match outcome {
            Ok(rows) => (completed, Payload::RowsAffected(rows)),
            Err(error) => {
                let message = one_line(&error.to_string());
                (failed, Payload::Error { message, rows_affected: None })
            }
        };
        self.store.note_event(&Event { event_type, payload, ..self.event }).await;
    }
}

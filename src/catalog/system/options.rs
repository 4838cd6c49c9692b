//! `system.options`: the session's `metaxy.*` options with the values that hold.

use std::sync::{Arc, Weak};

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::config::{ConfigEntry, ExtensionOptions};

use super::listing::{Rows, optional_texts, texts};
use crate::boxed::BoxFuture;
use crate::config::options::MetaxyOptions;
use crate::session::Extension;

#[derive(Debug)]
pub(super) struct Options {
    pub extension: Weak<Extension>,
}

impl Options {
    /// Who has said what an option is.
    fn set_by(&self, entry: &ConfigEntry) -> String {
        let value = |entries: Vec<ConfigEntry>| {
            entries.into_iter().find(|other| other.key == entry.key).map(|other| other.value)
        };
        let configured = self.extension.upgrade().map(|extension| extension.options().entries());
        let default = value(MetaxyOptions::default().entries());
        let configured = configured.map_or_else(|| default.clone(), value);
        match &entry.value {
            found if configured.as_ref() != Some(found) => "session",
            found if default.as_ref() != Some(found) => "configuration",
            _ => "default",
        }
        .to_owned()
    }
}

impl Rows for Options {
    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(["option", "value", "set_by", "description"].map(text).to_vec()))
    }

    fn rows<'a>(&'a self, session: &'a dyn Session) -> BoxFuture<'a, Result<Vec<ArrayRef>>> {
        Box::pin(async move {
            let options = session.config_options().extensions.get::<MetaxyOptions>().cloned();
            let entries = options.unwrap_or_default().entries();
            Ok(vec![
                texts(&entries, |entry| entry.key.clone()),
                optional_texts(&entries, |entry| entry.value.clone().filter(|value| !value.is_empty())),
                texts(&entries, |entry| self.set_by(entry)),
                texts(&entries, |entry| entry.description.to_owned()),
            ])
        })
    }
}

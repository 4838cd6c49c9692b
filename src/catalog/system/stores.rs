//! `system.stores`: one row per configured store.

use std::sync::{Arc, Weak};

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result;

use super::listing::{Rows, texts};
use crate::boxed::BoxFuture;
use crate::session::Extension;

#[derive(Debug)]
pub(super) struct Stores {
    pub extension: Weak<Extension>,
}

impl Rows for Stores {
    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            text("store"),
            text("type"),
            text("location"),
            text("hash_algorithm"),
            Field::new("hash_truncation_length", DataType::Int64, true),
            Field::new("is_default", DataType::Boolean, true),
        ]))
    }

    fn rows<'a>(&'a self, _session: &'a dyn Session) -> BoxFuture<'a, Result<Vec<ArrayRef>>> {
        Box::pin(async move {
            let stores = self.extension.upgrade().map(|extension| extension.described_stores());
            let stores = stores.unwrap_or_default();
            let lengths = stores.iter().map(|store| i64::try_from(store.hash_length).ok());
            let defaults = stores.iter().map(|store| Some(store.is_default));
            Ok(vec![
                texts(&stores, |store| store.name.clone()),
                texts(&stores, |store| store.kind.clone()),
                texts(&stores, |store| store.location.clone()),
                texts(&stores, |store| store.hash_algorithm.clone()),
                Arc::new(lengths.collect::<Int64Array>()),
                Arc::new(defaults.collect::<BooleanArray>()),
            ])
        })
    }
}

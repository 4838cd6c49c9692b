//! PostgreSQL as a store: one table per feature, in the layout of the Python package.
//!
//! Versions by field, and structs, lists and maps of the user's, are JSONB. Comments on the table and on columns say
//! what PostgreSQL can't: the hash settings and the Arrow types. The place of a row (`ctid`) is its row order: rows that
//! have the same time are ordered by where they are.

mod append;
mod comparisons;
mod database;
mod ddl;
mod decode;
mod encode;
mod errors;
mod filters;
mod flat;
mod members;
mod names;
mod numeric;
mod pushdown;
mod relation;
mod remove;
mod settings;
mod state;
mod table;
mod tls;
mod types;
mod writes;

use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use database::Database;
pub(crate) use relation::Relation;
use relation::schema_exists;
pub(crate) use table::PostgresTable;

use super::{Append, Asked, MetadataStore, PushDown, StoredTable, TableSnapshot, TableState, Warnings};
use crate::config::StoreConfig;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use names::check_name;

/// Feature tables in a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    database: Arc<Database>,
    table_prefix: String,
    auto_create: bool,
    warnings: Warnings,
}

impl PostgresStore {
    /// A store in the database that `config.database` names. Nothing is connected yet.
    ///
    /// # Errors
    /// The settings don't say where the database is, or can't be understood.
    pub fn try_new(config: &StoreConfig) -> Result<Self> {
        Ok(Self {
            database: Database::try_new(config)?,
            table_prefix: config.database.table_prefix.clone(),
            auto_create: config.database.auto_create_tables,
            warnings: Warnings::default(),
        })
    }

    /// This store with a place for what its user should know, other than the log.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Warnings) -> Self {
        self.warnings = warnings;
        self
    }

    /// How many bytes of rows the database has sent since the store was opened.
    pub fn bytes_fetched(&self) -> u64 {
        self.database.fetched()
    }

    /// The name of a feature's table.
    fn table(&self, feature: &FeatureKey) -> Result<String> {
        let table = format!("{}{}", self.table_prefix, feature.table_name());
        check_name("the table", &table).map_err(|reason| MetaxyError::Store {
            store: self.database.store().to_owned(),
            reason: format!("feature {feature}: {reason}"),
        })?;
        Ok(table)
    }

    /// Whether a write with this key is done.
    async fn is_written(&self, feature: &FeatureKey, key: &str) -> Result<bool> {
        let mut lease = self.database.reader().await?;
        let written = match Relation::find(&self.database, &*lease, &self.table(feature)?).await? {
            Some(relation) => writes::is_done(&relation, &lease, key).await?,
            None => false,
        };
        lease.done();
        Ok(written)
    }
}

#[async_trait]
impl MetadataStore for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgresql"
    }

    fn format(&self) -> &'static str {
        "PostgreSQL"
    }

    fn compute_engine(&self) -> Option<&'static str> {
        Some("PostgreSQL")
    }

    fn push_down(&self, asked: &Asked<'_>) -> PushDown {
        pushdown::push_down(&self.database, self.auto_create, asked)
    }

    fn location(&self) -> String {
        self.database.shown().to_owned()
    }

    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        let table = self.table(feature)?;
        let mut lease = self.database.reader().await?;
        let Some(mut relation) = Relation::find(&self.database, &*lease, &table).await? else {
            // Without leave to create it, whoever names a schema thinks that it is there.
            if let (Some(schema), false) = (self.database.schema(), self.auto_create)
                && !schema_exists(&self.database, &*lease, schema).await?
            {
                let reason =
                    format!("there is no schema {schema:?}, so nothing is read; check the store's `schema`");
                self.warnings.push(self.database.error(reason).to_string());
            }
            lease.done();
            return Ok(None);
        };
        members::complete(&mut relation, &*lease).await?;
        lease.done();
        let recorded = relation.recorded.clone();
        let provider = Arc::new(PostgresTable::new(relation));
        Ok(Some(StoredTable { provider, recorded, sample_version: None }))
    }

    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64> {
        append::append(self, feature, rows).await
    }

    async fn state(&self, feature: &FeatureKey) -> Result<TableState> {
        let table = self.table(feature)?;
        let mut lease = self.database.reader().await?;
        let state = match Relation::find(&self.database, &*lease, &table).await? {
            Some(relation) => state::state(&relation, &lease).await?,
            None => TableState::default(),
        };
        lease.done();
        Ok(state)
    }

    async fn snapshot(&self, feature: &FeatureKey) -> Result<Option<Arc<dyn TableSnapshot>>> {
        Ok(remove::PostgresSnapshot::open(self, feature).await?.map(|snapshot| Arc::new(snapshot) as _))
    }
}

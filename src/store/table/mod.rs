//! A feature as a table: its latest live rows, or its whole history.

mod scan;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use self::scan::is_decided_by_row;
use super::search::Search;
use super::view::{Others, View};
use super::write::FeatureSink;
use super::{Store, StoredTable};
use crate::boxed;
use crate::columns::{FEATURE_VERSION, ROW_ORDER, SYSTEM_COLUMNS, WAITING, field_version, is_system};
use crate::error::MetaxyError;
use crate::model::FeatureDefinition;
use crate::update::Standing;

/// A feature of a store as a DataFusion table.
///
/// Inserting into it is a write: columns match by name, system columns are added, and rows are checked.
#[derive(Clone)]
pub struct FeatureTable {
    store: Arc<Store>,
    definition: Arc<FeatureDefinition>,
    stored: Option<StoredTable>,
    view: View,
    schema: SchemaRef,
    by_name: bool,
    /// How the rows were found, for a store with fallbacks.
    search: Option<Arc<Search>>,
    /// Why the table can't be read.
    unreadable: Option<String>,
    /// Struct keys of the fields whose data versions are hidden columns at the end of the schema.
    versions: Vec<String>,
}

impl fmt::Debug for FeatureTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeatureTable({} in {}, {:?})", self.definition.spec.key, self.store.name(), self.view)
    }
}

impl FeatureTable {
    pub(crate) fn new(
        store: Arc<Store>,
        definition: Arc<FeatureDefinition>,
        stored: Option<StoredTable>,
        view: View,
    ) -> Self {
        let schema = shown_schema(stored.as_ref(), &definition);
        Self {
            store,
            definition,
            stored,
            view,
            schema,
            by_name: false,
            search: None,
            unreadable: None,
            versions: Vec::new(),
        }
    }

    /// The feature's definition.
    pub fn definition(&self) -> &Arc<FeatureDefinition> {
        &self.definition
    }

    /// This table with hidden columns for the data versions of some fields.
    ///
    /// They are taken out of the versions column before rows are held back to find the latest ones: what is not
    /// needed of that column takes no memory.
    pub(crate) fn with_versions(mut self, struct_keys: Vec<String>) -> Self {
        let mut fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        for key in &struct_keys {
            fields.push(Arc::new(Field::new(field_version(key), DataType::Utf8, true)));
        }
        self.schema = Arc::new(Schema::new(fields));
        self.versions = struct_keys;
        self
    }

    /// This table with rows of older feature versions, by which samples that wait to be computed again are known;
    /// `None` if rows don't say of which version they are.
    pub(crate) fn standing(&self) -> Option<Standing> {
        let stored = self.stored.as_ref()?;
        stored.provider.schema().field_with_name(FEATURE_VERSION).ok()?;
        let mut fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(WAITING, DataType::Boolean, false)));
        let behind = View { others: Others::Behind, ..self.view.clone() };
        let schema = Arc::new(Schema::new(fields));
        let rows = Self { view: behind, schema, search: None, ..self.clone() };
        let older = View { others: Others::Alone, sample_history: true, deleted: true, ..self.view.clone() };
        let older = Self {
            view: older,
            ..Self::new(
                Arc::clone(&self.store),
                Arc::clone(&self.definition),
                self.stored.clone(),
                View::HISTORY,
            )
        };
        Some(Standing { rows: Arc::new(rows), older: Arc::new(older) })
    }

    /// This table for an INSERT whose columns keep their own names.
    pub(crate) fn by_name(mut self) -> Self {
        self.by_name = true;
        self
    }

    /// Whether rows for this table carry the names that their author gave them.
    pub(crate) fn is_by_name(&self) -> bool {
        self.by_name
    }

    /// This table with what is known about where its rows were found.
    pub(crate) fn found_by(mut self, search: Search) -> Self {
        self.search = Some(Arc::new(search));
        self
    }

    /// How the rows were found, for a store with fallbacks.
    pub(crate) fn search(&self) -> Option<&Search> {
        self.search.as_deref()
    }

    /// The store's own table for a feature that no store has rows of; `None` if there is no table.
    pub(crate) fn even_without_rows(mut self) -> Option<Self> {
        self.search = None;
        self.stored.is_some().then_some(self)
    }

    /// Whether there is anything to read: a table in this store or, for a store with fallbacks, rows in any.
    pub fn exists(&self) -> bool {
        self.stored.is_some() && self.search().is_none_or(|search| search.served_by().is_some())
    }

    /// A table that stands for one which can't be opened, so that listings of all tables still work.
    pub(crate) fn unreadable(
        store: Arc<Store>,
        definition: Arc<FeatureDefinition>,
        reason: &MetaxyError,
    ) -> Self {
        Self { unreadable: Some(reason.to_string()), ..Self::new(store, definition, None, View::HISTORY) }
    }

    /// The error for reading a feature that has no data, or whose table can't be read.
    pub fn not_found(&self) -> MetaxyError {
        if let Some(reason) = &self.unreadable {
            return MetaxyError::Invalid(reason.clone());
        }
        match self.search() {
            Some(search) => search.not_found(&self.definition.spec.key, None),
            None => self.store.not_found(&self.definition.spec.key),
        }
    }

    /// The table as it was opened, if there is one.
    pub(crate) fn stored(&self) -> Option<&StoredTable> {
        self.stored.as_ref()
    }

    /// This table with rows of another moment.
    pub(crate) fn with_rows(mut self, rows: Arc<dyn TableProvider>) -> Self {
        self.stored = self.stored.map(|stored| StoredTable { provider: rows, ..stored });
        self
    }

    /// The struct keys of the fields whose data versions are hidden columns.
    pub(crate) fn version_keys(&self) -> &[String] {
        &self.versions
    }

    /// The store that the table belongs to.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether INSERT and DELETE append rows to it.
    pub(crate) fn is_appended_to(&self) -> bool {
        self.view != View::HISTORY
    }

    /// Which rows it shows.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    fn refuse<T>(&self, reason: String) -> Result<T> {
        Err(MetaxyError::Invalid(reason).into())
    }

    fn is_id(&self, name: &str) -> bool {
        self.definition.spec.id_columns.iter().any(|id| id == name)
    }
}

/// User columns first, then the system columns in their usual order.
fn shown_schema(stored: Option<&StoredTable>, definition: &FeatureDefinition) -> SchemaRef {
    let Some(stored) = stored else {
        let keys: Vec<_> = definition.spec.fields.iter().map(|f| f.key.struct_key()).collect();
        let fields: Vec<FieldRef> = SYSTEM_COLUMNS
            .iter()
            .map(|name| {
                let data_type = crate::columns::scalar_type(name)
                    .unwrap_or_else(|| crate::columns::versions_struct(keys.iter().map(String::as_str)));
                Arc::new(Field::new(*name, data_type, true)) as FieldRef
            })
            .collect();
        return Arc::new(Schema::new(fields));
    };
    let inner = stored.provider.schema();
    let user = inner.fields().iter().filter(|f| !is_system(f.name()) && f.name() != ROW_ORDER);
    let system = SYSTEM_COLUMNS.iter().filter_map(|name| inner.fields().iter().find(|f| f.name() == name));
    Arc::new(Schema::new(user.chain(system).cloned().collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for FeatureTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, datafusion::logical_expr::LogicalPlan>> {
        None
    }

    boxed::scan!(planned);

    /// Before the latest row is known, only a filter on the ids may drop rows: any other could drop the latest
    /// row of a sample and bring an older one back.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                let pushable =
                    self.view.sample_history || filter.column_refs().iter().all(|c| self.is_id(&c.name));
                match (pushable && !filter.is_volatile(), is_decided_by_row(filter)) {
                    (true, true) if self.view.sample_history => TableProviderFilterPushDown::Unsupported,
                    (true, true) => TableProviderFilterPushDown::Exact,
                    (true, false) => TableProviderFilterPushDown::Inexact,
                    (false, _) => TableProviderFilterPushDown::Unsupported,
                }
            })
            .collect())
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        insert_op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if insert_op != InsertOp::Append {
            return self
                .refuse(format!("feature {}: rows can be appended, not replaced", self.definition.spec.key));
        }
        if self.view == View::HISTORY {
            return self.refuse(format!(
                "feature {}: write to the feature itself, its history is read-only",
                self.definition.spec.key
            ));
        }
        let options = super::write::WriteOptions::from_session(state.config_options())?;
        self.store.check_project(&self.definition, &options.scope)?;
        let sink =
            FeatureSink::new(Arc::clone(&self.store), Arc::clone(&self.definition), input.schema(), options);
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }

    // DataFusion hands over the filters of the optimised plan, from which `IN (SELECT …)`, `EXISTS`, `WHERE false`
    // and LIMIT are gone; no filters would mean all rows. So these never do anything.

    boxed::refuse_changes!(refuse_delete, refuse_update);

    async fn truncate(&self, _state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse(format!("feature {}: TRUNCATE is not supported", self.definition.spec.key))
    }
}

impl FeatureTable {
    fn refuse_delete(&self) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse(format!("feature {}: DELETE is not supported", self.definition.spec.key))
    }

    fn refuse_update(&self) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse(format!(
            "feature {}: rows are not updated in place; write the sample again with INSERT",
            self.definition.spec.key
        ))
    }
}

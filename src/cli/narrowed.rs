//! Conditions that narrow what a check of features is about, planned over the columns of each feature's tables.

use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;

use super::sql_text::filters;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use crate::session::MetaxySession;
use crate::store::Store;
use crate::update::IncrementOptions;

/// Conditions of `resolve_update`, as they stand on the command line.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Narrowed {
    /// Only samples whose stored row meets this condition, or that have none; others are not counted (repeatable)
    #[arg(long = "filter", value_name = "SQL", allow_hyphen_values = true)]
    target: Vec<String>,

    /// Only rows that meet this condition, in all tables that have its columns (repeatable)
    #[arg(long = "global-filter", value_name = "SQL", allow_hyphen_values = true)]
    global: Vec<String>,

    /// Stored rows that meet this condition are stale, whatever their versions say (repeatable)
    #[arg(long = "stale-when", alias = "stale-if", value_name = "SQL", allow_hyphen_values = true)]
    stale_when: Vec<String>,
}

impl Narrowed {
    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.target.is_empty() && self.global.is_empty() && self.stale_when.is_empty()
    }

    /// The options with the conditions over this feature's tables.
    ///
    /// # Errors
    ///
    /// A condition that is not one, or speaks of a column that none of the tables has.
    pub(super) async fn over(
        &self,
        session: &MetaxySession,
        store: &Arc<Store>,
        feature: &FeatureKey,
        mut options: IncrementOptions,
    ) -> Result<IncrementOptions> {
        let inputs = match store.inputs(feature, options.samples.is_some()).await {
            // That there is no data yet is for the check to say.
            Err(MetaxyError::FeatureNotFound { .. }) => return Ok(options),
            other => other?,
        };
        if inputs.plan.is_root() && options.samples.is_none() {
            // Nothing is compared.
            return Ok(options);
        }
        let fields = |tables: &mut dyn Iterator<Item = &Arc<dyn TableProvider>>| {
            let mut all: Vec<FieldRef> = Vec::new();
            for field in tables.flat_map(|table| table.schema().fields().iter().cloned().collect::<Vec<_>>())
            {
                if all.iter().all(|known| known.name() != field.name()) {
                    all.push(field);
                }
            }
            all
        };
        let stored = fields(&mut inputs.current.iter());
        let mut all = fields(&mut inputs.current.iter().chain(inputs.parents.iter().flatten()));
        for field in options.samples.iter().flat_map(|samples| samples.schema().fields()) {
            if all.iter().all(|known| known.name() != field.name()) {
                all.push(Arc::clone(field));
            }
        }
        options.global_filters = planned(session, &self.global, all)?;
        // Nothing stored, nothing to look at.
        if !stored.is_empty() {
            options.target_filters = planned(session, &self.target, stored.clone())?;
            options.stale_when = planned(session, &self.stale_when, stored)?;
        }
        Ok(options)
    }
}

fn planned(
    session: &MetaxySession,
    texts: &[String],
    fields: Vec<FieldRef>,
) -> Result<Vec<datafusion::logical_expr::Expr>> {
    filters(session, texts, &DFSchema::try_from(Schema::new(fields))?)
}

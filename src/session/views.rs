//! Views that have to be planned anew whenever they are used.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::{ResolvedTableReference, TableReference};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{CreateView, ObjectName, Statement as SqlStatement};

/// The definitions of a session's views that contain an increment, or read a feature.
///
/// DataFusion keeps a view as a plan. The plan of an increment depends on which tables exist: made before the first
/// write, it would call every sample new for ever. So does the store that a feature is read from, and its version
/// changes when it is defined anew.
#[derive(Debug, Default)]
pub(super) struct Views(Mutex<HashMap<ResolvedTableReference, Definition>>);

/// The statement that makes a view.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub statement: Statement,
    /// The session's default catalog and schema when it was given: short names in it belong there.
    pub defaults: (String, String),
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, HashMap<ResolvedTableReference, Definition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the definition of a view that has to be planned anew; of a view that had its name before nothing stays.
    pub(super) fn remember(&self, name: ResolvedTableReference, mut definition: Definition) {
        if let Statement::Statement(inner) = &mut definition.statement
            && let SqlStatement::CreateView(view) = inner.as_mut()
        {
            view.or_replace = true;
            view.if_not_exists = false;
        }
        self.lock().insert(name, definition);
    }

    /// Forgets a view.
    pub(super) fn forget(&self, name: &ResolvedTableReference) {
        self.lock().remove(name);
    }

    /// The definition of the view, whether it exists or not.
    pub(super) fn definition(&self, name: &ResolvedTableReference) -> Option<Definition> {
        self.lock().get(name).cloned()
    }
}

/// The name of the view that a statement creates.
pub(super) fn created_view(statement: &Statement) -> Option<TableReference> {
    let Statement::Statement(statement) = statement else { return None };
    let SqlStatement::CreateView(CreateView { name, .. }) = statement.as_ref() else { return None };
    reference(name)
}

/// A name as DataFusion reads it: lower case where it is not quoted.
pub(super) fn reference(name: &ObjectName) -> Option<TableReference> {
    let parts: Vec<String> = name
        .0
        .iter()
        .map(|part| {
            let ident = part.as_ident()?;
            let quoted = ident.quote_style.is_some();
            Some(if quoted { ident.value.clone() } else { ident.value.to_ascii_lowercase() })
        })
        .collect::<Option<_>>()?;
    match parts.as_slice() {
        [table] => Some(TableReference::bare(table.as_str())),
        [schema, table] => Some(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => {
            Some(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()))
        }
        _ => None,
    }
}

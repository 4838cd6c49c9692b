//! Async methods of other crates' traits by functions that return boxed futures.
//!
//! `async_trait` declares of each method how its lifetimes relate. Below such a declaration rustc proves anew for every
//! method that all which its future holds is `Send`, down to each type that an expression of DataFusion's is made of:
//! five to fifteen seconds for a method of five lines. In a function that declares nothing it uses what it has proved before.
//! So methods of `async_trait` hold neither expressions nor plans: their work is done by a function
//! `fn work<'a>(&'a self, …) -> BoxFuture<'a, …>`. Where they are given expressions, these macros write them.

pub(crate) use futures::future::BoxFuture;

/// `TableProvider::scan` by a method of the same arguments that returns a [`BoxFuture`].
macro_rules! scan {
    ($by:ident) => {
        fn scan<'life0, 'life1, 'life2, 'life3, 'async_trait>(
            &'life0 self,
            state: &'life1 dyn datafusion::catalog::Session,
            projection: Option<&'life2 Vec<usize>>,
            filters: &'life3 [datafusion::logical_expr::Expr],
            limit: Option<usize>,
        ) -> $crate::boxed::BoxFuture<'async_trait, $crate::boxed::Planned>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            'life2: 'async_trait,
            'life3: 'async_trait,
            Self: 'async_trait,
        {
            self.$by(state, projection, filters, limit)
        }
    };
}

/// `TableProvider::delete_from` and `update` of tables that refuse both, each with a method that says why.
macro_rules! refuse_changes {
    ($delete:ident, $update:ident) => {
        fn delete_from<'life0, 'life1, 'async_trait>(
            &'life0 self,
            _state: &'life1 dyn datafusion::catalog::Session,
            _filters: Vec<datafusion::logical_expr::Expr>,
        ) -> $crate::boxed::BoxFuture<'async_trait, $crate::boxed::Planned>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(std::future::ready(self.$delete()))
        }

        fn update<'life0, 'life1, 'async_trait>(
            &'life0 self,
            _state: &'life1 dyn datafusion::catalog::Session,
            _assignments: Vec<(String, datafusion::logical_expr::Expr)>,
            _filters: Vec<datafusion::logical_expr::Expr>,
        ) -> $crate::boxed::BoxFuture<'async_trait, $crate::boxed::Planned>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(std::future::ready(self.$update()))
        }
    };
}

pub(crate) use {refuse_changes, scan};

/// What becomes of a table that is planned.
pub(crate) type Planned =
    datafusion::common::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>;

//! Stores in a DataFusion session: attaching them, and the statement layer in front of `SessionContext::sql`.

mod attach;
mod call;
mod calls;
mod define;
mod definitions;
mod delete_alias;
mod delete_rule;
mod extension;
mod insert;
mod insert_rule;
mod metaxy_session;
mod missing;
mod statement;
mod unwritten;
mod views;
mod written;

pub use attach::{SessionContextExt, SessionStateBuilderExt};
pub use define::FeatureStatement;
pub use extension::{DescribedStore, Extension};
pub use metaxy_session::{MetaxySession, SessionOptions};
pub use statement::MetaxyStatement;

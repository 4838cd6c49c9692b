//! Pictures of a feature graph: what to draw, where it goes, and the formats it is drawn in. No DataFusion types.
//!
//! ```
//! use datafusion_metaxy::model::{FeatureDefinition, FeatureGraph, FeatureSpec, Origin};
//! use datafusion_metaxy::picture::{Form, Picture, Style};
//!
//! let video = FeatureSpec::builder("video").id_columns(["video_id"]).build()?;
//! let crop = FeatureSpec::builder("video/crop").id_columns(["video_id"]).dep("video").build()?;
//! let features = [video, crop].map(|spec| FeatureDefinition::declared(spec, "demo", Origin::Session));
//! let picture = Picture::of_graph(&FeatureGraph::new(features, 8)?);
//! assert!(picture.draw(Form::Mermaid, &Style::default()).starts_with("flowchart"));
//! # Ok::<(), datafusion_metaxy::error::MetaxyError>(())
//! ```

mod dot;
mod fit;
mod form;
mod html;
mod layout;
mod mermaid;
mod of_change;
mod of_graph;
mod parts;
#[cfg(test)]
mod samples;
mod subset;
mod svg;
mod text;
mod words;
mod xml;

pub use form::{Direction, Form, Style};
pub use parts::{Change, Feature, Field, Link, Picture, Standing, Status};

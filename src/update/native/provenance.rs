//! The provenance of expected rows: per field a hash of its code version and its parents' data versions.

use datafusion::common::Result;
use datafusion::functions::core::expr_fn::{coalesce, named_struct};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};

use crate::columns::{DATA_VERSION, DATA_VERSION_BY_FIELD, PROVENANCE, PROVENANCE_BY_FIELD};
use crate::hash::{HashSettings, SEPARATOR, hash_expr};
use crate::update::description::{Description, FieldSource, Part};
use crate::update::internal;
use crate::update::parents::plain;

/// The provenance of one field of an expected row.
fn field_provenance(source: &FieldSource, settings: HashSettings) -> Expr {
    let parts = match source {
        FieldSource::Given(column) => return plain(column),
        FieldSource::Hashed(parts) => parts,
    };
    let version = |part: Option<&Part>| matches!(part, Some(Part::Version { .. }));
    let exprs = parts.iter().enumerate().map(|(i, part)| match part {
        // Between a text and a version the function itself puts the separator in.
        Part::Text(text) => {
            let mut text = text.as_str();
            if version(parts.get(i + 1)) {
                text = text.strip_suffix(SEPARATOR).unwrap_or(text);
            }
            if i > 0 && version(parts.get(i - 1)) {
                text = text.strip_prefix(SEPARATOR).unwrap_or(text);
            }
            lit(text)
        }
        Part::Version { column, optional: true, .. } => coalesce(vec![plain(column), lit("")]),
        Part::Version { column, .. } => plain(column),
    });
    hash_expr(settings, exprs)
}

/// Adds the four version columns, `keep` being the columns that stay.
pub(super) fn with_versions(
    builder: LogicalPlanBuilder,
    description: &Description,
    keep: &[String],
) -> Result<LogicalPlanBuilder> {
    let keys = description.field_keys();
    let kept = || keep.iter().map(plain);
    let mut exprs: Vec<Expr> = kept().collect();
    for field in &description.fields {
        let provenance = field_provenance(&field.source, description.settings);
        exprs.push(provenance.alias(internal::field(&field.struct_key)));
    }
    if description.overridden {
        exprs.extend([plain(internal::DATA_VERSIONS), plain(internal::DATA_VERSION)]);
    }
    let builder = builder.project(exprs)?;
    let by_field =
        named_struct(keys.iter().flat_map(|key| [lit(*key), plain(internal::field(key))]).collect());
    // The sample's version is made of its fields' versions, in the order of sorted struct keys.
    let sorted = description.sorted_fields();
    let sample =
        hash_expr(description.settings, sorted.into_iter().map(|field| plain(internal::field(keys[field]))));
    let mut versions: Vec<Expr> = builder.schema().fields().iter().map(|f| plain(f.name())).collect();
    versions.push(by_field.alias(PROVENANCE_BY_FIELD));
    versions.push(sample.alias(PROVENANCE));
    // The data versions repeat the provenance: computed once, in a projection of its own.
    let (data_versions, data_version) = if description.overridden {
        (internal::DATA_VERSIONS, internal::DATA_VERSION)
    } else {
        (PROVENANCE_BY_FIELD, PROVENANCE)
    };
    let exprs: Vec<Expr> = kept()
        .chain([
            plain(PROVENANCE_BY_FIELD),
            plain(PROVENANCE),
            plain(data_versions).alias(DATA_VERSION_BY_FIELD),
            plain(data_version).alias(DATA_VERSION),
        ])
        .collect();
    builder.project(versions)?.project(exprs)
}

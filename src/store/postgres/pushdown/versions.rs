//! Hashes: the database's own functions over what the other executors hash.

use super::Sql;
use super::sql::literal;
use crate::hash::{HashAlgorithm, HashSettings, SEPARATOR};
use crate::update::{Description, FieldSource, Part};

/// The truncated hash of a text, NULL if that is. `utf8`: the database keeps its text in UTF-8.
pub(super) fn hash(settings: HashSettings, text: &str, utf8: bool) -> Sql<String> {
    // Bytes are hashed, and the database may keep its text in another encoding.
    let bytes = format!("convert_to({text}, 'UTF8')");
    let digest = match settings.algorithm {
        HashAlgorithm::Md5 if utf8 => format!("md5({text})"),
        HashAlgorithm::Md5 => format!("md5({bytes})"),
        HashAlgorithm::Sha256 => format!("encode(sha256({bytes}), 'hex')"),
        other => {
            return Err(format!(
                "PostgreSQL has no {other}; a store with md5 or sha256 computes in the database"
            ));
        }
    };
    Ok(format!("left({digest}, {})", settings.length.min(settings.algorithm.max_length())))
}

/// Each field's provenance, in the order of the spec. `version` gives the text of an input's version, or of a column
/// of the samples.
pub(super) fn fields(
    description: &Description,
    version: impl Fn(usize, &str) -> Sql<String>,
    utf8: bool,
) -> Sql<Vec<String>> {
    let field = |source: &FieldSource| match source {
        FieldSource::Given(column) => version(0, column),
        FieldSource::Hashed(parts) => {
            let parts = parts.iter().map(|part| match part {
                Part::Text(text) => literal(text),
                Part::Version { input, column, optional } => {
                    let version = version(*input, column)?;
                    Ok(if *optional { format!("coalesce({version}, '')") } else { version })
                }
            });
            hash(description.settings, &parts.collect::<Sql<Vec<_>>>()?.join(" || "), utf8)
        }
    };
    description.fields.iter().map(|recipe| field(&recipe.source)).collect()
}

/// The sample's version, made of its fields'.
pub(super) fn sample(description: &Description, fields: &[String], utf8: bool) -> Sql<String> {
    let sorted: Vec<&str> = description.sorted_fields().into_iter().map(|i| fields[i].as_str()).collect();
    hash(description.settings, &sorted.join(&format!(" || '{SEPARATOR}' || ")), utf8)
}

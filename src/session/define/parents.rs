//! Reading the parents of a feature: what stands behind FROM.

use datafusion::sql::sqlparser::tokenizer::Token;
use indexmap::IndexMap;

use super::words::Words;
use crate::error::Result;
use crate::model::{FeatureDep, FieldKey, FieldsMapping, Lineage};

/// Parents with commas between them.
pub(super) fn parents(words: &mut Words<'_, '_>) -> Result<Vec<FeatureDep>> {
    let mut parents = vec![parent(words)?];
    while words.symbol(&Token::Comma) {
        parents.push(parent(words)?);
    }
    Ok(parents)
}

/// A parent and its clauses, in any order.
fn parent(words: &mut Words<'_, '_>) -> Result<FeatureDep> {
    let mut dep = FeatureDep::from(words.feature()?);
    let (mut lineage, mut mapping, mut optional) = (None, None, None);
    loop {
        if words.take("RENAME") {
            let renamed = rename(words)?;
            words.once(&mut dep.rename, renamed, "RENAME")?;
        } else if words.take("WHERE") {
            let filters = dep.filters.get_or_insert_default();
            // No condition at all, which a spec may also say.
            if words.symbols_ahead(&Token::LParen, &Token::RParen) {
                let _ = words.symbol(&Token::LParen) && words.symbol(&Token::RParen);
            } else {
                filters.push(words.condition()?);
            }
        } else if words.take("SELECT") {
            let columns = words.columns()?;
            words.once(&mut dep.select, columns, "SELECT")?;
        } else if words.take("AGGREGATED") {
            let on = words.take("BY").then(|| words.columns()).transpose()?;
            words.once(&mut lineage, Lineage::Aggregation { on }, "the lineage of a parent")?;
        } else if words.take("EXPANDED") {
            words.expect("BY")?;
            let on = words.columns()?;
            let id_generation_pattern = words.take("ID PATTERN").then(|| words.text()).transpose()?;
            let expansion = Lineage::Expansion { on, id_generation_pattern };
            words.once(&mut lineage, expansion, "the lineage of a parent")?;
        } else if words.take("FIELDS") {
            let fields = fields(words)?;
            words.once(&mut mapping, fields, "FIELDS")?;
        } else if words.take("OPTIONAL") {
            words.once(&mut optional, true, "OPTIONAL")?;
        } else {
            dep.lineage = lineage.unwrap_or_default();
            dep.fields_mapping = mapping.unwrap_or_default();
            dep.optional = optional.unwrap_or_default();
            return Ok(dep);
        }
    }
}

/// `(old AS new, …)`
fn rename(words: &mut Words<'_, '_>) -> Result<IndexMap<String, String>> {
    let mut renamed = IndexMap::new();
    words.list(|words| {
        let old = words.name("a column")?;
        words.expect("AS")?;
        let new = words.name("a column")?;
        match renamed.insert(old.clone(), new.clone()) {
            None => Ok(()),
            Some(other) => words.fault(format!("column {old} is renamed twice, to {other} and to {new}")),
        }
    })?;
    Ok(renamed)
}

/// `ALL`, `NONE`, `BY NAME`, `BY SUFFIX`, or for each field its own.
fn fields(words: &mut Words<'_, '_>) -> Result<FieldsMapping> {
    if words.take("ALL") {
        return Ok(FieldsMapping::All);
    }
    if words.take("NONE") {
        return Ok(FieldsMapping::None);
    }
    let match_suffix = words.take("BY SUFFIX");
    if match_suffix || words.take("BY NAME") {
        let exclude_fields = if words.take("EXCEPT") { words.list(Words::field)? } else { Vec::new() };
        return Ok(FieldsMapping::Default { match_suffix, exclude_fields });
    }
    if !words.symbol_ahead(&Token::LParen) {
        return words.expected("ALL, NONE, BY NAME, BY SUFFIX or (field FROM field of the parent, …)");
    }
    let mut mapping: IndexMap<FieldKey, Vec<FieldKey>> = IndexMap::new();
    words.list(|words| {
        let field = words.field()?;
        words.expect("FROM")?;
        let from = match words.symbol_ahead(&Token::LParen) {
            true => words.list(Words::field)?,
            false => vec![words.field()?],
        };
        match mapping.insert(field.clone(), from) {
            None => Ok(()),
            Some(_) => words.fault(format!("field {field} is given twice")),
        }
    })?;
    Ok(FieldsMapping::Specific(mapping))
}

//! Reading the statements.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use serde_json::{Map, Value};

use super::parents::parents;
use super::words::{Words, feature_key};
use super::{CreateFeature, FeatureStatement, Kind};
use crate::error::Result;
use crate::model::{
    External, FeatureDep, FeatureSpec, FieldDep, FieldDeps, FieldKey, FieldSelection, FieldSpec, OnMismatch,
};
use crate::session::definitions::Existing;

/// What a parent can be followed by, for errors.
const PARENT: &str =
    "a clause of the parent (RENAME, WHERE, SELECT, AGGREGATED, EXPANDED, FIELDS, OPTIONAL), a comma, ";

/// Reads a statement about features; `None`, and nothing taken, if it is none. The parser's tokens are those of `sql`.
pub(in crate::session) fn statement(parser: &mut Parser<'_>, sql: &str) -> Result<Option<FeatureStatement>> {
    let mut words = Words::new(parser, sql);
    let creates = [
        "CREATE FEATURE",
        "CREATE EXTERNAL FEATURE",
        "CREATE OR REPLACE FEATURE",
        "CREATE OR REPLACE EXTERNAL FEATURE",
    ];
    let kind = if creates.iter().any(|phrase| words.ahead(phrase)) {
        words.expect("CREATE")?;
        Kind::Create(Box::new(create(&mut words)?))
    } else if words.take("DROP FEATURE") {
        let if_exists = words.take("IF EXISTS");
        Kind::Drop { name: words.feature_name()?, if_exists }
    } else if words.take("SHOW CREATE FEATURE") {
        Kind::ShowCreate(words.feature_name()?)
    } else if words.take("SHOW FEATURES") {
        let like = words.take("LIKE").then(|| words.text()).transpose()?;
        Kind::Show { like }
    } else if (words.ahead("DESCRIBE FEATURE") || words.ahead("DESC FEATURE")) && words.name_ahead(2) {
        let _ = words.take("DESCRIBE FEATURE") || words.take("DESC FEATURE");
        Kind::Describe(words.feature_name()?)
    } else {
        return Ok(None);
    };
    Ok(Some(FeatureStatement(kind)))
}

/// What stands behind CREATE.
fn create(words: &mut Words<'_, '_>) -> Result<CreateFeature> {
    let replace = words.take("OR REPLACE");
    let mut external = words.take("EXTERNAL").then(External::default);
    words.expect("FEATURE")?;
    let keep = words.take("IF NOT EXISTS");
    let existing = match (replace, keep) {
        (true, true) => return words.fault("OR REPLACE and IF NOT EXISTS exclude each other"),
        (true, false) => Existing::Replace,
        (false, true) => Existing::Keep,
        (false, false) => Existing::Refuse,
    };
    let name = words.feature_name()?;
    let key = feature_key(&name)?;
    let fields = match words.symbol_ahead(&Token::LParen) {
        true => words.list(|words| field(words, external.as_mut()))?,
        false => vec![FieldSpec::from(FieldKey::parse("default")?)],
    };
    let (mut ids, mut deps, mut description, mut metadata) = (None, None, None, None);
    let (mut project, mut mismatch) = (None, None);
    let mut in_parent = false;
    while !words.at_end() {
        if words.take("ID COLUMNS") {
            let columns = words.columns()?;
            words.once(&mut ids, columns, "ID COLUMNS")?;
        } else if words.take("FROM") {
            let found: Vec<FeatureDep> = parents(words)?;
            words.once(&mut deps, found, "FROM")?;
            in_parent = true;
            continue;
        } else if words.take("DESCRIPTION") {
            let text = words.text()?;
            words.once(&mut description, text, "DESCRIPTION")?;
        } else if words.take("METADATA") {
            let value = json(words)?;
            words.once(&mut metadata, value, "METADATA")?;
        } else if words.take("PROJECT") {
            let owner = words.name("a project")?;
            words.once(&mut project, owner, "PROJECT")?;
        } else if external.is_some() && words.take("ON MISMATCH") {
            let what = match (words.take("WARN"), words.take("ERROR")) {
                (true, _) => OnMismatch::Warn,
                (_, true) => OnMismatch::Error,
                _ => return words.expected("WARN or ERROR"),
            };
            words.once(&mut mismatch, what, "ON MISMATCH")?;
        } else {
            let more = if in_parent { PARENT } else { "" };
            return words.expected(&format!(
                "{more}ID COLUMNS, FROM, DESCRIPTION, METADATA, PROJECT or the end of the statement"
            ));
        }
        in_parent = false;
    }
    let Some(id_columns) = ids else {
        return words
            .expected("ID COLUMNS and the columns that identify a sample, as in ID COLUMNS (video_id)");
    };
    if let Some(external) = &mut external {
        external.on_version_mismatch = mismatch.unwrap_or_default();
        if project.is_none() {
            return words.expected("PROJECT and the owner: an external feature belongs to another project");
        }
    }
    let deps = deps.unwrap_or_default();
    let metadata = metadata.unwrap_or_default();
    let spec = FeatureSpec { key, id_columns, deps, fields, metadata, description };
    Ok(CreateFeature { existing, name, spec, project, external })
}

/// `name CODE VERSION '2' FROM parent (field)`
fn field(words: &mut Words<'_, '_>, external: Option<&mut External>) -> Result<FieldSpec> {
    let mut field = FieldSpec::from(words.field()?);
    let (mut version, mut deps, mut told) = (None, None, None);
    loop {
        if words.take("CODE VERSION") {
            let text = words.text()?;
            words.once(&mut version, text, "CODE VERSION")?;
        } else if words.take("FROM") {
            let found = field_deps(words)?;
            words.once(&mut deps, found, "FROM")?;
        } else if external.is_some() && words.take("PROVENANCE") {
            let text = words.text()?;
            words.once(&mut told, text, "PROVENANCE")?;
        } else if words.symbol_ahead(&Token::Comma) || words.symbol_ahead(&Token::RParen) {
            break;
        } else {
            return words.expected("CODE VERSION, FROM, a comma or )");
        }
    }
    field.code_version = version.unwrap_or(field.code_version);
    field.deps = deps.unwrap_or(field.deps);
    if let (Some(external), Some(version)) = (external, told) {
        external.provenance_by_field.insert(field.key.clone(), version);
    }
    Ok(field)
}

/// `*`, one parent, or several in parentheses.
fn field_deps(words: &mut Words<'_, '_>) -> Result<FieldDeps> {
    if words.symbol(&Token::Mul) {
        return Ok(FieldDeps::All);
    }
    if words.symbol_ahead(&Token::LParen) {
        return Ok(FieldDeps::List(words.list(field_dep)?));
    }
    Ok(FieldDeps::List(vec![field_dep(words)?]))
}

/// `parent`, `parent (*)` or `parent (field, field)`
fn field_dep(words: &mut Words<'_, '_>) -> Result<FieldDep> {
    let feature = words.feature()?;
    let fields = if words.symbols_ahead(&Token::LParen, &Token::Mul) {
        let _ = words.symbol(&Token::LParen) && words.symbol(&Token::Mul);
        if !words.symbol(&Token::RParen) {
            return words.expected(")");
        }
        FieldSelection::All
    } else if words.symbol_ahead(&Token::LParen) {
        FieldSelection::Keys(words.list(Words::field)?)
    } else {
        FieldSelection::All
    };
    Ok(FieldDep { feature, fields })
}

fn json(words: &mut Words<'_, '_>) -> Result<Map<String, Value>> {
    let text = words.text()?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => words.fault("METADATA is a JSON object in a string"),
        Err(error) => words.fault(format!("METADATA is not JSON: {error}")),
    }
}

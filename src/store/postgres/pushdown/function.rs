//! Functions that PostgreSQL has under one name or another.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

use super::Sql;
use super::expr::{Scope, translate, unknown};
use super::sql::{Family, Typed, literal};
use super::versions::hash;
use crate::hash::{HashAlgorithm, HashSettings, SHARD};
use crate::store::postgres::flat::holds_texts;

/// A call as SQL.
pub(super) fn call(function: &ScalarFunction, whole: &Expr, scope: &dyn Scope) -> Sql<Typed> {
    let args = function.args.as_slice();
    match function.name() {
        SHARD => Err("PostgreSQL has not the hash that tells shards apart".to_owned()),
        "coalesce" => {
            let values = all(args, scope)?;
            let known = values.iter().find(|value| value.family() != Family::Null);
            let Some(first) = known.or_else(|| values.first()) else { return Err(unknown(whole)) };
            let same = |value: &Typed| value.family() == first.family() || value.family() == Family::Null;
            if !values.iter().all(same) || first.family() == Family::Other {
                return Err(unknown(whole));
            }
            Ok(Typed::new(format!("coalesce({})", list(&values)), first.data_type.clone()))
        }
        "get_field" => member(args, whole, scope),
        "named_struct" => {
            let mut members = Vec::new();
            for pair in args.chunks(2) {
                let [name, value] = pair else { return Err(unknown(whole)) };
                let value = translate(value, scope)?;
                let (Some(name), Family::Text | Family::Null) = (text(name), value.family()) else {
                    return Err(unknown(whole));
                };
                members.push((name.to_owned(), value.sql));
            }
            object(&members)
        }
        "metaxy_hash" => {
            let [algorithm, length, parts @ ..] = args else { return Err(unknown(whole)) };
            let algorithm = text(algorithm).and_then(|name| name.parse::<HashAlgorithm>().ok());
            let length = match length {
                Expr::Literal(ScalarValue::Int64(Some(length)), _) => usize::try_from(*length).ok(),
                _ => None,
            };
            let (Some(algorithm), Some(length)) = (algorithm, length) else { return Err(unknown(whole)) };
            let parts = all(parts, scope)?;
            if !parts.iter().all(|part| part.family() == Family::Text) {
                return Err(unknown(whole));
            }
            let parts: Vec<&str> = parts.iter().map(|part| part.sql.as_str()).collect();
            let settings = HashSettings { algorithm, length };
            Ok(Typed::text(hash(settings, &parts.join(" || '|' || "), false)?))
        }
        "starts_with" => {
            let values = all(args, scope)?;
            match values.as_slice() {
                [value, prefix] if value.family() == Family::Text && prefix.family() == Family::Text => {
                    Ok(Typed::truth(format!("starts_with({}, {})", value.sql, prefix.sql)))
                }
                _ => Err(unknown(whole)),
            }
        }
        "octet_length" => {
            let values = all(args, scope)?;
            match values.as_slice() {
                [value] if value.data_type == DataType::Utf8 => {
                    let bytes = format!("octet_length(convert_to({}, 'UTF8'))", value.sql);
                    Ok(Typed::new(bytes, DataType::Int32))
                }
                _ => Err(unknown(whole)),
            }
        }
        _ => Err(unknown(whole)),
    }
}

fn all(args: &[Expr], scope: &dyn Scope) -> Sql<Vec<Typed>> {
    args.iter().map(|arg| translate(arg, scope)).collect()
}

fn list(values: &[Typed]) -> String {
    values.iter().map(|value| value.sql.as_str()).collect::<Vec<_>>().join(", ")
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(scalar, _) => scalar.try_as_str().flatten(),
        _ => None,
    }
}

/// A member of a versions column.
fn member(args: &[Expr], whole: &Expr, scope: &dyn Scope) -> Sql<Typed> {
    let [column, path @ ..] = args else { return Err(unknown(whole)) };
    let [name] = path else { return Err(unknown(whole)) };
    let name = text(name).ok_or_else(|| unknown(whole))?;
    if let Expr::Column(column) = column {
        return scope.member(&column.name, name).unwrap_or_else(|| Err(unknown(whole)));
    }
    let value = translate(column, scope)?;
    if has_text(&value.data_type, name) { json_member(&value.sql, name) } else { Err(unknown(whole)) }
}

/// Whether a struct or a map of texts has one of this name, as far as its type says. With members of other types,
/// values that don't fit them would be an error where they are read, and not here.
pub(super) fn has_text(data_type: &DataType, name: &str) -> bool {
    holds_texts(data_type)
        && match data_type {
            DataType::Struct(fields) => fields.iter().any(|field| field.name() == name),
            _ => true,
        }
}

/// A text in a JSON object; NULL where there is none.
pub(super) fn json_member(object: &str, name: &str) -> Sql<Typed> {
    Ok(Typed::text(format!("(({object} ->> {}) COLLATE \"C\")", literal(name)?)))
}

/// A JSON object of texts. Two arrays, since a call has at most a hundred arguments.
pub(super) fn object(members: &[(String, String)]) -> Sql<Typed> {
    let mut names = Vec::new();
    let mut fields = Vec::new();
    for (name, _) in members {
        names.push(literal(name)?);
        fields.push(datafusion::arrow::datatypes::Field::new(name, DataType::Utf8, true));
    }
    let values: Vec<&str> = members.iter().map(|(_, value)| value.as_str()).collect();
    Ok(Typed::new(
        format!("jsonb_object(ARRAY[{}]::text[], ARRAY[{}]::text[])", names.join(", "), values.join(", ")),
        DataType::Struct(fields.into()),
    ))
}

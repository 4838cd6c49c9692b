//! A definition that is printed and read again is the same one, whatever it is called.

use indexmap::IndexMap;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{CreateFeature, Kind, print};
use crate::model::*;
use crate::session::statement::{MetaxyStatement, parse};
use datafusion::sql::sqlparser::dialect::GenericDialect;

/// Any text, with what is hard to write in SQL more often than by chance.
fn text() -> impl Strategy<Value = String> {
    let hard = [
        "", "'", "''", "\"", "\\", "\\'", ";", "--", "/*", "*/", "$$", "a b", "A", "Ä", "🙂", "\n", "\r\n",
        "\t", "\0", "select", "from", "x", "1", "%", "`", "(", ")", ",",
    ];
    let part = prop_oneof![
        Just("x".to_owned()),
        prop::sample::select(hard.to_vec()).prop_map(str::to_owned),
        any::<String>()
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

/// The name of a column: any text but an empty one.
fn column() -> impl Strategy<Value = String> {
    text().prop_map(|text| if text.is_empty() { "id".to_owned() } else { text })
}

/// Different names of columns, at least so many.
fn columns(least: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::hash_set(column(), least..4).prop_map(|set| set.into_iter().collect())
}

/// A condition: good ones, and any text that is not empty.
fn condition() -> impl Strategy<Value = String> {
    let good = [
        "a > 1",
        "  a > 1",
        "a > 1 -- why",
        "a = 'x; y'",
        "a = NULL OR b <> 'it''s'",
        "\"A b\" IS NOT TRUE",
        "'text'",
        "a OPTIONAL",
        "a WHERE b",
        "a, b",
        "a; DROP FEATURE x",
        "a IN (1,\n  2)",
        "a /* ' */ < 2",
        "(a",
        "a FIELDS ALL",
        "count(a) > 1",
        "date > DATE '2024-01-02'",
        "a DESCRIPTION 'x'",
        "()",
        "x METADATA '{}'",
        "'a' 'b'",
        "CASE WHEN a THEN b END",
        "a LIKE '%\\_%' ESCAPE '\\'",
        "E'\\n' = a",
        "a[1] = 2",
        "a::int = 1",
    ];
    prop_oneof![3 => prop::sample::select(good.to_vec()).prop_map(str::to_owned), 1 => text()]
        .prop_map(|text| if text.trim().is_empty() { "a > 1".to_owned() } else { text })
}

fn feature_key() -> impl Strategy<Value = FeatureKey> {
    let keys =
        ["video", "video/crop", "a-x/b", "from", "select/where", "_", "x/1/2-", "default", "order", "p_q"];
    prop::sample::select(keys.to_vec()).prop_map(|key| FeatureKey::parse(key).unwrap())
}

fn field_key() -> impl Strategy<Value = FieldKey> {
    let keys = ["default", "audio", "audio/french", "from", "a-b", "code", "_x", "text", "id"];
    prop::sample::select(keys.to_vec()).prop_map(|key| FieldKey::parse(key).unwrap())
}

fn field_keys() -> impl Strategy<Value = Vec<FieldKey>> {
    prop::collection::vec(field_key(), 0..3)
}

fn lineage() -> impl Strategy<Value = Lineage> {
    let pattern = prop::option::of(text());
    prop_oneof![
        Just(Lineage::Identity),
        prop::option::of(columns(1)).prop_map(|on| Lineage::Aggregation { on }),
        (columns(1), pattern)
            .prop_map(|(on, id_generation_pattern)| Lineage::Expansion { on, id_generation_pattern }),
    ]
}

fn mapping() -> impl Strategy<Value = FieldsMapping> {
    prop_oneof![
        (any::<bool>(), field_keys()).prop_map(|(match_suffix, exclude_fields)| FieldsMapping::Default {
            match_suffix,
            exclude_fields
        }),
        prop::collection::vec((field_key(), field_keys()), 0..3)
            .prop_map(|pairs| FieldsMapping::Specific(pairs.into_iter().collect())),
        Just(FieldsMapping::All),
        Just(FieldsMapping::None),
    ]
}

prop_compose! {
    fn dep()(
        feature in feature_key(),
        select in prop::option::of(columns(0)),
        old in columns(0), new in columns(3), is_renamed in any::<bool>(),
        fields_mapping in mapping(),
        filters in prop::option::of(prop::collection::vec(condition(), 0..3)),
        lineage in lineage(),
        optional in any::<bool>(),
    ) -> FeatureDep {
        let rename: IndexMap<String, String> = old.into_iter().zip(new).collect();
        FeatureDep { feature, select, rename: is_renamed.then_some(rename), fields_mapping, filters, lineage, optional }
    }
}

fn field() -> impl Strategy<Value = FieldSpec> {
    let selection = prop_oneof![Just(FieldSelection::All), field_keys().prop_map(FieldSelection::Keys)];
    let dep = (feature_key(), selection).prop_map(|(feature, fields)| FieldDep { feature, fields });
    let deps = prop_oneof![Just(FieldDeps::All), prop::collection::vec(dep, 0..3).prop_map(FieldDeps::List),];
    let version = prop_oneof![Just(DEFAULT_CODE_VERSION.to_owned()), text()];
    (field_key(), version, deps).prop_map(|(key, code_version, deps)| FieldSpec { key, code_version, deps })
}

fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec(text(), 0..2).prop_map(Value::from),
    ];
    prop::collection::vec((text(), value), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

prop_compose! {
    fn spec()(
        key in feature_key(),
        id_columns in columns(1),
        deps in prop::collection::vec(dep(), 0..3),
        fields in prop::collection::vec(field(), 1..4),
        metadata in metadata(),
        description in prop::option::of(text()),
    ) -> FeatureSpec {
        FeatureSpec { key, id_columns, deps, fields, metadata, description }
    }
}

fn read(sql: &str) -> CreateFeature {
    let statements = parse(sql, &GenericDialect {}).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let [MetaxyStatement::Feature(statement)] = statements.as_slice() else { panic!("{sql}") };
    let Kind::Create(create) = statement.0.clone() else { panic!("{sql}") };
    *create
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_as_it_was(spec in spec()) {
        let definition = FeatureDefinition::declared(spec.clone(), "My-project", Origin::Statement);
        let sql = print::create(&definition, "other");
        let created = read(&sql);
        prop_assert_eq!(&created.spec, &spec, "{}", sql);
        prop_assert_eq!(created.project.as_deref(), Some("My-project"));
        // Byte for byte, as versions are hashes of this.
        prop_assert_eq!(created.spec.to_json().to_string(), spec.to_json().to_string());
        prop_assert_eq!(read(&print::create(&definition, "My-project")).project, None);
    }

    #[test]
    fn expectations_too(spec in spec(), told in prop::option::of(text()), strict in any::<bool>()) {
        let on_version_mismatch = if strict { OnMismatch::Error } else { OnMismatch::Warn };
        let provenance_by_field = spec.fields.iter().take(1).filter_map(|f| Some((f.key.clone(), told.clone()?))).collect();
        let mut spec = spec;
        // A field that is listed twice, which is an error anyway, has one version.
        spec.fields.truncate(1);
        let external = External { provenance_by_field, on_version_mismatch };
        let definition = FeatureDefinition::external(spec, "up", external.clone(), Origin::Statement);
        let sql = print::create(&definition, "up");
        let created = read(&sql);
        prop_assert_eq!(&created.spec, &definition.spec, "{}", sql);
        prop_assert_eq!(created.external, Some(external));
        prop_assert_eq!(created.project.as_deref(), Some("up"));
    }
}

//! The features of a case: parents of every lineage, and the target that is made of them.

use datafusion_metaxy::model::{
    FeatureDep, FeatureKey, FeatureSpec, FieldDep, FieldDeps, FieldKey, FieldSelection, FieldSpec,
    FieldsMapping, Lineage,
};
use indexmap::IndexMap;

use super::blueprint::{Blueprint, FieldChoice, ParentChoice, PredicateChoice, Shape};
use super::case::Feature;
use super::model::{comparison_columns, field_inputs};
use super::pool;
use super::predicate::Predicate;
use super::value::{Type, Value};

/// Where the values of a column come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Key(usize),
    Extra,
    Number,
    Text,
}

/// A column of a feature.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub column_type: Type,
    pub source: Source,
}

/// A feature and where its values come from, column by column.
#[derive(Debug, Clone)]
pub struct Planned {
    pub feature: Feature,
    pub columns: Vec<Column>,
}

const PARENTS: [&str; 4] = ["p0", "in/p1", "p-2", "p3"];
const GRANDPARENT: &str = "g";
const TARGET: &str = "out/target";
const PARENT_FIELDS: [&[&str]; 6] = [
    &["default"],
    &["audio"],
    &["audio", "frames"],
    &["a/b", "a0"],
    &["audio/french", "audio/english", "frames"],
    &["frames", "audio"],
];
const FIELDS: [&str; 7] = ["default", "audio", "frames", "french", "a/b", "a0", "x/y"];
const CODE_VERSIONS: [&str; 3] = ["1", "__metaxy_initial__", "2|ü"];

/// How a parent stands to the key columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its ids are the key.
    Exact,
    /// It has one id more.
    Wider,
    /// Rows with ids of their own are aggregated on the key, which are ordinary columns.
    Aggregated,
    /// The same, with a part of the key among the ids.
    AggregatedByPart,
    Expanded,
    ExpandedWider,
    /// The key is ordinary columns, and the lineage is identity.
    Detached,
}

fn role(choice: u8) -> Role {
    match choice {
        0..=6 => Role::Exact,
        7..=8 => Role::Wider,
        9..=11 => Role::Aggregated,
        12..=13 => Role::AggregatedByPart,
        14..=16 => Role::Expanded,
        17 => Role::ExpandedWider,
        _ => Role::Detached,
    }
}

fn key_names(shape: &Shape) -> Vec<String> {
    let names = if shape.composite { vec!["k", "m"] } else { vec!["k"] };
    names.into_iter().map(str::to_owned).collect()
}

fn key_type(shape: &Shape, index: usize, narrow: bool) -> Type {
    match (if index == 0 { shape.texts.0 } else { shape.texts.1 }, narrow) {
        (true, _) => Type::Text,
        (false, true) => Type::Int32,
        (false, false) => Type::Int64,
    }
}

fn column(name: impl Into<String>, column_type: Type, source: Source) -> Column {
    Column { name: name.into(), column_type, source }
}

fn key(text: &str) -> FeatureKey {
    FeatureKey::parse(text).unwrap()
}

fn field_key(text: &str) -> FieldKey {
    FieldKey::parse(text).unwrap()
}

/// All features of a case, parents first, the target last.
pub fn features(blueprint: &Blueprint) -> Vec<Planned> {
    let mut planned = Vec::new();
    let mut deps = Vec::new();
    for (index, choice) in blueprint.parents.iter().enumerate() {
        let parent = parent(&blueprint.shape, index, choice);
        deps.push(dependency(blueprint, index, choice, &parent));
        planned.push(parent);
    }
    let target = target(blueprint, &planned, deps);
    planned.push(target);
    if blueprint.shape.chain {
        let grandparent = grandparent(&planned[0]);
        let dep = FeatureDep::from(key(GRANDPARENT));
        planned[0].feature.spec.deps.push(dep);
        planned[0].feature.filters.push(Vec::new());
        planned.insert(0, grandparent);
    }
    planned
}

fn plain(spec_key: &str, ids: Vec<String>, fields: &[&str], columns: Vec<Column>) -> Planned {
    let spec = FeatureSpec {
        key: key(spec_key),
        id_columns: ids,
        deps: Vec::new(),
        fields: fields.iter().map(|name| FieldSpec::from(field_key(name))).collect(),
        metadata: serde_json::Map::new(),
        description: None,
    };
    let typed = columns.iter().map(|c| (c.name.clone(), c.column_type)).collect();
    Planned { feature: Feature { spec, filters: Vec::new(), columns: typed }, columns }
}

/// The parent's own name of a key column.
fn own_key(index: usize, choice: &ParentChoice, keys: &[String], at: usize) -> String {
    if choice.rename >> at & 1 == 1 { format!("own_{}{index}", keys[at]) } else { keys[at].clone() }
}

fn parent(shape: &Shape, index: usize, choice: &ParentChoice) -> Planned {
    let keys = key_names(shape);
    let own = |at| own_key(index, choice, &keys, at);
    let own_keys: Vec<String> = (0..keys.len()).map(own).collect();
    let (wide, row) = (format!("e{index}"), format!("r{index}"));
    let ids = match role(choice.role) {
        Role::Exact | Role::Expanded => own_keys.clone(),
        Role::Wider | Role::ExpandedWider => [own_keys.clone(), vec![wide.clone()]].concat(),
        Role::Aggregated | Role::Detached => vec![row.clone()],
        Role::AggregatedByPart => vec![own_keys[0].clone(), row.clone()],
    };
    let mut columns: Vec<Column> = own_keys
        .iter()
        .enumerate()
        .map(|(at, name)| column(name, key_type(shape, at, choice.narrow), Source::Key(at)))
        .collect();
    for (name, column_type) in [(wide, Type::Text), (row, Type::Int64)] {
        if ids.contains(&name) {
            columns.push(column(name, column_type, Source::Extra));
        }
    }
    let number = if choice.narrow { Type::Int32 } else { Type::Int64 };
    columns.push(column(format!("x{index}"), number, Source::Number));
    columns.push(column(format!("s{index}"), Type::Text, Source::Text));
    if choice.shared {
        columns.push(column("z", Type::Int64, Source::Number));
    }
    plain(PARENTS[index], ids, PARENT_FIELDS[usize::from(choice.fields)], columns)
}

/// The parent of the first parent, when that is computed: it has the same rows.
fn grandparent(parent: &Planned) -> Planned {
    let ids = parent.feature.spec.id_columns.clone();
    plain(GRANDPARENT, ids, &["default", "audio"], parent.columns.clone())
}

fn dependency(
    blueprint: &Blueprint,
    index: usize,
    choice: &ParentChoice,
    parent: &Planned,
) -> (FeatureDep, Vec<Predicate>) {
    let keys = key_names(&blueprint.shape);
    let mut rename = IndexMap::new();
    for (at, name) in keys.iter().enumerate() {
        let own = own_key(index, choice, &keys, at);
        if own != *name {
            rename.insert(own, name.clone());
        }
    }
    let (x, s) = (format!("x{index}"), format!("s{index}"));
    match choice.rename >> 2 {
        1 => drop(rename.insert(x, format!("w{index}"))),
        // Two columns change places.
        2 => rename.extend([(x.clone(), s.clone()), (s, x)]),
        3 => drop(rename.insert(format!("r{index}"), format!("row{index}"))),
        _ => {}
    }
    let renamed = |name: &String| rename.get(name).unwrap_or(name).clone();
    let columns: Vec<(String, Type)> =
        parent.columns.iter().map(|c| (renamed(&c.name), c.column_type)).collect();
    let filters: Vec<Predicate> = choice.filters.iter().map(|f| predicate(f, &columns)).collect();
    let texts: Vec<String> =
        filters.iter().zip(&choice.filters).map(|(filter, choice)| filter.sql(choice.python)).collect();
    let detached = role(choice.role) == Role::Detached;
    let select = choice.select.map(|mask| {
        let chosen = |at: usize, name: &String| mask >> at & 1 == 1 || (detached && keys.contains(name));
        let names = columns.iter().map(|(name, _)| name);
        names.enumerate().filter(|(at, name)| chosen(*at, name)).map(|(_, name)| name.clone()).collect()
    });
    let dep = FeatureDep {
        feature: parent.feature.spec.key.clone(),
        select,
        rename: (!rename.is_empty()).then_some(rename),
        fields_mapping: mapping(choice, &blueprint.fields, parent),
        filters: (!texts.is_empty()).then_some(texts),
        lineage: match role(choice.role) {
            Role::Exact | Role::Wider | Role::Detached => Lineage::Identity,
            Role::Aggregated | Role::AggregatedByPart => Lineage::aggregation(keys),
            Role::Expanded | Role::ExpandedWider => Lineage::expansion(keys),
        },
        optional: choice.optional,
    };
    (dep, filters)
}

fn mapping(choice: &ParentChoice, fields: &[FieldChoice], parent: &Planned) -> FieldsMapping {
    let first = parent.feature.spec.fields[0].key.clone();
    match choice.mapping {
        2 => FieldsMapping::Default { match_suffix: true, exclude_fields: Vec::new() },
        3 => FieldsMapping::Default { match_suffix: false, exclude_fields: vec![first] },
        4 => FieldsMapping::All,
        5 => FieldsMapping::None,
        6 => {
            let listed = vec![first, field_key("gone")];
            let of = |field: &FieldChoice| (field_key(FIELDS[usize::from(field.name)]), listed.clone());
            FieldsMapping::Specific(fields.iter().map(of).collect())
        }
        _ => FieldsMapping::default(),
    }
}

/// A condition on one of these columns.
pub fn predicate(choice: &PredicateChoice, columns: &[(String, Type)]) -> Predicate {
    let (name, column_type) = &columns[usize::from(choice.column) % columns.len()];
    let name = || name.clone();
    let value = || pool::id(*column_type, choice.value);
    let basic = || match value() {
        Value::Int(number) => Predicate::Greater(name(), number),
        text => Predicate::Equals(name(), text),
    };
    match choice.kind {
        1 => Predicate::Equals(name(), value()),
        2 => Predicate::Differs(name(), value()),
        3 => Predicate::IsNull(name()),
        4 => Predicate::IsNotNull(name()),
        5 => Predicate::Not(Box::new(basic())),
        6 => Predicate::Or(Box::new(Predicate::IsNull(name())), Box::new(basic())),
        7 => Predicate::And(
            Box::new(Predicate::IsNotNull(name())),
            Box::new(Predicate::Differs(name(), value())),
        ),
        _ => basic(),
    }
}

fn target(blueprint: &Blueprint, parents: &[Planned], deps: Vec<(FeatureDep, Vec<Predicate>)>) -> Planned {
    let shape = &blueprint.shape;
    let keys = key_names(shape);
    let roles: Vec<Role> = blueprint.parents.iter().map(|choice| role(choice.role)).collect();
    let specs: Vec<&FeatureSpec> = parents.iter().map(|parent| &parent.feature.spec).collect();
    let (deps, filters): (Vec<FeatureDep>, Vec<Vec<Predicate>>) = deps.into_iter().unzip();
    let mut planned = plain(TARGET, keys.clone(), &[], Vec::new());
    planned.feature.filters = filters;
    let spec = &mut planned.feature.spec;
    spec.deps = deps;
    // With these ids, what is compared is what the parents have in common, or the key.
    let shared = comparison_columns(spec, &specs);
    let apart = roles.contains(&Role::Detached) && roles.len() > 1;
    let expands = roles.iter().any(|role| matches!(role, Role::Expanded | Role::ExpandedWider));
    let child = || "child".to_owned();
    spec.id_columns = match shape.target_ids {
        6 => vec![shared[0].clone()],
        _ if apart => shared,
        7 => vec![child()],
        2..=5 if expands => [shared, vec![child()]].concat(),
        4..=5 => [shared, vec![child()]].concat(),
        _ => shared,
    };
    if spec.id_columns == keys && shape.carry & 1 == 1 {
        for dep in &mut spec.deps {
            if matches!(dep.lineage, Lineage::Aggregation { .. }) {
                dep.lineage = Lineage::Aggregation { on: None };
            }
        }
    }
    spec.fields = fields(&blueprint.fields, spec, &specs);

    let mut names: Vec<String> = spec.id_columns.clone();
    names.extend(comparison_columns(spec, &specs).into_iter().filter(|name| !spec.id_columns.contains(name)));
    let mut columns: Vec<Column> = names
        .iter()
        .map(|name| match keys.iter().position(|key| key == name) {
            Some(at) => column(name, key_type(shape, at, shape.narrow), Source::Key(at)),
            None if name.starts_with('e') => column(name, Type::Text, Source::Extra),
            None => column(name, Type::Int64, Source::Extra),
        })
        .collect();
    for (at, (dep, parent)) in spec.deps.iter().zip(parents).enumerate() {
        for inherited in &parent.columns {
            let name = dep.rename.as_ref().and_then(|r| r.get(&inherited.name)).unwrap_or(&inherited.name);
            let taken = columns.iter().any(|column| column.name == *name);
            if taken || inherited.source == Source::Extra || shape.carry >> (at + 1) & 1 == 0 {
                continue;
            }
            // A stored column of another type can't show in an orphaned row.
            let changed = shape.carry >> 6 == 3 && inherited.column_type == Type::Int64;
            let column_type = if changed { Type::Int32 } else { inherited.column_type };
            columns.push(column(name, column_type, inherited.source));
        }
    }
    columns.push(column("out", Type::Int64, Source::Number));
    planned.feature.columns = columns.iter().map(|c| (c.name.clone(), c.column_type)).collect();
    planned.columns = columns;
    planned
}

fn fields(choices: &[FieldChoice], spec: &FeatureSpec, parents: &[&FeatureSpec]) -> Vec<FieldSpec> {
    let mut fields: Vec<FieldSpec> = Vec::new();
    for choice in choices {
        let key = field_key(FIELDS[usize::from(choice.name)]);
        if fields.iter().any(|field| field.key == key) {
            continue;
        }
        let on = |at: u8, fields: FieldSelection| {
            let parent = parents[usize::from(at) % parents.len()];
            FieldDep { feature: parent.key.clone(), fields }
        };
        let last = |at: u8| {
            let parent = parents[usize::from(at) % parents.len()];
            FieldSelection::Keys(parent.fields.last().map(|field| field.key.clone()).into_iter().collect())
        };
        let deps = match choice.deps {
            5 => FieldDeps::All,
            6 => FieldDeps::List(vec![on(choice.name, FieldSelection::All)]),
            7 => FieldDeps::List(vec![on(choice.name, last(choice.name))]),
            8 => FieldDeps::List(vec![on(0, last(0)), on(1, FieldSelection::All)]),
            _ => FieldDeps::List(Vec::new()),
        };
        let code_version = CODE_VERSIONS[usize::from(choice.code)].to_owned();
        fields.push(FieldSpec { key, code_version, deps });
    }
    // A field that is computed from nothing is an error.
    let with_fields = FeatureSpec { fields: fields.clone(), ..spec.clone() };
    for (field, inputs) in fields.iter_mut().zip(field_inputs(&with_fields, parents)) {
        if inputs.parents.is_empty() {
            field.deps = FieldDeps::All;
        }
    }
    fields
}

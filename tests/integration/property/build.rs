//! Makes a case of a blueprint: features, a history of concrete rows, and a question.

use std::collections::BTreeSet;

use datafusion_metaxy::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, FEATURE_VERSION, PROVENANCE, PROVENANCE_BY_FIELD,
};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};

use super::blueprint::{Blueprint, FurtherChoice, PredicateChoice, RowChoice, StepChoice};
use super::case::{Case, Deleted, Further, Place, Question, Samples, Step};
use super::model::{CURRENT, OLDER};
use super::pool;
use super::specs::{Planned, Source, features, predicate};
use super::value::{Row, Type, Value};

const HASHES: [(HashAlgorithm, usize); 6] = [
    (HashAlgorithm::XxHash32, 8),
    (HashAlgorithm::XxHash64, 16),
    (HashAlgorithm::Xxh3_64, 8),
    (HashAlgorithm::WyHash, 64),
    (HashAlgorithm::Md5, 8),
    (HashAlgorithm::Sha256, 64),
];

/// The case that a blueprint describes.
pub fn case(blueprint: &Blueprint) -> Case {
    let planned = features(blueprint);
    let (algorithm, length) = HASHES[usize::from(blueprint.hash)];
    let steps = steps(blueprint, &planned);
    let rewrites = steps.iter().any(|step| matches!(step, Step::Optimize { .. }));
    Case {
        steps,
        place: match (rewrites, blueprint.delta) {
            (false, _) => Place::Memory,
            (true, false) => Place::Parquet,
            (true, true) => Place::Delta,
        },
        question: question(blueprint, &planned),
        features: planned.into_iter().map(|planned| planned.feature).collect(),
        further: match blueprint.further {
            FurtherChoice { kind: 1, .. } => Further::Counts,
            FurtherChoice { kind: 2, .. } => Further::Progress,
            FurtherChoice { kind: 4, .. } => Further::Reasons,
            FurtherChoice { kind: 3, columns, condition } => Further::Excerpt { columns, condition },
            FurtherChoice { .. } => Further::Nothing,
        },
        settle: blueprint.settle,
        settings: HashSettings::new(algorithm, length).unwrap(),
        session: blueprint.session % super::product::Sessions::COUNT,
    }
}

/// Ids and other user columns of a row.
fn user_values(planned: &Planned, choice: &RowChoice, shift: u8) -> Row {
    let value = |column: &super::specs::Column| {
        let is_id = planned.feature.spec.id_columns.contains(&column.name);
        match column.source {
            Source::Key(at) => {
                let key = if at == 0 { choice.key.0 } else { choice.key.1 };
                let missing = !is_id && choice.number % 7 == 6;
                if missing { Value::Null } else { pool::id(column.column_type, shift + key) }
            }
            Source::Extra if is_id => pool::id(column.column_type, choice.extra),
            Source::Extra => pool::ordinary(column.column_type, choice.extra),
            Source::Number => pool::ordinary(column.column_type, choice.number),
            Source::Text => pool::ordinary(column.column_type, choice.text),
        }
    };
    planned.columns.iter().map(|column| (column.name.clone(), value(column))).collect()
}

/// A row as a user writes it.
fn written(planned: &Planned, choice: &RowChoice, shift: u8, overrides: bool) -> Row {
    let members = planned.feature.members();
    let mut row = user_values(planned, choice, shift);
    row.insert(PROVENANCE_BY_FIELD.into(), pool::versions(&members, choice.version));
    if overrides && !choice.data.is_multiple_of(3) {
        row.insert(DATA_VERSION_BY_FIELD.into(), pool::versions(&members, choice.data));
    }
    row
}

/// A row as it may be found in a table.
fn raw(planned: &Planned, choice: &RowChoice, kind: u8, shift: u8) -> (Row, Deleted) {
    let members = planned.feature.members();
    let mut row = user_values(planned, choice, shift);
    for column in &planned.columns {
        // Other programs may write a NULL into an id.
        if column.source == Source::Extra && kind == 7 && choice.extra.is_multiple_of(2) {
            row.insert(column.name.clone(), Value::Null);
        }
    }
    let version = |choice: u8| if choice % 4 == 3 { Value::Null } else { Value::text(format!("{choice}")) };
    let by_field = |choice| match kind {
        7 => pool::broken_versions(&members, choice),
        _ => pool::versions(&members, choice),
    };
    row.insert(PROVENANCE_BY_FIELD.into(), by_field(choice.version));
    row.insert(PROVENANCE.into(), version(choice.version));
    row.insert(DATA_VERSION_BY_FIELD.into(), by_field(choice.data));
    row.insert(DATA_VERSION.into(), version(choice.data));
    row.insert(FEATURE_VERSION.into(), Value::text(if matches!(kind, 5 | 6) { OLDER } else { CURRENT }));
    let deleted = match kind {
        3 | 6 => Deleted::Now,
        4 => Deleted::Past,
        _ => Deleted::No,
    };
    (row, deleted)
}

fn steps(blueprint: &Blueprint, planned: &[Planned]) -> Vec<Step> {
    let shift = blueprint.shape.shift;
    let write = |feature: usize, rows: &[RowChoice], overrides: bool, omit: bool| {
        let columns = &planned[feature].feature.columns;
        // The last ordinary column may come later, or never.
        let kept = columns.len() - usize::from(omit && columns.len() > 3);
        Step::Write {
            feature,
            columns: columns[..kept].to_vec(),
            rows: rows.iter().map(|row| written(&planned[feature], row, shift, overrides)).collect(),
            overrides,
        }
    };
    // What is written to a computed parent comes from its own parent.
    let process = |feature| Step::Process { feature, mask: u32::MAX, children: 0, seed: 1, overrides: false };
    let chain = blueprint.shape.chain;
    let target = planned.len() - 1;
    let mut steps = Vec::new();
    for (index, parent) in blueprint.parents.iter().enumerate() {
        if !(parent.optional && parent.absent) {
            let feature = if index == 0 { 0 } else { index + usize::from(chain) };
            let mut rows = &parent.rows[..];
            if parent.aged {
                // The target was computed under the older definition, and knows all of them.
                let raw = |at: usize, kind| {
                    rows.iter().map(|row| raw(&planned[at], row, kind, shift)).collect::<Vec<_>>()
                };
                steps.push(Step::Append { feature, rows: raw(feature, 5), timed: true });
                steps.push(Step::Append { feature: target, rows: raw(target, 0), timed: true });
                rows = &rows[..rows.len() / 2];
            }
            steps.push(write(feature, rows, parent.overrides, false));
        }
    }
    if chain {
        steps.push(process(1));
    }
    if blueprint.shape.computed {
        steps.push(process(target));
    }
    for (at, choice) in blueprint.steps.iter().enumerate() {
        match choice {
            StepChoice::Optimize { feature, full, fold, small } => {
                let feature = usize::from(*feature) % planned.len();
                // What was folded does not hide rows that come later and are older.
                let raw = |later: &StepChoice| {
                    matches!(later, StepChoice::Raw { feature: other, .. }
                        if usize::from(*other) % planned.len() == feature)
                };
                let fold = *fold && !blueprint.steps[at..].iter().any(raw);
                steps.push(Step::Optimize { feature, full: *full, fold, small: *small });
            }
            StepChoice::Process { mask, children, seed, overrides } => steps.push(Step::Process {
                feature: target,
                mask: *mask,
                children: *children,
                seed: *seed,
                overrides: *overrides,
            }),
            StepChoice::Write { feature, rows, overrides, omit } => {
                let feature = usize::from(*feature) % target;
                // To skip the parent that is computed.
                let feature = if chain && feature == 1 { 0 } else { feature };
                steps.push(write(feature, rows, *overrides, *omit));
                if chain && feature == 0 {
                    steps.push(process(1));
                }
            }
            StepChoice::Delete { feature, mask } => {
                steps.push(Step::Delete { feature: usize::from(*feature) % planned.len(), mask: *mask });
            }
            StepChoice::Raw { feature, rows, timed } => {
                let feature = usize::from(*feature) % planned.len();
                let row = |(choice, kind): &(RowChoice, u8)| raw(&planned[feature], choice, *kind, shift);
                steps.push(Step::Append { feature, rows: rows.iter().map(row).collect(), timed: *timed });
            }
        }
    }
    steps
}

fn question(blueprint: &Blueprint, planned: &[Planned]) -> Question {
    let choice = &blueprint.question;
    let target = planned.len() - 1;
    let own = &planned[target].feature.columns;
    let on_own = |choice: &Option<PredicateChoice>| choice.iter().map(|c| predicate(c, own)).collect();
    let mut filters = Vec::new();
    if let Some((parent, condition)) = &choice.parent {
        let parent = usize::from(*parent) % target;
        filters.push((parent, predicate(condition, &planned[parent].feature.columns)));
    }
    filters.extend(choice.own.iter().map(|condition| (target, predicate(condition, own))));
    let mut all: Vec<(String, Type)> = planned.iter().flat_map(|p| p.feature.columns.clone()).collect();
    // A condition for all tables has to make sense in each one; a rename may make a text of a number.
    let texts: BTreeSet<String> =
        all.iter().filter(|(_, t)| *t == Type::Text).map(|(name, _)| name.clone()).collect();
    let numbers: BTreeSet<String> =
        all.iter().filter(|(_, t)| *t != Type::Text).map(|(name, _)| name.clone()).collect();
    all.retain(|(name, _)| !(texts.contains(name) && numbers.contains(name)));
    let samples = choice.samples.as_ref().map(|rows| {
        let planned = &planned[target];
        let members = planned.feature.members();
        let row = |choice: &RowChoice| {
            let overrides = blueprint.question.overrides;
            let mut row = written(planned, choice, blueprint.shape.shift, overrides);
            if choice.data == 15 {
                row.insert(PROVENANCE_BY_FIELD.into(), pool::broken_versions(&members, choice.version));
            }
            row
        };
        Samples {
            columns: planned.feature.columns.clone(),
            rows: rows.iter().map(row).collect(),
            overrides: choice.overrides,
        }
    });
    Question {
        // Samples are for the feature's own columns.
        filters: if samples.is_some() {
            filters.into_iter().filter(|(f, _)| *f == target).collect()
        } else {
            filters
        },
        samples,
        global: choice.global.iter().map(|condition| predicate(condition, &all)).collect(),
        target: on_own(&choice.target),
        stale_when: on_own(&choice.stale_when),
        skip_comparison: choice.skip_comparison,
        include_pending: choice.include_pending,
        explain: false,
        shard: choice.shard.map(|(number, more)| {
            let count = 2 + u32::from(more);
            (1 + u32::from(number) % count, count)
        }),
    }
}

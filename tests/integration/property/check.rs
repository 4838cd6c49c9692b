//! What has to hold of a case.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::datatypes::DataType;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{ident, lit};
use datafusion_metaxy::columns::{DATA_VERSION_BY_FIELD, INCREMENT, PROVENANCE, PROVENANCE_BY_FIELD, REASON};
use datafusion_metaxy::config::VersioningEngine;

use super::blueprint::PredicateChoice;
use super::case::{Case, Further, Place, Question};
use super::model::{self, Answer};
use super::product::{Sessions, collect};
use super::specs::predicate;
use super::value::{Row, Type, Value, cell, cells, table};
use super::world::World;

/// What became of a case.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// There is no answer, and everybody says so.
    pub refused: bool,
    /// How many rows there were of each class.
    pub classes: BTreeMap<String, usize>,
    /// Whether writing what was due was seen to settle it.
    pub settled: bool,
    /// Whether the database answered the question.
    pub pushed: bool,
}

/// A failure, for people.
type Failure = String;

/// Runs a case and checks all that has to hold of it.
pub async fn check(case: &Case, sessions: &Sessions) -> Result<Outcome, Failure> {
    let mut world = World::new(case, sessions);
    for (n, step) in case.steps.iter().enumerate() {
        let applied = world.apply(step).await;
        applied
            .map_err(|error| format!("step {n} was refused: {error}\n{step:?}\n{}", world.tables_text()))?;
    }
    let outcome = ask(&mut world).await;
    outcome.map_err(|failure| format!("{failure}\n{}", report(case, &world)))
}

/// The specs, the question and the tables of a case.
fn report(case: &Case, world: &World<'_>) -> String {
    let mut text = format!("settings {:?}, session {}, {:?}\n", case.settings, case.session, case.place);
    for feature in &case.features {
        text += &format!("spec {}\n", feature.spec.to_json());
    }
    text.extend(case.steps.iter().map(|step| format!("step {}\n", step.summary(&case.features))));
    let Question {
        samples,
        filters,
        global,
        target,
        stale_when,
        skip_comparison,
        include_pending,
        shard,
        explain: _,
    } = &case.question;
    for (feature, filter) in filters {
        text += &format!("filters of {}: {filter}\n", case.features[*feature].key());
    }
    for (name, list) in [("global_filters", global), ("target_filters", target), ("stale_when", stale_when)] {
        text.extend(list.iter().map(|condition| format!("{name}: {condition}\n")));
    }
    text += &format!(
        "skip_comparison: {skip_comparison}, include_pending: {include_pending}, shard: {shard:?}\n"
    );
    if let Some(samples) = samples {
        text += &format!(
            "samples {:?}, overrides {}:\n{}",
            samples.columns,
            samples.overrides,
            table(&samples.rows)
        );
    }
    text + &world.tables_text()
}

async fn ask(world: &mut World<'_>) -> Result<Outcome, Failure> {
    let case = world.case;
    let expected = model::answer(case, &world.tables, case.target(), &case.question);
    let mut types: Option<Types> = None;
    for executor in case.executors() {
        match (&expected, increment(world, &case.question, executor).await) {
            (Err(_), Err(_)) => {}
            (Err(refusal), Ok((answer, _))) => {
                let rows = table(&answer.rows);
                return Err(format!("{executor:?} should refuse, since {refusal}, but gave\n{rows}"));
            }
            (Ok(expected), Err(error)) => {
                return Err(format!("{executor:?}: {error}\nexpected\n{}", table(&expected.rows)));
            }
            (Ok(expected), Ok((answer, own))) => {
                if let Err(failure) = same(&format!("{executor:?}: the increment"), expected, &answer) {
                    return Err(failure + "\n" + &world.product.plan(&case.question, executor).await);
                }
                let first = types.get_or_insert_with(|| own.clone());
                if *first != own {
                    return Err(format!("{executor:?}: columns are {own:?}, those of another {first:?}"));
                }
            }
        }
    }
    let Ok(expected) = expected else { return Ok(Outcome { refused: true, ..Outcome::default() }) };
    let pushed = case.place == Place::Database && world.product.is_pushed(&case.question).await;
    let mut said: Option<Answer> = None;
    for executor in case.executors() {
        match case.further {
            Further::Nothing => {}
            Further::Counts => counts(world, executor, &expected).await?,
            Further::Progress => progress(world, executor).await?,
            Further::Reasons => {
                let given = reasons(world, executor, &expected).await?;
                let first = said.get_or_insert_with(|| given.clone());
                same(&format!("{executor:?}: reasons, beside those of another"), first, &given)?;
            }
            Further::Excerpt { columns, condition } => {
                excerpt(world, executor, &expected, columns, condition).await?;
            }
        }
    }
    let mut classes = BTreeMap::new();
    for row in &expected.rows {
        *classes.entry(cell(row, INCREMENT).as_text().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let settled = case.settle && settle(world).await?;
    Ok(Outcome { refused: false, classes, settled, pushed })
}

/// The columns of an answer in their order.
type Types = Vec<(String, DataType)>;

/// The whole answer of an executor; also an error if one that was planned can't be run.
async fn increment(
    world: &World<'_>,
    question: &Question,
    executor: VersioningEngine,
) -> Result<(Answer, Types), String> {
    let frame = world.product.increment(question, executor).await.map_err(|error| error.to_string())?;
    let types = frame
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect();
    Ok((collect(frame).await.map_err(|error| error.to_string())?, types))
}

/// The two answers have the same columns and the same multiset of rows.
fn same(what: &str, expected: &Answer, answer: &Answer) -> Result<(), Failure> {
    if expected.columns != answer.columns {
        let (wanted, got) = (&expected.columns, &answer.columns);
        return Err(format!("{what} has the columns {got:?}, not {wanted:?}"));
    }
    let (wanted, got) = (&expected.rows, &answer.rows);
    if wanted == got {
        return Ok(());
    }
    let only = |a: &[Row], b: &[Row]| {
        let mut rest = b.to_vec();
        let mut alone = Vec::new();
        for row in a {
            match rest.iter().position(|other| other == row) {
                Some(at) => drop(rest.swap_remove(at)),
                None => alone.push(row.clone()),
            }
        }
        table(&alone)
    };
    Err(format!(
        "{what} is wrong; rows that are missing:\n{}rows that should not be there:\n{}",
        only(wanted, got),
        only(got, wanted)
    ))
}

/// A query for the counts alone, which reads fewer columns, gives the counts of the whole answer.
async fn counts(world: &World<'_>, executor: VersioningEngine, expected: &Answer) -> Result<(), Failure> {
    let failure = |error: &dyn ToString| format!("{executor:?}: counts: {}", error.to_string());
    let frame =
        world.product.increment(&world.case.question, executor).await.map_err(|error| failure(&error))?;
    let frame = frame
        .aggregate(vec![ident(INCREMENT)], vec![count(lit(1)).alias("rows")])
        .map_err(|error| failure(&error))?;
    let answer = collect(frame).await.map_err(|error| failure(&error))?;
    let mut wanted: BTreeMap<Value, i64> = BTreeMap::new();
    for row in &expected.rows {
        *wanted.entry(cell(row, INCREMENT)).or_default() += 1;
    }
    let rows = wanted.into_iter().map(|(class, rows)| {
        Row::from([(INCREMENT.to_owned(), class), ("rows".to_owned(), Value::Int(rows))])
    });
    let wanted = Answer::new(answer.columns.clone(), rows);
    same(&format!("{executor:?}: the query for counts"), &wanted, &answer)
}

/// Asked for reasons, the answer has the same rows, each with one that fits its class.
async fn reasons(
    world: &World<'_>,
    executor: VersioningEngine,
    expected: &Answer,
) -> Result<Answer, Failure> {
    let question = Question { explain: true, ..world.case.question.clone() };
    let (given, _) = increment(world, &question, executor).await?;
    let mut rows = given.rows.clone();
    for row in &mut rows {
        let reason = row.remove(REASON).unwrap_or(Value::Null);
        let class = cell(row, INCREMENT);
        let begins =
            |starts: &[&str]| reason.as_text().is_some_and(|text| starts.iter().any(|s| text.starts_with(s)));
        let fits = match class.as_text() {
            Some("new") => begins(&["no stored row", "stored rows were not looked at", "the definition"]),
            Some("stale") => begins(&[""]) && !begins(&["no stored row", "the stored row has changed"]),
            Some("orphaned") => {
                reason.as_text().is_some_and(|text| text.contains("no live row"))
                    || begins(&["not among the samples", "a key is NULL"])
            }
            _ => reason.as_text().is_some_and(|text| text.contains("is not recomputed yet")),
        };
        if !fits {
            return Err(format!("{executor:?}: a row is {class:?}, since {reason:?}"));
        }
    }
    let without = Answer::new(expected.columns.clone(), rows);
    same(&format!("{executor:?}: the increment with reasons"), expected, &without)?;
    Ok(given)
}

/// A query for some columns of some rows gives what the whole answer has there.
async fn excerpt(
    world: &World<'_>,
    executor: VersioningEngine,
    expected: &Answer,
    columns: u32,
    condition: Option<(u8, u8)>,
) -> Result<(), Failure> {
    let chosen: BTreeSet<String> = expected
        .columns
        .iter()
        .enumerate()
        .filter(|(at, _)| columns >> (at % 32) & 1 == 1)
        .map(|(_, name)| name.clone())
        .collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let condition = condition.map(|(column, kind)| {
        let choice = PredicateChoice { column, kind, value: kind, python: false };
        predicate(&choice, &comparable(expected))
    });
    let failure = |error: &dyn ToString| format!("{executor:?}: excerpt: {}", error.to_string());
    let mut frame =
        world.product.increment(&world.case.question, executor).await.map_err(|error| failure(&error))?;
    if let Some(condition) = &condition {
        frame = frame.filter(condition.expr()).map_err(|error| failure(&error))?;
    }
    let frame =
        frame.select(chosen.iter().map(ident).collect::<Vec<_>>()).map_err(|error| failure(&error))?;
    let answer = collect(frame).await.map_err(|error| failure(&error))?;
    let rows = expected.rows.iter().filter(|row| condition.as_ref().is_none_or(|c| c.holds(row)));
    let wanted = Answer::new(chosen, rows.cloned());
    let shown = condition.map_or_else(|| "everything".to_owned(), |c| c.to_string());
    same(&format!("{executor:?}: the query for some columns where {shown}"), &wanted, &answer)
}

/// The columns of an answer that a condition may be on, with what their values show of their types.
fn comparable(answer: &Answer) -> Vec<(String, Type)> {
    let structs = [PROVENANCE_BY_FIELD, DATA_VERSION_BY_FIELD];
    let names = answer.columns.iter().filter(|name| !structs.contains(&name.as_str()));
    let typed = names.map(|name| {
        let number = answer.rows.iter().any(|row| matches!(cell(row, name), Value::Int(_)));
        let text = answer.rows.iter().any(|row| matches!(cell(row, name), Value::Text(_)));
        (name, number, text)
    });
    typed
        .filter(|(_, number, text)| *number || *text)
        .map(|(name, number, _)| (name.clone(), if number { Type::Int64 } else { Type::Text }))
        .chain([(INCREMENT.to_owned(), Type::Text)])
        .collect()
}

async fn progress(world: &World<'_>, executor: VersioningEngine) -> Result<(), Failure> {
    let case = world.case;
    let expected = model::progress(case, &world.tables, case.target(), &case.question)?;
    let got = world.product.progress(&case.question, executor).await;
    let got = got.map_err(|error| format!("{executor:?}: progress: {error}"))?;
    if got == expected { Ok(()) } else { Err(format!("{executor:?}: progress is {got:?}, not {expected:?}")) }
}

/// After all new and stale rows are written the next increment has none, but for rows that can't be written.
async fn settle(world: &mut World<'_>) -> Result<bool, Failure> {
    let case = world.case;
    let target = case.target();
    let ids = case.features[target].spec.id_columns.clone();
    let question = Question { samples: case.question.samples.clone(), ..Question::default() };
    let due = |answer: Answer| -> Vec<Row> {
        let writable = [Value::text("new"), Value::text("stale")];
        answer.rows.into_iter().filter(|row| writable.contains(&cell(row, INCREMENT))).collect()
    };
    let everything = Question { skip_comparison: true, ..question.clone() };
    let Ok(everything) = model::answer(case, &world.tables, target, &everything) else { return Ok(false) };
    let Ok(first) = model::answer(case, &world.tables, target, &question) else { return Ok(false) };
    let keys = model::keys(case, target);
    // Rows have to belong to one key, whatever they are given as a child's id.
    if !keys.iter().all(|key| ids.contains(key)) || has_two_versions(&everything, &keys) {
        return Ok(false);
    }
    // A row with a NULL id can't be written again.
    if world.live(target).iter().any(|row| cells(row, &ids).contains(&Value::Null)) {
        return Ok(false);
    }
    let mut rows = Vec::new();
    for sample in due(first) {
        let stored: Vec<Row> =
            world.live(target).into_iter().filter(|r| cells(r, &keys) == cells(&sample, &keys)).collect();
        if stored.is_empty() {
            rows.extend(world.computed(target, &[sample], 0, 2, false));
        } else if !cell(&sample, PROVENANCE).is_null() {
            rows.extend(stored.into_iter().map(|mut row| {
                row.insert(PROVENANCE_BY_FIELD.into(), cell(&sample, PROVENANCE_BY_FIELD));
                row
            }));
        }
    }
    let columns = case.features[target].columns.clone();
    let written = world.write(target, &columns, rows, false).await;
    written.map_err(|error| format!("what was due can't be written: {error}"))?;
    for executor in case.executors() {
        let (answer, _) = increment(world, &question, executor).await?;
        let expected = model::answer(case, &world.tables, target, &question)?;
        same(&format!("{executor:?}: the increment after all was written"), &expected, &answer)?;
        let writable =
            |row: &Row| !cell(row, PROVENANCE).is_null() && !cells(row, &keys).contains(&Value::Null);
        let left: Vec<Row> = due(answer).into_iter().filter(writable).collect();
        if !left.is_empty() {
            return Err(format!("{executor:?}: all was written, and yet there is left\n{}", table(&left)));
        }
    }
    Ok(true)
}

/// Whether one key has rows of different provenance, of which only one can be stored.
fn has_two_versions(answer: &Answer, keys: &[String]) -> bool {
    let mut versions: BTreeMap<Vec<Value>, Value> = BTreeMap::new();
    answer.rows.iter().any(|row| {
        let version = cell(row, PROVENANCE);
        *versions.entry(cells(row, keys)).or_insert_with(|| version.clone()) != version
    })
}

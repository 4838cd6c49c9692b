//! Which rows nobody needs any more.
//!
//! Rows of a feature are compared sample by sample, and there feature version by feature version. Whether a row goes
//! depends on the retention: the time before which things are past for everybody who asks.
//!
//! - A row that is not the latest of its sample and version goes once a later one has been there for that long. What was
//!   the latest row at any time within the retention is still in the history. A row without a time is older than any.
//! - A latest row that says "deleted" goes if it is that old and no other version of the sample is live, not even an
//!   older one: without it, that one would look like a sample that is merely not recomputed yet. All rows that it hides go
//!   with it, by the first rule.
//! - The last row of a feature version stays, though: without one, the feature would look as if it had never been written,
//!   and a fallback store would serve it.
//! - Rows of a version whose id columns nobody knows, because its definition was never pushed, or was another, stay: which
//!   of them belong to one sample is not known. So do rows that lack an id, and rows of a version in which two rows of the
//!   same ids have the same time: no write has a sample twice, so their ids were others when they were written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, cast, col, ident, lit};
use datafusion::prelude::{DataFrame, SessionContext};
use futures::StreamExt;

use crate::columns::{DELETED_AT, FEATURE_VERSION, ROW_ORDER, UPDATED_AT, timestamp};
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureSpec};
use crate::store::row_order::MOST_FILES;
use crate::store::unfiltered::Unfiltered;
use crate::store::{Store, TableSnapshot, watched};

/// The time of a row without one, in microseconds.
const TIMELESS: i64 = i64::MIN + 1;

/// The numbers of the rows of a snapshot that may go, in ascending order.
pub(super) async fn foldable(
    store: &Store,
    definition: &FeatureDefinition,
    snapshot: &dyn TableSnapshot,
    context: &SessionContext,
    retention: Duration,
) -> Result<Vec<u64>> {
    let files = snapshot.parts()?.last().map_or(0, |part| part.files.end);
    if files as u64 > MOST_FILES {
        return Err(MetaxyError::Store {
            store: store.name().to_owned(),
            reason: format!(
                "feature {}: it has too many files to fold; optimize it first without",
                definition.key()
            ),
        });
    }
    let ids = &definition.spec.id_columns;
    let schema = snapshot.rows().schema();
    if ids.iter().any(|id| schema.field_with_name(id).is_err()) {
        return Ok(Vec::new());
    }
    let versions = known_versions(store, definition).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let before = now.as_micros() as i64 - i64::try_from(retention.as_micros()).unwrap_or(i64::MAX / 2);
    let samples = samples(context, ids, snapshot, &versions)?;
    context.register_table("metaxy_samples", samples.clone().into_view())?;
    let totals = totals(context).await?;
    let mut folded = Folded::default();
    let question = question(ids.len(), before);
    let mut rows = watched(format!("folding {}", definition.key()), context.sql(&question).await?).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        let numbers = batch.column(0).as_primitive::<UInt64Type>();
        let versions = datafusion::arrow::compute::cast(batch.column(1), &DataType::Utf8);
        let versions = versions.map_err(datafusion::error::DataFusionError::from)?;
        let (versions, times) = (versions.as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            let version = versions.is_valid(row).then(|| versions.value(row));
            folded.add(numbers.value(row), version, times.value(row));
        }
    }
    Ok(folded.without_last_rows(&totals))
}

/// The feature versions whose rows belong to one sample if their ids are the same.
async fn known_versions(store: &Store, definition: &FeatureDefinition) -> Result<Vec<String>> {
    let current = store.graph().await?.feature_version(definition.key())?;
    let Some(recorded) = store.feature_versions().await? else { return Ok(vec![current]) };
    let text = |name: &str| cast(ident(name), DataType::Utf8);
    let rows = SessionContext::new()
        .read_table(recorded)?
        .filter(text("feature_key").eq(lit(definition.key().to_string())))?
        .select(vec![text(FEATURE_VERSION).alias("version"), text("feature_spec").alias("spec")])?
        .collect()
        .await?;
    // The version does not depend on the id columns, so that a version can have been pushed with others.
    let mut known = HashMap::from([(current, true)]);
    for batch in &rows {
        let (versions, specs) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        for (version, spec) in versions.iter().zip(specs) {
            let Some(version) = version else { continue };
            // What can't be read is not known.
            let ids = spec.and_then(|spec| FeatureSpec::from_json(spec).ok()).map(|spec| spec.id_columns);
            let same = ids.as_ref() == Some(&definition.spec.id_columns);
            *known.entry(version.to_owned()).or_insert(true) &= same;
        }
    }
    Ok(known.into_iter().filter(|(_, same)| *same).map(|(version, _)| version).collect())
}

/// Each row with its ids, version, time in microseconds and number, and whether it says "deleted".
fn samples(
    context: &SessionContext,
    ids: &[String],
    snapshot: &dyn TableSnapshot,
    versions: &[String],
) -> Result<DataFrame> {
    let rows = snapshot.rows();
    let schema = rows.schema();
    let has = |name: &str| schema.field_with_name(name).is_ok();
    let mut columns: Vec<Expr> = Vec::new();
    let mut complete = lit(true);
    for (i, id) in ids.iter().enumerate() {
        let zero = match schema.field_with_name(id).map(|field| field.data_type().clone()) {
            // As everywhere else, there is one zero.
            Ok(DataType::Float32) => Some(lit(0.0_f32)),
            Ok(DataType::Float64) => Some(lit(0.0_f64)),
            _ => None,
        };
        let value = zero.map_or_else(|| ident(id), |zero| ident(id) + zero);
        columns.push(value.alias(format!("id{i}")));
        complete = complete.and(ident(id).is_not_null());
    }
    let version = if has(FEATURE_VERSION) {
        cast(col(FEATURE_VERSION), DataType::Utf8)
    } else {
        lit(ScalarValue::Utf8(None))
    };
    let times: Vec<Expr> = [DELETED_AT, UPDATED_AT]
        .into_iter()
        .filter(|name| has(name))
        .map(|name| cast(col(name), timestamp()))
        .collect();
    let time = match times.is_empty() {
        true => lit(TIMELESS),
        false => coalesce(vec![cast(coalesce(times), DataType::Int64), lit(TIMELESS)]),
    };
    let known =
        version.clone().in_list(versions.iter().map(|version| lit(version.as_str())).collect(), false);
    columns.extend([
        version.alias("version"),
        time.alias("time"),
        if has(DELETED_AT) { col(DELETED_AT).is_not_null() } else { lit(false) }.alias("dead"),
        coalesce(vec![known, lit(false)]).alias("known"),
        complete.alias("complete"),
        ident(ROW_ORDER).alias("number"),
    ]);
    Ok(context.read_table(Arc::new(Unfiltered(rows)))?.select(columns)?)
}

/// How many rows each version has.
async fn totals(context: &SessionContext) -> Result<HashMap<Option<String>, i64>> {
    let counts =
        context.sql("SELECT version, count(*) FROM metaxy_samples GROUP BY version").await?.collect().await?;
    let mut totals = HashMap::new();
    for batch in &counts {
        let versions = datafusion::arrow::compute::cast(batch.column(0), &DataType::Utf8);
        let versions = versions.map_err(datafusion::error::DataFusionError::from)?;
        let counts = batch.column(1).as_primitive::<Int64Type>().values().iter();
        totals.extend(versions.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).zip(counts.copied()));
    }
    Ok(totals)
}

/// The query for the numbers of rows that may go, with version and time.
fn question(ids: usize, before: i64) -> String {
    let ids = (0..ids).map(|i| format!("id{i}")).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT number, version, time FROM (
           SELECT *, bool_or(latest AND NOT dead) OVER (PARTITION BY {ids}) AS alive,
             bool_or(written_at_once) OVER (PARTITION BY version) AS other_ids
           FROM (
             SELECT *, lead(number) OVER w IS NULL AS latest, lead(time) OVER w AS followed_at,
               coalesce(lead(time) OVER w = time AND time > {TIMELESS}, false) AS written_at_once
             FROM metaxy_samples WHERE complete
             WINDOW w AS (PARTITION BY {ids}, version ORDER BY time, number)))
         WHERE known AND NOT other_ids AND CASE WHEN latest THEN dead AND NOT alive AND time < {before} ELSE followed_at < {before} END"
    )
}

/// Rows that may go, as far as they are known.
#[derive(Default)]
struct Folded {
    numbers: Vec<u64>,
    /// For each version, how many, and time and number of the latest.
    versions: HashMap<Option<String>, (i64, (i64, u64))>,
}

impl Folded {
    fn add(&mut self, number: u64, version: Option<&str>, time: i64) {
        self.numbers.push(number);
        let (count, latest) = self.versions.entry(version.map(str::to_owned)).or_insert((0, (i64::MIN, 0)));
        *count += 1;
        *latest = (*latest).max((time, number));
    }

    /// The numbers, in order, without one of each version of which nothing would be left.
    fn without_last_rows(mut self, totals: &HashMap<Option<String>, i64>) -> Vec<u64> {
        self.numbers.sort_unstable();
        for (version, (count, (_, latest))) in &self.versions {
            if totals.get(version) == Some(count)
                && let Ok(at) = self.numbers.binary_search(latest)
            {
                self.numbers.remove(at);
            }
        }
        self.numbers
    }
}

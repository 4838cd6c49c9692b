//! The rows of the answer: noted by their place, gathered column by column when they are asked for.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, StructArray, new_null_array,
};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::{Result, internal_err};

use super::chunk::Chunk;
use super::collect::Collected;
use super::plan::Plan;
use super::provenance::Provenance;
use super::rows::Row;
use crate::columns::{DATA_VERSION, DATA_VERSION_BY_FIELD, PROVENANCE, PROVENANCE_BY_FIELD, VERSION_COLUMNS};
use crate::update::internal::{self, DATA_VERSIONS, orphan_key, stored};
use crate::update::version_type;

/// The class of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    New,
    Stale,
    Orphaned,
}

/// What was found in one partition.
#[derive(Debug)]
pub(super) struct Answered {
    classes: Vec<Class>,
    /// For each expected input the rows, for orphaned samples none.
    expected: Vec<Vec<Row>>,
    /// The stored rows of orphaned samples.
    current: Vec<Row>,
    fields: Vec<StringBuilder>,
    sample: Option<StringBuilder>,
}

impl Answered {
    pub(super) fn new(plan: &Plan) -> Self {
        let fields = if plan.wants_fields { plan.recipes.len() } else { 0 };
        Self {
            classes: Vec::new(),
            expected: vec![Vec::new(); plan.expected()],
            current: Vec::new(),
            fields: (0..fields).map(|_| StringBuilder::new()).collect(),
            sample: plan.wants_sample.then(StringBuilder::new),
        }
    }

    /// Notes a sample that is new or stale, with the versions of a row that was hashed.
    pub(super) fn expected(
        &mut self,
        stale: bool,
        rows: impl Iterator<Item = Row>,
        (provenance, row): (&Provenance, usize),
    ) {
        self.classes.push(if stale { Class::Stale } else { Class::New });
        self.current.push(Row::NONE);
        self.expected.iter_mut().zip(rows).for_each(|(rows, row)| rows.push(row));
        for (i, field) in self.fields.iter_mut().enumerate() {
            field.append_option(provenance.field(row, i));
        }
        if let Some(sample) = &mut self.sample {
            sample.append_option(provenance.sample(row));
        }
    }

    /// Notes an orphaned sample.
    pub(super) fn orphaned(&mut self, row: Row) {
        self.classes.push(Class::Orphaned);
        self.current.push(row);
        self.expected.iter_mut().for_each(|rows| rows.push(Row::NONE));
        self.fields.iter_mut().for_each(StringBuilder::append_null);
        if let Some(sample) = &mut self.sample {
            sample.append_null();
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        let text = |builder: &StringBuilder| builder.values_slice().len() + builder.offsets_slice().len() * 4;
        self.classes.capacity()
            + (self.current.capacity() + self.expected.iter().map(Vec::capacity).sum::<usize>())
                * size_of::<Row>()
            + self.fields.iter().chain(&self.sample).map(text).sum::<usize>()
    }

    fn finish(mut self) -> Part {
        Part {
            fields: self.fields.iter_mut().map(|field| Arc::new(field.finish()) as ArrayRef).collect(),
            sample: self.sample.as_mut().map(|sample| Arc::new(sample.finish()) as ArrayRef),
            classes: self.classes,
            expected: self.expected,
            current: self.current,
        }
    }
}

/// What was found in one partition, with its versions as columns.
#[derive(Debug)]
struct Part {
    classes: Vec<Class>,
    expected: Vec<Vec<Row>>,
    current: Vec<Row>,
    fields: Vec<ArrayRef>,
    sample: Option<ArrayRef>,
}

/// Where the values of a column are: chunks of inputs, by input.
#[derive(Debug)]
enum Source {
    Class,
    /// The first of these inputs that has a row for the sample, with the column's index there.
    Rows(Vec<(usize, usize)>),
    /// Versions that were hashed; those of orphaned samples are in this column of the stored side.
    Hashed {
        by_field: bool,
        stored: Option<usize>,
    },
}

/// The whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    plan: Arc<Plan>,
    collected: Arc<Collected>,
    parts: Vec<Part>,
    sources: Vec<Source>,
}

impl Answer {
    pub(super) fn try_new(plan: Arc<Plan>, collected: Arc<Collected>, found: Vec<Answered>) -> Result<Self> {
        let sources = plan.schema.fields().iter().map(|f| source(&plan, f.name())).collect::<Result<_>>()?;
        Ok(Self { plan, collected, parts: found.into_iter().map(Answered::finish).collect(), sources })
    }

    /// The answer of a plan to inputs of which no row is in it.
    pub(super) fn empty(plan: Arc<Plan>, collected: Arc<Collected>) -> Result<Self> {
        Self::try_new(plan, collected, Vec::new())
    }

    /// The columns.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.plan.schema)
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.classes.len()).sum()
    }

    /// Whether there is an orphaned row.
    pub(super) fn has_orphans(&self) -> bool {
        self.parts.iter().any(|part| part.classes.contains(&Class::Orphaned))
    }

    /// The number of rows that were read to find it, of the first input or the stored side.
    pub(super) fn rows_read(&self) -> usize {
        let inputs = [self.collected.chunks.first(), self.collected.chunks.last()];
        let rows = |chunks: &Vec<Chunk>| chunks.iter().map(|chunk| chunk.rows).sum::<usize>();
        inputs.into_iter().flatten().map(rows).max().unwrap_or_default()
    }

    /// What was read.
    pub(super) fn collected(&self) -> Arc<Collected> {
        Arc::clone(&self.collected)
    }

    /// The pieces of the answer, each of at most `most` rows: part and rows.
    pub(super) fn pieces(&self, most: usize) -> Vec<(usize, Range<usize>)> {
        let most = most.max(1);
        let pieces = |(i, part): (usize, &Part)| {
            let rows = part.classes.len();
            (0..rows).step_by(most).map(move |start| (i, start..(start + most).min(rows))).collect::<Vec<_>>()
        };
        self.parts.iter().enumerate().flat_map(pieces).collect()
    }

    /// The columns of a piece.
    pub(super) fn batch(&self, part: usize, rows: Range<usize>) -> Result<RecordBatch> {
        let part = &self.parts[part];
        let columns = self
            .sources
            .iter()
            .zip(self.plan.schema.fields())
            .map(|(source, field)| self.column(source, field, part, rows.clone()))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.plan.schema), columns, &options)?)
    }

    fn column(&self, source: &Source, field: &Field, part: &Part, rows: Range<usize>) -> Result<ArrayRef> {
        match source {
            Source::Class => Ok(Arc::new(StringArray::from_iter_values(part.classes[rows].iter().map(
                |class| match class {
                    Class::New => "new",
                    Class::Stale => "stale",
                    Class::Orphaned => "orphaned",
                },
            )))),
            Source::Rows(inputs) => {
                let places: Vec<&[Row]> = inputs
                    .iter()
                    .map(|(input, _)| {
                        let rows_of = part.expected.get(*input).unwrap_or(&part.current);
                        &rows_of[rows.clone()]
                    })
                    .collect();
                let mut gather = Gather::new(field.data_type());
                let starts: Vec<usize> = inputs
                    .iter()
                    .map(|&(input, column)| {
                        gather.add(self.collected.chunks[input].iter().map(|c| &c.columns[column]))
                    })
                    .collect();
                for row in 0..rows.len() {
                    let found = places.iter().zip(&starts).find(|(rows, _)| !rows[row].is_none());
                    match found {
                        Some((rows, start)) => gather.take(start + rows[row].chunk(), rows[row].row()),
                        None => gather.take_null(),
                    }
                }
                gather.finish()
            }
            Source::Hashed { by_field, stored } => {
                let hashed = match (by_field, &part.sample) {
                    (true, _) => self.by_field(part)?,
                    (false, Some(sample)) => Arc::clone(sample),
                    (false, None) => return internal_err!("increment: no versions were kept"),
                };
                let orphaned = part.classes[rows.clone()].contains(&Class::Orphaned);
                if !orphaned {
                    return Ok(hashed.slice(rows.start, rows.len()));
                }
                let mut gather = Gather::new(field.data_type());
                let own = gather.add([&hashed]);
                let current = self.plan.current().zip(*stored);
                let start = current.map(|(input, column)| {
                    gather.add(self.collected.chunks[input].iter().map(|c| &c.columns[column]))
                });
                for row in rows {
                    let place = part.current[row];
                    match start {
                        _ if part.classes[row] != Class::Orphaned => gather.take(own, row),
                        Some(start) => gather.take(start + place.chunk(), place.row()),
                        None => gather.take_null(),
                    }
                }
                gather.finish()
            }
        }
    }

    /// The fields' versions as one struct.
    fn by_field(&self, part: &Part) -> Result<ArrayRef> {
        let DataType::Struct(members) = version_type(PROVENANCE_BY_FIELD, &self.plan.description) else {
            return internal_err!("increment: versions by field are a struct");
        };
        Ok(Arc::new(StructArray::try_new(members, part.fields.clone(), None)?))
    }
}

fn source(plan: &Plan, name: &str) -> Result<Source> {
    if Plan::is_class(name) {
        return Ok(Source::Class);
    }
    let in_current = |column: &str| {
        let input = plan.current()?;
        Some((input, plan.layouts[input].index_of(column)?))
    };
    if let Some(key) = plan.description.keys.iter().find(|key| orphan_key(key) == name) {
        return Ok(Source::Rows(in_current(key).into_iter().collect()));
    }
    let overridden = plan.description.overridden && [DATA_VERSION, DATA_VERSION_BY_FIELD].contains(&name);
    if VERSION_COLUMNS.contains(&name) && !overridden {
        let by_field = ![PROVENANCE, DATA_VERSION].contains(&name);
        return Ok(Source::Hashed { by_field, stored: in_current(&stored(name)).map(|(_, column)| column) });
    }
    let shown = match (overridden, name) {
        (false, _) => name,
        (true, DATA_VERSION) => internal::DATA_VERSION,
        (true, _) => DATA_VERSIONS,
    };
    let mut inputs: Vec<(usize, usize)> = (0..plan.expected())
        .filter_map(|input| Some((input, plan.layouts[input].index_of(shown)?)))
        .collect();
    let is_key = plan.description.keys.iter().any(|key| key == name);
    if !is_key {
        // Another input may have the name among what it needs for itself only.
        let owner = |input: &usize| plan.description.expected[*input].user_columns.iter().any(|c| c == name);
        inputs.retain(|(input, _)| overridden || owner(input));
    }
    inputs.extend(in_current(&if is_key { name.to_owned() } else { stored(name) }));
    Ok(Source::Rows(inputs))
}

/// Values picked from several arrays.
struct Gather {
    arrays: Vec<ArrayRef>,
    places: Vec<(usize, usize)>,
}

impl Gather {
    fn new(data_type: &DataType) -> Self {
        Self { arrays: vec![new_null_array(data_type, 1)], places: Vec::new() }
    }

    /// Adds arrays and returns the number of the first.
    fn add<'a>(&mut self, arrays: impl IntoIterator<Item = &'a ArrayRef>) -> usize {
        let start = self.arrays.len();
        self.arrays.extend(arrays.into_iter().cloned());
        start
    }

    fn take(&mut self, array: usize, row: usize) {
        self.places.push((array, row));
    }

    fn take_null(&mut self) {
        self.places.push((0, 0));
    }

    fn finish(self) -> Result<ArrayRef> {
        if self.places.iter().all(|(array, _)| *array == 0) {
            return Ok(new_null_array(self.arrays[0].data_type(), self.places.len()));
        }
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&arrays, &self.places)?)
    }
}

//! A statement's way to printed rows.

use std::io::IsTerminal;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv::WriterBuilder as CsvBuilder;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::{JsonArray, LineDelimited};
use datafusion::common::instant::Instant;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::FormatOptions;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::{ExecutionPlanProperties, execute_stream};
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};
use futures::StreamExt;

use super::context::CliContext;
use super::progress::Bar;
use super::{remote, report};
use crate::error::{MetaxyError, Result};
use crate::session::MetaxyStatement;
use crate::store::Progress;

/// Runs one statement and prints what it returns; behind a table also how many rows there are and how long it took.
///
/// A table is as wide as its widest cell, so its rows are held until the last one is there, as far as they are
/// shown at all; every other format is printed as rows arrive.
///
/// # Errors
///
/// When planning, running or printing fails, or when a table's rows don't fit into the session's memory limit.
pub(super) async fn execute(
    context: CliContext,
    statement: MetaxyStatement,
    options: PrintOptions,
) -> Result<()> {
    let start = Instant::now();
    let is_call = statement.is_call();
    let plan = context.session().plan(statement).await?;
    let limit = if shows_all(&plan) { MaxRows::Unlimited } else { options.maxrows };
    let plan = remote::execute(&context, plan).await?.create_physical_plan().await?;

    let endless = plan.boundedness().is_unbounded();
    if endless && plan.pipeline_behavior() == EmissionType::Final {
        let reason = "the query's only result comes at the end of its source, and the source has no end";
        return Err(MetaxyError::Invalid(reason.to_owned()));
    }
    let format = match options.format {
        PrintFormat::Automatic if endless => PrintFormat::Csv,
        PrintFormat::Automatic => PrintFormat::Table,
        PrintFormat::Table if endless => {
            let reason = "rows without an end don't fit into a table; choose another format, such as csv";
            return Err(MetaxyError::Invalid(reason.to_owned()));
        }
        other => other,
    };

    let task = context.session().context().task_ctx();
    let held = MemoryConsumer::new("metaxy-cli").register(task.memory_pool());
    let progress = Progress::of(context.session().context()).filter(|_| !is_call);
    let _watched = progress.map(|progress| progress.watch("reading", Arc::clone(&plan)));
    let bar = Bar::over(context.session().context());
    let stream = execute_stream(plan, task.clone())?;
    let style = &task.session_config().options().format;
    let (rows, limit) = match format {
        PrintFormat::Table => (print_table(stream, bar, limit, &held, style).await?, limit),
        PrintFormat::Json => (print_json(stream, bar).await?, MaxRows::Unlimited),
        other => (print_lines(stream, bar, other, style).await?, MaxRows::Unlimited),
    };
    // Other formats are for programs, which would take these lines for rows.
    if !options.quiet && format == PrintFormat::Table {
        report::output(summary(rows, limit, start).as_bytes())?;
    }
    Ok(())
}

/// Whether a plan's rows are few and wanted in full: plans, descriptions and settings.
fn shows_all(plan: &LogicalPlan) -> bool {
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)) {
        return true;
    }
    let mut settings = false;
    let walked = plan.apply(|node| {
        settings |= matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == "df_settings");
        Ok(if settings { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.is_ok() && settings
}

async fn print_table(
    mut stream: SendableRecordBatchStream,
    bar: Bar,
    limit: MaxRows,
    held: &MemoryReservation,
    style: &FormatOptions,
) -> Result<usize> {
    let schema = stream.schema();
    // Without columns there are no rows to leave out.
    let limit = if schema.fields().is_empty() { MaxRows::Unlimited } else { limit };
    let (mut batches, mut rows) = (Vec::new(), 0);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        // One row over the limit is kept: it tells the printer that something is missing.
        if matches!(limit, MaxRows::Unlimited) || matches!(limit, MaxRows::Limited(limit) if rows <= limit) {
            held.try_grow(get_record_batch_memory_size(&batch))?;
            batches.push(batch.clone());
        }
        rows += batch.num_rows();
    }
    drop(bar);
    print_batches(PrintFormat::Table, schema, &batches, limit, true, style)?;
    Ok(rows)
}

async fn print_lines(
    mut stream: SendableRecordBatchStream,
    bar: Bar,
    format: PrintFormat,
    style: &FormatOptions,
) -> Result<usize> {
    let (schema, mut rows, mut bar) = (stream.schema(), 0, Some(bar));
    while let Some(batch) = stream.next().await {
        let mut batch = batch?;
        if matches!(format, PrintFormat::Csv | PrintFormat::Tsv) {
            batch = flat(&batch)?;
        }
        if batch.num_rows() > 0 {
            leave_screen(&mut bar);
            if format == PrintFormat::NdJson {
                report::output(&objects(&batch).map_err(arrow)?)?;
            } else {
                let (schema, first) = (batch.schema(), rows == 0);
                let batches = std::slice::from_ref(&batch);
                print_batches(format, schema, batches, MaxRows::Unlimited, first, style)?;
            }
        }
        rows += batch.num_rows();
    }
    if rows == 0 {
        leave_screen(&mut bar);
        report::output(&header(format, &schema)?)?;
    }
    Ok(rows)
}

/// The line of names of a result without rows, which DataFusion's printer leaves out; statements without a result have
/// no columns either.
fn header(format: PrintFormat, schema: &SchemaRef) -> Result<Vec<u8>> {
    let delimiter = match format {
        PrintFormat::Csv => b',',
        PrintFormat::Tsv => b'\t',
        _ => return Ok(Vec::new()),
    };
    let mut bytes = Vec::new();
    if !schema.fields().is_empty() {
        // Cells are text, whatever the columns are.
        let names = schema.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
        let nothing = RecordBatch::new_empty(Arc::new(Schema::new(names.collect::<Vec<_>>())));
        let mut writer = CsvBuilder::new().with_header(true).with_delimiter(delimiter).build(&mut bytes);
        writer.write(&nothing).map_err(arrow)?;
    }
    Ok(bytes)
}

/// Cells of a CSV file are text: structs, maps and lists become JSON.
fn flat(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        if !field.data_type().is_nested() {
            return Ok((field.name().clone(), ArrayRef::clone(column)));
        }
        let objects = objects(&RecordBatch::try_from_iter([("cell", ArrayRef::clone(column))])?)?;
        let lines = String::from_utf8_lossy(&objects);
        let cells: StringArray = lines
            .lines()
            .map(|line| {
                // A line is {"cell":…}.
                let cell = line.strip_prefix(r#"{"cell":"#)?.strip_suffix('}')?;
                (cell != "null").then(|| cell.to_owned())
            })
            .collect();
        Ok((field.name().clone(), Arc::new(cells) as ArrayRef))
    });
    RecordBatch::try_from_iter(columns.collect::<Result<Vec<_>, ArrowError>>().map_err(arrow)?).map_err(arrow)
}

/// A line of JSON per row, with every column: DataFusion's printer leaves out those that are NULL.
fn objects(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// One JSON array around all rows; nothing for a statement that has no result.
async fn print_json(mut stream: SendableRecordBatchStream, bar: Bar) -> Result<usize> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    let has_result = !stream.schema().fields().is_empty();
    let (mut rows, mut bar) = (0, Some(bar));
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            leave_screen(&mut bar);
            writer.write(&batch).map_err(arrow)?;
            report::output(&std::mem::take(writer.get_mut()))?;
        }
        rows += batch.num_rows();
    }
    if rows > 0 || has_result {
        leave_screen(&mut bar);
        writer.finish().map_err(arrow)?;
        writer.get_mut().push(b'\n');
        report::output(writer.get_ref())?;
    }
    Ok(rows)
}

/// Takes the bar away before rows are printed where it is shown; beside a file it stays until the last row.
fn leave_screen(bar: &mut Option<Bar>) {
    if std::io::stdout().is_terminal() {
        *bar = None;
    }
}

fn arrow(error: ArrowError) -> MetaxyError {
    datafusion::error::DataFusionError::from(error).into()
}

fn print_batches(
    format: PrintFormat,
    schema: SchemaRef,
    batches: &[RecordBatch],
    limit: MaxRows,
    with_header: bool,
    style: &FormatOptions,
) -> Result<()> {
    // By way of memory, so that an error of the output is never taken for one of the rows.
    let mut bytes = Vec::new();
    format.print_batches(&mut bytes, schema, batches, limit, with_header, style)?;
    report::output(&bytes)
}

fn summary(rows: usize, limit: MaxRows, start: Instant) -> String {
    let shown = match limit {
        MaxRows::Limited(limit) if limit < rows => {
            format!("(First {limit} displayed. Use --maxrows to adjust)")
        }
        _ => String::new(),
    };
    format!("{rows} row(s) fetched. {shown}\nElapsed {:.3} seconds.\n\n", start.elapsed().as_secs_f64())
}

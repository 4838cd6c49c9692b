//! A record as bytes: an Arrow file of the keys, its metadata the question and the moments, behind a checksum.

use std::collections::HashMap;
use std::io;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::FileReader;
use datafusion::arrow::ipc::writer::FileWriter;
use xxhash_rust::xxh3::xxh3_128;

use super::Record;

const QUESTION: &str = "question";
const MOMENTS: &str = "moments";

/// A short name for a question. Others can have the same: the question itself is in the record.
pub(crate) fn name(question: &str) -> String {
    format!("{:032x}", xxh3_128(question.as_bytes()))
}

/// The record of this question, if the bytes are one and whole.
pub(crate) fn decode(bytes: &[u8], question: &str) -> Option<Record> {
    let (checksum, content) = bytes.split_first_chunk::<16>()?;
    if xxh3_128(content).to_le_bytes() != *checksum {
        return None;
    }
    let reader = FileReader::try_new(io::Cursor::new(content), None).ok()?;
    let schema = reader.schema();
    if schema.metadata().get(QUESTION)? != question {
        return None;
    }
    let moments = serde_json::from_str(schema.metadata().get(MOMENTS)?).ok()?;
    let batches = reader.collect::<Result<Vec<_>, _>>().ok()?;
    let columns = concat_batches(&schema, &batches).ok()?.columns().to_vec();
    let plain = schema.as_ref().clone().with_metadata(HashMap::new());
    let keys = RecordBatch::try_new(plain.into(), columns).ok()?;
    Some(Record { question: question.to_owned(), moments, keys })
}

/// The bytes of a record.
///
/// # Errors
/// Arrow can't write keys of their types.
pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, ArrowError> {
    let moments = serde_json::to_string(&record.moments).map_err(|e| ArrowError::ExternalError(e.into()))?;
    let metadata = [(QUESTION.to_owned(), record.question.clone()), (MOMENTS.to_owned(), moments)];
    let schema = record.keys.schema().as_ref().clone().with_metadata(metadata.into());
    // The checksum comes first, and is known last.
    let mut content = vec![0; 16];
    let mut writer = FileWriter::try_new(&mut content, &schema)?;
    writer.write(&RecordBatch::clone(&record.keys).with_schema(schema.into())?)?;
    writer.finish()?;
    drop(writer);
    let checksum = xxh3_128(&content[16..]).to_le_bytes();
    content[..16].copy_from_slice(&checksum);
    Ok(content)
}

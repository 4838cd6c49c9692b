//! An increment over the samples that have changed since an earlier one, as SQL.
//!
//! Which rows were written since is what the server itself goes by: every row has the number of the transaction that wrote
//! it (`xmin`), and numbers below the snapshot's least were given out, and their transactions ended, before the snapshot
//! was taken (PostgreSQL 15, chapter 9.27.8 on `pg_snapshot`, section 5.5 on system columns). So if a table still has as
//! many rows with a number below that of an earlier snapshot as it had then, these are the same rows.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::UserDefinedLogicalNodeCore;

use super::input::{CHANGED, Changed, Find, Laid, OwnKey};
use super::sql::Family;
use super::statement::statement;
use super::{Sql, literal, sql};
use crate::columns::{INCREMENT, UPDATED_AT};
use crate::records::{Record, Records};
use crate::store::postgres::comparisons::Comparisons;
use crate::store::pushed::{Asked, Earlier};

/// The form of the question and of what is kept of its tables; another one means that older records answer nothing.
const FORM: u32 = 2;
/// Comparing fewer rows than this takes no longer than finding out which of them have changed.
const LARGE: i64 = 100_000;
/// All classes of rows.
const CLASSES: [&str; 3] = ["new", "stale", "orphaned"];

/// An increment that may go on from an earlier one.
pub(super) struct Changes {
    /// All that the answer depends on but the rows and which database they are in.
    pub question: String,
    /// What is read.
    pub tables: Vec<Table>,
    /// The statement over a table of changed keys, which is written before it.
    pub sql: String,
    /// The key's columns.
    pub keys: SchemaRef,
    /// Whether an answer of nothing means that there is nothing new, stale or orphaned.
    pub all: bool,
    /// Whether to go on only where that saves time.
    pub gain: bool,
    records: Arc<Records>,
    /// What the database keeps for everybody.
    pub comparisons: Comparisons,
    /// Which database it is.
    place: String,
    families: Vec<Family>,
    /// The statement over an array of keys, which servers can look at with several processes; a table they can't.
    listed: Option<Listed>,
}

/// A statement over an array of changed keys.
struct Listed {
    sql: String,
    /// The type of the array's members.
    member: &'static str,
}

/// What stands for the array in such a statement. Nobody can write it into a name or a value.
static ARRAY: LazyLock<String> = LazyLock::new(|| format!("array_{}", uuid::Uuid::new_v4().simple()));

/// A table that is read.
pub(super) struct Table {
    /// Its name with that of its schema, quoted.
    name: String,
    /// The same as a literal.
    literal: String,
    /// Selects the keys of its rows.
    keys: String,
    /// The column that says when a row was written.
    updated_at: Option<String>,
}

impl Changes {
    /// The increment as one that may go on, or why it may not.
    ///
    /// `database` is where it is. `auto_create`: a table for records may be created.
    pub(super) fn try_new(
        asked: &Asked<'_>,
        find: Find<'_>,
        utf8: bool,
        database: &str,
        auto_create: bool,
    ) -> Sql<Self> {
        let Some(Earlier { records, gain }) = asked.earlier else {
            return Err("metaxy.incremental_resolve is off".to_owned());
        };
        let description = asked.increment.description.as_ref();
        let keys = description.keys.as_slice();
        let sides = description.expected.len() + usize::from(description.current.is_some());
        let plans = asked.increment.inputs.get(..sides).ok_or("inputs are missing")?;
        if description.current.is_none() {
            return Err("nothing is stored that could be compared with".to_owned());
        }
        let (mut tables, mut families, mut rows) = (Vec::new(), Vec::new(), 0);
        let mut comparisons: Option<Comparisons> = None;
        let mut members = BTreeSet::new();
        for plan in plans {
            let laid = Laid::new(plan)?;
            let input = laid.input(find)?;
            let (own, source) = (input.own_keys(keys)?, input.source());
            if !source.plain {
                return Err(format!("{} is a partitioned table", source.name));
            }
            let own_families: Vec<Family> = own.iter().map(|key| key.family).collect();
            if !families.is_empty() && families != own_families {
                return Err("keys are of several types".to_owned());
            }
            families = own_families;
            members.extend(own.iter().map(|key| member(&key.data_type)));
            rows += source.rows.max(0);
            // Where tables have several owners, only a table of records that all of them have to trust is used.
            let known = comparisons.get_or_insert_with(|| source.comparisons.clone());
            known.readable &= source.comparisons.readable;
            known.writable &= source.comparisons.writable;
            let own: Vec<String> = own.iter().enumerate().map(|key| OwnKey::named(key).0).collect();
            tables.push(Table {
                name: source.name.clone(),
                literal: sql::literal(&source.name)?,
                keys: format!("SELECT {} FROM {}", own.join(", "), source.name),
                updated_at: source.column(UPDATED_AT).map(|column| column.sql),
            });
        }
        if gain && rows < LARGE {
            return Err("the tables are small".to_owned());
        }
        let all = asked.increment.schema();
        let field = |name: &str| {
            all.field_with_unqualified_name(name).map(|field| Field::clone(field)).map_err(|e| e.to_string())
        };
        let key_fields: Vec<Field> =
            keys.iter().map(|key| Ok(field(key)?.with_nullable(true))).collect::<Sql<_>>()?;
        let named = key_fields.iter().cloned().chain([field(INCREMENT)?]);
        let schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
        let whole = Asked { schema: &schema, classes: &CLASSES, limit: None, ..*asked };
        let question = statement(&whole, find, utf8)?.sql;
        let changed = |array| statement(asked, Find { changed: Some(Changed { keys, array }), ..find }, utf8);
        let listed = match (keys, members.first()) {
            ([_], Some(Some(member))) if members.len() == 1 => {
                Some(Listed { sql: changed(Some(ARRAY.as_str()))?.sql, member })
            }
            _ => None,
        };
        let changed = changed(None)?;
        let mut comparisons = comparisons.ok_or("nothing is read")?;
        comparisons.writable &= comparisons.exist || auto_create;
        Ok(Self {
            question: format!("{FORM} {}\n{question}", env!("CARGO_PKG_VERSION")),
            place: database.to_owned(),
            comparisons,
            tables,
            sql: changed.sql,
            keys: Arc::new(Schema::new(key_fields)),
            all: asked.limit.is_none() && CLASSES.iter().all(|class| asked.classes.contains(class)),
            gain,
            records: Arc::clone(records),
            families,
            listed,
        })
    }

    /// What EXPLAIN says of it. Whether an earlier comparison still holds is only known when the tables are read, and
    /// whether the database has one when it is asked.
    pub(super) fn said(&self) -> &'static str {
        match self.own_record() {
            Some(_) => "changes since the last comparison, if its rows are still there",
            None if self.comparisons.readable => {
                "changes since the last comparison, if the database knows one and its rows are still there"
            }
            None => "everything (there is no earlier comparison)",
        }
    }

    /// What this program knows of the question.
    pub(super) fn own_record(&self) -> Option<Arc<Record>> {
        self.records.get(&self.own_question())
    }

    /// Keeps a record where this program finds it again.
    pub(super) fn keep(&self, record: Record) {
        self.records.put(Record { question: self.own_question(), ..record });
    }

    /// The question with the place, since the program knows several databases.
    fn own_question(&self) -> String {
        format!("{}\n{}", self.question, self.place)
    }

    /// The statement over the keys of rows that were written since a snapshot, and these.
    pub(super) fn since(&self, snapshot: u64, keys: &RecordBatch) -> Sql<String> {
        let mut sides: Vec<String> = self.tables.iter().map(|table| written(table, snapshot)).collect();
        if keys.num_rows() > 0 {
            let rows: Vec<String> =
                (0..keys.num_rows()).map(|row| self.row(keys, row)).collect::<Sql<_>>()?;
            sides.push(format!("VALUES {}", rows.join(", ")));
        }
        let names: Vec<String> = (0..self.families.len()).map(|i| format!("h{i}, m{i}")).collect();
        Ok(format!("WITH {CHANGED}({}) AS ({}) {}", names.join(", "), sides.join(" UNION ALL "), self.sql))
    }

    /// Asks for the keys of rows that were written since a snapshot, each with whether it is NULL, if there is a statement
    /// over an array of them.
    pub(super) fn written(&self, snapshot: u64) -> Option<String> {
        self.listed.as_ref()?;
        let written = self.tables.iter().map(|table| written(table, snapshot));
        Some(written.collect::<Vec<_>>().join(" UNION "))
    }

    /// The statement over these keys.
    pub(super) fn of(&self, keys: &BTreeSet<String>) -> Sql<String> {
        let listed = self.listed.as_ref().ok_or("there is no statement over an array")?;
        let quoted = keys.iter().map(|key| format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")));
        let array = sql::literal(&format!("{{{}}}", quoted.collect::<Vec<_>>().join(",")))?;
        Ok(listed.sql.replace(ARRAY.as_str(), &format!("{array}::{}[]", listed.member)))
    }

    fn row(&self, keys: &RecordBatch, row: usize) -> Sql<String> {
        let parts = keys.columns().iter().zip(&self.families).map(|(column, family)| {
            let scalar = ScalarValue::try_from_array(column, row).map_err(|error| error.to_string())?;
            if scalar.is_null() {
                let any = family.placeholder().ok_or("a key has no order")?;
                return Ok(format!("{any}, true"));
            }
            let value = literal::value(&scalar)?;
            if value.family() != *family {
                return Err(format!("a key is of type {}", value.data_type));
            }
            Ok(format!("{}, false", value.sql))
        });
        Ok(format!("({})", parts.collect::<Sql<Vec<_>>>()?.join(", ")))
    }

    /// Begins a transaction that sees one moment of the tables, and keeps others from emptying or altering them.
    pub(super) fn begin(&self) -> String {
        let names: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
        format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {} IN ACCESS SHARE MODE",
            names.join(", ")
        )
    }

    /// Asks for the run of the server and the database, the least number of a transaction, how far the log of writes has
    /// got, the server's version, and what makes each table the one that it is: NULL if it is no heap of the server's own, if others than its own
    /// rows can be seen in it, or if their values can become other ones without being written.
    ///
    /// A run ends before the server's files are set back to an earlier state, after which numbers are given out again. A
    /// database that is made anew has another number. A crash within a run can take back what [`safe`](Self::safe) denies.
    pub(super) fn moment(&self) -> String {
        let mut columns = vec![
            "concat_ws(' ', pg_postmaster_start_time(), (SELECT d.oid FROM pg_catalog.pg_database d \
             WHERE d.datname = current_database()))"
                .to_owned(),
            "pg_snapshot_xmin(pg_current_snapshot())::text".to_owned(),
            "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END".to_owned(),
            "current_setting('server_version_num')".to_owned(),
        ];
        for table in &self.tables {
            // Types of the user's, as enumerations, have oids from 16384 on.
            columns.push(format!(
                "(SELECT concat_ws(' ', c.oid, pg_relation_filenode(c.oid), (SELECT string_agg(concat_ws(':', \
                 a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation), ' ' ORDER BY a.attnum) \
                 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)) \
                 FROM pg_catalog.pg_class c WHERE c.oid = {}::regclass AND c.relkind = 'r' \
                 AND c.relam = (SELECT m.oid FROM pg_catalog.pg_am m WHERE m.amname = 'heap') \
                 AND NOT c.relrowsecurity AND NOT c.relhassubclass AND NOT EXISTS (SELECT FROM \
                 pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
                 AND (a.atttypid >= 16384 OR a.attgenerated = 'v')))",
                table.literal
            ));
        }
        format!("SELECT {}", columns.join(", "))
    }

    /// Asks whether a place in the log of writes would outlive a crash.
    pub(super) fn safe(written: &str) -> String {
        format!("SELECT pg_current_wal_flush_lsn() >= '{written}'::pg_lsn")
    }

    /// Asks of each table how many rows it has, and of those from before a snapshot: how many, and when the last of them
    /// was written.
    pub(super) fn counts(&self, snapshot: u64) -> String {
        let before = format!("age(xmin) > (SELECT age('{snapshot}'::xid8::xid))");
        let counts = self.tables.iter().enumerate().map(|(number, table)| {
            let last = match &table.updated_at {
                Some(column) => format!("max({column}) FILTER (WHERE {before})::text"),
                None => "NULL::text".to_owned(),
            };
            format!(
                "SELECT {number} AS number, count(*), count(*) FILTER (WHERE {before}), {last} FROM {}",
                table.name
            )
        });
        format!("{} ORDER BY number", counts.collect::<Vec<_>>().join(" UNION ALL "))
    }
}

/// Selects the keys of rows that were written since a snapshot.
fn written(table: &Table, snapshot: u64) -> String {
    format!("{} WHERE age(xmin) <= (SELECT age('{snapshot}'::xid8::xid))", table.keys)
}

/// The type that an array of keys has to have for the server to look them up by their hashes: that of
/// [`OwnKey::value`], in which the placeholder makes an integer of a small one. With any other they would be compared one by
/// one.
fn member(key: &DataType) -> Option<&'static str> {
    match (Family::of(key), sql::type_name(key)) {
        (Family::Integer, Some("smallint")) => Some("integer"),
        (Family::Text | Family::Integer, name) => name,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_has_the_type_of_the_keys_it_is_compared_with() {
        for (key, expected) in [
            (DataType::Utf8, Some("text")),
            (DataType::Int16, Some("integer")),
            (DataType::Int32, Some("integer")),
            (DataType::Int64, Some("bigint")),
            (DataType::Boolean, None),
            (DataType::Date32, None),
        ] {
            assert_eq!(member(&key), expected, "{key}");
        }
    }
}

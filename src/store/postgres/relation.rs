//! A table of the database, as its catalog describes it.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tokio_postgres::GenericClient;

use super::comparisons::{self, Comparisons, SOUND};
use super::database::Database;
use super::names::identifier;
use super::types::PostgresType;
use crate::columns::{DATA_VERSION_BY_FIELD, PROVENANCE_BY_FIELD, ROW_ORDER};
use crate::error::Result;
use crate::store::RecordedSettings;

/// What comments of ours begin with: those on tables hold the hash settings, those on columns an Arrow type.
const OURS: &str = "metaxy: ";

/// A table and its columns at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// Where it is.
    pub database: Arc<Database>,
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// The server's number for the table: another table of the same name has another one.
    pub oid: u32,
    /// Whether we may alter it.
    pub is_own: bool,
    /// Whether we may lock all other writers out.
    pub is_lockable: bool,
    /// The encoding of text in the database.
    pub encoding: String,
    /// The file that its rows are in: another one after `VACUUM FULL`, `CLUSTER` and others that move all rows.
    pub file: Option<u32>,
    /// The columns in their order, without the row order.
    pub columns: Vec<RelationColumn>,
    /// The hash settings that the table's comment records.
    pub recorded: Option<RecordedSettings>,
    /// Whether rows are where their place says for good; not so in a partitioned table.
    pub is_plain: bool,
    /// How many rows there are about, as far as the server keeps count.
    pub rows: i64,
    /// The records of increments that are kept beside it.
    pub comparisons: Comparisons,
}

/// A column in both worlds.
#[derive(Debug, Clone)]
pub(crate) struct RelationColumn {
    /// Its name.
    pub name: String,
    /// What it is in the database.
    pub postgres: PostgresType,
    /// What it is above.
    pub data_type: DataType,
    /// Whether the Arrow type is recorded in a comment of ours.
    pub recorded: bool,
}

/// `$sound`: whether the table of records `k` can be relied on.
const TABLE: &str = "SELECT c.oid, n.nspname::text, c.relkind::text, obj_description(c.oid, 'pg_class'), \
     pg_relation_filenode(c.oid), current_setting('server_encoding'), pg_has_role(c.relowner, 'USAGE'), \
     has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE'), \
     greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid)), \
     o.rolname::text, o.oid, k.oid IS NOT NULL, coalesce(has_table_privilege(k.oid, 'SELECT') AND $sound, false), \
     coalesce(current_setting('transaction_read_only') = 'off' AND CASE WHEN k.oid IS NULL \
     THEN has_schema_privilege(n.oid, 'CREATE') AND pg_has_role(c.relowner, 'USAGE') \
     ELSE has_table_privilege(k.oid, 'SELECT') AND has_table_privilege(k.oid, 'INSERT') \
     AND has_table_privilege(k.oid, 'UPDATE') AND has_table_privilege(k.oid, 'DELETE') AND $sound END, false) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_roles o ON o.oid = c.relowner \
     LEFT JOIN pg_catalog.pg_class k ON k.relnamespace = n.oid AND k.relname = $3 \
     WHERE n.nspname = coalesce($1, current_schema()) AND c.relname = $2 \
     AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// Of a domain, the type below it.
const COLUMNS: &str = "SELECT a.attname::text, b.typname::text, format_type(b.oid, a.atttypmod), e.typname::text, \
     a.atttypmod, col_description(a.attrelid, a.attnum) \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
     LEFT JOIN pg_catalog.pg_type e ON e.oid = b.typelem AND b.typcategory = 'A' \
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

impl Relation {
    /// The table of this name, without the fields of its versions columns, in the schema of the settings, or in the one
    /// that the connection has; `None` if there is none.
    ///
    /// # Errors
    /// The catalog can't be read, or the name is that of a view.
    pub(crate) async fn find(
        database: &Arc<Database>,
        client: &impl GenericClient,
        table: &str,
    ) -> Result<Option<Self>> {
        let failed = |error: tokio_postgres::Error| database.failed(&error);
        let sql = TABLE.replace("$sound", &SOUND.replace("$owner", "c.relowner"));
        let found = client
            .query_opt(&sql, &[&database.schema(), &table, &comparisons::TABLE])
            .await
            .map_err(failed)?;
        let Some(found) = found else { return Ok(None) };
        let (oid, kind): (u32, String) = (found.get(0), found.get(2));
        if !matches!(kind.as_str(), "r" | "p") {
            return Err(database.error(format!("{table} is no table; rows can't be numbered in views")));
        }
        let comment: Option<String> = found.get(3);
        let rows = client.query(COLUMNS, &[&oid]).await.map_err(failed)?;
        let columns = rows.iter().map(|row| {
            let (element, comment): (Option<String>, Option<String>) = (row.get(3), row.get(5));
            let (name, shown): (String, String) = (row.get(1), row.get(2));
            let postgres = PostgresType::of(&name, &shown, element.as_deref(), row.get(4));
            let recorded = comment.as_deref().and_then(recorded_type);
            RelationColumn {
                name: row.get(0),
                recorded: recorded.is_some(),
                data_type: recorded.unwrap_or_else(|| postgres.arrow()),
                postgres,
            }
        });
        let schema: String = found.get(1);
        let comparisons = Comparisons {
            schema: schema.clone(),
            owner: (found.get(9), found.get(10)),
            exist: found.get(11),
            readable: found.get(12),
            writable: found.get(13),
        };
        Ok(Some(Self {
            database: Arc::clone(database),
            comparisons,
            schema,
            table: table.to_owned(),
            oid,
            file: found.get(4),
            encoding: found.get(5),
            is_own: found.get(6),
            is_lockable: found.get(7),
            columns: columns.collect(),
            recorded: comment.as_deref().and_then(recorded_settings),
            is_plain: kind == "r",
            rows: found.get(8),
        }))
    }

    /// The name for a statement: `"schema"."table"`.
    pub(crate) fn qualified(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.table))
    }

    /// Whether text is there what it is here: in other encodings it has another order, `LIKE` may count bytes, and not
    /// every text can be asked for.
    pub(crate) fn is_utf8(&self) -> bool {
        self.encoding == "UTF8"
    }

    /// The column of this name.
    pub(crate) fn column(&self, name: &str) -> Option<&RelationColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns as Arrow has them.
    pub(crate) fn stored_schema(&self) -> Schema {
        let field = |column: &RelationColumn| Field::new(&column.name, column.data_type.clone(), true);
        Schema::new(self.columns.iter().map(field).collect::<Vec<_>>())
    }

    /// The same, with the row order at their end.
    pub(crate) fn numbered_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.stored_schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false)));
        Arc::new(Schema::new(fields))
    }

    /// What a query has to select for a column of [`numbered_schema`](Self::numbered_schema).
    pub(crate) fn selected(&self, name: &str) -> String {
        if name == ROW_ORDER { "ctid".to_owned() } else { identifier(name) }
    }
}

/// Whether the database has a schema of this name.
///
/// # Errors
/// The catalog can't be read.
pub(crate) async fn schema_exists(
    database: &Database,
    client: &impl GenericClient,
    name: &str,
) -> Result<bool> {
    let sql = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    let found = client.query_opt(sql, &[&name]).await;
    Ok(found.map_err(|error| database.failed(&error))?.is_some())
}

/// Whether a column holds versions by field.
pub(crate) fn is_versions(name: &str) -> bool {
    name == PROVENANCE_BY_FIELD || name == DATA_VERSION_BY_FIELD
}

/// The comment for a table that was written under these settings.
pub(crate) fn settings_comment(settings: &RecordedSettings) -> String {
    let json = serde_json::json!({
        "hash_algorithm": settings.algorithm,
        "hash_truncation_length": settings.length,
    });
    format!("{OURS}{json}")
}

fn recorded_settings(comment: &str) -> Option<RecordedSettings> {
    let json: serde_json::Value = serde_json::from_str(comment.strip_prefix(OURS)?).ok()?;
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    Some(RecordedSettings { algorithm: text("hash_algorithm")?, length: text("hash_truncation_length")? })
}

/// The comment for a column whose values have this type; `None` for one that can't be read back.
pub(crate) fn type_comment(data_type: &DataType) -> Option<String> {
    let text = data_type.to_string();
    (text.parse::<DataType>().ok().as_ref() == Some(data_type)).then(|| format!("{OURS}{text}"))
}

fn recorded_type(comment: &str) -> Option<DataType> {
    comment.strip_prefix(OURS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{timestamp, versions_struct};

    #[test]
    fn comments_say_what_the_types_were() {
        let nested = DataType::new_list(versions_struct(["a-b", "c_d"]), true);
        for data_type in [versions_struct(["audio", "frames"]), nested, DataType::new_list(timestamp(), true)]
        {
            let comment = type_comment(&data_type);
            assert_eq!(comment.as_deref().and_then(recorded_type), Some(data_type), "{comment:?}");
        }
    }

    #[test]
    fn comments_say_under_which_settings_a_table_was_written() {
        let settings = RecordedSettings { algorithm: "md5".into(), length: "16".into() };
        assert_eq!(recorded_settings(&settings_comment(&settings)), Some(settings));
        assert_eq!(recorded_settings("all videos"), None);
    }
}

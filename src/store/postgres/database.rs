//! The database: connections to it, and queries whose rows come in as they are read.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, CopyOutStream, Error, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::decode::{Decoder, selection};
use super::errors::describe;
use super::names::identifier;
use super::settings::Settings;
use super::tls::connector;
use crate::config::StoreConfig;
use crate::error::{MetaxyError, Result};

/// Connections that are kept for later, and that are used at a time unless a query needs more.
const CONNECTIONS: usize = 4;
/// How long a reader waits for one of them. Then it opens another: what it waits for may be waiting for it, as when one
/// query reads from many tables at a time.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a kept connection may take to say that it is still there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// A database, with a few connections that are kept open.
pub(crate) struct Database {
    store: String,
    shown: String,
    settings: Settings,
    tls: MakeRustlsConnect,
    idle: Mutex<Vec<Arc<Client>>>,
    readers: Arc<Semaphore>,
    writers: Arc<Semaphore>,
    fetched: AtomicU64,
    utf8: AtomicBool,
    /// Whether a table for records of comparisons could not be created.
    pub(crate) keeps_no_comparisons: AtomicBool,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.shown)
    }
}

impl Database {
    /// The database of a store. Nothing is connected yet.
    ///
    /// # Errors
    /// The settings don't say where it is, or can't be understood.
    pub(crate) fn try_new(config: &StoreConfig) -> Result<Arc<Self>> {
        let settings = Settings::try_new(config)?;
        let tls = connector(&settings.trust)
            .map_err(|reason| MetaxyError::Store { store: config.name.clone(), reason })?;
        Ok(Arc::new(Self {
            store: config.name.clone(),
            shown: settings.shown(),
            settings,
            tls,
            idle: Mutex::default(),
            readers: Arc::new(Semaphore::new(CONNECTIONS)),
            writers: Arc::new(Semaphore::new(CONNECTIONS)),
            fetched: AtomicU64::new(0),
            utf8: AtomicBool::new(false),
            keeps_no_comparisons: AtomicBool::new(false),
        }))
    }

    /// Where the database is: no user, no password.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The name of the store, for messages.
    pub(crate) fn store(&self) -> &str {
        &self.store
    }

    /// The schema that the settings name.
    pub(crate) fn schema(&self) -> Option<&str> {
        self.settings.schema.as_deref()
    }

    /// How many bytes of rows queries have brought since the store was opened.
    pub(crate) fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Counts bytes of rows that have come by another way than a query's.
    pub(crate) fn has_fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the database is known to keep its text in UTF-8.
    pub(crate) fn is_utf8(&self) -> bool {
        self.utf8.load(Ordering::Relaxed)
    }

    /// An error of this store.
    pub(crate) fn error(&self, reason: impl fmt::Display) -> MetaxyError {
        MetaxyError::Store { store: self.store.clone(), reason: format!("{}: {reason}", self.shown) }
    }

    /// An error of the driver or of the server.
    pub(crate) fn failed(&self, error: &Error) -> MetaxyError {
        self.error(describe(error))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<Client>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for reading.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn reader(self: &Arc<Self>) -> Result<Lease> {
        let waiting = Arc::clone(&self.readers).acquire_owned();
        let permit = tokio::time::timeout(PATIENCE, waiting).await.ok().and_then(std::result::Result::ok);
        self.lease(permit).await
    }

    /// A connection for a transaction that writes.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn writer(self: &Arc<Self>) -> Result<Lease> {
        let permit = Arc::clone(&self.writers).acquire_owned().await.ok();
        self.lease(permit).await
    }

    async fn lease(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Result<Lease> {
        loop {
            let kept = self.idle().pop();
            let client = match kept {
                Some(client) if client.is_closed() => continue,
                Some(client) => {
                    // The server may have been restarted since.
                    match tokio::time::timeout(SIGN_OF_LIFE, client.simple_query("")).await {
                        Ok(Ok(_)) => client,
                        _ => continue,
                    }
                }
                None => Arc::new(self.connect().await?),
            };
            return Ok(Lease { client, database: Arc::clone(self), _permit: permit, done: false });
        }
    }

    async fn connect(&self) -> Result<Client> {
        let allowed = self.settings.config.get_connect_timeout().copied().unwrap_or(SIGN_OF_LIFE);
        let connecting = tokio::time::timeout(allowed * 2, self.settings.config.connect(self.tls.clone()));
        let (client, connection) = match connecting.await {
            Ok(connected) => connected.map_err(|error| self.failed(&error))?,
            Err(_) => return Err(self.error("the server doesn't answer")),
        };
        self.utf8.store(connection.parameter("server_encoding") == Some("UTF8"), Ordering::Relaxed);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("a connection to PostgreSQL ended: {}", describe(&error));
            }
        });
        // What text stands for must not depend on the server's configuration.
        let mut session = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; \
                           SET bytea_output = 'hex'; SET extra_float_digits = 1"
            .to_owned();
        // Statements run once: to compile them takes longer than it saves.
        session.push_str("; SET jit = off");
        if let Some(schema) = self.schema() {
            session.push_str("; SET search_path = ");
            session.push_str(&identifier(schema));
        }
        client.batch_execute(&session).await.map_err(|error| self.failed(&error))?;
        Ok(client)
    }

    /// The rows of one SELECT, whose columns come in the order of `schema`. They are read as they are asked for; a
    /// stream that is dropped ends the query in the server.
    ///
    /// # Errors
    /// The server can't be reached or refuses the query; errors in the middle of it are in the stream.
    pub(crate) async fn query(
        self: &Arc<Self>,
        sql: String,
        schema: SchemaRef,
    ) -> Result<SendableRecordBatchStream> {
        let lease = self.reader().await?;
        Ok(Rows::of(lease, &sql, &schema).await?.into_stream(schema))
    }
}

/// All rows of a query on a connection that has other work, as in a transaction.
///
/// # Errors
/// As [`Database::query`].
pub(crate) async fn collect(
    database: &Database,
    client: &Client,
    sql: &str,
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let mut decoder = Decoder::try_new(schema)?;
    let copy = format!("COPY ({}) TO STDOUT (FORMAT binary)", selection(sql, schema)?);
    let rows = client.copy_out(&copy).await.map_err(|error| database.failed(&error))?;
    let mut rows = std::pin::pin!(rows);
    let mut batches = Vec::new();
    while let Some(bytes) = rows.next().await {
        let bytes = bytes.map_err(|error| database.failed(&error))?;
        decoder.read(&bytes).map_err(|reason| database.error(reason))?;
        if decoder.is_full() {
            batches.extend(decoder.batch().map_err(|reason| database.error(reason))?);
        }
    }
    batches.extend(decoder.batch().map_err(|reason| database.error(reason))?);
    Ok(batches)
}

/// The rows of what a query in text has brought.
pub(crate) fn only_rows(answer: Vec<SimpleQueryMessage>) -> impl Iterator<Item = SimpleQueryRow> {
    answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// Rows on their way.
pub(crate) struct Rows {
    /// The connection on which they come; it can serve others when they have all come.
    pub lease: Lease,
    rows: std::pin::Pin<Box<CopyOutStream>>,
    decoder: Decoder,
    ended: bool,
}

impl Rows {
    /// The rows of one SELECT, whose columns come in the order of `schema`.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub(crate) async fn of(lease: Lease, sql: &str, schema: &SchemaRef) -> Result<Self> {
        let copy = format!("COPY ({}) TO STDOUT (FORMAT binary)", selection(sql, schema)?);
        let decoder = Decoder::try_new(schema)?;
        let rows = lease.copy_out(&copy).await.map_err(|error| lease.database.failed(&error))?;
        Ok(Self { lease, rows: Box::pin(rows), decoder, ended: false })
    }

    /// All of them; the connection serves others when they have come.
    pub(crate) fn into_stream(self, schema: SchemaRef) -> SendableRecordBatchStream {
        let stream = futures::stream::try_unfold(self, |mut rows| async move {
            let batch = rows.next().await.map_err(DataFusionError::from)?;
            if rows.ended {
                rows.lease.done();
            }
            Ok(batch.map(|batch| (batch, rows)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }

    /// Whether there are no more.
    pub(crate) fn have_all_come(&self) -> bool {
        self.ended
    }

    /// The next of them; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let database = Arc::clone(&self.lease.database);
        while !self.ended {
            match self.rows.next().await {
                Some(Ok(bytes)) => {
                    database.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.decoder.read(&bytes).map_err(|reason| database.error(reason))?;
                    if self.decoder.is_full() {
                        break;
                    }
                }
                Some(Err(error)) => return Err(database.failed(&error)),
                None => self.ended = true,
            }
        }
        self.decoder.batch().map_err(|reason| database.error(reason))
    }
}

/// A connection that goes back to the others when its work is done, and is closed when it was left in the middle.
pub(crate) struct Lease {
    client: Arc<Client>,
    database: Arc<Database>,
    _permit: Option<OwnedSemaphorePermit>,
    done: bool,
}

impl Lease {
    /// Nothing is under way any more: the connection can serve others.
    pub(crate) fn done(&mut self) {
        self.done = true;
    }
}

impl std::ops::Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let client = Arc::clone(&self.client);
        if client.is_closed() {
            return;
        }
        if self.done {
            let mut idle = self.database.idle();
            if idle.len() < CONNECTIONS {
                idle.push(client);
            }
            return;
        }
        // The server would only notice when it has rows to send.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (token, tls) = (client.cancel_token(), self.database.tls.clone());
            runtime.spawn(async move {
                if let Err(error) = token.cancel_query(tls).await {
                    log::debug!("a query could not be cancelled: {}", describe(&error));
                }
                drop(client);
            });
        }
    }
}

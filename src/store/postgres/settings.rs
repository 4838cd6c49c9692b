//! How to reach the database, from the settings of a store.
//!
//! The connection string is a URL as Python's store takes it: beside what PostgreSQL's own tools know it may end in
//! `/SCHEMA` or have a `schema=` in its query.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::names::check_name;
use crate::config::{DatabaseConfig, StoreConfig};
use crate::error::{MetaxyError, Result, one_line};

/// How long a server may take to accept a connection, if the settings don't say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The options of a connection.
const KNOWN: [&str; 13] = [
    "schema",
    "sslrootcert",
    "sslmode",
    "user",
    "password",
    "dbname",
    "host",
    "port",
    "application_name",
    "options",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
];

/// Where the database is and how its certificate is checked.
#[derive(Clone)]
pub(crate) struct Settings {
    /// What the driver needs; it has the password.
    pub config: Config,
    /// The schema of the tables, if one is named.
    pub schema: Option<String>,
    /// How the server proves who it is.
    pub trust: Trust,
}

/// Which servers are believed, when the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Any: `sslmode=prefer` and `require` hide what is said and don't ask who listens, as in PostgreSQL's own tools.
    Anyone,
    /// One whose certificate names the host and is signed by an authority of this file, or of the system.
    Certified(Option<String>),
}

impl Settings {
    /// # Errors
    /// Nothing says where the database is, or a setting can't be understood.
    pub(crate) fn try_new(store: &StoreConfig) -> Result<Self> {
        read(&store.database)
            .map_err(|reason| MetaxyError::Store { store: store.name.clone(), reason: one_line(&reason) })
    }

    /// The place as messages name it: no user, no password.
    pub(crate) fn shown(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            _ => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().map_or_else(String::new, |port| format!(":{port}"));
        let database = self.config.get_dbname().unwrap_or_default();
        let schema = self.schema.as_ref().map_or_else(String::new, |schema| format!("/{schema}"));
        format!("postgresql://{host}{port}/{database}{schema}")
    }
}

fn read(given: &DatabaseConfig) -> Result<Settings, String> {
    let mut settings = Settings { config: Config::new(), schema: None, trust: Trust::Anyone };
    match &given.connection_string {
        Some(text) if !text.expose().is_empty() => settings.read_string(text.expose())?,
        _ if given.connection_params.is_empty() => {
            return Err(
                "connection_string is missing: set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE, \
                        or give connection_params"
                    .into(),
            );
        }
        _ => {
            let mut options: Vec<(&str, &str)> = Vec::new();
            for (key, value) in &given.connection_params {
                match (key.as_str(), value.expose()) {
                    ("host", host) => drop(settings.config.host(host)),
                    ("port", port) => match port.parse() {
                        Ok(port) => drop(settings.config.port(port)),
                        Err(_) => return Err("connection_params.port is not a port".into()),
                    },
                    ("database" | "dbname", name) => drop(settings.config.dbname(name)),
                    ("user", user) => drop(settings.config.user(user)),
                    ("password", password) => drop(settings.config.password(password)),
                    other => options.push(other),
                }
            }
            settings.read_options(options.into_iter(), "connection_params.")?;
        }
    }
    if let Some(schema) = &given.schema {
        settings.schema = Some(schema.clone());
    }
    if let Some(schema) = &settings.schema {
        check_name("schema", schema)?;
    }
    let config = &mut settings.config;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host("localhost");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("datafusion-metaxy");
    }
    Ok(settings)
}

impl Settings {
    fn read_string(&mut self, text: &str) -> Result<(), String> {
        // The driver's error could repeat a part of the text.
        let unreadable = "connection_string can't be read; it looks like \
                          postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters";
        let Some((scheme, rest)) = text.split_once("://") else {
            self.config = text.parse().map_err(|_| unreadable.to_owned())?;
            return Ok(());
        };
        if !matches!(scheme, "postgres" | "postgresql") {
            return Err("connection_string has to begin with postgresql://".into());
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A part of a password behind such a sign would pass for a host, a database or an option, and be shown.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        if rest[end..].contains('@') || rest[..end].matches('@').count() > 1 {
            return Err("connection_string has an @ where none can be; in a user, a password or an option, write %40 \
                        for @, %2F for /, %3F for ? and %23 for #"
                .into());
        }
        let (server, path) = place.split_once('/').unwrap_or((place, ""));
        let (database, schema) = path.split_once('/').unwrap_or((path, ""));
        if !schema.is_empty() {
            self.schema = Some(decoded(schema));
        }
        self.config =
            format!("postgresql://{server}/{database}").parse().map_err(|_| unreadable.to_owned())?;
        let options: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        // After a password with an & in it comes a part of it.
        if options.iter().any(|(key, _)| key == "password")
            && options.iter().any(|(key, _)| !KNOWN.contains(&key.as_str()))
        {
            return Err(
                "connection_string has an option that is not known here, or a password in which & has to be \
                        written as %26"
                    .into(),
            );
        }
        self.read_options(options.iter().map(|(key, value)| (key.as_str(), value.as_str())), "")
    }

    fn read_options<'a>(
        &mut self,
        options: impl Iterator<Item = (&'a str, &'a str)>,
        place: &str,
    ) -> Result<(), String> {
        let mut root = None;
        for (key, value) in options {
            let wrong = || format!("{place}{key} has a value that can't be used");
            let config = &mut self.config;
            let seconds = || value.parse().map(Duration::from_secs).map_err(|_| wrong());
            match key {
                "schema" => self.schema = Some(value.to_owned()),
                "sslrootcert" => root = Some(value.to_owned()),
                "sslmode" => {
                    let (mode, trust) = match value {
                        "disable" => (SslMode::Disable, Trust::Anyone),
                        "allow" | "prefer" => (SslMode::Prefer, Trust::Anyone),
                        "require" => (SslMode::Require, Trust::Anyone),
                        "verify-ca" | "verify-full" => (SslMode::Require, Trust::Certified(None)),
                        _ => return Err(wrong()),
                    };
                    config.ssl_mode(mode);
                    self.trust = trust;
                }
                "user" => drop(config.user(value)),
                "password" => drop(config.password(value)),
                "dbname" => drop(config.dbname(value)),
                "host" => drop(config.host(value)),
                "port" => drop(config.port(value.parse().map_err(|_| wrong())?)),
                "application_name" => drop(config.application_name(value)),
                "options" => drop(config.options(value)),
                "connect_timeout" => drop(config.connect_timeout(seconds()?)),
                "keepalives" => drop(config.keepalives(value != "0")),
                "keepalives_idle" => drop(config.keepalives_idle(seconds()?)),
                _ => return Err(format!("{place}{key} is not an option of a connection that is known here")),
            }
        }
        if let (Trust::Certified(file), Some(root)) = (&mut self.trust, root) {
            *file = Some(root);
        }
        Ok(())
    }
}

/// A part of a URL without its escapes.
fn decoded(part: &str) -> String {
    let query = format!("x={}", part.replace('+', "%2B"));
    let value = url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned());
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, StoreKind};

    fn settings(text: &str) -> Result<Settings> {
        let mut store = StoreConfig::new("db", StoreKind::Postgres);
        store.database.connection_string = Some(Secret::new(text));
        Settings::try_new(&store)
    }

    #[test]
    fn a_url_may_name_a_schema_and_is_shown_without_its_user() {
        let found = settings("postgresql://ada:hunter2@db:5433/lab/pro%20d?sslmode=verify-full").unwrap();
        assert_eq!(found.shown(), "postgresql://db:5433/lab/pro d");
        assert_eq!(found.schema.as_deref(), Some("pro d"));
        assert_eq!(found.trust, Trust::Certified(None));
        let found = settings("postgres://db/lab?schema=prod&connect_timeout=3").unwrap();
        assert_eq!(found.schema.as_deref(), Some("prod"));
        assert_eq!(found.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    }

    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        for text in [
            "postgresql://ada:hunter2@db:x/lab",
            "hunter2",
            "mysql://ada:hunter2@db/lab",
            "postgresql://ada:?hunter2@db:1/lab",
            "postgresql://ada:/hunter2@db:1/lab",
            "postgresql://ada:p@hunter2/x@db:1/lab",
            "postgresql://ada:p@hunter2@db:1/lab",
            "postgresql://ada:a@b:1/hunter2@db",
            "postgresql://ada:a@b:1/lab?hunter2@db",
            "postgresql://db/lab?user=ada&password=a&hunter2",
        ] {
            let error = settings(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("store db: connection_string "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = settings("postgresql://db/lab?sslmode=hunter2").err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("store db: sslmode has a value that can't be used"));
    }
}

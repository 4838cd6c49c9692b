//! What can be said about where increments are computed: in a call, in a session, in a store's configuration.

use std::fmt;
use std::str::FromStr;

use crate::error::MetaxyError;

/// Where an increment is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VersioningEngine {
    /// By the rules: the store's engine if it has one.
    #[default]
    Auto,
    /// By DataFusion or the store's engine.
    Native,
    /// By the in-memory executor. Python's word for it is `polars`.
    Memory,
}

impl fmt::Display for VersioningEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Memory => "memory",
        })
    }
}

impl FromStr for VersioningEngine {
    type Err = MetaxyError;

    /// Reads a name in any letter case.
    ///
    /// # Errors
    /// For an unknown name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = [Self::Auto, Self::Native, Self::Memory];
        known.into_iter().find(|engine| engine.to_string().eq_ignore_ascii_case(name)).ok_or_else(|| {
            MetaxyError::Invalid(format!("engine is {name:?}; it must be 'auto', 'native' or 'memory'"))
        })
    }
}

/// Whether an increment goes on from what an earlier one found, and compares only what may have changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IncrementalResolve {
    /// Where tables are so large that it saves time.
    #[default]
    Auto,
    /// Wherever an earlier one proves the answer for the rest.
    Always,
    /// Everything is compared each time.
    Never,
}

impl fmt::Display for IncrementalResolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "true",
            Self::Never => "false",
        })
    }
}

impl FromStr for IncrementalResolve {
    type Err = MetaxyError;

    /// Reads `auto`, `true` or `false` in any letter case.
    ///
    /// # Errors
    /// For anything else.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = [Self::Auto, Self::Always, Self::Never];
        known.into_iter().find(|choice| choice.to_string().eq_ignore_ascii_case(name)).ok_or_else(|| {
            MetaxyError::Invalid(format!(
                "incremental_resolve is {name:?}; it must be 'auto', 'true' or 'false'"
            ))
        })
    }
}

/// What somebody says about the executor of increments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnginePreference {
    /// An engine by name. `None` leaves it to whoever comes next, and so does `Auto`, except in a call.
    pub engine: Option<VersioningEngine>,
    /// `false` asks for the in-memory executor, `true` for the rules of `auto`; `None` leaves it to whoever comes next.
    pub prefer_native: Option<bool>,
}

impl From<VersioningEngine> for EnginePreference {
    fn from(engine: VersioningEngine) -> Self {
        Self { engine: Some(engine), prefer_native: None }
    }
}

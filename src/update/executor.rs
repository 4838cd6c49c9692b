//! Which executor computes an increment, and why.

use std::fmt;

use crate::config::{EnginePreference, VersioningEngine};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// What computes an increment, and the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// The engine that was chosen.
    pub engine: Engine,
    /// Why it was, as EXPLAIN shows it.
    pub reason: String,
    /// Whether the user asked for this engine by name, so that no other may take its place.
    pub asked_for: bool,
    /// The store's own engine, which computes natively if it has one.
    pub compute: Option<&'static str>,
}

/// Where an increment is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// By the engine that holds the data; over storage formats that is DataFusion.
    Native,
    /// By the in-memory executor of this crate.
    Memory,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Memory => "in memory",
        })
    }
}

/// What is known of a store when an executor is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreEngine {
    /// The store's name.
    pub store: String,
    /// What keeps its data, for messages: `Delta Lake`.
    pub format: &'static str,
    /// The engine that computes where the data is; storage formats have none.
    pub compute: Option<&'static str>,
    /// What the store's configuration says.
    pub preference: EnginePreference,
}

/// Chooses by the rules: the call, the session, the store's configuration, then what the store can do.
///
/// `fallback` names a parent that comes from another store, and that store.
///
/// # Errors
/// The native engine was asked for, and can't see a parent that comes from another store.
pub fn choose(
    call: EnginePreference,
    session: EnginePreference,
    store: &StoreEngine,
    fallback: Option<(&FeatureKey, &str)>,
) -> Result<Executor> {
    let in_store = |what: &str| format!("{what} of store {}", store.store);
    let said = said(call, true, |what| format!("{what} of the call"))
        .or_else(|| said(session, false, |what| format!("metaxy.{what}")))
        .or_else(|| said(store.preference, false, in_store));
    if let Some(Some((engine, reason))) = said {
        if let (Engine::Native, Some(compute), Some((parent, other))) = (engine, store.compute, fallback) {
            return Err(MetaxyError::Invalid(format!(
                "{reason} can't be honoured: parent {parent} comes from fallback store {other}, which {compute} \
                 of store {} can't read; leave the engine to 'auto'",
                store.store
            )));
        }
        return Ok(Executor { engine, reason, asked_for: true, compute: store.compute });
    }
    let (engine, reason) = match (fallback, store.compute) {
        (Some((parent, other)), _) => {
            (Engine::Memory, format!("parent {parent} comes from fallback store {other}"))
        }
        (None, Some(compute)) => (Engine::Native, format!("{compute} of store {} computes it", store.store)),
        (None, None) => (Engine::Memory, format!("{} has no compute engine", store.format)),
    };
    Ok(Executor { engine, reason, asked_for: false, compute: store.compute })
}

/// What one level says: an engine with the words that name the setting, or (`Some(None)`) the rules of `auto`.
///
/// `auto` as the engine is what sessions and stores begin with, so only a call that has it says anything by it.
fn said(
    preference: EnginePreference,
    auto_counts: bool,
    place: impl Fn(&str) -> String,
) -> Option<Option<(Engine, String)>> {
    match (preference.engine, preference.prefer_native) {
        (Some(VersioningEngine::Native), _) => Some(Some((Engine::Native, place("engine = native")))),
        (Some(VersioningEngine::Memory), _) => Some(Some((Engine::Memory, place("engine = memory")))),
        (_, Some(false)) => Some(Some((Engine::Memory, place("prefer_native = false")))),
        (_, Some(true)) => Some(None),
        (Some(VersioningEngine::Auto), None) if auto_counts => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: EnginePreference = EnginePreference { engine: None, prefer_native: None };

    fn store(compute: Option<&'static str>, preference: EnginePreference) -> StoreEngine {
        StoreEngine { store: "dev".into(), format: "Delta Lake", compute, preference }
    }

    fn shown(executor: Result<Executor>) -> String {
        let executor = executor.unwrap();
        format!("{}: {}", executor.engine, executor.reason)
    }

    #[test]
    fn the_three_cases_of_the_in_memory_executor() {
        let raw = FeatureKey::parse("video/raw").unwrap();
        let delta = store(None, NOTHING);
        assert_eq!(
            shown(choose(NOTHING, NOTHING, &delta, None)),
            "in memory: Delta Lake has no compute engine"
        );
        let unwilling = EnginePreference { prefer_native: Some(false), ..NOTHING };
        let database = store(Some("PostgreSQL"), NOTHING);
        assert_eq!(
            shown(choose(NOTHING, unwilling, &database, None)),
            "in memory: metaxy.prefer_native = false"
        );
        assert_eq!(
            shown(choose(NOTHING, NOTHING, &database, Some((&raw, "prod")))),
            "in memory: parent video/raw comes from fallback store prod"
        );
        assert_eq!(
            shown(choose(NOTHING, NOTHING, &database, None)),
            "native: PostgreSQL of store dev computes it"
        );
    }

    #[test]
    fn the_call_comes_before_the_session_and_the_session_before_the_store() {
        let (native, memory): (EnginePreference, EnginePreference) =
            (VersioningEngine::Native.into(), VersioningEngine::Memory.into());
        let delta = store(None, native);
        assert_eq!(shown(choose(memory, native, &delta, None)), "in memory: engine = memory of the call");
        assert_eq!(shown(choose(NOTHING, memory, &delta, None)), "in memory: metaxy.engine = memory");
        assert_eq!(shown(choose(NOTHING, NOTHING, &delta, None)), "native: engine = native of store dev");
        let auto = EnginePreference::from(VersioningEngine::Auto);
        assert_eq!(
            shown(choose(auto, auto, &store(None, auto), None)),
            "in memory: Delta Lake has no compute engine"
        );
    }

    #[test]
    fn a_level_can_go_back_to_the_rules() {
        let rules = "in memory: Delta Lake has no compute engine";
        let auto = EnginePreference::from(VersioningEngine::Auto);
        let native = EnginePreference::from(VersioningEngine::Native);
        let willing = EnginePreference { prefer_native: Some(true), ..NOTHING };
        assert_eq!(shown(choose(auto, native, &store(None, native), None)), rules);
        assert_eq!(shown(choose(willing, native, &store(None, native), None)), rules);
        assert_eq!(shown(choose(NOTHING, willing, &store(None, native), None)), rules);
        // Sessions begin with `auto`: that says nothing.
        assert_eq!(
            shown(choose(NOTHING, auto, &store(None, native), None)),
            "native: engine = native of store dev"
        );
    }

    #[test]
    fn a_native_engine_that_cannot_be_honoured_is_an_error() {
        let raw = FeatureKey::parse("video/raw").unwrap();
        let native = EnginePreference::from(VersioningEngine::Native);
        let error = choose(native, NOTHING, &store(Some("PostgreSQL"), NOTHING), Some((&raw, "prod")));
        assert_eq!(
            error.unwrap_err().to_string(),
            "engine = native of the call can't be honoured: parent video/raw comes from fallback store prod, \
             which PostgreSQL of store dev can't read; leave the engine to 'auto'"
        );
        // DataFusion reads the tables of both stores.
        let executor = choose(native, NOTHING, &store(None, NOTHING), Some((&raw, "prod"))).unwrap();
        assert_eq!(executor.engine, Engine::Native);
    }
}

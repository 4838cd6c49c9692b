//! Random features with random histories: every executor has to give the answer of a naive model.
//!
//! `METAXY_PROPERTY_CASES` says how many cases are run. The seed is drawn anew for every run and printed; case n
//! has the seed plus n, so that `METAXY_PROPERTY_SEED=… METAXY_PROPERTY_CASES=1` repeats the one that failed.

mod arrow;
mod blueprint;
mod build;
mod case;
mod check;
mod golden;
mod model;
mod pool;
mod predicate;
mod product;
mod specs;
mod value;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use blueprint::blueprints;
use check::{Outcome, check};
use product::Sessions;

const CASES: u64 = 1_000;

/// Debug builds plan on deep stacks.
const STACK: usize = 64 << 20;

/// How long a case that fails is made smaller.
const SHRINK_MILLISECONDS: u32 = 60_000;

/// More would mean that the generator makes too little that can be asked.
const MOST_REFUSED: f64 = 0.2;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; it has to be a number")))
}

#[test]
fn executors_agree_with_the_model() {
    let cases = setting("METAXY_PROPERTY_CASES").unwrap_or(CASES);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = setting("METAXY_PROPERTY_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()) * 1_000_000);
    println!("{cases} cases from METAXY_PROPERTY_SEED={seed} on");
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
        for _ in 0..threads {
            let work = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let sessions = Sessions::new();
                while failure.lock().unwrap().is_none() {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= cases {
                        break;
                    }
                    match run(seed.wrapping_add(n), &runtime, &sessions) {
                        Ok(outcome) => outcomes.lock().unwrap().push(outcome),
                        Err(text) => *failure.lock().unwrap() = Some(text),
                    }
                }
            };
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).unwrap();
        }
    });
    if let Some(failure) = failure.into_inner().unwrap() {
        panic!("{failure}");
    }
    let outcomes = outcomes.into_inner().unwrap();
    let count = |what: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| what(outcome)).count();
    let (refused, settled) = (count(|outcome| outcome.refused), count(|outcome| outcome.settled));
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for (class, rows) in outcomes.iter().flat_map(|outcome| &outcome.classes) {
        *classes.entry(class).or_default() += rows;
    }
    println!("{refused} of them were refused, {settled} were settled; rows: {classes:?}");
    assert!(refused as f64 <= MOST_REFUSED * cases as f64, "{refused} of {cases} cases were refused");
    // A test of nothing but new rows would say little.
    assert!(cases < 100 || (classes.len() == 4 && settled * 10 > outcomes.len()), "{settled} {classes:?}");
}

/// One case, shrunk if it fails; the failure as a text for people.
fn run(seed: u64, runtime: &tokio::runtime::Runtime, sessions: &Sessions) -> Result<Outcome, String> {
    let config = Config {
        cases: 1,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        // The greatest number would mean something else.
        max_shrink_iters: u32::MAX - 1,
        max_shrink_time: SHRINK_MILLISECONDS,
        ..Config::default()
    };
    let outcome = Mutex::new(Outcome::default());
    let tested = TestRunner::new(config).run(&blueprints(), |blueprint| {
        match runtime.block_on(check(&build::case(&blueprint), sessions)) {
            Ok(found) => *outcome.lock().unwrap() = found,
            Err(failure) => return Err(TestCaseError::fail(failure)),
        }
        Ok(())
    });
    match tested {
        Ok(()) => Ok(outcome.into_inner().unwrap()),
        Err(TestError::Fail(reason, _)) => {
            Err(format!("METAXY_PROPERTY_SEED={seed} METAXY_PROPERTY_CASES=1\n{reason}"))
        }
        Err(error) => Err(format!("METAXY_PROPERTY_SEED={seed}: {error}")),
    }
}

//! Random features with random histories: every executor has to give the answer of a naive model.
//!
//! `METAXY_PROPERTY_CASES` says how many cases are run. The seed is drawn anew for every run and printed; case n
//! has the seed plus n, so that `METAXY_PROPERTY_SEED=… METAXY_PROPERTY_CASES=1` repeats the one that failed.

mod arrow;
mod blueprint;
mod build;
mod case;
mod check;
mod followed;
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

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use blueprint::blueprints;
use case::Place;
use check::{Outcome, check};
use followed::Ways;
use product::Sessions;

const CASES: u64 = 1_000;
/// Each of them asks many times.
const FOLLOWED_CASES: u64 = 40;
/// A database takes longer to make its tables.
#[cfg(feature = "postgres")]
const DATABASE_CASES: u64 = 300;
/// Few of their increments go on from others, while so much else is under way.
#[cfg(feature = "postgres")]
const FOLLOWED_DATABASE_CASES: u64 = 300;

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

/// How many cases there are, and the seed of the first, as the environment or else the test says.
#[expect(clippy::print_stdout, reason = "a test that fails shows what it has printed")]
fn cases_from(cases: u64) -> (u64, u64) {
    let cases = setting("METAXY_PROPERTY_CASES").unwrap_or(cases);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = setting("METAXY_PROPERTY_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()) * 1_000_000);
    println!("{cases} cases from METAXY_PROPERTY_SEED={seed} on");
    (cases, seed)
}

#[test]
fn executors_agree_with_the_model() {
    let (outcomes, cases) = outcomes(CASES, false);
    check_mixture(&outcomes, cases);
}

#[test]
fn nobody_sees_that_an_increment_goes_on_from_an_earlier_one() {
    let (ways, cases) = follow(FOLLOWED_CASES, Place::Delta);
    // Both ways have to be taken, and to find something, for the test to say anything.
    assert!(cases < 20 || (ways.everything > 10 && ways.changes > 10 && ways.found > 5), "{ways:?}");
    assert!(cases < 20 || (ways.ranged.0 > 20 && ways.ranged.1 > 10), "{ways:?}");
}

/// The same of increments that the database computes.
#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn nobody_sees_that_the_database_goes_on_from_an_earlier_increment() {
    make_schema();
    let (ways, cases) = follow(FOLLOWED_DATABASE_CASES, Place::Database);
    assert!(cases < 20 || (ways.everything > 10 && ways.changes > 10 && ways.found > 5), "{ways:?}");
}

/// Makes the schema in which each case has tables of its own.
#[cfg(feature = "postgres")]
fn make_schema() {
    static MADE: std::sync::Once = std::sync::Once::new();
    MADE.call_once(|| {
        let schema = crate::postgres_push::fresh_schema(product::SCHEMA);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(schema);
    });
}

/// Runs cases, as many as the environment or else `cases` says, whose increments go on from earlier ones.
fn follow(cases: u64, place: Place) -> (Ways, u64) {
    let (cases, first) = cases_from(cases);
    let next = AtomicU64::new(0);
    let ways = Mutex::new(Ways::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let work = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let sessions = Sessions::new();
                if place == Place::Database {
                    pool::without_nul();
                }
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= cases {
                        break;
                    }
                    let seed = first.wrapping_add(n);
                    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
                    let blueprint = blueprints().new_tree(&mut TestRunner::new(config)).unwrap().current();
                    let case = build::case(&blueprint);
                    match runtime.block_on(followed::follow(&case, place, &sessions, seed)) {
                        Ok(case) => ways.lock().unwrap().add(case),
                        Err(failure) => {
                            panic!("METAXY_PROPERTY_SEED={seed} METAXY_PROPERTY_CASES=1\n{failure}")
                        }
                    }
                }
            };
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).unwrap();
        }
    });
    let ways = ways.into_inner().unwrap();
    (ways, cases)
}

/// With the tables in PostgreSQL, which computes what it can; `METAXY_TEST_POSTGRES` holds the URL of a database.
#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn the_database_agrees_with_the_model() {
    make_schema();
    let (outcomes, cases) = outcomes(DATABASE_CASES, true);
    check_mixture(&outcomes, cases);
    let pushed = outcomes.iter().filter(|outcome| outcome.pushed).count();
    println!("the database computed {pushed}");
    assert!(cases < 100 || pushed * 3 > outcomes.len(), "the database computed only {pushed} of {cases}");
}

/// Runs cases, as many as the environment or else `cases` says; what became of them.
fn outcomes(cases: u64, in_database: bool) -> (Vec<Outcome>, u64) {
    let (cases, seed) = cases_from(cases);
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
        for _ in 0..threads {
            let work = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let sessions = Sessions::new();
                if in_database {
                    pool::without_nul();
                }
                while failure.lock().unwrap().is_none() {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= cases {
                        break;
                    }
                    match run(seed.wrapping_add(n), &runtime, &sessions, in_database) {
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
    (outcomes.into_inner().unwrap(), cases)
}

/// Whether the cases were of all kinds.
#[expect(clippy::print_stdout, reason = "a test that fails shows what it has printed")]
fn check_mixture(outcomes: &[Outcome], cases: u64) {
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
fn run(
    seed: u64,
    runtime: &tokio::runtime::Runtime,
    sessions: &Sessions,
    in_database: bool,
) -> Result<Outcome, String> {
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
        let case = build::case(&blueprint);
        let case = if in_database { case.in_database() } else { case };
        match runtime.block_on(check(&case, sessions)) {
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

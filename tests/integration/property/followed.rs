//! An increment that goes on from an earlier one gives the answer of one that compares everything: after any writes,
//! deletes and compactions, with the graph changed to and fro, after crashes, and over a store that was set back.

use std::fs;
use std::path::Path;

use datafusion_metaxy::config::IncrementalResolve::{Always, Never};

use super::case::{Case, Place, Question};
use super::product::Sessions;
use super::value::table;
use super::world::World;

/// How often each way was taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ways {
    pub everything: usize,
    pub changes: usize,
    /// Answers that were not empty, by the changes alone.
    pub found: usize,
    /// Answers by a range of ids after another, and those of them that were not empty.
    pub ranged: (usize, usize),
}

impl Ways {
    pub fn add(&mut self, other: Self) {
        self.everything += other.everything;
        self.changes += other.changes;
        self.found += other.found;
        self.ranged.0 += other.ranged.0;
        self.ranged.1 += other.ranged.1;
    }
}

/// Numbers that look random, the same ones for a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

pub async fn follow(case: &Case, place: Place, sessions: &Sessions, seed: u64) -> Result<Ways, String> {
    let case = match place {
        Place::Database => &case.clone().in_database(),
        _ => &Case { place, ..case.clone() },
    };
    let (records, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut chance = Chance(seed);
    let mut world = World::new(case, sessions);
    let mut ways = Ways::default();
    let middle = case.steps.len() / 2;
    for (n, step) in case.steps.iter().enumerate() {
        world.apply(step).await.map_err(|error| format!("step {n} was refused: {error}"))?;
        match chance.below(8) {
            0 if place == Place::Delta => stray_files(world.product.folder()),
            0 => disturb(&world, &mut chance).await,
            1 => damage(records.path()),
            2 if place == Place::Database => damage_shared(&world).await,
            _ => {}
        }
        // Whoever asks from another machine has no files of its own yet, but what the database knows.
        let other = tempfile::tempdir().unwrap();
        let machine = match place {
            Place::Database if chance.below(2) == 0 => other.path(),
            _ => records.path(),
        };
        compare(&world, machine, &mut chance, &mut ways).await.map_err(|e| format!("after step {n}: {e}"))?;
        if n == middle && place == Place::Delta {
            copy(world.product.folder(), backup.path());
        }
    }
    if !case.steps.is_empty() && place == Place::Delta {
        fs::remove_dir_all(world.product.folder()).unwrap();
        copy(backup.path(), world.product.folder());
        // Other commits than those of before get the same numbers now.
        for step in case.steps.iter().rev() {
            let _ = world.apply(step).await;
            let compared = compare(&world, records.path(), &mut chance, &mut ways).await;
            compared.map_err(|e| format!("after the store was set back: {e}"))?;
        }
    }
    Ok(ways)
}

/// Asks the case's question and the plain one, with the features as they are or one of them changed.
async fn compare(
    world: &World<'_>,
    records: &Path,
    chance: &mut Chance,
    ways: &mut Ways,
) -> Result<(), String> {
    let case = world.case;
    let own = Question { samples: None, ..case.question.clone() };
    let question = if chance.below(3) == 0 { own } else { Question::default() };
    let changed = match chance.below(6) {
        0 => Some(case.target()),
        1 => Some(0),
        _ => None,
    };
    let product = &world.product;
    // So few that most tables have more, or so many that none has.
    let rows = [1, 2, 5, u64::MAX][chance.below(4) as usize];
    let followed = product.following(&question, changed, records, (Always, rows)).await;
    if followed.as_ref().is_ok_and(|(_, plan)| !plan.contains("compared=")) {
        // It is of a kind that is always compared as a whole.
        return Ok(());
    }
    let whole = product.following(&question, changed, records, (Never, u64::MAX)).await;
    if let (Ok((ranged, plan)), Ok((whole, _))) =
        (product.following(&question, changed, records, (Never, rows.min(5))).await, &whole)
    {
        if ranged != *whole {
            let tables = world.tables_text();
            return Err(format!(
                "the ranges give\n{}everything gives\n{}{plan}\n{changed:?} {tables}",
                table(&ranged.rows),
                table(&whole.rows)
            ));
        }
        ways.ranged.0 += usize::from(plan.contains("RangedExec"));
        ways.ranged.1 += usize::from(plan.contains("RangedExec") && !whole.rows.is_empty());
    }
    match (followed, whole) {
        (Ok((followed, plan)), Ok((whole, _))) if followed == whole => {
            let changes = match case.place {
                Place::Database => plan.contains("changes_only=1"),
                _ => plan.contains("compared=changes"),
            };
            if changes {
                ways.changes += 1;
                ways.found += usize::from(!whole.rows.is_empty());
            } else {
                ways.everything += 1;
            }
            Ok(())
        }
        (Ok((followed, plan)), Ok((whole, _))) => Err(format!(
            "the changes give\n{}everything gives\n{}{plan}\n{changed:?} {}",
            table(&followed.rows),
            table(&whole.rows),
            world.tables_text()
        )),
        (Err(_), Err(_)) => Ok(()),
        (Ok(_), Err(error)) => Err(format!("only a comparison of everything is refused: {error}")),
        (Err(error), Ok(_)) => Err(format!("only the changes are refused: {error}")),
    }
}

/// What other clients do to a table of a database.
async fn disturb(world: &World<'_>, chance: &mut Chance) {
    let feature = chance.below(world.case.features.len() as u64) as usize;
    let first = "ctid = (SELECT min(ctid) FROM $t)";
    let statement = match chance.below(7) {
        0 => format!("DELETE FROM $t WHERE {first}"),
        1 => "UPDATE $t SET metaxy_feature_version = metaxy_feature_version".to_owned(),
        2 => format!("UPDATE $t SET metaxy_provenance = 'other' WHERE {first}"),
        3 => format!(
            "WITH gone AS (DELETE FROM $t WHERE {first} RETURNING *) INSERT INTO $t SELECT * FROM gone"
        ),
        4 => "VACUUM (FULL) $t".to_owned(),
        5 => "ALTER TABLE $t ADD COLUMN IF NOT EXISTS later int DEFAULT 1".to_owned(),
        _ => "ALTER TABLE $t DROP COLUMN IF EXISTS later".to_owned(),
    };
    world.product.in_database(feature, &statement).await;
}

/// What a writer leaves that dies before it commits.
fn stray_files(store: &Path) {
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("_delta_log").is_dir() {
            fs::write(folder.join("part-00000-stray.parquet"), "half a fi").unwrap();
            fs::write(folder.join("_delta_log/_commit_stray.json.tmp"), "{\"add\":{").unwrap();
            continue;
        }
        let below = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        folders.extend(below.filter(|path| path.is_dir()));
    }
}

/// Leaves the first halves of records that a database has.
async fn damage_shared(world: &World<'_>) {
    let half = "UPDATE $s.\"metaxy$comparisons\" SET record = substr(record, 1, length(record) / 2)";
    let anything = "to_regclass('$s.\"metaxy$comparisons\"') IS NOT NULL";
    let block = format!("DO $do$ BEGIN IF {anything} THEN {half}; END IF; END $do$");
    world.product.in_database(0, &block).await;
}

/// What is left of records when the machine stops while one is written.
fn damage(records: &Path) {
    for entry in fs::read_dir(records).into_iter().flatten() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        fs::write(&path, &content[..content.len() / 2]).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

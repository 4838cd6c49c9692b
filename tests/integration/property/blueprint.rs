//! What proptest draws and shrinks: small independent choices, of which [`super::build`] makes a case that fits
//! together. Zero, false, none and empty are the plainest choices, so that shrinking leads to plain cases.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

#[derive(Debug, Clone)]
pub struct Blueprint {
    pub shape: Shape,
    pub parents: Vec<ParentChoice>,
    pub fields: Vec<FieldChoice>,
    pub steps: Vec<StepChoice>,
    pub question: QuestionChoice,
    pub further: FurtherChoice,
    pub settle: bool,
    pub hash: u8,
    pub session: usize,
    /// What the store is, if tables are written anew: a store in memory has nothing to be.
    pub delta: bool,
}

/// The columns that everything is compared on, and what the target is.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Two key columns instead of one.
    pub composite: bool,
    pub texts: (bool, bool),
    /// Which values of the pool keys start from.
    pub shift: u8,
    /// The first parent is itself computed.
    pub chain: bool,
    /// The target has been computed once before anything changes.
    pub computed: bool,
    pub target_ids: u8,
    /// The target's numbers have 32 bits.
    pub narrow: bool,
    /// Which columns of the parents the target keeps.
    pub carry: u8,
}

#[derive(Debug, Clone)]
pub struct ParentChoice {
    pub role: u8,
    pub optional: bool,
    /// Without a table, if it is optional.
    pub absent: bool,
    pub rename: u8,
    pub select: Option<u8>,
    pub filters: Vec<PredicateChoice>,
    pub fields: u8,
    pub mapping: u8,
    pub narrow: bool,
    /// It has a column that other parents may have, too.
    pub shared: bool,
    /// Only half of its rows have been written since its definition changed.
    pub aged: bool,
    pub rows: Vec<RowChoice>,
    pub overrides: bool,
}

#[derive(Debug, Clone)]
pub struct RowChoice {
    pub key: (u8, u8),
    pub extra: u8,
    pub number: u8,
    pub text: u8,
    pub version: u8,
    pub data: u8,
}

#[derive(Debug, Clone)]
pub struct FieldChoice {
    pub name: u8,
    pub code: u8,
    pub deps: u8,
}

#[derive(Debug, Clone)]
pub struct PredicateChoice {
    pub column: u8,
    pub kind: u8,
    pub value: u8,
    pub python: bool,
}

#[derive(Debug, Clone)]
pub enum StepChoice {
    Process { mask: u32, children: u8, seed: u8, overrides: bool },
    Write { feature: u8, rows: Vec<RowChoice>, overrides: bool, omit: bool },
    Delete { feature: u8, mask: u32 },
    Raw { feature: u8, rows: Vec<(RowChoice, u8)>, timed: bool },
    Optimize { feature: u8, full: bool, fold: bool, small: bool },
}

#[derive(Debug, Clone)]
pub struct QuestionChoice {
    pub parent: Option<(u8, PredicateChoice)>,
    pub own: Option<PredicateChoice>,
    pub global: Option<PredicateChoice>,
    pub target: Option<PredicateChoice>,
    pub stale_when: Option<PredicateChoice>,
    pub skip_comparison: bool,
    pub include_pending: bool,
    /// Which shard, and of how many.
    pub shard: Option<(u8, u8)>,
    pub samples: Option<Vec<RowChoice>>,
    pub overrides: bool,
}

#[derive(Debug, Clone)]
pub struct FurtherChoice {
    pub kind: u8,
    pub columns: u32,
    pub condition: Option<(u8, u8)>,
}

fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

fn sometimes() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.3)
}

fn row() -> impl Strategy<Value = RowChoice> {
    ((0..5u8, 0..3u8), 0..6u8, any::<u8>(), any::<u8>(), 0..16u8, 0..16u8).prop_map(
        |(key, extra, number, text, version, data)| RowChoice { key, extra, number, text, version, data },
    )
}

fn predicate() -> impl Strategy<Value = PredicateChoice> {
    (any::<u8>(), 0..8u8, 0..12u8, any::<bool>()).prop_map(|(column, kind, value, python)| PredicateChoice {
        column,
        kind,
        value,
        python,
    })
}

fn parent() -> impl Strategy<Value = ParentChoice> {
    let form = (0..20u8, sometimes(), sometimes(), 0..32u8, weighted(0.3, any::<u8>()));
    let content = (vec(predicate(), 0..2), 0..6u8, 0..8u8, sometimes(), rarely(), rarely());
    (form, content, vec(row(), 1..8), sometimes()).prop_map(|(form, content, rows, overrides)| {
        let (role, optional, absent, rename, select) = form;
        let (filters, fields, mapping, narrow, shared, aged) = content;
        let filters = if rename % 3 == 0 { filters } else { Vec::new() };
        ParentChoice {
            role,
            optional,
            absent,
            rename,
            select,
            filters,
            fields,
            mapping,
            narrow,
            shared,
            aged,
            rows,
            overrides,
        }
    })
}

fn field() -> impl Strategy<Value = FieldChoice> {
    (0..7u8, 0..3u8, 0..10u8).prop_map(|(name, code, deps)| FieldChoice { name, code, deps })
}

fn step() -> impl Strategy<Value = StepChoice> {
    let process = (any::<u32>(), any::<bool>(), 0..3u8, any::<u8>(), sometimes()).prop_map(
        |(mask, all, children, seed, overrides)| StepChoice::Process {
            mask: if all { u32::MAX } else { mask },
            children,
            seed,
            overrides,
        },
    );
    let write = (any::<u8>(), vec(row(), 1..6), sometimes(), rarely())
        .prop_map(|(feature, rows, overrides, omit)| StepChoice::Write { feature, rows, overrides, omit });
    let delete = (any::<u8>(), any::<u32>(), sometimes()).prop_map(|(feature, mask, all)| {
        StepChoice::Delete { feature, mask: if all { u32::MAX } else { mask } }
    });
    let raw = (any::<u8>(), vec((row(), 0..8u8), 1..6), proptest::bool::weighted(0.8))
        .prop_map(|(feature, rows, timed)| StepChoice::Raw { feature, rows, timed });
    let optimize = (any::<u8>(), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(feature, full, fold, small)| StepChoice::Optimize { feature, full, fold, small });
    prop_oneof![6 => process, 4 => write, 2 => delete, 4 => raw, 1 => optimize]
}

fn question() -> impl Strategy<Value = QuestionChoice> {
    let may = || weighted(0.15, predicate());
    let conditions = (weighted(0.2, (any::<u8>(), predicate())), may(), may(), may(), may());
    let extent = (rarely(), any::<bool>(), weighted(0.15, (any::<u8>(), 0..3u8)));
    (conditions, extent, weighted(0.1, vec(row(), 0..8)), any::<bool>()).prop_map(
        |((parent, own, global, target, stale_when), extent, samples, overrides)| {
            let (skip_comparison, include_pending, shard) = extent;
            QuestionChoice {
                parent,
                own,
                global,
                target,
                stale_when,
                skip_comparison,
                include_pending,
                shard,
                samples,
                overrides,
            }
        },
    )
}

fn shape() -> impl Strategy<Value = Shape> {
    let key = (sometimes(), (any::<bool>(), any::<bool>()), 0..12u8);
    (key, rarely(), any::<bool>(), 0..8u8, sometimes(), any::<u8>()).prop_map(
        |((composite, texts, shift), chain, computed, target_ids, narrow, carry)| Shape {
            composite,
            texts,
            shift,
            chain,
            computed,
            target_ids,
            narrow,
            carry,
        },
    )
}

/// All cases.
pub fn blueprints() -> impl Strategy<Value = Blueprint> {
    let parents = prop_oneof![
        4 => vec(parent(), 1..=1),
        4 => vec(parent(), 2..=2),
        2 => vec(parent(), 3..=3),
        1 => vec(parent(), 4..=4),
    ];
    let kind = prop_oneof![5 => Just(0u8), 3 => Just(1u8), 1 => Just(2u8), 6 => Just(3u8), 3 => Just(4u8)];
    let further = (kind, any::<u32>(), weighted(0.6, (any::<u8>(), 0..8u8)))
        .prop_map(|(kind, columns, condition)| FurtherChoice { kind, columns, condition });
    let asked = (question(), further, sometimes());
    let place = (0..3usize, sometimes());
    (shape(), parents, vec(field(), 1..=3), vec(step(), 0..7), asked, 0..6u8, place).prop_map(
        |(shape, parents, fields, steps, (question, further, settle), hash, (session, delta))| Blueprint {
            shape,
            parents,
            fields,
            steps,
            question,
            further,
            settle,
            hash,
            session,
            delta,
        },
    )
}

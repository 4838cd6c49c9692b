//! N:1 lineage: the versions of groups.

use std::collections::HashMap;

use crate::hash::{HashSettings, PartsHasher, SEPARATOR};

use super::chunk::Chunk;
use super::rows::{Found, Row, Side};

/// The versions of an input's groups, for every position of its rows.
pub(super) struct Groups {
    /// The group of the row at each position.
    group: Vec<u32>,
    /// For each group its versions, one after the other.
    versions: Vec<String>,
    texts: usize,
}

impl Groups {
    /// Orders the rows of each group and hashes their versions: NULLs are skipped.
    pub(super) fn new(
        chunks: &[Chunk],
        side: &mut Side,
        keys: usize,
        texts: usize,
        settings: HashSettings,
    ) -> Self {
        let ranges: Vec<_> = (0..keys).map(|key| side.positions(key)).collect();
        let rows = side.rows_mut();
        let mut groups = Self { group: vec![0; rows.len()], versions: Vec::new(), texts };
        let mut hasher = PartsHasher::new(settings.algorithm);
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            let start = range.start;
            let rows = &rows[range];
            // By group, and within it by what orders its rows.
            let mut members: HashMap<u128, Vec<usize>> = HashMap::new();
            for (i, Found { row, .. }) in rows.iter().enumerate() {
                let groups = chunks[row.chunk()].groups.as_ref();
                let group = groups.map_or(0, |groups| groups[row.row()]);
                members.entry(group).or_default().push(i);
            }
            for mut members in members.into_values() {
                members.sort_by(|&a, &b| compare(chunks, rows[a].row, rows[b].row));
                let number = (groups.versions.len() / texts.max(1)) as u32;
                for text in 0..texts {
                    groups.versions.push(version(chunks, rows, &members, text, &mut hasher, settings));
                }
                for member in members {
                    groups.group[start + member] = number;
                }
            }
        }
        groups
    }

    /// A version of the group that the row at a position is in.
    pub(super) fn version(&self, position: usize, text: usize) -> Option<&str> {
        self.versions.get(self.group[position] as usize * self.texts + text).map(String::as_str)
    }
}

fn version(
    chunks: &[Chunk],
    rows: &[Found],
    members: &[usize],
    text: usize,
    hasher: &mut PartsHasher,
    settings: HashSettings,
) -> String {
    use datafusion::arrow::array::Array;

    hasher.reset();
    let mut first = true;
    for &member in members {
        let row = rows[member].row;
        let values = &chunks[row.chunk()].texts[text];
        if values.is_null(row.row()) {
            continue;
        }
        if !first {
            hasher.write(SEPARATOR.as_bytes());
        }
        first = false;
        hasher.write(values.value(row.row()).as_bytes());
    }
    let mut version = String::new();
    hasher.finish(settings.length, &mut version);
    version
}

/// The order of two rows of an input.
pub(super) fn compare(chunks: &[Chunk], a: Row, b: Row) -> std::cmp::Ordering {
    let key = |row: Row| chunks[row.chunk()].sort_keys.as_ref().map(|keys| (keys, row.row()));
    match (key(a), key(b)) {
        (Some((left, a)), Some((right, b))) => left.row(a).as_ref().cmp(right.row(b).as_ref()),
        _ => std::cmp::Ordering::Equal,
    }
}

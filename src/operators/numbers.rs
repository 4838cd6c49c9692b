//! Numbering keys.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// All bits of a key in 64.
#[inline]
pub(crate) fn fold(key: u128) -> u64 {
    (key as u64) ^ ((key >> 64) as u64)
}

/// Numbers keys in the order in which they first come.
#[derive(Default)]
pub(crate) struct Numbers {
    known: HashMap<u128, u32, BuildHasherDefault<KeyHasher>>,
}

impl Numbers {
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self { known: HashMap::with_capacity_and_hasher(keys, BuildHasherDefault::default()) }
    }

    #[inline]
    pub(crate) fn number(&mut self, key: u128) -> u32 {
        let next = self.known.len() as u32;
        *self.known.entry(key).or_insert(next)
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Some keys.
#[derive(Debug)]
pub(crate) struct KeySet(HashSet<u128, BuildHasherDefault<KeyHasher>>);

impl KeySet {
    pub(crate) fn of(keys: impl IntoIterator<Item = u128>) -> Self {
        Self(keys.into_iter().collect())
    }

    #[inline]
    pub(crate) fn has(&self, key: u128) -> bool {
        self.0.contains(&key)
    }
}

/// Keys are hashes already, or integers that have to be spread.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    #[inline]
    fn write_u128(&mut self, key: u128) {
        let mixed = fold(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_once() {
        let mut numbers = Numbers::with_capacity(4);
        assert_eq!([7, 9, 7, 1 << 100].map(|key| numbers.number(key)), [0, 1, 0, 2]);
        assert_eq!(numbers.len(), 3);
    }
}

//! Hashing many texts: those of an algorithm that takes long, several at the same time.

use std::array::from_fn;

use md5::{Digest, Md5};

use super::algorithm::{HashAlgorithm, HashSettings};
use super::hasher::{PartsHasher, push_hex};
use super::md5_lanes::{WIDTH, digests};

/// Texts that are hashed at the same time.
const TEXTS: usize = 16;
/// Fewer texts than this take no less time together than one after the other.
const FEWEST: usize = 4;
/// Longer texts wait for no others.
const LONG: usize = 4096;

/// Hashes texts and keeps the hashes; it can be used again for others.
///
/// MD5 of sixteen texts takes four times as long as of one, since a step of it leaves most of a processor idle. So the
/// hashes are there after [`finish`](Self::finish); those of other algorithms are computed as the texts come.
///
/// ```
/// use datafusion_metaxy::hash::{HashAlgorithm, HashSettings, TextsHasher};
///
/// let mut texts = TextsHasher::new(HashSettings::new(HashAlgorithm::Md5, 8)?);
/// texts.begin(0);
/// texts.write(b"audio|1|example/video.audio|h1");
/// let number = texts.end_after(b"");
/// texts.finish();
/// assert_eq!(texts.get(number), Some("d2f2e3ef"));
/// # Ok::<(), datafusion_metaxy::error::MetaxyError>(())
/// ```
#[derive(Debug)]
pub struct TextsHasher {
    settings: HashSettings,
    hasher: PartsHasher,
    /// Texts that are yet to be hashed, one after the other, and where each ends.
    waiting: Vec<u8>,
    waiting_ends: Vec<usize>,
    /// The same of hashes.
    hashes: String,
    ends: Vec<usize>,
}

impl TextsHasher {
    /// One that has seen nothing yet.
    pub fn new(settings: HashSettings) -> Self {
        let hasher = PartsHasher::new(settings.algorithm);
        Self {
            settings,
            hasher,
            waiting: Vec::new(),
            waiting_ends: Vec::new(),
            hashes: String::new(),
            ends: Vec::new(),
        }
    }

    /// Forgets all texts and hashes, and keeps the memory.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_ends.clear();
        self.hashes.clear();
        self.ends.clear();
    }

    /// Begins a text. Up to `room` bytes may be put in front of it when it ends.
    #[inline]
    pub fn begin(&mut self, room: usize) {
        self.hasher.reset_after(room);
    }

    /// Adds to the text.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// Ends the text, of `prefix` and then all that was written; and again, if it is asked again. Returns its number.
    #[inline]
    pub fn end_after(&mut self, prefix: &[u8]) -> usize {
        let number = self.ends.len() + self.waiting_ends.len();
        let length = prefix.len() + self.hasher.written().len();
        if self.settings.algorithm != HashAlgorithm::Md5 || length > LONG {
            self.finish();
            self.hasher.finish_after(prefix, self.settings.length, &mut self.hashes);
            self.ends.push(self.hashes.len());
            return number;
        }
        self.waiting.extend_from_slice(prefix);
        self.waiting.extend_from_slice(self.hasher.written());
        self.waiting_ends.push(self.waiting.len());
        if self.waiting_ends.len() == TEXTS {
            self.finish();
        }
        number
    }

    /// Hashes what is yet to be hashed.
    #[inline]
    pub fn finish(&mut self) {
        match self.waiting_ends.len() {
            0 => return,
            count if count < FEWEST => self.hash_waiting::<0>(),
            count if count <= TEXTS / 2 => self.hash_waiting::<{ TEXTS / WIDTH / 2 }>(),
            _ => self.hash_waiting::<{ TEXTS / WIDTH }>(),
        }
        self.waiting.clear();
        self.waiting_ends.clear();
    }

    /// In so many vectors; without any, one after the other.
    fn hash_waiting<const VECTORS: usize>(&mut self) {
        let text = |number: usize| -> &[u8] {
            let Some(&end) = self.waiting_ends.get(number) else { return &[] };
            let start = number.checked_sub(1).map_or(0, |before| self.waiting_ends[before]);
            &self.waiting[start..end]
        };
        let together = digests::<VECTORS>(&from_fn(|vector| from_fn(|lane| text(WIDTH * vector + lane))));
        for number in 0..self.waiting_ends.len() {
            match together.as_flattened().get(number) {
                Some(digest) => push_hex(digest, self.settings.length, &mut self.hashes),
                None => push_hex(&Md5::digest(text(number)), self.settings.length, &mut self.hashes),
            }
            self.ends.push(self.hashes.len());
        }
    }

    /// The hash of a text; there is none before [`finish`](Self::finish).
    #[inline]
    pub fn get(&self, number: usize) -> Option<&str> {
        let start = number.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        self.hashes.get(start?..*self.ends.get(number)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_hashes_that_they_have_alone() {
        for algorithm in HashAlgorithm::ALL {
            let settings = HashSettings::new(algorithm, 12).unwrap();
            let mut texts = TextsHasher::new(settings);
            for count in (0..40).chain([TEXTS * 4]) {
                texts.clear();
                let mut expected = Vec::new();
                for number in 0..count {
                    // A few are long.
                    let rest = format!("{number}|").repeat(if number % 11 == 5 { 2000 } else { number });
                    texts.begin(3);
                    rest.as_bytes().chunks(50).for_each(|piece| texts.write(piece));
                    for prefix in ["", "one|", "b|"] {
                        assert_eq!(texts.end_after(prefix.as_bytes()), expected.len());
                        let mut alone = PartsHasher::new(algorithm);
                        alone.write(prefix.as_bytes());
                        alone.write(rest.as_bytes());
                        let mut hash = String::new();
                        alone.finish(12, &mut hash);
                        expected.push(hash);
                    }
                }
                texts.finish();
                let found: Vec<&str> = (0..expected.len()).map(|number| texts.get(number).unwrap()).collect();
                assert_eq!(texts.get(expected.len()), None);
                assert_eq!(found, expected, "{algorithm}");
            }
        }
    }
}

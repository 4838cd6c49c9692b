//! Hashing one row's parts into the truncated text, without an allocation per row.

use md5::{Digest, Md5};
use sha2::Sha256;
use xxhash_rust::{xxh3::xxh3_64, xxh32::xxh32, xxh64::xxh64};

use super::algorithm::HashAlgorithm;

/// What stands between the parts that are hashed together.
pub const SEPARATOR: &str = "|";

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Hashes bytes that arrive in pieces; the boundaries of the pieces don't matter.
///
/// One hasher serves a whole batch: [`reset`](Self::reset), some [`write`](Self::write)s, and
/// [`finish`](Self::finish) per row. The bytes are gathered in a buffer that is kept from row to row and
/// hashed in one go: for rows of about a hundred bytes the non-cryptographic algorithms take half the time of
/// their streaming states, which are larger than such a row and have to be set up for each one. Only rows of
/// many kilobytes would gain from streaming, by a fifth. `wyhash` as used here has no streaming form in which
/// the boundaries of the pieces don't matter.
#[derive(Debug, Clone)]
pub struct PartsHasher {
    algorithm: HashAlgorithm,
    buffer: Vec<u8>,
    /// Bytes at the beginning that are kept free for what stands in front of the rest.
    room: usize,
}

impl PartsHasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, buffer: Vec::new(), room: 0 }
    }

    /// Adds bytes. No separator is put between two writes: see [`SEPARATOR`].
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Forgets what was written, keeps the memory.
    #[inline]
    pub fn reset(&mut self) {
        self.reset_after(0);
    }

    /// Forgets what was written; what is written from here on may get up to `room` bytes put in front of it, again and
    /// again others, by [`finish_after`](Self::finish_after).
    #[inline]
    pub(crate) fn reset_after(&mut self, room: usize) {
        self.buffer.clear();
        self.buffer.resize(room, 0);
        self.room = room;
    }

    /// Appends to `out` the first `length` characters of the hash of everything written since the last reset.
    ///
    /// Nothing is forgotten: more can be written, and the hash asked for again.
    #[inline]
    pub fn finish(&self, length: usize, out: &mut String) {
        self.hash(self.room, length, out);
    }

    /// The same of `prefix` and then everything written since the last reset. A prefix that is longer than the room in
    /// front moves what was written.
    #[inline]
    pub(crate) fn finish_after(&mut self, prefix: &[u8], length: usize, out: &mut String) {
        if prefix.len() > self.room {
            self.buffer.splice(..self.room, std::iter::repeat_n(0, prefix.len()));
            self.room = prefix.len();
        }
        let from = self.room - prefix.len();
        self.buffer[from..self.room].copy_from_slice(prefix);
        self.hash(from, length, out);
    }

    #[inline]
    fn hash(&self, from: usize, length: usize, out: &mut String) {
        let bytes = &self.buffer[from..];
        match self.algorithm {
            HashAlgorithm::XxHash32 => push_decimal(u64::from(xxh32(bytes, 0)), length, out),
            HashAlgorithm::XxHash64 => push_decimal(xxh64(bytes, 0), length, out),
            HashAlgorithm::Xxh3_64 => push_decimal(xxh3_64(bytes), length, out),
            HashAlgorithm::WyHash => push_decimal(wyhash::wyhash(bytes, 0), length, out),
            HashAlgorithm::Md5 => push_hex(&Md5::digest(bytes), length, out),
            HashAlgorithm::Sha256 => push_hex(&Sha256::digest(bytes), length, out),
        }
    }

    /// All that was written since the last reset.
    #[inline]
    pub(super) fn written(&self) -> &[u8] {
        &self.buffer[self.room..]
    }

    /// The heap memory held, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

fn push_decimal(number: u64, length: usize, out: &mut String) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    out.push_str(digits.get(..length).unwrap_or(digits));
}

/// Appends the first `length` digits of a hash.
pub(super) fn push_hex(digest: &[u8], length: usize, out: &mut String) {
    let mut digits = [0; 64];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = [HEX_DIGITS[usize::from(byte >> 4)], HEX_DIGITS[usize::from(byte & 0xf)]];
    }
    // They are letters and numbers all.
    out.push_str(str::from_utf8(&digits[..length.min(2 * digest.len())]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(algorithm: HashAlgorithm, length: usize, pieces: &[&str]) -> String {
        let mut hasher = PartsHasher::new(algorithm);
        pieces.iter().for_each(|piece| hasher.write(piece.as_bytes()));
        let mut out = String::new();
        hasher.finish(length, &mut out);
        out
    }

    #[test]
    fn every_vector_of_the_conformance_file() {
        let text = include_str!("../../tests/conformance/hash_vectors.json");
        let vectors: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(text).unwrap();
        assert!(vectors.len() > 60);
        let mut compared = 0;
        for vector in &vectors {
            let value = vector["v"].as_str().unwrap();
            for algorithm in HashAlgorithm::ALL {
                let Some(expected) = vector.get(algorithm.name()) else { continue };
                let expected = expected.as_str().unwrap();
                assert_eq!(hash(algorithm, 64, &[value]), expected, "{algorithm} of {value:?}");
                let short = &expected[..expected.len().min(8)];
                assert_eq!(hash(algorithm, 8, &[value]), short, "{algorithm} of {value:?}, truncated");
                compared += 1;
            }
        }
        assert_eq!(compared, vectors.len() * 5, "all but xxh3_64, which the file doesn't have");
    }

    #[test]
    fn xxh3_vectors() {
        assert_eq!(hash(HashAlgorithm::Xxh3_64, 64, &[""]), "3244421341483603138");
        assert_eq!(hash(HashAlgorithm::Xxh3_64, 64, &["abc"]), "8696274497037089104");
    }

    #[test]
    fn the_boundaries_of_pieces_do_not_matter() {
        for algorithm in HashAlgorithm::ALL {
            let whole = "0123456789|".repeat(200);
            let pieces: Vec<&str> =
                whole.as_bytes().chunks(7).map(|c| std::str::from_utf8(c).unwrap()).collect();
            assert_eq!(hash(algorithm, 64, &pieces), hash(algorithm, 64, &[&whole]), "{algorithm}");
        }
    }

    #[test]
    fn reset_forgets_and_finish_does_not() {
        let mut hasher = PartsHasher::new(HashAlgorithm::Md5);
        let mut out = String::from("kept ");
        hasher.write(b"other");
        hasher.reset();
        hasher.write(b"ab");
        hasher.finish(4, &mut out);
        hasher.write(b"c");
        hasher.finish(4, &mut out);
        assert_eq!(out, "kept 187e9001");
    }

    #[test]
    fn one_rest_after_several_prefixes() {
        for algorithm in HashAlgorithm::ALL {
            let mut hasher = PartsHasher::new(algorithm);
            hasher.reset_after(6);
            hasher.write(b"re");
            hasher.write(b"st");
            for prefix in ["first|", "2|", "", "longer than room|", "last|"] {
                let mut out = String::new();
                hasher.finish_after(prefix.as_bytes(), 64, &mut out);
                assert_eq!(out, hash(algorithm, 64, &[prefix, "rest"]), "{algorithm} {prefix:?}");
            }
            hasher.reset();
            hasher.write(b"other");
            let mut out = String::new();
            hasher.finish(64, &mut out);
            assert_eq!(out, hash(algorithm, 64, &["other"]), "{algorithm}");
        }
    }

    #[test]
    fn decimal_edges() {
        for number in [0, 7, 10, u64::from(u32::MAX), u64::MAX] {
            let mut out = String::new();
            push_decimal(number, 64, &mut out);
            assert_eq!(out, number.to_string());
            out.clear();
            push_decimal(number, 1, &mut out);
            assert_eq!(out, number.to_string()[..1]);
        }
    }

    /// The sample versions of `example/crop` under every algorithm: field audio, field frames, sample.
    #[test]
    fn golden_sample_versions() {
        let golden = [
            (HashAlgorithm::XxHash32, 64, ["971727773", "1963612858", "775747733"]),
            (HashAlgorithm::XxHash32, 8, ["97172777", "19636128", "88212411"]),
            (
                HashAlgorithm::XxHash64,
                64,
                ["1174745320986125738", "8339581966666754481", "8404802861773469680"],
            ),
            (HashAlgorithm::XxHash64, 8, ["11747453", "83395819", "44752368"]),
            (
                HashAlgorithm::Xxh3_64,
                64,
                ["2725201130733581053", "17825556715191940565", "5735546406853775509"],
            ),
            (HashAlgorithm::Xxh3_64, 8, ["27252011", "17825556", "51956631"]),
            (
                HashAlgorithm::WyHash,
                64,
                ["15673978952131564372", "7013113477312353766", "17790646187650101242"],
            ),
            (HashAlgorithm::WyHash, 8, ["15673978", "70131134", "17783687"]),
            (
                HashAlgorithm::Md5,
                64,
                [
                    "d2f2e3ef1ab020b9e455b230c210e299",
                    "983ec111e43f0e0d8b4c4b43993a4b90",
                    "6dfa5b5a601590218136a17d9daec479",
                ],
            ),
            (HashAlgorithm::Md5, 8, ["d2f2e3ef", "983ec111", "d69b4033"]),
        ];
        for (algorithm, length, [audio, frames, sample]) in golden {
            let field = |name: &str, parent: &str| {
                let parent_field = format!("example/video.{name}");
                hash(algorithm, length, &[name, "|", "1", "|", &parent_field, "|", parent])
            };
            assert_eq!(field("audio", "h1"), audio, "{algorithm} {length}");
            assert_eq!(field("frames", "f1"), frames, "{algorithm} {length}");
            assert_eq!(hash(algorithm, length, &[audio, SEPARATOR, frames]), sample, "{algorithm} {length}");
        }
    }
}

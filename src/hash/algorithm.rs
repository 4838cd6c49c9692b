//! The hash algorithms that Metaxy stores know, and the settings that a store hashes with.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::error::{MetaxyError, Result};

/// How the versions of samples are computed; all data of a store, and of its fallbacks, share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// 32 bits as a decimal number; the default of storage formats.
    XxHash32,
    /// 64 bits as a decimal number.
    XxHash64,
    /// 64 bits as a decimal number.
    Xxh3_64,
    /// 64 bits as a decimal number.
    WyHash,
    /// 128 bits as lower-case hexadecimal digits.
    Md5,
    /// 256 bits as lower-case hexadecimal digits.
    Sha256,
}

impl HashAlgorithm {
    /// Every algorithm, in the order in which messages list them.
    pub const ALL: [HashAlgorithm; 6] = [
        HashAlgorithm::XxHash32,
        HashAlgorithm::XxHash64,
        HashAlgorithm::Xxh3_64,
        HashAlgorithm::WyHash,
        HashAlgorithm::Md5,
        HashAlgorithm::Sha256,
    ];

    /// The name in configuration files, table properties and SQL.
    pub fn name(self) -> &'static str {
        match self {
            HashAlgorithm::XxHash32 => "xxhash32",
            HashAlgorithm::XxHash64 => "xxhash64",
            HashAlgorithm::Xxh3_64 => "xxh3_64",
            HashAlgorithm::WyHash => "wyhash",
            HashAlgorithm::Md5 => "md5",
            HashAlgorithm::Sha256 => "sha256",
        }
    }

    /// The greatest number of characters of an untruncated hash. Decimal numbers are not padded, so theirs
    /// may have fewer.
    pub fn max_length(self) -> usize {
        match self {
            HashAlgorithm::XxHash32 => 10,
            HashAlgorithm::XxHash64 | HashAlgorithm::Xxh3_64 | HashAlgorithm::WyHash => 20,
            HashAlgorithm::Md5 => 32,
            HashAlgorithm::Sha256 => 64,
        }
    }

    /// Whether the text is hexadecimal; the others are decimal numbers.
    pub fn is_hex(self) -> bool {
        matches!(self, HashAlgorithm::Md5 | HashAlgorithm::Sha256)
    }
}

impl Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HashAlgorithm {
    type Err = MetaxyError;

    /// Reads a name in any letter case.
    ///
    /// # Errors
    ///
    /// For an unknown name; `farmhash` gets a message of its own, since Metaxy knows it but only BigQuery
    /// computes it.
    fn from_str(name: &str) -> Result<Self> {
        if let Some(found) = Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name)) {
            return Ok(found);
        }
        let known = Self::ALL.map(HashAlgorithm::name).join(", ");
        Err(MetaxyError::Invalid(if name.eq_ignore_ascii_case("farmhash") {
            format!("hash algorithm \"farmhash\" is computed by BigQuery only; use one of {known}")
        } else {
            format!("unknown hash algorithm {name:?}; use one of {known}")
        }))
    }
}

/// An algorithm and the number of characters that are kept of its text.
///
/// Truncation trades collisions for width: eight decimal digits carry about 25 bits, eight hexadecimal ones
/// 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashSettings {
    /// What is computed.
    pub algorithm: HashAlgorithm,
    /// How many characters are kept, from the first one on.
    pub length: usize,
}

impl HashSettings {
    /// Settings that keep the first `length` characters.
    ///
    /// # Errors
    ///
    /// If nothing would be kept.
    pub fn new(algorithm: HashAlgorithm, length: usize) -> Result<Self> {
        if length == 0 {
            return Err(MetaxyError::Invalid("the length of a hash must be at least 1, not 0".to_owned()));
        }
        Ok(Self { algorithm, length })
    }

    /// Whether these settings could have produced this version.
    ///
    /// The shape is all that is left to look at in tables that don't record their settings, so that settings
    /// which don't fit are found before every sample looks stale. Two decimal algorithms truncated alike have
    /// the same shape.
    pub fn looks_like(&self, version: &str) -> bool {
        let longest = self.length.min(self.algorithm.max_length());
        if self.algorithm.is_hex() {
            return version.len() == longest
                && version.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        }
        let is_number = version.bytes().all(|c| c.is_ascii_digit())
            && !version.is_empty()
            && (version == "0" || !version.starts_with('0'));
        // Text that is shorter than the cut is a whole number, and so is text of the greatest length.
        let whole = version.len() < self.length || version.len() == self.algorithm.max_length();
        let fits = match self.algorithm {
            HashAlgorithm::XxHash32 => version.parse::<u32>().is_ok(),
            _ => version.parse::<u64>().is_ok(),
        };
        is_number && version.len() <= longest && (!whole || fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_any_case() {
        for algorithm in HashAlgorithm::ALL {
            assert_eq!(algorithm.to_string().parse::<HashAlgorithm>().unwrap(), algorithm);
            assert_eq!(algorithm.name().to_uppercase().parse::<HashAlgorithm>().unwrap(), algorithm);
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = "crc32".parse::<HashAlgorithm>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown hash algorithm \"crc32\"; use one of xxhash32, xxhash64, xxh3_64, wyhash, md5, sha256"
        );
        let error = "FarmHash".parse::<HashAlgorithm>().unwrap_err().to_string();
        assert!(error.contains("BigQuery only"), "{error}");
    }

    #[test]
    fn a_length_of_zero_is_refused() {
        assert!(HashSettings::new(HashAlgorithm::Md5, 0).is_err());
        assert_eq!(HashSettings::new(HashAlgorithm::Md5, 1).unwrap().length, 1);
    }

    #[test]
    fn shapes_of_stored_versions() {
        let settings = |algorithm, length| HashSettings::new(algorithm, length).unwrap();
        let md5 = settings(HashAlgorithm::Md5, 8);
        assert!(md5.looks_like("d2f2e3ef"));
        assert!(!md5.looks_like("d2f2e3e"));
        assert!(!md5.looks_like("d2f2e3ef1"));
        assert!(!md5.looks_like("D2F2E3EF"));
        assert!(settings(HashAlgorithm::Md5, 64).looks_like("d2f2e3ef1ab020b9e455b230c210e299"));
        assert!(!settings(HashAlgorithm::Sha256, 64).looks_like("d2f2e3ef1ab020b9e455b230c210e299"));

        let short = settings(HashAlgorithm::XxHash32, 8);
        assert!(short.looks_like("97172777") && short.looks_like("971") && short.looks_like("0"));
        assert!(!short.looks_like("") && !short.looks_like("01") && !short.looks_like("d2f2e3ef"));
        assert!(!short.looks_like("971727773") && !short.looks_like("+9717277"));

        let long = settings(HashAlgorithm::XxHash32, 12);
        assert!(long.looks_like("4294967295"));
        assert!(!long.looks_like("4294967296") && !long.looks_like("117474532098"));
        let wide = settings(HashAlgorithm::XxHash64, 64);
        assert!(wide.looks_like("18446744073709551615") && !wide.looks_like("18446744073709551616"));
        assert!(settings(HashAlgorithm::XxHash64, 12).looks_like("184467440737"));
        // Twenty characters kept of a number that has twenty: the whole number.
        assert!(!settings(HashAlgorithm::XxHash64, 20).looks_like("99999999999999999999"));
    }
}

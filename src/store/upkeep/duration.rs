//! Spans of time and sizes as people write them.

use std::time::Duration;

use crate::error::{MetaxyError, Result};

/// Units, and their seconds.
const UNITS: &[(&[&str], u64)] = &[
    (&["w", "week", "weeks"], 7 * 24 * 60 * 60),
    (&["d", "day", "days"], 24 * 60 * 60),
    (&["h", "hour", "hours"], 60 * 60),
    (&["min", "minute", "minutes"], 60),
    (&["s", "sec", "second", "seconds"], 1),
];

/// A span of time such as `30d`, `12h` or `90 minutes`; `0` needs no unit.
///
/// # Errors
/// A text that is no whole number with a unit.
///
/// ```
/// # use std::time::Duration;
/// # use datafusion_metaxy::store::parse_duration;
/// assert_eq!(parse_duration("30d").unwrap(), Duration::from_secs(30 * 24 * 60 * 60));
/// assert!(parse_duration("soon").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim().to_lowercase();
    let seconds = match UNITS.iter().find(|(names, _)| names.contains(&unit.as_str())) {
        Some((_, seconds)) => Some(*seconds),
        None if unit.is_empty() && number.chars().all(|c| c == '0') => Some(1),
        None => None,
    };
    let number: Option<u64> = number.parse().ok();
    number
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            MetaxyError::Invalid(format!(
                "{text:?} is no span of time; write a number with w, d, h, min or s, as in 30d"
            ))
        })
}

/// A number of bytes such as `64MB`, `1GiB`, `512k` or `1000000`; `None` for a text that is none. As in options of
/// DataFusion, a kilobyte has 1024 bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A span of time in the largest unit in which it is a whole number.
pub(in crate::store) fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    let unit = UNITS.iter().skip(1).find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    match unit {
        Some((names, unit)) => {
            let number = seconds / unit;
            // The last name is the plural, the one before it the singular.
            format!("{number} {}", names[names.len() - 1 - usize::from(number == 1)])
        }
        None => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_with_a_unit() {
        let days = |n: u64| Duration::from_secs(n * 24 * 60 * 60);
        for (text, span) in
            [("30d", days(30)), (" 2 weeks ", days(14)), ("0", days(0)), ("36H", days(1) + days(1) / 2)]
        {
            assert_eq!(parse_duration(text).unwrap(), span, "{text}");
        }
        for text in ["", "d", "30", "-1d", "1.5d", "1 month", "99999999999999999999d", "300000000000000000w"]
        {
            assert!(parse_duration(text).unwrap_err().to_string().contains("30d"), "{text}");
        }
        assert_eq!(["64MB", "1 GiB", "10"].map(parse_bytes), [Some(64 << 20), Some(1 << 30), Some(10)]);
        assert_eq!(["MB", "-1", "1.5g", "99999999999999999g"].map(parse_bytes), [None; 4]);
        assert_eq!(shown(days(14)), "14 days");
        assert_eq!(shown(Duration::from_secs(5400)), "90 minutes");
        assert_eq!(shown(Duration::ZERO), "0 seconds");
    }
}

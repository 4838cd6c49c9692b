//! PostgreSQL's decimal numbers, which are made of digits from 0 to 9999.

/// What stands for a sign.
const NEGATIVE: u16 = 0x4000;
const POSITIVE: u16 = 0;
/// Decimal digits of one of its digits.
const DIGITS: i32 = 4;
const BASE: i128 = 10_000;

/// The unscaled value of a number with `scale` digits after the point.
///
/// # Errors
/// It has no such value: not a number, infinite, or more digits than fit.
pub(crate) fn read(value: &[u8], scale: i8) -> Result<i128, String> {
    let mut parts = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut next = || parts.next().ok_or_else(|| "part of a decimal number".to_owned());
    let (count, weight, sign) = (next()?, next()?, next()?);
    next()?;
    if sign != POSITIVE && sign != NEGATIVE {
        return Err("a decimal number that is infinite or no number can't be read".into());
    }
    let large = || "a decimal number has too many digits".to_owned();
    // As an i16, of which the server sends the bits.
    let weight = i32::from(i16::from_be_bytes(weight.to_be_bytes()));
    let mut total: i128 = 0;
    for place in 0..i32::from(count) {
        let digit = i128::from(next()?);
        // Of this digit's last decimal digit, counted from the last one of the value.
        let power = (weight - place) * DIGITS + i32::from(scale);
        let term = match u32::try_from(power) {
            Ok(power) => 10_i128.checked_pow(power).and_then(|unit| digit.checked_mul(unit)),
            Err(_) => {
                let unit = 10_i128.checked_pow(power.unsigned_abs());
                unit.and_then(|unit| (digit % unit == 0).then_some(digit / unit))
            }
        };
        total = term.and_then(|term| total.checked_add(term)).ok_or_else(large)?;
    }
    Ok(if sign == NEGATIVE { -total } else { total })
}

/// The number with this unscaled value and `scale` digits after the point.
pub(crate) fn write(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    let sign = if unscaled < 0 { NEGATIVE } else { POSITIVE };
    let scale = i32::from(scale);
    // Whole digits before and after the point.
    let after = scale.max(0).div_ceil_by(DIGITS);
    let shift = after * DIGITS - scale;
    let mut digits: Vec<u16> = Vec::new();
    let mut rest = unscaled.unsigned_abs();
    // Zeros that make the last digit a whole one; the value itself may be too large to be multiplied.
    let mut first = true;
    while rest > 0 {
        let part = if first && shift > 0 && shift < DIGITS {
            let low = 10_u128.pow((DIGITS - shift).unsigned_abs());
            let digit = (rest % low) * 10_u128.pow(shift.unsigned_abs());
            rest /= low;
            digit
        } else {
            let digit = rest % BASE.unsigned_abs();
            rest /= BASE.unsigned_abs();
            digit
        };
        first = false;
        digits.push(u16::try_from(part).unwrap_or_default());
    }
    let weight = i32::try_from(digits.len()).unwrap_or_default() - 1 - after;
    digits.reverse();
    let short = |value: i32| i16::try_from(value).unwrap_or_default().to_be_bytes();
    out.extend(short(i32::try_from(digits.len()).unwrap_or_default()));
    out.extend(short(if digits.is_empty() { 0 } else { weight }));
    out.extend(sign.to_be_bytes());
    out.extend(short(scale.max(0)));
    for digit in digits {
        out.extend(digit.to_be_bytes());
    }
}

/// Division that rounds up, for numbers that aren't negative.
trait DivCeil {
    fn div_ceil_by(self, by: i32) -> i32;
}

impl DivCeil for i32 {
    fn div_ceil_by(self, by: i32) -> i32 {
        (self + by - 1) / by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were() {
        for (value, scale) in [
            (0, 2),
            (1, 0),
            (-1, 2),
            (12_345, 2),
            (12_345, 4),
            (10_000, 0),
            (-99_999_999_999_999_999_999_999_999_999_999_999_999, 10),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 0),
            (5, 9),
        ] {
            let mut out = Vec::new();
            write(value, scale, &mut out);
            assert_eq!(read(&out, scale), Ok(value), "{value} {scale}");
        }
    }
}

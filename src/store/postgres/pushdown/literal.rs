//! Values of a plan as SQL.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;

use super::Sql;
use super::sql::{self, Typed};

/// The first and the last year that are written in four digits.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// A value with the type of its literal.
pub(super) fn value(scalar: &ScalarValue) -> Sql<Typed> {
    let data_type = scalar.data_type();
    if scalar.is_null() {
        return Ok(Typed::new(sql::null(&data_type), data_type));
    }
    let number = |text: String| Ok(Typed::new(text, data_type.clone()));
    match scalar {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => {
            Ok(Typed::text(format!("{}::text COLLATE \"C\"", sql::literal(text)?)))
        }
        ScalarValue::Boolean(Some(truth)) => Ok(Typed::truth(truth.to_string())),
        ScalarValue::Int8(Some(n)) => number(format!("({n})::smallint")),
        ScalarValue::UInt8(Some(n)) => number(format!("({n})::smallint")),
        ScalarValue::Int16(Some(n)) => number(format!("({n})::smallint")),
        ScalarValue::UInt16(Some(n)) => number(format!("({n})::integer")),
        ScalarValue::Int32(Some(n)) => number(format!("({n})::integer")),
        ScalarValue::UInt32(Some(n)) => number(format!("({n})::bigint")),
        ScalarValue::Int64(Some(n)) => number(format!("({n})::bigint")),
        // Zero has two forms, which compare differently here and there; so has what is no number.
        ScalarValue::Float32(Some(n)) if n.is_finite() && *n != 0.0 => number(format!("'{n:e}'::real")),
        ScalarValue::Float64(Some(n)) if n.is_finite() && *n != 0.0 => {
            number(format!("'{n:e}'::double precision"))
        }
        ScalarValue::Date32(Some(days)) => {
            let day = NaiveDate::default().checked_add_signed(chrono::Duration::days(i64::from(*days)));
            let day = day.filter(|day| YEARS.contains(&day.year())).ok_or_else(|| far(scalar))?;
            Ok(Typed::new(format!("'{day}'::date"), data_type))
        }
        ScalarValue::TimestampSecond(Some(t), zone) => time(*t, 1_000_000, zone.is_some(), scalar),
        ScalarValue::TimestampMillisecond(Some(t), zone) => time(*t, 1_000, zone.is_some(), scalar),
        ScalarValue::TimestampMicrosecond(Some(t), zone) => time(*t, 1, zone.is_some(), scalar),
        ScalarValue::TimestampNanosecond(Some(t), zone) if t % 1_000 == 0 => {
            time(t / 1_000, 1, zone.is_some(), scalar)
        }
        _ => Err(format!("PostgreSQL can't be asked for a literal like {scalar} of type {data_type}")),
    }
}

/// A time, `factor` microseconds each.
fn time(value: i64, factor: i64, zoned: bool, scalar: &ScalarValue) -> Sql<Typed> {
    let time = value.checked_mul(factor).and_then(DateTime::<Utc>::from_timestamp_micros);
    let time = time.filter(|time| YEARS.contains(&time.year())).ok_or_else(|| far(scalar))?;
    let text = time.format("%Y-%m-%d %H:%M:%S%.6f");
    Ok(if zoned {
        Typed::new(format!("'{text}+00'::timestamptz"), crate::columns::timestamp())
    } else {
        Typed::new(format!("'{text}'::timestamp"), DataType::Timestamp(TimeUnit::Microsecond, None))
    })
}

fn far(scalar: &ScalarValue) -> String {
    format!("the time {scalar} is too far off for PostgreSQL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_with_their_type() {
        let sql = |scalar: ScalarValue| value(&scalar).unwrap().sql;
        assert_eq!(sql(ScalarValue::from("it's")), "'it''s'::text COLLATE \"C\"");
        assert_eq!(sql(ScalarValue::Int64(Some(-7))), "(-7)::bigint");
        assert_eq!(sql(ScalarValue::Float64(Some(0.1))), "'1e-1'::double precision");
        assert_eq!(sql(ScalarValue::Boolean(Some(true))), "true");
        assert_eq!(sql(ScalarValue::Boolean(None)), "NULL::boolean");
        assert_eq!(sql(ScalarValue::Date32(Some(1))), "'1970-01-02'::date");
        assert_eq!(
            sql(ScalarValue::TimestampMillisecond(Some(1_500), Some("UTC".into()))),
            "'1970-01-01 00:00:01.500000+00'::timestamptz"
        );
        for scalar in [
            ScalarValue::Float64(Some(0.0)),
            ScalarValue::Float64(Some(f64::NAN)),
            ScalarValue::from("a\0b"),
            ScalarValue::Date32(Some(i32::MAX)),
            ScalarValue::TimestampNanosecond(Some(1), None),
        ] {
            assert!(value(&scalar).is_err(), "{scalar}");
        }
    }
}

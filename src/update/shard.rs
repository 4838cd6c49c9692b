//! Dividing an increment over workers.

use std::fmt;
use std::str::FromStr;

use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};

use super::parents::plain;
use crate::error::{MetaxyError, Result};
use crate::hash::shard_expr;

/// One of several parts that an increment is divided into: the samples whose comparison key hashes into it.
///
/// The parts are disjoint and complete, over all classes of samples. Which one a sample is in depends on the values of
/// its key alone, so that workers agree on it whatever store, executor or machine they use.
///
/// ```
/// use datafusion_metaxy::update::Shard;
///
/// let second: Shard = "2/8".parse()?;
/// assert_eq!(second, Shard::new(2, 8)?);
/// assert!("0/8".parse::<Shard>().is_err());
/// # Ok::<(), datafusion_metaxy::error::MetaxyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    number: u32,
    count: u32,
}

impl Shard {
    /// Shard `number` of `count`; the first one is number 1.
    ///
    /// # Errors
    /// A number that is not from 1 to `count`.
    pub fn new(number: u32, count: u32) -> Result<Self> {
        if number == 0 || number > count {
            return Err(wrong(&format!("{number}/{count}")));
        }
        Ok(Self { number, count })
    }

    /// The rows of a plan whose keys are in this shard.
    pub(crate) fn of(self, plan: LogicalPlan, keys: &[String]) -> Result<LogicalPlan> {
        if self.count == 1 {
            return Ok(plan);
        }
        let shard = shard_expr(self.count, keys.iter().map(plain));
        let own = shard.eq(lit(i64::from(self.number - 1)));
        Ok(LogicalPlanBuilder::from(plan).filter(own)?.build()?)
    }
}

impl FromStr for Shard {
    type Err = MetaxyError;

    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| part.trim().parse::<u32>().map_err(|_| wrong(text));
        let (own, count) = text.split_once('/').ok_or_else(|| wrong(text))?;
        Self::new(number(own)?, number(count)?).map_err(|_| wrong(text))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

fn wrong(text: &str) -> MetaxyError {
    MetaxyError::Invalid(format!("shard is '{text}'; it must be 'i/n' with i from 1 to n, as in '2/8'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_of_n() {
        for (text, number, count) in [("1/1", 1, 1), ("2/8", 2, 8), (" 8 / 8 ", 8, 8)] {
            assert_eq!(text.parse::<Shard>().unwrap(), Shard { number, count });
        }
        assert_eq!(Shard::new(2, 8).unwrap().to_string(), "2/8");
        for text in ["0/4", "5/4", "x", "", "1", "1/", "/4", "1/0", "-1/4", "1/4/2", "1.5/4", "1/99999999999"]
        {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            let wanted = format!("shard is '{text}'; it must be 'i/n' with i from 1 to n, as in '2/8'");
            assert_eq!(error, wanted);
        }
    }
}

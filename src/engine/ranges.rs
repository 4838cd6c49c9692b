//! Ranges of keys in which large tables are compared, one after another.

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use crate::store::{Bound, Group};
use crate::update::plain;

/// So many rows may be read more than once, whatever all of them are.
const ROWS_AGAIN: u64 = 100_000;

/// Ranges of the first of the key's columns, which together are all of its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ranges {
    column: String,
    /// Where all ranges but the first begin.
    cuts: Vec<ScalarValue>,
}

impl Ranges {
    /// Ranges with about so many rows of all tables together, whose groups these are. `None` if there is only one, or if
    /// rows of many ranges lie together, so that they would have to be read again for each of them.
    pub(super) fn of(column: &str, tables: &[Vec<Group>], rows: u64) -> Option<Self> {
        let mut groups: Vec<&Group> = tables.iter().flatten().collect();
        groups.sort_unstable_by(|a, b| a.least.cmp(&b.least));
        let mut cuts: Vec<&Bound> = Vec::new();
        let mut since = 0;
        let mut last = &groups.first()?.least;
        for Group { least, rows: own, .. } in groups.iter().copied() {
            if std::mem::discriminant(least) != std::mem::discriminant(last) {
                return None;
            }
            if since >= rows && least > last {
                cuts.push(least);
                since = 0;
                last = least;
            }
            since += own;
        }
        if cuts.is_empty() {
            return None;
        }
        let range = |bound: &Bound| cuts.partition_point(|cut| *cut <= bound) as u64;
        let read: u64 =
            groups.iter().map(|group| group.rows * (1 + range(&group.greatest) - range(&group.least))).sum();
        let all: u64 = groups.iter().map(|group| group.rows).sum();
        if read > all + all / 2 + ROWS_AGAIN {
            return None;
        }
        let cuts = cuts.into_iter().map(|cut| match cut {
            Bound::Number(number) => ScalarValue::Int64(Some(*number)),
            Bound::Text(text) => ScalarValue::Utf8(Some(text.clone())),
        });
        Some(Self { column: column.to_owned(), cuts: cuts.collect() })
    }

    /// The column that they are ranges of.
    pub(super) fn column(&self) -> &str {
        &self.column
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.cuts.len() + 1
    }

    /// The rows of a plan that are in a range; rows without a value are in the first.
    ///
    /// # Errors
    /// A column of a type that the tables' values are not of.
    pub(super) fn rows(&self, plan: LogicalPlan, range: usize) -> Result<LogicalPlan> {
        let column = plain(&self.column);
        let to = plan.schema().field_with_unqualified_name(&self.column)?.data_type().clone();
        let cut = |cut: &ScalarValue| cut.cast_to(&to).map(lit);
        let below = |end: Expr| column.clone().lt(end);
        let end = self.cuts.get(range).map(cut).transpose()?.map(below);
        let begin = range.checked_sub(1).and_then(|before| self.cuts.get(before)).map(cut).transpose()?;
        let condition = match (begin, end) {
            (None, None) => return Ok(plan),
            (None, Some(end)) => end.or(column.is_null()),
            (Some(begin), None) => column.gt_eq(begin),
            (Some(begin), Some(end)) => column.clone().gt_eq(begin).and(end),
        };
        LogicalPlanBuilder::from(plan).filter(condition)?.build()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::{empty::EmptyTable, provider_as_source};

    use super::*;

    fn groups(ranges: &[(i64, i64)], rows: u64) -> Vec<Group> {
        let group = |&(least, greatest): &(i64, i64)| Group {
            least: Bound::Number(least),
            greatest: Bound::Number(greatest),
            rows,
        };
        ranges.iter().map(group).collect()
    }

    fn conditions(tables: &[Vec<Group>], rows: u64) -> Option<Vec<String>> {
        let ranges = Ranges::of("Id", tables, rows)?;
        let schema = Schema::new(vec![Field::new("Id", DataType::Int32, true)]);
        let table = provider_as_source(Arc::new(EmptyTable::new(Arc::new(schema))));
        let plan = LogicalPlanBuilder::scan("t", table, None).unwrap().build().unwrap();
        let condition = |range| ranges.rows(plan.clone(), range).unwrap().display().to_string();
        Some((0..ranges.count()).map(condition).collect())
    }

    #[test]
    fn ranges_begin_where_groups_do() {
        let tables = [groups(&[(0, 9), (10, 19), (20, 29)], 10), groups(&[(0, 14), (15, 29)], 10)];
        assert_eq!(
            conditions(&tables, 20).unwrap(),
            [
                "Filter: t.Id < Int32(10) OR t.Id IS NULL",
                "Filter: t.Id >= Int32(10) AND t.Id < Int32(20)",
                "Filter: t.Id >= Int32(20)"
            ]
        );
    }

    #[test]
    fn few_rows_are_one_range() {
        assert_eq!(conditions(&[groups(&[(0, 9), (10, 19)], 10)], 20), None);
        assert_eq!(conditions(&[], 20), None);
        assert_eq!(conditions(&[groups(&[(5, 5); 9], 10)], 20), None, "of one value");
    }

    #[test]
    fn nothing_is_read_many_times() {
        let mixed: Vec<(i64, i64)> = (0..20).map(|least| (least, 1000)).collect();
        assert!(conditions(&[groups(&mixed, 10)], 20).is_some(), "few rows");
        assert_eq!(conditions(&[groups(&mixed, 1_000_000)], 2_000_000), None);
    }

    #[test]
    fn numbers_and_texts_have_no_ranges() {
        let text = Group { least: Bound::Text("a".into()), greatest: Bound::Text("b".into()), rows: 10 };
        assert_eq!(conditions(&[groups(&[(0, 9), (10, 19)], 10), vec![text]], 5), None);
    }
}

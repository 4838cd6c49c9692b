//! The model and the product side by side: every step of a history happens to both.

use std::collections::BTreeSet;

use datafusion_metaxy::columns::{
    DATA_VERSION_BY_FIELD, DELETED_AT, FEATURE_VERSION, INCREMENT, PROVENANCE, PROVENANCE_BY_FIELD, is_system,
};
use datafusion_metaxy::error::Result;

use super::case::{Case, Deleted, Place, Question, Step};
use super::model::{self, CURRENT, Table, Tables};
use super::pool;
use super::product::{Product, Sessions};
use super::value::{Row, Type, Value, cell, cells};

pub struct World<'a> {
    pub case: &'a Case,
    pub tables: Tables,
    pub product: Product<'a>,
}

impl<'a> World<'a> {
    pub fn new(case: &'a Case, sessions: &'a Sessions) -> Self {
        Self { case, tables: Tables::new(), product: Product::new(case, sessions) }
    }

    pub async fn apply(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Write { feature, columns, rows, overrides } => {
                self.write(*feature, columns, rows.clone(), *overrides).await
            }
            Step::Append { feature, rows, timed } => self.append(*feature, rows.clone(), *timed).await,
            Step::Delete { feature, mask } => self.delete(*feature, *mask).await,
            Step::Optimize { feature, full, fold, small } => {
                match self.tables.contains_key(&self.case.features[*feature].key()) {
                    true => self.product.optimize(*feature, *full, *fold, *small).await,
                    false => Ok(()),
                }
            }
            Step::Process { feature, mask, children, seed, overrides } => {
                let answer = model::answer(self.case, &self.tables, *feature, &Question::default());
                let Ok(answer) = answer else { return Ok(()) };
                let writable = [Value::text("new"), Value::text("stale")];
                let due = answer.rows.into_iter().filter(|row| writable.contains(&cell(row, INCREMENT)));
                let chosen: Vec<Row> = due
                    .enumerate()
                    .filter(|(i, _)| mask.rotate_right(*i as u32) & 1 == 1)
                    .map(|(_, row)| row)
                    .collect();
                let rows = self.computed(*feature, &chosen, *children, *seed, *overrides);
                self.write(*feature, &self.case.features[*feature].columns, rows, *overrides).await
            }
        }
    }

    fn table(&mut self, feature: usize) -> &mut Table {
        // Statistics of Delta files are cut to milliseconds: there, a write goes on in the next one.
        let tick = if self.case.place == Place::Delta { 1_000 } else { 1 };
        self.tables.entry(self.case.features[feature].key()).or_insert_with(|| Table::new(tick))
    }

    /// The live rows of a feature.
    pub fn live(&self, feature: usize) -> Vec<Row> {
        let feature = &self.case.features[feature];
        self.tables.get(&feature.key()).map_or_else(Vec::new, |t| t.live(&feature.spec.id_columns, CURRENT))
    }

    /// Writes rows with ids that are there and that occur once; others can't be written.
    pub async fn write(
        &mut self,
        feature: usize,
        columns: &[(String, Type)],
        mut rows: Vec<Row>,
        overrides: bool,
    ) -> Result<()> {
        let mut seen = BTreeSet::new();
        rows.retain(|row| {
            let id = cells(row, &self.case.features[feature].spec.id_columns);
            !id.contains(&Value::Null) && seen.insert(id)
        });
        if rows.is_empty() {
            return Ok(());
        }
        for row in &mut rows {
            row.retain(|name, _| is_system(name) || columns.iter().any(|(column, _)| column == name));
        }
        let settings = self.case.settings;
        self.table(feature).write(columns, &rows, settings);
        self.product.write(feature, columns, &rows, overrides).await
    }

    async fn append(&mut self, feature: usize, rows: Vec<(Row, Deleted)>, timed: bool) -> Result<()> {
        let definition = &self.case.features[feature];
        if rows.is_empty() {
            return Ok(());
        }
        let stored = self.table(feature).append(definition, &rows, timed);
        self.product.append(feature, &stored, timed).await
    }

    async fn delete(&mut self, feature: usize, mask: u32) -> Result<()> {
        let live = self.live(feature).into_iter().enumerate();
        let chosen = live.filter(|(i, _)| mask.rotate_right(*i as u32) & 1 == 1);
        let rows = chosen.map(|(_, row)| (row, Deleted::Now)).collect();
        self.append(feature, rows, true).await
    }

    /// What a user makes of samples that are due: for each one or more rows with the feature's own columns.
    pub fn computed(&self, feature: usize, due: &[Row], children: u8, seed: u8, overrides: bool) -> Vec<Row> {
        let feature = &self.case.features[feature];
        let mut rows = Vec::new();
        for (n, sample) in due.iter().enumerate() {
            // Such a sample has no version that could be written.
            if cell(sample, PROVENANCE).is_null() {
                continue;
            }
            let inherited = |id: &String| sample.contains_key(id);
            let count = if feature.spec.id_columns.iter().all(inherited) { 1 } else { 1 + children % 3 };
            for child in 0..count {
                let choice = seed.wrapping_add(n as u8).wrapping_add(child);
                let mut row = Row::new();
                for (name, column_type) in &feature.columns {
                    let is_id = feature.spec.id_columns.contains(name);
                    let value = match sample.get(name) {
                        Some(value) => value.clone(),
                        _ if is_id => pool::id(*column_type, n as u8 * 3 + child),
                        _ => pool::ordinary(*column_type, choice),
                    };
                    row.insert(name.clone(), value);
                }
                row.insert(PROVENANCE_BY_FIELD.into(), cell(sample, PROVENANCE_BY_FIELD));
                if overrides && choice % 2 == 0 {
                    row.insert(DATA_VERSION_BY_FIELD.into(), pool::versions(&feature.members(), choice));
                }
                rows.push(row);
            }
        }
        rows
    }

    /// All rows of all tables, for people.
    pub fn tables_text(&self) -> String {
        let mut text = String::new();
        for (key, table) in &self.tables {
            let types = table.columns.iter().map(|(name, t)| format!("{name} {t:?}")).collect::<Vec<_>>();
            text += &format!("rows of {key} ({}):\n", types.join(", "));
            let shown = |row: &Row| -> Row {
                let user = row.iter().filter(|(name, _)| !is_system(name));
                let mut shown: Row = user.map(|(name, value)| (name.clone(), value.clone())).collect();
                for name in
                    [FEATURE_VERSION, DELETED_AT, PROVENANCE, PROVENANCE_BY_FIELD, DATA_VERSION_BY_FIELD]
                {
                    shown.insert(name.to_owned(), cell(row, name));
                }
                shown.insert("metaxy_updated_at".to_owned(), cell(row, "metaxy_updated_at"));
                shown
            };
            text += &super::value::table(&table.rows.iter().map(shown).collect::<Vec<_>>());
        }
        text
    }
}

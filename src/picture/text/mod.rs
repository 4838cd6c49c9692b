//! A picture as a tree of text, one line for a feature: readable at a terminal and in a log.

mod rows;
#[cfg(test)]
mod tests;

use self::rows::{Piece, Row, aligned, push_line};
use super::fit::{columns, shorten, visible};
use super::words::{Tone, count};
use super::{Change, Feature, Field, Link, Picture, Style};

/// How many columns the fields of a feature take at most when they stand in one line.
const FIELDS_WIDTH: usize = 60;

pub(super) fn draw(picture: &Picture, style: &Style) -> String {
    let mut tree = Tree::new(picture, style);
    let is_root = |place: &usize| tree.home[*place].is_none() && tree.shown[*place];
    let roots: Vec<usize> = (0..picture.features.len()).filter(is_root).collect();
    for root in roots {
        tree.feature(root, None, "", "");
    }
    let mut text = String::new();
    if picture.compares {
        // Which two graphs these are; one alone needs no heading.
        push_line(&mut text, &[(Tone::Muted, visible(&picture.title))], style.color);
    }
    text.push_str(&aligned(&tree.rows, picture.compares, style.color));
    let mut notes = vec![picture.summary()];
    notes.extend(tree.legend());
    for note in notes {
        push_line(&mut text, &[(Tone::Muted, note)], style.color);
    }
    text
}

struct Tree<'a> {
    picture: &'a Picture,
    style: &'a Style,
    above: Vec<Vec<&'a Link>>,
    below: Vec<Vec<&'a Link>>,
    /// The parent below which each feature is drawn: the deepest one, so that its other parents are seen by then.
    home: Vec<Option<usize>>,
    /// Which features are drawn: of two graphs only those that have changed.
    shown: Vec<bool>,
    rows: Vec<Row>,
    repeats: bool,
}

impl<'a> Tree<'a> {
    fn new(picture: &'a Picture, style: &'a Style) -> Self {
        let shown: Vec<bool> =
            picture.features.iter().map(|f| !picture.compares || f.change != Change::Same).collect();
        let above = picture.links_above();
        let mut depth = vec![0_usize; picture.features.len()];
        let mut home = vec![None; picture.features.len()];
        for (place, links) in above.iter().enumerate() {
            // A change can turn a link round; only one of both directions goes down.
            for link in links.iter().filter(|link| link.parent < place && shown[link.parent]) {
                if home[place].is_none() || depth[link.parent] + 1 > depth[place] {
                    depth[place] = depth[link.parent] + 1;
                    home[place] = Some(link.parent);
                }
            }
        }
        Self {
            picture,
            style,
            above,
            below: picture.links_below(),
            home,
            shown,
            rows: Vec::new(),
            repeats: false,
        }
    }

    /// Adds a feature and what is drawn below it. `tree` is what stands before it, `indent` before what follows.
    fn feature(&mut self, place: usize, link: Option<&Link>, tree: &str, indent: &str) {
        let picture = self.picture;
        let Some(feature) = picture.features.get(place) else { return };
        let at_home = link.is_none_or(|link| self.home[place] == Some(link.parent));
        if !at_home {
            self.repeats = true;
            let name = vec![(Tone::Muted, format!("{}{} (*)", visible(&feature.key), of(link)))];
            let change = link.map_or(Change::Same, |link| link.change);
            self.rows.push(Row::Feature {
                change,
                tree: tree.to_owned(),
                name,
                version: String::new(),
                status: Vec::new(),
                rest: Vec::new(),
            });
            return;
        }
        self.rows.push(Row::Feature {
            change: feature.change,
            tree: tree.to_owned(),
            name: self.name(feature, link),
            version: self
                .style
                .versions
                .then(|| feature.version_words(self.style.version_length))
                .flatten()
                .unwrap_or_default(),
            status: self.status(feature),
            rest: self.rest(feature),
        });
        let children: Vec<&Link> = self.below[place]
            .iter()
            .copied()
            .filter(|link| link.child > place && self.shown[link.child])
            .collect();
        let bar = if children.is_empty() { "   " } else { "│  " };
        self.notes(place, feature, &format!("{indent}{bar}"));
        for (at, link) in children.iter().enumerate() {
            let last = at + 1 == children.len();
            let (branch, bar) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.feature(link.child, Some(link), &format!("{indent}{branch}"), &format!("{indent}{bar}"));
        }
    }

    fn name(&self, feature: &Feature, link: Option<&Link>) -> Vec<Piece> {
        let mut name = vec![(Tone::Key, visible(&feature.key)), (Tone::Muted, of(link))];
        let project =
            (self.picture.has_projects() && !feature.project.is_empty()).then_some(&*feature.project);
        for remark in [project, feature.standing_words()].into_iter().flatten() {
            name.push((Tone::Muted, format!(" · {}", visible(remark))));
        }
        name
    }

    fn status(&self, feature: &Feature) -> Vec<Piece> {
        let samples = feature.samples_words().map(|words| (feature.change.tone(), words));
        let status = feature.status.iter().flat_map(super::Status::words);
        samples.into_iter().chain(status.map(|(tone, words)| (tone, visible(&words)))).collect()
    }

    /// What is said at the end of the line: the fields, or why the feature has changed.
    fn rest(&self, feature: &Feature) -> Vec<Piece> {
        let tone = feature.change.tone();
        if self.picture.compares && !matches!(feature.change, Change::Added | Change::Removed) {
            return feature.why().iter().map(|why| (tone, visible(why))).collect();
        }
        if !self.style.fields || self.style.field_versions {
            return Vec::new();
        }
        let (mut pieces, mut taken) = (Vec::new(), 0);
        for (at, field) in feature.fields.iter().enumerate() {
            let words = match field.code_words() {
                Some(code) => {
                    format!("{} {}", visible(&field.key), shorten(&visible(&code), FIELDS_WIDTH / 2))
                }
                None => visible(&field.key),
            };
            taken += columns(&words) + 2;
            if at > 0 && taken > FIELDS_WIDTH {
                pieces.push((Tone::Muted, format!("and {} more", feature.fields.len() - at)));
                break;
            }
            pieces.push((Tone::Plain, words));
        }
        pieces
    }

    /// Lines below a feature: its other parents, and the fields if they have lines of their own.
    fn notes(&mut self, place: usize, feature: &Feature, tree: &str) {
        let home = self.home[place];
        let others: Vec<String> = self.above[place]
            .iter()
            .filter(|link| {
                Some(link.parent) != home && (self.shown[link.parent] || link.change != Change::Same)
            })
            .filter_map(|link| {
                let parent = self.picture.features.get(link.parent)?;
                let sign = if matches!(link.change, Change::Same) || link.change == feature.change {
                    String::new()
                } else {
                    format!("{} ", link.change.sign())
                };
                Some(format!("{sign}{}{}", visible(&parent.key), of(Some(link))))
            })
            .collect();
        if !others.is_empty() {
            let and = if home.is_some() { "and from" } else { "from" };
            let pieces = vec![(Tone::Muted, format!("{and} {}", others.join(", ")))];
            self.rows.push(Row::Note { tree: tree.to_owned(), pieces });
        }
        if self.style.fields && self.style.field_versions {
            let widest = feature.fields.iter().map(|field| columns(&visible(&field.key))).max().unwrap_or(0);
            for field in &feature.fields {
                let pieces = field_line(field, widest, self.style, self.picture.compares);
                self.rows.push(Row::Note { tree: tree.to_owned(), pieces });
            }
        }
    }

    fn legend(&self) -> Vec<String> {
        let drawn =
            self.picture.links.iter().filter(|link| self.shown[link.parent] && self.shown[link.child]);
        let has = |mark: &str| drawn.clone().any(|link| link.mark() == Some(mark));
        let changed = |change: Change| self.picture.features.iter().any(|feature| feature.change == change);
        let mut legend = Vec::new();
        if let hidden @ 1.. = self.shown.iter().filter(|shown| !**shown).count() {
            legend.push(format!("not shown: {}", count(hidden as u64, "unchanged feature")));
        }
        for (shown, line) in [
            (self.repeats, "(*) drawn below its deepest parent"),
            (has("N:1"), "N:1 many rows of the parent become one"),
            (has("1:N"), "1:N one row of the parent becomes many"),
        ] {
            if shown {
                legend.push(line.to_owned());
            }
        }
        let signs = [Change::Added, Change::Removed, Change::Changed, Change::Inherited, Change::Edited];
        let signs: Vec<String> = signs
            .into_iter()
            .filter(|change| changed(*change))
            .map(|change| format!("{} {}", change.sign(), change.words()))
            .collect();
        if !signs.is_empty() {
            legend.push(signs.join("   "));
        }
        legend
    }
}

/// What is special about a link, in parentheses.
fn of(link: Option<&Link>) -> String {
    let marks = link.map(Link::marks).unwrap_or_default();
    if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) }
}

fn field_line(field: &Field, widest: usize, style: &Style, compares: bool) -> Vec<Piece> {
    let sign = if compares { field.change.sign() } else { '·' };
    let key = visible(&field.key);
    let padding = " ".repeat(widest.saturating_sub(columns(&key)));
    let mut pieces = vec![(field.change.tone(), format!("{sign} {key}{padding}"))];
    if let Some(version) = field.version_words(style.version_length) {
        pieces.push((Tone::Muted, version));
    }
    if let Some(code) = field.code_words() {
        pieces.push((Tone::Plain, format!("code {}", visible(&code))));
    }
    if !field.parents.is_empty() {
        pieces.push((Tone::Muted, format!("from {}", visible(&field.parents.join(", ")))));
    }
    pieces
}

//! A picture as a tree of text, one line for a feature: readable at a terminal and in a log.

use std::fmt::Write;

use super::words::{Tone, columns, count, shorten, visible};
use super::{Change, Feature, Field, Link, Picture, Style};

/// How many columns the fields of a feature take at most when they stand in one line.
const FIELDS_WIDTH: usize = 60;

/// How far to the right the longest keys move what stands behind all of them.
const NAME_WIDTH: usize = 72;

/// A piece of a line.
type Piece = (Tone, String);

/// A line of the picture before its columns are aligned.
enum Row {
    Feature {
        change: Change,
        tree: String,
        name: Vec<Piece>,
        version: String,
        status: Vec<Piece>,
        rest: Vec<Piece>,
    },
    Note {
        tree: String,
        pieces: Vec<Piece>,
    },
}

pub(super) fn draw(picture: &Picture, style: &Style) -> String {
    let mut tree = Tree::new(picture, style);
    let is_root = |place: &usize| tree.home[*place].is_none() && tree.shown[*place];
    let roots: Vec<usize> = (0..picture.features.len()).filter(is_root).collect();
    for root in roots {
        tree.feature(root, None, "", "");
    }
    let mut text = aligned(&tree.rows, picture.compares, style.color);
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
        let has = |mark: &str| self.picture.links.iter().any(|link| link.mark() == Some(mark));
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
        let signs = [Change::Added, Change::Removed, Change::Changed, Change::Inherited, Change::Reworded];
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

fn aligned(rows: &[Row], compares: bool, color: bool) -> String {
    let wide = |pieces: &[Piece]| pieces.iter().map(|(_, text)| columns(text)).sum::<usize>();
    let listed = |pieces: &[Piece]| (wide(pieces) + 2 * pieces.len()).saturating_sub(2);
    let (mut names, mut versions, mut statuses) = (0, 0, 0);
    for row in rows {
        if let Row::Feature { tree, name, version, status, .. } = row {
            names = names.max((columns(tree) + wide(name)).min(NAME_WIDTH));
            versions = versions.max(columns(version));
            statuses = statuses.max(listed(status));
        }
    }
    let mut text = String::new();
    for row in rows {
        let margin = if compares { "  " } else { "" };
        let mut line: Vec<Piece> = Vec::new();
        match row {
            Row::Note { tree, pieces } => {
                line.push((Tone::Muted, format!("{margin}{tree}")));
                separated(&mut line, pieces, "  ");
            }
            Row::Feature { change, tree, name, version, status, rest } => {
                if compares {
                    line.push((change.tone(), format!("{} ", change.sign())));
                }
                line.push((Tone::Muted, tree.clone()));
                line.extend(name.iter().map(|(tone, text)| match (tone, change) {
                    (Tone::Key, Change::Same) | (Tone::Muted, _) => (*tone, text.clone()),
                    _ => (change.tone(), text.clone()),
                }));
                let pad = |line: &mut Vec<Piece>, taken: usize, width: usize| {
                    line.push((Tone::Plain, " ".repeat(width.saturating_sub(taken) + 2)));
                };
                pad(&mut line, columns(tree) + wide(name), names);
                if versions > 0 {
                    line.push((Tone::Muted, version.clone()));
                    pad(&mut line, columns(version), versions);
                }
                if statuses > 0 {
                    separated(&mut line, status, ", ");
                    pad(&mut line, listed(status), statuses);
                }
                separated(&mut line, rest, if compares { "; " } else { ", " });
            }
        }
        push_line(&mut text, &line, color);
    }
    text
}

fn separated(line: &mut Vec<Piece>, pieces: &[Piece], separator: &str) {
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            line.push((Tone::Muted, separator.to_owned()));
        }
        line.push(piece.clone());
    }
}

/// Adds a line, without spaces at its end.
fn push_line(text: &mut String, pieces: &[Piece], color: bool) {
    let end = pieces.iter().rposition(|(_, text)| !text.trim_end().is_empty());
    for (at, (tone, piece)) in pieces.iter().enumerate().take(end.map_or(0, |end| end + 1)) {
        let piece = if Some(at) == end { piece.trim_end() } else { piece };
        match code(*tone).filter(|_| color && !piece.trim().is_empty()) {
            // Writing to a String does not fail.
            Some(code) => _ = write!(text, "\x1b[{code}m{piece}\x1b[0m"),
            None => text.push_str(piece),
        }
    }
    text.push('\n');
}

/// The terminal's colour; the sixteen basic ones fit light and dark backgrounds.
fn code(tone: Tone) -> Option<&'static str> {
    Some(match tone {
        Tone::Plain => return None,
        Tone::Key => "1",
        Tone::Muted => "2",
        Tone::Added | Tone::Done => "32",
        Tone::Removed | Tone::Failed => "31",
        Tone::Changed | Tone::Stale => "33",
        Tone::Inherited => "36",
        Tone::New => "34",
        Tone::Orphaned => "35",
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::{Form, Picture, Style};

    fn draw(picture: &Picture, style: &Style) -> String {
        picture.draw(Form::Text, style)
    }

    #[test]
    fn a_graph() {
        let picture = Picture::of_graph(&samples::small());
        assert_eq!(draw(&picture, &Style::default()), include_str!("golden/graph.txt"));
    }

    #[test]
    fn counts_have_a_column() {
        let text = draw(&samples::counted(&samples::small()), &Style::default());
        assert_eq!(text, include_str!("golden/status.txt"));
    }

    #[test]
    fn fields_have_lines_of_their_own_when_their_versions_are_shown() {
        let style = Style { field_versions: true, ..Style::default() };
        let text = draw(&Picture::of_graph(&samples::small()), &style);
        assert_eq!(text, include_str!("golden/verbose.txt"));
    }

    #[test]
    fn a_change() {
        assert_eq!(draw(&samples::changed(), &Style::default()), include_str!("golden/change.txt"));
    }

    #[test]
    fn every_link_is_seen_from_both_ends() {
        let picture = Picture::of_graph(&samples::large(60));
        let text = draw(&picture, &Style { fields: false, versions: false, ..Style::default() });
        for feature in &picture.features {
            let whole = text.lines().filter(|line| {
                let line = line.trim_start_matches(['│', '├', '└', '─', ' ']);
                line.starts_with(&format!("{} ", feature.key)) && !line.ends_with("(*)")
            });
            assert_eq!(whole.count(), 1, "{}", feature.key);
        }
        let repeated = text.lines().filter(|line| line.ends_with("(*)")).count();
        let roots = picture.links_above().iter().filter(|links| links.is_empty()).count();
        assert_eq!(repeated, picture.links.len() - (picture.features.len() - roots));
    }

    #[test]
    fn colours_only_when_asked_for_and_never_from_names() {
        let picture = samples::hostile();
        assert!(!draw(&picture, &Style::default()).contains('\u{1b}'));
        let colored = draw(&picture, &Style { color: true, ..Style::default() });
        let codes: Vec<&str> = colored.split('\u{1b}').skip(1).collect();
        let ours =
            |code: &str| ["[0m", "[1m", "[2m", "[31m", "[33m"].iter().any(|known| code.starts_with(known));
        assert!(codes.len() > 20 && codes.iter().all(|code| ours(code)), "{codes:?}");
        for text in [draw(&picture, &Style::default()), colored] {
            assert!(text.chars().all(|c| c == '\n' || c == '\u{1b}' || !c.is_control()), "{text:?}");
            assert!(!text.contains('\u{202e}') && !text.contains('\u{200b}'));
        }
    }

    #[test]
    fn nothing_at_all() {
        assert_eq!(draw(&Picture::default(), &Style::default()), "0 features\n");
    }
}

//! The box of a feature: its key, versions, fields and counts.

use std::fmt::Write;

use super::super::fit::{columns, shorten, visible, wrap};
use super::super::layout::{Point, Size};
use super::super::words::Tone;
use super::super::xml::{escape, escape_lines};
use super::super::{Change, Feature, Picture, Standing, Status, Style};
use super::{round, text_width};

const KEY_SIZE: f64 = 13.0;
const TEXT_SIZE: f64 = 11.5;
const KEY_LINE: f64 = 17.0;
const TEXT_LINE: f64 = 16.0;
const PADDING: f64 = 12.0;
/// The space between the columns of the fields.
const COLUMN_GAP: f64 = 14.0;
const LEAST_WIDTH: f64 = 150.0;

/// How many columns a line of text, and a key, take at most; and how many lines and fields there are.
const TEXT_COLUMNS: usize = 40;
const KEY_COLUMNS: usize = 32;
const KEY_LINES: usize = 3;
const FIELDS: usize = 12;
const REASONS: usize = 3;

/// What is written into a box, and how large that makes it.
pub(super) struct Card {
    key: Vec<String>,
    /// Lines below the key.
    about: Vec<(Tone, String)>,
    /// Rows of three columns.
    fields: Vec<(Tone, [String; 3])>,
    /// Lines at the bottom.
    notes: Vec<Vec<(Tone, String)>>,
    columns: [f64; 3],
    pub(super) size: Size,
}

impl Card {
    pub(super) fn new(feature: &Feature, picture: &Picture, style: &Style) -> Self {
        let key = wrap(&visible(&feature.key), KEY_COLUMNS, KEY_LINES);
        let mut card = Self {
            key,
            about: about(feature, picture, style),
            fields: fields(feature, style),
            notes: notes(feature, picture),
            columns: [0.0; 3],
            size: Size { width: LEAST_WIDTH, height: 0.0 },
        };
        for (_, row) in &card.fields {
            for (column, text) in card.columns.iter_mut().zip(row) {
                *column = column.max(text_width(text, TEXT_SIZE));
            }
        }
        let used = card.columns.iter().filter(|width| **width > 0.0).count();
        let fields = card.columns.iter().sum::<f64>() + COLUMN_GAP * used.saturating_sub(1) as f64;
        let keys = card.key.iter().map(|line| text_width(line, KEY_SIZE));
        let about = card.about.iter().map(|(_, line)| text_width(line, TEXT_SIZE));
        let notes = card.notes.iter().map(|line| text_width(&joined(line), TEXT_SIZE));
        let inner = keys.chain(about).chain(notes).chain([fields]).fold(0.0, f64::max);
        card.size.width = card.size.width.max((inner + 2.0 * PADDING).ceil());
        card.size.height =
            card.head() + card.block(card.fields.len()) + card.block(card.notes.len()) + bar(feature);
        card
    }

    fn head(&self) -> f64 {
        KEY_LINE * self.key.len() as f64 + TEXT_LINE * self.about.len() as f64 + 13.0
    }

    fn block(&self, lines: usize) -> f64 {
        if lines == 0 { 0.0 } else { TEXT_LINE * lines as f64 + 10.0 }
    }

    /// Draws the card with its corner at this point, at least as large as it needs to be.
    pub(super) fn draw(
        &self,
        svg: &mut String,
        place: usize,
        at: Point,
        size: Size,
        feature: &Feature,
        projects: &[&str],
    ) {
        let (w, h, head) = (round(size.width), round(size.height), round(self.head()));
        let mut classes = format!("card {}", feature.change);
        if feature.standing != Standing::Defined {
            classes.push_str(" elsewhere");
        }
        _ = writeln!(
            svg,
            "<g class=\"{classes}\" id=\"f{place}\" transform=\"translate({} {})\" aria-label=\"{}\">",
            round(at.x),
            round(at.y),
            escape(&feature.key)
        );
        _ = writeln!(svg, "<title>{}</title>", escape_lines(&details(feature)));
        _ = writeln!(svg, "<rect class=\"body\" width=\"{w}\" height=\"{h}\" rx=\"7\"/>");
        let rest = self.fields.len() + self.notes.len() > 0 || bar(feature) > 0.0;
        if rest {
            _ = writeln!(
                svg,
                "<path class=\"head\" d=\"M0 {head}V7a7 7 0 0 1 7 -7H{}a7 7 0 0 1 7 7V{head}Z\"/>",
                w - 7.0
            );
        } else {
            _ = writeln!(svg, "<rect class=\"head\" width=\"{w}\" height=\"{h}\" rx=\"7\"/>");
        }
        if let Some(project) = projects.iter().position(|project| *project == feature.project)
            && projects.len() > 1
        {
            let class = project % super::legend::PROJECT_COLORS;
            _ = writeln!(svg, "<path class=\"project p{class}\" d=\"M7 1.5H{}\"/>", w - 7.0);
        }
        let mut y = 7.0;
        for line in &self.key {
            y += KEY_LINE;
            text(svg, "key", PADDING, y - 3.0, line, "");
        }
        for (tone, line) in &self.about {
            y += TEXT_LINE;
            text(svg, tone.class(), PADDING, y - 3.0, line, "");
        }
        y = self.head();
        y = self.draw_fields(svg, w, y);
        if !self.notes.is_empty() {
            if !self.fields.is_empty() {
                _ = writeln!(svg, "<path class=\"rule\" d=\"M0 {0}H{w}\"/>", round(y));
            }
            y += 5.0;
            for line in &self.notes {
                y += TEXT_LINE;
                let mut x = PADDING;
                for (at, (tone, words)) in line.iter().enumerate() {
                    let words = if at + 1 < line.len() { format!("{words},") } else { words.clone() };
                    text(svg, tone.class(), x, y - 4.0, &words, "");
                    x += text_width(&words, TEXT_SIZE) + text_width(" ", TEXT_SIZE);
                }
            }
        }
        if let Some(Status::Counts { .. }) = feature.status {
            draw_bar(svg, feature, w, h);
        }
        _ = writeln!(svg, "<rect class=\"edge\" width=\"{w}\" height=\"{h}\" rx=\"7\"/>");
        svg.push_str("</g>\n");
    }

    fn draw_fields(&self, svg: &mut String, width: f64, mut y: f64) -> f64 {
        if self.fields.is_empty() {
            return y;
        }
        y += 5.0;
        let second = PADDING + self.columns[0] + COLUMN_GAP;
        for (tone, [key, code, version]) in &self.fields {
            y += TEXT_LINE;
            text(svg, tone.class(), PADDING, y - 4.0, key, "");
            if !code.is_empty() {
                text(svg, tone.class(), second, y - 4.0, code, "");
            }
            if !version.is_empty() {
                text(svg, "muted", width - PADDING, y - 4.0, version, " text-anchor=\"end\"");
            }
        }
        y + 5.0
    }
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: &str, more: &str) {
    _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{}\" y=\"{}\"{more}>{}</text>",
        round(x),
        round(y),
        escape(text)
    );
}

fn joined(line: &[(Tone, String)]) -> String {
    line.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>().join(", ")
}

/// The lines below the key: what has become of it, version, project, where it is defined.
fn about(feature: &Feature, picture: &Picture, style: &Style) -> Vec<(Tone, String)> {
    let mut about = Vec::new();
    if picture.compares && feature.change != Change::Same {
        about.push((feature.change.tone(), feature.change.words().to_owned()));
    }
    let mut words = Vec::new();
    if style.versions {
        words.extend(feature.version_words(style.version_length));
    }
    if picture.has_projects() && !feature.project.is_empty() {
        words.push(feature.project.clone());
    }
    words.extend(feature.standing_words().map(str::to_owned));
    if !words.is_empty() {
        about.push((Tone::Muted, shorten(&visible(&words.join(" · ")), TEXT_COLUMNS)));
    }
    about
}

fn fields(feature: &Feature, style: &Style) -> Vec<(Tone, [String; 3])> {
    if !style.fields {
        return Vec::new();
    }
    let shown = if feature.fields.len() > FIELDS { FIELDS - 1 } else { FIELDS };
    let mut rows: Vec<(Tone, [String; 3])> = Vec::new();
    for field in feature.fields.iter().take(shown) {
        let sign = match field.change {
            Change::Same => String::new(),
            change => format!("{} ", change.sign()),
        };
        let key = shorten(&format!("{sign}{}", visible(&field.key)), TEXT_COLUMNS * 3 / 4);
        let code =
            field.code_words().map_or_else(String::new, |code| shorten(&visible(&code), TEXT_COLUMNS / 2));
        let version = field.version_words(style.version_length).filter(|_| style.field_versions);
        rows.push((field.change.tone(), [key, code, version.unwrap_or_default()]));
    }
    if feature.fields.len() > shown {
        let more = format!("and {} more", feature.fields.len() - shown);
        rows.push((Tone::Muted, [more, String::new(), String::new()]));
    }
    rows
}

/// The lines at the bottom: samples, counts, and reasons that no field shows.
fn notes(feature: &Feature, picture: &Picture) -> Vec<Vec<(Tone, String)>> {
    let mut notes = Vec::new();
    if let Some(words) = feature.samples_words() {
        notes.push(vec![(feature.change.tone(), words)]);
    }
    if picture.compares {
        let reasons = feature.reasons.iter().take(REASONS);
        let lines = reasons.flat_map(|reason| wrap(&visible(reason), TEXT_COLUMNS, 2));
        notes.extend(lines.map(|line| vec![(Tone::Muted, line)]));
    }
    let mut line: Vec<(Tone, String)> = Vec::new();
    for (tone, words) in feature.status.iter().flat_map(Status::words) {
        let words = shorten(&visible(&words), TEXT_COLUMNS);
        if !line.is_empty() && columns(&joined(&line)) + 2 + columns(&words) > TEXT_COLUMNS * 4 / 5 {
            notes.push(std::mem::take(&mut line));
        }
        line.push((tone, words));
    }
    if !line.is_empty() {
        notes.push(line);
    }
    notes
}

/// The height of the bar of counts.
fn bar(feature: &Feature) -> f64 {
    if matches!(feature.status, Some(Status::Counts { .. })) { 6.0 } else { 0.0 }
}

/// A bar at the bottom that shows the shares of the counts.
fn draw_bar(svg: &mut String, feature: &Feature, width: f64, height: f64) {
    let Some(Status::Counts { new, stale, orphaned, pending, up_to_date }) = feature.status else { return };
    let parts =
        [("done", up_to_date), ("new", new), ("stale", stale), ("orphaned", orphaned), ("pending", pending)];
    let all: u64 = parts.iter().map(|(_, count)| count).sum();
    let (room, y) = (width - 2.0 * PADDING, height - 9.0);
    _ = writeln!(
        svg,
        "<rect class=\"track\" x=\"{PADDING}\" y=\"{}\" width=\"{}\" height=\"4\"/>",
        round(y),
        round(room)
    );
    let mut x = PADDING;
    for (class, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        // A single sample must be seen, too.
        let share = (room * count as f64 / all as f64).max(2.0).min(PADDING + room - x);
        _ = writeln!(
            svg,
            "<rect class=\"bar {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"4\"/>",
            round(x),
            round(y),
            round(share)
        );
        x += share;
    }
}

/// What is shown when the pointer rests on the card.
fn details(feature: &Feature) -> String {
    let mut lines = vec![feature.key.clone()];
    lines.extend(feature.description.clone());
    if !feature.project.is_empty() {
        lines.push(format!("project {}", feature.project));
    }
    lines.extend(feature.standing_words().map(str::to_owned));
    if let Some(version) = feature.version_words(usize::MAX) {
        lines.push(format!("version {version}"));
    }
    if !feature.id_columns.is_empty() {
        lines.push(format!("id columns {}", feature.id_columns.join(", ")));
    }
    for field in &feature.fields {
        let mut line = format!("field {}", field.key);
        if let Some(code) = field.code_words() {
            line.push_str(&format!(", code version {code}"));
        }
        if let Some(version) = field.version_words(usize::MAX) {
            line.push_str(&format!(", version {version}"));
        }
        if !field.parents.is_empty() {
            line.push_str(&format!(", from {}", field.parents.join(", ")));
        }
        lines.push(line);
    }
    if feature.change != Change::Same {
        lines.push(feature.change.words().to_owned());
        lines.extend(feature.why());
    }
    lines.extend(feature.status.iter().flat_map(Status::words).map(|(_, words)| words));
    lines.join("\n")
}

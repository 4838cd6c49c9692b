//! A picture as a Graphviz graph.

use std::fmt::Write;

use super::fit::{shorten, visible};
use super::xml::escape;
use super::{Change, Direction, Feature, Field, Link, Picture, Standing, Style};

const FONT: &str = "Helvetica,Arial,sans-serif";
const MUTED: &str = "#667384";

/// How much of a name is shown, and how many fields are.
const NAME: usize = 80;
const FIELDS: usize = 12;

pub(super) fn draw(picture: &Picture, style: &Style) -> String {
    let mut text = String::from("digraph features {\n");
    let direction = if style.direction == Direction::Right { "LR" } else { "TB" };
    // Writing to a String does not fail.
    _ = writeln!(text, "  graph [rankdir={direction}, ranksep=0.6, nodesep=0.35, fontname=\"{FONT}\"];");
    _ = writeln!(text, "  node [shape=plain, fontname=\"{FONT}\", fontsize=11];");
    _ = writeln!(
        text,
        "  edge [color=\"#93a1b1\", fontcolor=\"#5b43a3\", fontname=\"{FONT}\", fontsize=10, arrowsize=0.7];"
    );
    let projects = picture.has_projects();
    for (place, feature) in picture.features.iter().enumerate() {
        _ = writeln!(
            text,
            "  f{place} [tooltip=\"{}\", label=<{}>];",
            quoted(&feature.key),
            table(feature, projects, style)
        );
    }
    for link in &picture.links {
        _ = writeln!(text, "  f{} -> f{}{};", link.parent, link.child, attributes(link));
    }
    text.push_str("}\n");
    text
}

fn table(feature: &Feature, projects: bool, style: &Style) -> String {
    let (border, head) = colors(feature.change);
    let dashed = if feature.standing == Standing::Defined { "" } else { ", dashed" };
    let mut rows = format!("<tr><td colspan=\"3\" bgcolor=\"{head}\"><b>{}</b>", shown(&feature.key));
    let mut about = Vec::new();
    if style.versions {
        about.extend(feature.version_words(style.version_length));
    }
    if projects && !feature.project.is_empty() {
        about.push(feature.project.clone());
    }
    about.extend(feature.standing_words().map(str::to_owned));
    if feature.change != Change::Same {
        about.push(feature.change.words().to_owned());
    }
    if !about.is_empty() {
        let about = shown(&about.join(" · "));
        _ = write!(
            rows,
            "</td></tr><tr><td colspan=\"3\" bgcolor=\"{head}\"><font color=\"{MUTED}\">{about}</font>"
        );
    }
    rows.push_str("</td></tr>");
    let fields: Vec<&Field> = feature.fields.iter().filter(|_| style.fields).collect();
    for field in fields.iter().take(FIELDS) {
        rows.push_str(&row(field, style));
    }
    if let more @ 1.. = fields.len().saturating_sub(FIELDS) {
        rows.push_str(&line(&format!("and {more} more")));
    }
    let mut notes: Vec<String> = feature.samples_words().into_iter().collect();
    notes.extend(feature.reasons.iter().filter(|_| feature.change != Change::Same).take(FIELDS).cloned());
    let status: Vec<String> =
        feature.status.iter().flat_map(super::Status::words).map(|(_, words)| words).collect();
    if !status.is_empty() {
        notes.push(status.join(", "));
    }
    rows.extend(notes.iter().map(|note| line(note)));
    format!(
        "<table border=\"1\" cellborder=\"0\" cellspacing=\"0\" cellpadding=\"3\" bgcolor=\"white\" \
         color=\"{border}\" style=\"rounded{dashed}\">{rows}</table>"
    )
}

fn row(field: &Field, style: &Style) -> String {
    let (color, _) = colors(field.change);
    let sign = if field.change == Change::Same { String::new() } else { format!("{} ", field.change.sign()) };
    let key = shown(&format!("{sign}{}", field.key));
    let key =
        if field.change == Change::Same { key } else { format!("<font color=\"{color}\">{key}</font>") };
    let code = field.code_words().map(|code| shown(&code)).unwrap_or_default();
    let version = field.version_words(style.version_length).filter(|_| style.field_versions);
    let version = version.map(|version| format!("<font color=\"{MUTED}\">{}</font>", shown(&version)));
    format!(
        "<tr><td align=\"left\">{key}</td><td align=\"right\">{code}</td><td align=\"right\">{}</td></tr>",
        version.unwrap_or_default()
    )
}

fn line(text: &str) -> String {
    format!("<tr><td colspan=\"3\" align=\"left\"><font color=\"{MUTED}\">{}</font></td></tr>", shown(text))
}

fn attributes(link: &Link) -> String {
    let mut attributes = Vec::new();
    if let Some(mark) = link.mark() {
        attributes.push(format!("label=\" {mark} \""));
    }
    if link.optional {
        attributes.push("style=dashed".to_owned());
    }
    match link.change {
        Change::Same => {}
        Change::Removed => attributes.push("color=\"#c9635e\", style=dotted".to_owned()),
        change => attributes.push(format!("color=\"{}\", penwidth=2", colors(change).0)),
    }
    if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) }
}

/// The colours of a change: of lines, and of a heading's ground.
fn colors(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Same => ("#9aa8b7", "#eaeff5"),
        Change::Added => ("#3f8f5e", "#dcf1e3"),
        Change::Removed => ("#b9524d", "#fae1e0"),
        Change::Changed => ("#8f6000", "#fbeac4"),
        Change::Inherited => ("#a8802e", "#fdf6e3"),
        Change::Edited => ("#6b8fbf", "#e3ecf8"),
    }
}

/// For a label, which reads like HTML.
fn shown(text: &str) -> String {
    // Graphviz takes no apostrophes as numbers in every version, and needs none.
    escape(&shorten(text, NAME)).replace("&#39;", "'")
}

/// For a text in quotes.
fn quoted(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::{Form, Picture, Style};
    use super::{quoted, shown};

    #[test]
    fn a_graph() {
        let text = Picture::of_graph(&samples::small()).draw(Form::Dot, &Style::default());
        assert_eq!(text, include_str!("golden/graph.dot"));
    }

    #[test]
    fn a_change() {
        assert_eq!(samples::changed().draw(Form::Dot, &Style::default()), include_str!("golden/change.dot"));
    }

    #[test]
    fn names_stay_within_their_labels() {
        assert_eq!(quoted("a\"b\\\n"), "a\\\"b\\\\\\\\u{a}");
        assert_eq!(shown("<b>&'"), "&lt;b&gt;&amp;'");
        let text = samples::hostile().draw(Form::Dot, &Style::default());
        // One line for each feature and link, whatever the names say.
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(lines("  f"), 13 + 12);
        assert_eq!(text.lines().count(), 13 + 12 + 5);
        let labels = text.lines().filter_map(|line| line.split_once("label=<"));
        assert!(labels.into_iter().all(|(_, label)| !label.contains("<script")));
    }
}

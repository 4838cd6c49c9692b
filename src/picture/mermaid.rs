//! A picture as a Mermaid flowchart.

use std::fmt::Write;

use super::fit::{shorten, visible};
use super::{Change, Direction, Feature, Link, Picture, Standing, Style};

/// How much of a name is shown: Mermaid refuses texts of more than 50,000 characters.
const NAME: usize = 80;

/// How many fields are listed.
const FIELDS: usize = 12;

/// The colours of changes, which look well on light and on dark pages.
const CLASSES: [(Change, &str); 5] = [
    (Change::Added, "fill:#dcf1e3,stroke:#4d9f6c,color:#173d27"),
    (Change::Removed, "fill:#fae1e0,stroke:#c9635e,color:#5c1f1c,stroke-dasharray:6 3"),
    (Change::Changed, "fill:#fbeac4,stroke:#cb9426,color:#4a3508"),
    (Change::Inherited, "fill:#fdf6e3,stroke:#ddb866,color:#4a3508"),
    (Change::Edited, "fill:#e3ecf8,stroke:#7f9fc9,color:#1f3654"),
];

pub(super) fn draw(picture: &Picture, style: &Style) -> String {
    let mut text = String::new();
    let direction = if style.direction == Direction::Right { "LR" } else { "TD" };
    // Writing to a String does not fail.
    _ = writeln!(text, "flowchart {direction}");
    _ = writeln!(text, "    accTitle: {}", plain(&picture.title));
    _ = writeln!(text, "    accDescr: {}", plain(&picture.summary()));
    let projects = picture.has_projects();
    for (place, feature) in picture.features.iter().enumerate() {
        _ = writeln!(text, "    f{place}[\"{}\"]", label(feature, projects, style));
    }
    for link in &picture.links {
        _ = writeln!(text, "    f{} {} f{}", link.parent, arrow(link), link.child);
    }
    if picture.compares {
        for (change, look) in CLASSES {
            class(&mut text, picture, &change.to_string(), look, |feature| feature.change == change);
        }
        for (change, look) in [
            (Change::Added, "stroke:#4d9f6c,stroke-width:2px"),
            (Change::Removed, "stroke:#c9635e,stroke-width:2px,stroke-dasharray:2 4"),
            (Change::Changed, "stroke:#cb9426,stroke-width:2px"),
        ] {
            let links = picture.links.iter().enumerate().filter(|(_, link)| link.change == change);
            let links: Vec<String> = links.map(|(place, _)| place.to_string()).collect();
            if !links.is_empty() {
                _ = writeln!(text, "    linkStyle {} {look}", links.join(","));
            }
        }
    }
    class(&mut text, picture, "elsewhere", "stroke-dasharray:4 3", |f| f.standing != Standing::Defined);
    text
}

fn class(text: &mut String, picture: &Picture, name: &str, look: &str, of: impl Fn(&Feature) -> bool) {
    let features = picture.features.iter().enumerate().filter(|(_, feature)| of(feature));
    let features: Vec<String> = features.map(|(place, _)| format!("f{place}")).collect();
    if !features.is_empty() {
        _ = writeln!(text, "    classDef {name} {look}");
        _ = writeln!(text, "    class {} {name}", features.join(","));
    }
}

fn label(feature: &Feature, projects: bool, style: &Style) -> String {
    let mut lines = vec![format!("<b>{}</b>", encoded(&feature.key))];
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
        lines.push(format!("<i>{}</i>", encoded(&about.join(" · "))));
    }
    let fields = feature.fields.iter().filter(|_| style.fields);
    for field in fields.clone().take(FIELDS) {
        let sign =
            if field.change == Change::Same { String::new() } else { format!("{} ", field.change.sign()) };
        let mut words = vec![format!("{sign}{}", field.key)];
        words.extend(field.code_words());
        words.extend(field.version_words(style.version_length).filter(|_| style.field_versions));
        lines.push(words.iter().map(|word| encoded(word)).collect::<Vec<_>>().join(" "));
    }
    if let more @ 1.. = fields.count().saturating_sub(FIELDS) {
        lines.push(format!("and {more} more"));
    }
    lines.extend(feature.samples_words().map(|words| encoded(&words)));
    let reasons = feature.reasons.iter().filter(|_| feature.change != Change::Same);
    lines.extend(reasons.take(FIELDS).map(|reason| encoded(reason)));
    let status = feature.status.iter().flat_map(super::Status::words);
    let status: Vec<String> = status.map(|(_, words)| encoded(&words)).collect();
    if !status.is_empty() {
        lines.push(status.join(", "));
    }
    lines.join("<br/>")
}

fn arrow(link: &Link) -> String {
    let marks = [link.mark(), link.optional.then_some("optional")];
    let marks: Vec<&str> = marks.into_iter().flatten().collect();
    let line = if link.optional { "-.->" } else { "-->" };
    if marks.is_empty() { line.to_owned() } else { format!("{line}|\"{}\"|", marks.join(", ")) }
}

/// The text with everything that means something to Mermaid, Markdown or HTML as the number of its character.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for c in shorten(&visible(text), NAME).chars() {
        let harmless = c.is_alphanumeric() || matches!(c, ' ' | '/' | '.' | ',' | '→' | '·' | '…' | '+');
        // Mermaid takes a hyphen or an underscore between letters as what it is.
        if harmless || matches!(c, '-' | '_' | ':' | '(' | ')' | '=') {
            encoded.push(c);
        } else {
            _ = write!(encoded, "#{};", u32::from(c));
        }
    }
    encoded
}

/// The text for a line of its own, where nothing can be encoded.
fn plain(text: &str) -> String {
    let harmless =
        |c: char| c.is_alphanumeric() || matches!(c, ' ' | '/' | '.' | ',' | '→' | '·' | '-' | '_');
    let text: String = visible(text).chars().map(|c| if harmless(c) { c } else { ' ' }).collect();
    shorten(text.trim(), NAME * 2)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::{Form, Picture, Style};
    use super::{encoded, plain};

    #[test]
    fn a_graph() {
        let text = Picture::of_graph(&samples::small()).draw(Form::Mermaid, &Style::default());
        assert_eq!(text, include_str!("golden/graph.mmd"));
    }

    #[test]
    fn a_change() {
        assert_eq!(
            samples::changed().draw(Form::Mermaid, &Style::default()),
            include_str!("golden/change.mmd")
        );
    }

    #[test]
    fn names_stay_within_their_labels() {
        assert_eq!(encoded("a\"]<b>#&;`%"), "a#34;#93;#60;b#62;#35;#38;#59;#96;#37;");
        assert_eq!(encoded("video/crop_1-b (x)"), "video/crop_1-b (x)");
        assert_eq!(plain("a\n{b}: c"), "a u a  b   c");
        let text = samples::hostile().draw(Form::Mermaid, &Style::default());
        for line in text.lines().filter(|line| line.contains('[')) {
            let label = line.split_once("[\"").and_then(|(_, rest)| rest.strip_suffix("\"]"));
            let label = label.unwrap_or_else(|| panic!("{line}"));
            let bare = ["<b>", "</b>", "<i>", "</i>", "<br/>"]
                .iter()
                .fold(label.to_owned(), |l, tag| l.replace(tag, ""));
            assert!(!bare.contains(['"', '<', '>', '[', ']', '`', '{', '}', '%', '|']), "{line}");
        }
    }
}

//! The words that all formats use: versions, counts, changes, and names made fit to be shown.

use std::fmt;

use super::{Change, Feature, Field, Link, Picture, Standing, Status};
use crate::model::Lineage;

/// What stands for the code version that was never given, where something has to stand.
const NO_CODE_VERSION: &str = "none";

/// What a piece of text is about; each format has its own way to make that seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Muted,
    Key,
    Added,
    Removed,
    Changed,
    Inherited,
    New,
    Stale,
    Orphaned,
    Done,
    Failed,
}

impl Tone {
    /// The name of its class in SVG and Mermaid.
    pub(super) fn class(self) -> &'static str {
        match self {
            Tone::Plain => "plain",
            Tone::Muted => "muted",
            Tone::Key => "key",
            Tone::Added => "added",
            Tone::Removed => "removed",
            Tone::Changed => "changed",
            Tone::Inherited => "inherited",
            Tone::New => "new",
            Tone::Stale => "stale",
            Tone::Orphaned => "orphaned",
            Tone::Done => "done",
            Tone::Failed => "failed",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Same => "unchanged",
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
            Change::Inherited => "inherited",
            Change::Reworded => "reworded",
        })
    }
}

impl Change {
    /// What stands before a changed line, also where there are no colours.
    pub(super) fn sign(self) -> char {
        match self {
            Change::Same => ' ',
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
            Change::Inherited => '^',
            Change::Reworded => '*',
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Change::Same => "unchanged",
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
            Change::Inherited => "changed through parents",
            Change::Reworded => "edited, same version",
        }
    }

    pub(super) fn tone(self) -> Tone {
        match self {
            Change::Same => Tone::Plain,
            Change::Added => Tone::Added,
            Change::Removed => Tone::Removed,
            Change::Changed => Tone::Changed,
            Change::Inherited => Tone::Inherited,
            Change::Reworded => Tone::Muted,
        }
    }
}

impl Feature {
    /// Why it has changed, one phrase each: what its fields say, then the rest.
    pub fn why(&self) -> Vec<String> {
        let whole = matches!(self.change, Change::Added | Change::Removed);
        let fields = self.fields.iter().filter(|_| !whole).filter_map(Field::why);
        fields.chain(self.reasons.iter().cloned()).collect()
    }

    /// How many stored samples its change concerns, in words.
    pub(super) fn samples_words(&self) -> Option<String> {
        let samples = self.samples.filter(|samples| *samples > 0)?;
        Some(match self.change {
            Change::Removed => format!("{} left without a definition", count(samples, "sample")),
            _ => format!("{} to recompute", count(samples, "sample")),
        })
    }

    /// What is unusual about its definition.
    pub(super) fn standing_words(&self) -> Option<&'static str> {
        match self.standing {
            Standing::Defined => None,
            Standing::External => Some("external"),
            Standing::Undefined => Some("not defined"),
        }
    }

    /// Its version, and the one before if it had another one.
    pub(super) fn version_words(&self, length: usize) -> Option<String> {
        versions(self.previous_version.as_deref(), self.version.as_deref(), length)
    }
}

impl Field {
    fn why(&self) -> Option<String> {
        match (self.change, &self.previous_code_version) {
            (Change::Added | Change::Removed, _) => {
                Some(format!("field {} {}", self.key, self.change.words()))
            }
            (Change::Changed, Some(was)) => {
                let (was, is) = (known(was.as_deref()), known(self.code_version.as_deref()));
                Some(format!("field {}: code version {was} → {is}", self.key))
            }
            (Change::Changed, None) => Some(format!("field {} depends on other fields", self.key)),
            _ => None,
        }
    }

    /// Its code version, and the one before if it had another one; nothing if it has none.
    pub(super) fn code_words(&self) -> Option<String> {
        match &self.previous_code_version {
            Some(was) => Some(format!("{} → {}", known(was.as_deref()), known(self.code_version.as_deref()))),
            None => self.code_version.clone(),
        }
    }

    pub(super) fn version_words(&self, length: usize) -> Option<String> {
        versions(self.previous_version.as_deref(), self.version.as_deref(), length)
    }
}

impl Link {
    /// The lineage, where it is not one to one.
    pub(super) fn mark(&self) -> Option<&'static str> {
        match self.lineage {
            Lineage::Identity => None,
            Lineage::Aggregation { .. } => Some("N:1"),
            Lineage::Expansion { .. } => Some("1:N"),
        }
    }

    /// Everything that is special about it, short.
    pub(super) fn marks(&self) -> Vec<&'static str> {
        let special =
            [self.mark(), self.optional.then_some("optional"), self.has_filter().then_some("filtered")];
        special.into_iter().flatten().collect()
    }

    pub(super) fn has_filter(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Everything about it in sentences, for who looks closely.
    pub(super) fn details(&self, picture: &Picture) -> String {
        let key = |place: usize| picture.features.get(place).map_or("", |feature| &feature.key);
        let mut lines = vec![format!("{} → {}", key(self.parent), key(self.child))];
        match &self.lineage {
            Lineage::Identity => lines.push("1:1, one row for one row".to_owned()),
            Lineage::Aggregation { on: None } => lines.push("N:1, many rows become one".to_owned()),
            Lineage::Aggregation { on: Some(on) } => {
                lines.push(format!("N:1, many rows become one, by {}", on.join(", ")));
            }
            Lineage::Expansion { on, .. } => {
                lines.push(format!("1:N, one row becomes many, by {}", on.join(", ")));
            }
        }
        if self.optional {
            lines.push("optional".to_owned());
        }
        lines.extend(self.renames.iter().map(|(old, new)| format!("rename {old} → {new}")));
        lines.extend(self.filters.iter().map(|filter| format!("filter {filter}")));
        if self.change != Change::Same {
            lines.push(self.change.words().to_owned());
        }
        lines.join("\n")
    }
}

impl Status {
    /// The counts that are not zero, in words.
    pub(super) fn words(&self) -> Vec<(Tone, String)> {
        match self {
            Status::Counts { new, stale, orphaned, pending, up_to_date } => {
                let all = [
                    (Tone::New, *new, "new"),
                    (Tone::Stale, *stale, "stale"),
                    (Tone::Orphaned, *orphaned, "orphaned"),
                    (Tone::Muted, *pending, "pending"),
                    (Tone::Done, *up_to_date, "up to date"),
                ];
                let some = all.into_iter().filter(|(_, count, _)| *count > 0);
                let words: Vec<_> =
                    some.map(|(tone, count, word)| (tone, format!("{} {word}", number(count)))).collect();
                if words.is_empty() { vec![(Tone::Muted, "no samples".to_owned())] } else { words }
            }
            Status::Stored(0) => vec![(Tone::Muted, "no samples".to_owned())],
            Status::Stored(samples) => vec![(Tone::Done, count(*samples, "sample"))],
            Status::Unknown(reason) => vec![(Tone::Failed, reason.clone())],
        }
    }
}

impl Picture {
    /// What the picture shows, in one line.
    pub(super) fn summary(&self) -> String {
        let mut parts = vec![count(self.features.len() as u64, "feature")];
        let projects = self.projects();
        if projects.len() > 1 {
            parts.push(count(projects.len() as u64, "project"));
        }
        if !self.compares {
            return parts.join(", ");
        }
        if !self.has_changes() {
            parts.push("no changes".to_owned());
        }
        let changes = [Change::Added, Change::Removed, Change::Changed, Change::Inherited, Change::Reworded];
        for change in changes {
            let features = self.features.iter().filter(|feature| feature.change == change).count();
            if features > 0 {
                parts.push(format!("{} {}", number(features as u64), change.words()));
            }
        }
        let again = self.features.iter().filter(|feature| feature.change.is_new_version());
        let samples: u64 = again.filter_map(|feature| feature.samples).sum();
        if samples > 0 {
            parts.push(format!("{} to recompute", count(samples, "sample")));
        }
        parts.join(", ")
    }
}

fn known(code_version: Option<&str>) -> &str {
    code_version.unwrap_or(NO_CODE_VERSION)
}

fn versions(before: Option<&str>, now: Option<&str>, length: usize) -> Option<String> {
    let short = |version: &str| visible(&version.chars().take(length).collect::<String>());
    match (before, now) {
        (Some(before), Some(now)) => Some(format!("{} → {}", short(before), short(now))),
        (Some(before), None) => Some(format!("{} → unknown", short(before))),
        (None, now) => now.map(short),
    }
}

/// A number and a noun in the right form.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", self::number(number), if number == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The text with everything written out that would not show, or would change how the rest shows: control
/// characters (a terminal obeys them), marks that turn the direction of writing, spaces without width.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(u32::from(c), 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
                | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xfff9..=0xfffb | 0xfffe | 0xffff | 0xe0000..=0xe0fff);
        if hidden {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// How many columns of a fixed-width font the text takes: two for East Asian letters and pictographs.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xa960..=0xa97f
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f000..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The text, cut to so many columns with an ellipsis at its end.
pub(super) fn shorten(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let (mut short, mut taken) = (String::new(), 1);
    for c in text.chars() {
        taken += char_columns(c);
        if taken > most {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

/// The text in lines of at most so many columns, broken behind a separator where there is one; what doesn't fit
/// into so many lines is cut.
pub(super) fn wrap(text: &str, width: usize, lines: usize) -> Vec<String> {
    let (mut wrapped, mut rest) = (Vec::new(), text);
    while columns(rest) > width && wrapped.len() + 1 < lines {
        let (mut taken, mut fits, mut after_separator) = (0, 0, 0);
        for (at, c) in rest.char_indices() {
            taken += char_columns(c);
            if taken > width {
                break;
            }
            fits = at + c.len_utf8();
            if matches!(c, '/' | '_' | '-' | ' ' | ',') {
                after_separator = fits;
            }
        }
        // A break far to the left looks worse than one within a word.
        let cut = if after_separator * 3 >= fits { after_separator } else { fits };
        let (line, left) = rest.split_at(cut.max(rest.chars().next().map_or(1, char::len_utf8)));
        wrapped.push(line.trim_end().to_owned());
        rest = left.trim_start();
    }
    if !rest.is_empty() || wrapped.is_empty() {
        wrapped.push(shorten(rest, width));
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let shown = [0, 7, 999, 1_000, 12_345, 1_234_567].map(number);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!((count(1, "sample"), count(2, "sample")), ("1 sample".to_owned(), "2 samples".to_owned()));
    }

    #[test]
    fn nothing_hides() {
        assert_eq!(visible("a\u{1b}[31m\u{202e}b\n"), "a\\u{1b}[31m\\u{202e}b\\u{a}");
        assert_eq!(visible("größe 大 <b>"), "größe 大 <b>");
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!((columns("abc"), columns("大a"), columns("e\u{301}")), (3, 3, 1));
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("大大大", 5), "大大…");
    }

    #[test]
    fn keys_break_behind_separators() {
        assert_eq!(wrap("video/crop", 20, 3), ["video/crop"]);
        assert_eq!(wrap("video/raw/frames/faces", 12, 3), ["video/raw/", "frames/faces"]);
        assert_eq!(wrap("abcdefghijkl", 5, 2), ["abcde", "fghi…"]);
        assert_eq!(wrap("大大大大", 3, 9), ["大", "大", "大", "大"]);
        assert_eq!(wrap("大大", 1, 9), ["大", "大"]);
        assert_eq!(wrap("", 5, 2), [""]);
    }
}

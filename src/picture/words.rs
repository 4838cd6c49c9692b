//! The words that all formats use: for versions, counts, links and changes.

use std::fmt;

use super::fit::visible;
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
            Change::Edited => "edited",
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
            Change::Edited => '*',
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Change::Same => "unchanged",
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
            Change::Inherited => "changed through parents",
            Change::Edited => "edited, same version",
        }
    }

    pub(super) fn tone(self) -> Tone {
        match self {
            Change::Same => Tone::Plain,
            Change::Added => Tone::Added,
            Change::Removed => Tone::Removed,
            Change::Changed => Tone::Changed,
            Change::Inherited => Tone::Inherited,
            Change::Edited => Tone::Muted,
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
        let some = |samples: Option<u64>| samples.filter(|samples| *samples > 0);
        let words = match self.change {
            Change::Removed => [
                some(self.samples)
                    .map(|samples| format!("{} left without a definition", count(samples, "sample"))),
                None,
                None,
            ],
            _ => [
                some(self.samples).map(|samples| format!("{} to recompute", count(samples, "sample"))),
                some(self.new).map(|samples| format!("{} new", number(samples))),
                some(self.orphaned).map(|samples| format!("{} orphaned", number(samples))),
            ],
        };
        let words: Vec<String> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
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
        let changes = [Change::Added, Change::Removed, Change::Changed, Change::Inherited, Change::Edited];
        for change in changes {
            let features = self.features.iter().filter(|feature| feature.change == change).count();
            if features > 0 {
                parts.push(format!("{} {}", number(features as u64), change.words()));
            }
        }
        let again = self.features.iter().filter(|feature| feature.change != Change::Removed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let shown = [0, 7, 999, 1_000, 12_345, 1_234_567].map(number);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!((count(1, "sample"), count(2, "sample")), ("1 sample".to_owned(), "2 samples".to_owned()));
    }
}

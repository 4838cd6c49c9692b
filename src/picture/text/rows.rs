//! Lines of pieces: columns below each other, and colours for a terminal.

use std::fmt::Write;

use super::super::Change;
use super::super::fit::columns;
use super::super::words::Tone;

/// How far to the right the longest keys move what stands behind all of them.
const NAME_WIDTH: usize = 72;

/// A piece of a line.
pub(super) type Piece = (Tone, String);

/// A line of the picture before its columns are aligned.
pub(super) enum Row {
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

/// The lines with their columns below each other.
pub(super) fn aligned(rows: &[Row], compares: bool, color: bool) -> String {
    let wide = |pieces: &[Piece]| pieces.iter().map(|(_, text)| columns(text)).sum::<usize>();
    let listed = |pieces: &[Piece]| (wide(pieces) + 2 * pieces.len()).saturating_sub(2);
    let (mut names, mut versions, mut statuses) = (0, 0, 0);
    for row in rows {
        if let Row::Feature { tree, name, version, status, rest, .. } = row
            // What only refers to another line has nothing to align.
            && !(version.is_empty() && status.is_empty() && rest.is_empty())
        {
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
pub(super) fn push_line(text: &mut String, pieces: &[Piece], color: bool) {
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

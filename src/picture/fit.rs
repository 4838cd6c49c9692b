//! Text made fit to be shown: nothing that hides, and no more of it than there is room for.

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

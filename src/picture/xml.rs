//! Text in XML and HTML.

use super::fit::visible;

/// The text as content or attribute of an element, with nothing that could end either.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The same for text of several lines, whose line ends stay.
pub(super) fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out() {
        assert_eq!(escape("</title>&\"'\u{0}"), "&lt;/title&gt;&amp;&quot;&#39;\\u{0}");
        assert_eq!(escape_lines("a<\nb\r"), "a&lt;\nb\\u{d}");
    }
}

//! The formats of a picture, and what is to be seen in it.

use super::{Picture, dot, html, mermaid, svg, text};

/// How a picture is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A tree for a terminal.
    Text,
    /// Mermaid, as GitHub and many wikis draw it.
    Mermaid,
    /// Graphviz DOT.
    Dot,
    /// An SVG image that needs nothing else.
    Svg,
    /// A page around that image, which needs nothing else either: features light up with their relatives.
    Html,
}

/// Where children are drawn, seen from their parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Wherever the picture has the better proportions. Mermaid and DOT, laid out by others, go down.
    #[default]
    Auto,
    /// Below them.
    Down,
    /// To the right of them.
    Right,
}

/// What is to be seen in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// Show the fields, with their code versions.
    pub fields: bool,
    /// Show the features' versions.
    pub versions: bool,
    /// Show the fields' versions too.
    pub field_versions: bool,
    /// How many characters of a version are shown.
    pub version_length: usize,
    /// Where children are drawn. Text has no choice.
    pub direction: Direction,
    /// Colours in text, for a terminal. The other formats have theirs always.
    pub color: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            fields: true,
            versions: true,
            field_versions: false,
            version_length: 8,
            direction: Direction::Auto,
            color: false,
        }
    }
}

impl Picture {
    /// The picture in this format. Names may contain anything: they are escaped as the format needs it.
    ///
    /// The same picture always gives the same text.
    pub fn draw(&self, form: Form, style: &Style) -> String {
        match form {
            Form::Text => text::draw(self, style),
            Form::Mermaid => mermaid::draw(self, style),
            Form::Dot => dot::draw(self, style),
            Form::Svg => svg::draw(self, style),
            Form::Html => html::draw(self, style),
        }
    }
}

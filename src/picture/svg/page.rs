//! The colours of a picture.

/// Plain colours first, for programs that know no more; then those for a dark background.
pub(in crate::picture) const STYLE: &str = include_str!("style.css");

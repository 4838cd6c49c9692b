//! A picture as an SVG image: no script, no font and no file from elsewhere, in light and dark colours.

mod card;
mod legend;
mod lines;

use std::fmt::Write;

use self::card::Card;
use super::fit::{columns, shorten, visible};
use super::layout::{Layout, Point, Size};
use super::xml::escape;
use super::{Picture, Style};

/// Plain colours first, for programs that know no more; then those for a dark background.
const STYLE: &str = include_str!("style.css");

/// The room around the picture, in pixels.
const MARGIN: f64 = 28.0;

/// The room for the heading above it.
const HEADING: f64 = 54.0;

/// How wide one column of the fixed-width font is, in parts of the font's size: that of the widest usual font.
const COLUMN: f64 = 0.61;

pub(super) fn draw(picture: &Picture, style: &Style) -> String {
    let cards: Vec<Card> =
        picture.features.iter().map(|feature| Card::new(feature, picture, style)).collect();
    let sizes: Vec<Size> = cards.iter().map(|card| card.size).collect();
    let links: Vec<(usize, usize)> = picture.links.iter().map(|link| (link.parent, link.child)).collect();
    let layout = Layout::new(&sizes, &links, style.direction);
    let legend = legend::draw(picture, layout.size.width.max(560.0));

    let heading = heading(picture);
    let width = layout.size.width.max(legend.size.width).max(heading.1) + 2.0 * MARGIN;
    let height = HEADING + layout.size.height + 2.0 * MARGIN + legend.size.height;
    let mut svg = String::new();
    let (w, h) = (round(width), round(height));
    // Writing to a String does not fail.
    _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"graph\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" \
         height=\"{h}\" role=\"img\" aria-labelledby=\"graph-title graph-desc\">"
    );
    _ = writeln!(svg, "<title id=\"graph-title\">{}</title>", escape(&picture.title));
    _ = writeln!(svg, "<desc id=\"graph-desc\">{}</desc>", escape(&picture.summary()));
    _ = writeln!(svg, "<style>{STYLE}</style>");
    _ = writeln!(svg, "<rect class=\"back\" width=\"{w}\" height=\"{h}\"/>");
    svg.push_str(&heading.0);
    let left = MARGIN + (width - 2.0 * MARGIN - layout.size.width) / 2.0;
    let origin = Point { x: round(left), y: MARGIN + HEADING };
    _ = writeln!(svg, "<g transform=\"translate({} {})\">", origin.x, origin.y);
    let projects = picture.projects();
    lines::draw(&mut svg, picture, &layout);
    for (place, card) in cards.iter().enumerate() {
        card.draw(
            &mut svg,
            place,
            layout.boxes[place],
            layout.sizes[place],
            &picture.features[place],
            &projects,
        );
    }
    lines::draw_marks(&mut svg, picture, &layout);
    svg.push_str("</g>\n");
    let below = MARGIN + HEADING + layout.size.height + MARGIN;
    _ = writeln!(svg, "<g class=\"legend\" transform=\"translate({MARGIN} {})\">", round(below));
    svg.push_str(&legend.text);
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// The heading, and how wide it is.
fn heading(picture: &Picture) -> (String, f64) {
    let (title, summary) = (shorten(&visible(&picture.title), 90), picture.summary());
    let mut text = String::new();
    _ = writeln!(text, "<text class=\"title\" x=\"{MARGIN}\" y=\"44\">{}</text>", escape(&title));
    _ = writeln!(text, "<text class=\"summary\" x=\"{MARGIN}\" y=\"64\">{}</text>", escape(&summary));
    (text, text_width(&title, 18.0).max(text_width(&summary, 12.0)))
}

/// At least as wide as the text is when it is drawn.
fn text_width(text: &str, font_size: f64) -> f64 {
    columns(text) as f64 * font_size * COLUMN
}

/// Coordinates with one digit: finer ones only make the file larger.
fn round(number: f64) -> f64 {
    // Never "-0".
    (number * 10.0).round() / 10.0 + 0.0
}

#[cfg(test)]
mod tests;

//! The lines from parents to children, their tips and marks.

use std::fmt::Write;

use super::super::layout::{Layout, Point};
use super::super::xml::escape_lines;
use super::super::{Link, Picture};
use super::round;

/// The size of an arrow's tip.
const TIP: f64 = 7.0;

/// The size of a mark, and how far its centre is from the box.
const MARK: (f64, f64) = (32.0, 15.0);
const MARK_AWAY: (f64, f64) = (29.0, 20.0);

pub(super) fn draw(svg: &mut String, picture: &Picture, layout: &Layout) {
    for (number, (link, line)) in picture.links.iter().zip(&layout.lines).enumerate() {
        let Some(end) = line.last() else { continue };
        _ = writeln!(
            svg,
            "<g class=\"link {}{}\" id=\"l{number}\" data-from=\"f{}\" data-to=\"f{}\"><title>{}</title>\
             <path class=\"line\" d=\"{}\"/><path class=\"tip\" d=\"{}\"/></g>",
            link.change,
            if link.optional { " optional" } else { "" },
            link.parent,
            link.child,
            escape_lines(&link.details(picture)),
            path(line, layout.rightwards),
            tip(*end, backwards(line, layout.rightwards), layout.rightwards),
        );
    }
}

/// The marks come last: nothing must cover them.
pub(super) fn draw_marks(svg: &mut String, picture: &Picture, layout: &Layout) {
    for (number, (link, line)) in picture.links.iter().zip(&layout.lines).enumerate() {
        let (Some(end), Some(mark)) = (line.last(), link.mark()) else { continue };
        let sign = if backwards(line, layout.rightwards) { -1.0 } else { 1.0 };
        let center = if layout.rightwards {
            Point { x: end.x - sign * MARK_AWAY.0, y: end.y }
        } else {
            Point { x: end.x, y: end.y - sign * MARK_AWAY.1 }
        };
        draw_mark(svg, link, mark, center, Some(number));
    }
}

pub(super) fn draw_mark(svg: &mut String, link: &Link, mark: &str, center: Point, number: Option<usize>) {
    let class = if mark == "N:1" { "many-to-one" } else { "one-to-many" };
    let of = number.map_or_else(String::new, |number| format!(" data-link=\"l{number}\""));
    _ = writeln!(
        svg,
        "<g class=\"mark {class} {}\"{of}><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"7.5\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{mark}</text></g>",
        link.change,
        round(center.x - MARK.0 / 2.0),
        round(center.y - MARK.1 / 2.0),
        MARK.0,
        MARK.1,
        round(center.x),
        round(center.y + 3.6),
    );
}

/// Whether the line arrives against the direction of the drawing.
fn backwards(line: &[Point], rightwards: bool) -> bool {
    match line {
        [first, .., last] if rightwards => last.x < first.x,
        [first, .., last] => last.y < first.y,
        _ => false,
    }
}

/// Straight and curved pieces by turns; a curve leaves and arrives in the direction of the drawing.
fn path(line: &[Point], rightwards: bool) -> String {
    let mut path = String::new();
    for (at, to) in line.iter().enumerate() {
        let (x, y) = (round(to.x), round(to.y));
        let Some(from) = at.checked_sub(1).and_then(|before| line.get(before)) else {
            _ = write!(path, "M{x} {y}");
            continue;
        };
        let curved = at % 2 == 0;
        if from == to {
            continue;
        }
        if !curved || (from.x - to.x).abs() < 0.5 || (from.y - to.y).abs() < 0.5 {
            _ = write!(path, "L{x} {y}");
            continue;
        }
        let (a, b) = if rightwards {
            let middle = round(f64::midpoint(from.x, to.x));
            ((middle, round(from.y)), (middle, y))
        } else {
            let middle = round(f64::midpoint(from.y, to.y));
            ((round(from.x), middle), (x, middle))
        };
        _ = write!(path, "C{} {} {} {} {x} {y}", a.0, a.1, b.0, b.1);
    }
    path
}

/// A small triangle whose point is at the end of the line.
fn tip(end: Point, backwards: bool, rightwards: bool) -> String {
    let (x, y) = (round(end.x), round(end.y));
    let (long, wide) = (if backwards { TIP } else { -TIP }, TIP * 0.55);
    if rightwards {
        format!("M{x} {y}l{long} {}v{}Z", -wide, 2.0 * wide)
    } else {
        format!("M{x} {y}l{} {long}h{}Z", -wide, 2.0 * wide)
    }
}

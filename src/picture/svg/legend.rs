//! What the marks and colours of a picture mean: only those that it has.

use std::fmt::Write;

use super::super::fit::{shorten, visible};
use super::super::layout::{Point, Size};
use super::super::words::Tone;
use super::super::xml::escape;
use super::super::{Change, Link, Picture, Status};
use super::{lines, round, text_width};
use crate::model::Lineage;

/// How many colours there are for projects.
pub(super) const PROJECT_COLORS: usize = 6;

const TEXT_SIZE: f64 = 11.5;
const LINE: f64 = 22.0;
const SIGN_WIDTH: f64 = 40.0;

/// The legend, drawn from the origin on.
pub(super) struct Legend {
    pub(super) text: String,
    pub(super) size: Size,
}

/// A sign and what it means.
enum Sign {
    Mark(Lineage),
    Line(&'static str),
    Swatch(String),
    Dot(Tone),
}

pub(super) fn draw(picture: &Picture, width: f64) -> Legend {
    let mut legend = Legend { text: String::new(), size: Size { width: 0.0, height: 0.0 } };
    let (mut x, mut y) = (0.0, LINE / 2.0);
    for (sign, words) in signs(picture) {
        let words = shorten(&visible(&words), 48);
        let needed = SIGN_WIDTH + text_width(&words, TEXT_SIZE) + 22.0;
        if x > 0.0 && x + needed > width {
            (x, y) = (0.0, y + LINE);
        }
        draw_sign(&mut legend.text, &sign, Point { x, y });
        _ = writeln!(
            legend.text,
            "<text class=\"muted\" x=\"{}\" y=\"{}\">{}</text>",
            round(x + SIGN_WIDTH),
            round(y + 4.0),
            escape(&words)
        );
        x += needed;
        legend.size = Size { width: legend.size.width.max(x), height: y + LINE };
    }
    legend
}

fn signs(picture: &Picture) -> Vec<(Sign, String)> {
    let mut signs = Vec::new();
    let mut add = |shown: bool, sign: Sign, words: &str| {
        if shown {
            signs.push((sign, words.to_owned()));
        }
    };
    let links = &picture.links;
    let marked = |mark: &str| links.iter().any(|link| link.mark() == Some(mark));
    let many = marked("N:1") || marked("1:N");
    add(many && links.iter().any(|link| link.mark().is_none()), Sign::Line(""), "one row for one row");
    add(marked("N:1"), Sign::Mark(Lineage::Aggregation { on: None }), "many rows become one");
    add(marked("1:N"), Sign::Mark(Lineage::expansion([""; 0])), "one row becomes many");
    add(links.iter().any(|link| link.optional), Sign::Line(" optional"), "optional parent");

    let counts: Vec<Tone> = picture
        .features
        .iter()
        .flat_map(|f| &f.status)
        .flat_map(Status::words)
        .map(|(tone, _)| tone)
        .collect();
    for (tone, words) in
        [(Tone::Done, "up to date"), (Tone::New, "new"), (Tone::Stale, "stale"), (Tone::Orphaned, "orphaned")]
    {
        add(counts.contains(&tone), Sign::Dot(tone), words);
    }
    for change in [Change::Added, Change::Removed, Change::Changed, Change::Inherited, Change::Edited] {
        let shown = picture.features.iter().any(|feature| feature.change == change);
        add(shown, Sign::Swatch(change.to_string()), change.words());
    }
    let projects = picture.projects();
    for (at, project) in projects.iter().enumerate().filter(|_| projects.len() > 1) {
        add(true, Sign::Swatch(format!("project p{}", at % PROJECT_COLORS)), &format!("project {project}"));
    }
    signs
}

fn draw_sign(text: &mut String, sign: &Sign, at: Point) {
    let (x, y) = (round(at.x), round(at.y));
    match sign {
        Sign::Mark(lineage) => {
            let link = Link { lineage: lineage.clone(), ..Link::default() };
            let center = Point { x: at.x + 16.0, y: at.y };
            lines::draw_mark(text, &link, link.mark().unwrap_or_default(), center, None);
        }
        Sign::Line(class) => {
            let end = x + 32.0;
            _ = writeln!(
                text,
                "<g class=\"link{class}\"><path class=\"line\" d=\"M{x} {y}H{}\"/>\
                 <path class=\"tip\" d=\"M{end} {y}l-7 -3.9v7.8Z\"/></g>",
                end - 6.0
            );
        }
        Sign::Swatch(class) if class.starts_with("project") => {
            _ = writeln!(text, "<path class=\"{class}\" d=\"M{x} {y}h32\"/>");
        }
        Sign::Swatch(class) => {
            _ = writeln!(
                text,
                "<g class=\"card {class}\"><rect class=\"head\" x=\"{x}\" y=\"{0}\" width=\"32\" height=\"14\" rx=\"4\"/>\
                 <rect class=\"edge\" x=\"{x}\" y=\"{0}\" width=\"32\" height=\"14\" rx=\"4\"/></g>",
                round(y - 7.0)
            );
        }
        Sign::Dot(tone) => {
            _ = writeln!(
                text,
                "<rect class=\"bar {}\" x=\"{x}\" y=\"{}\" width=\"32\" height=\"4\"/>",
                tone.class(),
                round(y - 2.0)
            );
        }
    }
}

//! Trees of small graphs, whole; and what holds for all of them.

use super::super::samples;
use super::super::{Form, Picture, Style};

fn draw(picture: &Picture, style: &Style) -> String {
    picture.draw(Form::Text, style)
}

#[test]
fn a_graph() {
    let picture = Picture::of_graph(&samples::small());
    assert_eq!(draw(&picture, &Style::default()), include_str!("../golden/graph.txt"));
}

#[test]
fn counts_have_a_column() {
    let text = draw(&samples::counted(&samples::small()), &Style::default());
    assert_eq!(text, include_str!("../golden/status.txt"));
}

#[test]
fn fields_have_lines_of_their_own_when_their_versions_are_shown() {
    let style = Style { field_versions: true, ..Style::default() };
    let text = draw(&Picture::of_graph(&samples::small()), &style);
    assert_eq!(text, include_str!("../golden/verbose.txt"));
}

#[test]
fn a_change() {
    assert_eq!(draw(&samples::changed(), &Style::default()), include_str!("../golden/change.txt"));
}

#[test]
fn every_link_is_seen_from_both_ends() {
    let picture = Picture::of_graph(&samples::large(60));
    let text = draw(&picture, &Style { fields: false, versions: false, ..Style::default() });
    for feature in &picture.features {
        let whole = text.lines().filter(|line| {
            let line = line.trim_start_matches(['│', '├', '└', '─', ' ']);
            line.starts_with(&format!("{} ", feature.key)) && !line.ends_with("(*)")
        });
        assert_eq!(whole.count(), 1, "{}", feature.key);
    }
    let repeated = text.lines().filter(|line| line.ends_with("(*)")).count();
    let roots = picture.links_above().iter().filter(|links| links.is_empty()).count();
    assert_eq!(repeated, picture.links.len() - (picture.features.len() - roots));
}

#[test]
fn colours_only_when_asked_for_and_never_from_names() {
    let picture = samples::hostile();
    assert!(!draw(&picture, &Style::default()).contains('\u{1b}'));
    let colored = draw(&picture, &Style { color: true, ..Style::default() });
    let codes: Vec<&str> = colored.split('\u{1b}').skip(1).collect();
    let ours = |code: &str| ["[0m", "[1m", "[2m", "[31m", "[33m"].iter().any(|known| code.starts_with(known));
    assert!(codes.len() > 20 && codes.iter().all(|code| ours(code)), "{codes:?}");
    for text in [draw(&picture, &Style::default()), colored] {
        assert!(text.chars().all(|c| c == '\n' || c == '\u{1b}' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}') && !text.contains('\u{200b}'));
    }
}

#[test]
fn nothing_at_all() {
    assert_eq!(draw(&Picture::default(), &Style::default()), "0 features\n");
}

//! The image as XML: well-formed, complete, and by itself.

use std::collections::HashSet;

use super::super::samples;
use super::super::{Direction, Form, Picture, Style};

/// An element: its name and attributes.
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is(&self, class: &str) -> bool {
        self.attribute("class").is_some_and(|classes| classes.split(' ').any(|known| known == class))
    }
}

/// Reads XML as strictly as its definition demands of what is used here, and fails at anything else.
fn read(xml: &str) -> Vec<Element> {
    assert!(xml.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{fffe}' && c != '\u{ffff}'));
    let (mut elements, mut open, mut rest) = (Vec::new(), Vec::new(), xml);
    while let Some((text, after)) = rest.split_once('<') {
        check_text(text);
        assert!(!open.is_empty() || text.trim().is_empty(), "text outside: {text}");
        let (tag, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut left) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_lowercase()), "{name}");
        let mut attributes: Vec<(String, String)> = Vec::new();
        while !left.trim().is_empty() {
            let (name, value) = left.split_once("=\"").expect("an attribute has a value");
            let (value, after) = value.split_once('"').expect("a value ends");
            check_text(value);
            let name = name.trim();
            assert!(name.chars().all(|c| c.is_ascii_alphabetic() || c == '-'), "{name}");
            assert!(attributes.iter().all(|(known, _)| known != name), "{name} twice");
            attributes.push((name.to_owned(), value.to_owned()));
            left = after;
        }
        if !closed {
            open.push(name.to_owned());
        }
        elements.push(Element { name: name.to_owned(), attributes });
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} are open at the end");
    elements
}

fn check_text(text: &str) {
    assert!(!text.contains('>') && !text.contains('<'), "{text}");
    for entity in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|known| entity.starts_with(known));
        assert!(known, "&{entity}");
    }
}

fn pictures() -> Vec<Picture> {
    vec![
        Picture::of_graph(&samples::small()),
        samples::counted(&samples::small()),
        samples::changed(),
        samples::counted(&samples::large(60)),
        samples::hostile(),
        Picture::default(),
    ]
}

#[test]
fn well_formed_and_complete() {
    for picture in pictures() {
        for direction in [Direction::Down, Direction::Right] {
            let style = Style { field_versions: true, direction, ..Style::default() };
            let svg = picture.draw(Form::Svg, &style);
            let elements = read(&svg);
            assert_eq!(elements[0].name, "svg");
            let ids: Vec<&str> = elements.iter().filter_map(|element| element.attribute("id")).collect();
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "ids are unique");
            let count =
                |class: &str| elements.iter().filter(|e| e.is(class) && e.attribute("id").is_some()).count();
            assert_eq!((count("card"), count("link")), (picture.features.len(), picture.links.len()));
            for link in elements.iter().filter(|element| element.attribute("data-from").is_some()) {
                for end in ["data-from", "data-to"] {
                    assert!(ids.contains(&link.attribute(end).unwrap()));
                }
            }
            let labels = elements[0].attribute("aria-labelledby").unwrap();
            assert!(labels.split(' ').all(|label| ids.contains(&label)));
            assert_eq!(svg, picture.draw(Form::Svg, &style), "not the same twice");
        }
    }
}

#[test]
fn nothing_from_elsewhere_and_nothing_that_runs() {
    for picture in pictures() {
        let svg = picture.draw(Form::Svg, &Style::default());
        let elements = read(&svg);
        assert!(elements.iter().all(|element| element.name != "script" && element.name != "image"));
        let attributes = || elements.iter().flat_map(|element| &element.attributes);
        assert!(attributes().all(|(name, _)| !name.starts_with("on") && !name.contains("href")));
        assert_eq!(svg.matches("://").count(), 1, "only the name of SVG itself");
        assert!(!svg.contains("url(") && !svg.contains("@import"));
    }
}

#[test]
fn keys_are_written_whole() {
    let picture = Picture::of_graph(&samples::large(60));
    let svg = picture.draw(Form::Svg, &Style::default());
    for feature in &picture.features {
        assert!(svg.contains(&format!("aria-label=\"{}\"", feature.key)));
        // On the card itself the key may take several lines.
        let card = svg
            .split("<g class=\"card")
            .find(|card| card.contains(&format!("aria-label=\"{}\"", feature.key)));
        let lines = card.unwrap().split("<text class=\"key\"").skip(1);
        let written: String = lines
            .filter_map(|line| line.split_once('>').and_then(|(_, text)| text.split_once("</text>")))
            .map(|(text, _)| text)
            .collect();
        assert_eq!(written, feature.key);
    }
}

#[test]
fn what_is_not_wanted_is_left_out() {
    let picture = Picture::of_graph(&samples::small());
    let style = Style { fields: false, versions: false, ..Style::default() };
    let bare = picture.draw(Form::Svg, &style);
    let shown = |text: &str| bare.contains(&format!(">{text}</text>"));
    assert!(shown("video/chunk") && !shown("frames"));
    assert!(!shown(&picture.features[0].version.clone().unwrap()));
}

#[test]
fn text_fits_into_its_card() {
    for picture in pictures() {
        let style = Style { field_versions: true, direction: Direction::Down, ..Style::default() };
        let cards = picture.features.iter().map(|feature| super::Card::new(feature, &picture, &style));
        for (card, feature) in cards.zip(&picture.features) {
            assert!(card.size.width < 700.0, "{} is {} wide", feature.key, card.size.width);
            for line in feature.fields.iter().map(|field| &field.key) {
                let width = super::text_width(line, 11.5).min(super::text_width(&"x".repeat(30), 11.5));
                assert!(card.size.width >= width, "{line}");
            }
        }
    }
}

//! What counts as which change.

use super::*;
use crate::model::{FeatureSpec, FeatureSpecBuilder, Origin};
use crate::picture::samples;

fn spec(key: &str) -> FeatureSpecBuilder {
    FeatureSpec::builder(key).id_columns(["id"])
}

fn coded(key: &str, code: &str) -> crate::model::FieldSpecBuilder {
    FieldSpec::new(key).code_version(code)
}

fn graph(specs: impl IntoIterator<Item = FeatureSpecBuilder>) -> FeatureGraph {
    let declare = |spec: FeatureSpecBuilder| {
        FeatureDefinition::declared(spec.build().unwrap(), "demo", Origin::Session)
    };
    FeatureGraph::new(specs.into_iter().map(declare), 8).unwrap()
}

/// What has become of a feature, and why.
fn change(picture: &Picture, key: &str) -> (Change, String) {
    let feature = picture.features.iter().find(|feature| feature.key == key).unwrap();
    (feature.change, feature.why().join("; "))
}

/// What becomes of `b`, a child of `a`, when its definition is replaced.
fn edited(before: FeatureSpecBuilder, after: FeatureSpecBuilder) -> (Change, String) {
    let parents = || [spec("a").field("x").field("y"), spec("other")];
    let before = graph(parents().into_iter().chain([before]));
    let after = graph(parents().into_iter().chain([after]));
    let picture = Picture::of_change(&before, &after);
    assert_eq!(change(&picture, "a").0, Change::Same);
    let same = picture.features.iter().find(|feature| feature.key == "b").unwrap().previous_version.is_none();
    assert_eq!(before.feature_version(&key("b")).ok() == after.feature_version(&key("b")).ok(), same);
    change(&picture, "b")
}

fn key(text: &str) -> FeatureKey {
    FeatureKey::parse(text).unwrap()
}

#[test]
fn nothing() {
    let picture = Picture::of_change(&samples::small(), &samples::small());
    assert!(!picture.has_changes());
    assert!(picture.features.iter().all(|f| f.change == Change::Same && f.why().is_empty()));
    assert!(picture.compares);
}

#[test]
fn itself_or_through_a_parent() {
    let picture = samples::changed();
    assert_eq!(change(&picture, "video"), (Change::Changed, "field frames: code version 1 → 2".to_owned()));
    assert_eq!(change(&picture, "video/thumb"), (Change::Inherited, "through video".to_owned()));
    assert_eq!(change(&picture, "video/chunk"), (Change::Same, String::new()));
    assert_eq!(change(&picture, "chunk/speech").0, Change::Removed);
    assert_eq!(change(&picture, "video/caption").0, Change::Added);
    let thumb = picture.features.iter().find(|feature| feature.key == "video/thumb").unwrap();
    assert!(thumb.previous_version.is_some() && thumb.previous_version != thumb.version);
    assert_eq!(thumb.fields[0].change, Change::Inherited);
    assert!(thumb.fields[0].previous_code_version.is_none());
    let of = |child: &str| {
        let place = picture.features.iter().position(|feature| feature.key == child).unwrap();
        picture
            .links
            .iter()
            .filter(move |link| link.child == place)
            .map(|link| link.change)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("chunk/speech"), [Change::Removed]);
    assert_eq!(of("video/caption"), [Change::Added]);
    assert_eq!(of("video/report"), [Change::Changed, Change::Same]);
}

#[test]
fn fields() {
    let b = || spec("b").dep("a");
    let (was, is) = (b().field(coded("f", "1")), b().field(coded("f", "1")).field("g"));
    assert_eq!(edited(was, is), (Change::Changed, "field g added".to_owned()));
    let (was, is) = (b().field("f").field("g"), b().field("g"));
    assert_eq!(edited(was, is), (Change::Changed, "field f removed".to_owned()));
    let (was, is) = (b().field("f"), b().field(coded("f", "7")));
    assert_eq!(edited(was, is), (Change::Changed, "field f: code version none → 7".to_owned()));
    let of_x = || FieldSpec::new("f").depends_on("a", ["x"]);
    let of_y = || FieldSpec::new("f").depends_on("a", ["y"]);
    let expected = (Change::Changed, "field f depends on other fields".to_owned());
    assert_eq!(edited(b().field(of_x()), b().field(of_y())), expected);
}

#[test]
fn parents() {
    let (was, is) = (spec("b").dep("a").field("f"), spec("b").dep("a").dep("other").field("f"));
    let expected = "field f depends on other fields; parent other added".to_owned();
    assert_eq!(edited(was, is), (Change::Changed, expected));
    let (was, is) = (spec("b").dep("a").dep("other").field("f"), spec("b").dep("other").field("f"));
    let expected = "field f depends on other fields; parent a removed".to_owned();
    assert_eq!(edited(was, is), (Change::Changed, expected));
}

#[test]
fn what_changes_no_version() {
    let b = |dep| spec("b").dep(dep).field("f");
    let a = || FeatureDep::new("a");
    for (before, after, why) in [
        (b(a()), b(a().lineage(Lineage::aggregation(["id"]))), "parent a: lineage 1:1 → N:1"),
        (
            b(a().lineage(Lineage::aggregation(["id"]))),
            b(a().lineage(Lineage::Aggregation { on: None })),
            "parent a: lineage N:1, other columns",
        ),
        (b(a()), b(a().optional().filter("id > 1")), "parent a: optional now; parent a: filters"),
        (b(a().optional()), b(a()), "parent a: no longer optional"),
        (b(a()), b(a().rename("z", "w").select(["w"])), "parent a: renames; parent a: selected columns"),
        (b(a()), b(a()).description("d").metadata("k", 1), "description; metadata"),
    ] {
        assert_eq!(edited(before, after), (Change::Edited, why.to_owned()));
    }
    let (was, is) = (spec("b").field("f"), FeatureSpec::builder("b").id_columns(["id", "n"]).field("f"));
    assert_eq!(edited(was, is), (Change::Edited, "id columns id → id, n".to_owned()));
}

#[test]
fn a_parent_that_gains_a_field_changes_its_children_through_itself() {
    let before = graph([spec("a").field("x"), spec("b").dep("a").field("f")]);
    let after = graph([spec("a").field("x").field("y"), spec("b").dep("a").field("f")]);
    let picture = Picture::of_change(&before, &after);
    assert_eq!(change(&picture, "a"), (Change::Changed, "field y added".to_owned()));
    assert_eq!(change(&picture, "b"), (Change::Inherited, "through a".to_owned()));
}

#[test]
fn unknown_versions_do_not_hide_a_change() {
    let b = |code| graph([spec("b").dep("gone").field(coded("f", code))]);
    let picture = Picture::of_change(&b("1"), &b("2"));
    assert_eq!(change(&picture, "b").0, Change::Changed);
    assert_eq!(change(&picture, "gone").0, Change::Same);
}

#[test]
fn a_parent_may_become_the_child() {
    let before = graph([spec("a"), spec("b").dep("a"), spec("c").dep("b")]);
    let after = graph([spec("a").dep("b"), spec("b"), spec("c").dep("a")]);
    let picture = Picture::of_change(&before, &after);
    assert_eq!(picture.features.len(), 3);
    let links = |change| picture.links.iter().filter(|link| link.change == change).count();
    assert_eq!((links(Change::Added), links(Change::Removed)), (2, 2));
    for form in [crate::picture::Form::Text, crate::picture::Form::Svg, crate::picture::Form::Dot] {
        let drawn = picture.draw(form, &crate::picture::Style::default());
        assert!(["a", "b", "c"].iter().all(|key| drawn.contains(key)), "{drawn}");
    }
}

#[test]
fn what_was_removed_from_its_project_is_drawn_where_it_is_needed() {
    let declare = |spec: FeatureSpecBuilder, origin: Origin| {
        FeatureDefinition::declared(spec.build().unwrap(), "demo", origin)
    };
    let removed = || Origin::Removed("dev".to_owned());
    let all = |a: Origin, z: Origin, code: &str| {
        let b = spec("b").dep("a").field(coded("f", code));
        let features = [declare(spec("a"), a), declare(b, Origin::Session), declare(spec("z"), z)];
        FeatureGraph::new(features, 8).unwrap()
    };
    let keys = |picture: &Picture| {
        picture.features.iter().map(|feature| feature.key.clone()).collect::<Vec<_>>().join(" ")
    };
    let before = all(Origin::Session, Origin::Session, "1");
    let picture = Picture::of_change(&before, &all(removed(), removed(), "1"));
    assert_eq!((change(&picture, "a").0, change(&picture, "z").0), (Change::Removed, Change::Removed));
    // It is computed from the same samples as before.
    assert_eq!(change(&picture, "b").0, Change::Same);
    let picture = Picture::of_change(&all(removed(), removed(), "1"), &all(removed(), removed(), "2"));
    assert_eq!(keys(&picture), "a b");
    assert_eq!((change(&picture, "a").0, change(&picture, "b").0), (Change::Same, Change::Changed));
    let picture = Picture::of_change(&all(removed(), removed(), "1"), &before);
    assert_eq!((change(&picture, "a").0, change(&picture, "z").0), (Change::Added, Change::Added));
}

//! Graphs and pictures for the tests.

use crate::model::{
    FeatureDefinition, FeatureDep, FeatureGraph, FeatureSpec, FeatureSpecBuilder, FieldSpec, Lineage, Origin,
};
use crate::picture::{Change, Feature, Field, Link, Picture, Status};

fn spec(key: &str, columns: &[&str]) -> FeatureSpecBuilder {
    FeatureSpec::builder(key).id_columns(columns.to_vec())
}

fn field(key: &str, code: &str) -> crate::model::FieldSpecBuilder {
    FieldSpec::new(key).code_version(code)
}

fn graph(specs: Vec<(FeatureSpecBuilder, &str)>) -> FeatureGraph {
    let declare = |(spec, project): (FeatureSpecBuilder, &str)| {
        FeatureDefinition::declared(spec.build().unwrap(), project, Origin::Session)
    };
    FeatureGraph::new(specs.into_iter().map(declare), 8).unwrap()
}

/// Five features with all lineages, and a parent that two of them share.
pub(crate) fn small() -> FeatureGraph {
    graph(small_specs("1", true))
}

/// The same later: other code for the frames, another parent, a feature removed and one added.
pub(crate) fn small_later() -> FeatureGraph {
    let mut specs = small_specs("2", false);
    specs.remove(3);
    specs.push((spec("video/caption", &["video_id"]).dep("video").field(field("text", "1")), "demo"));
    graph(specs)
}

fn small_specs(frames: &str, optional: bool) -> Vec<(FeatureSpecBuilder, &'static str)> {
    let thumbs = FeatureDep::new("video/thumb").lineage(Lineage::aggregation(["video_id"]));
    let chunks = FeatureDep::new("video").lineage(Lineage::expansion(["video_id"]));
    let video = FeatureDep::new("video").rename("title", "name").filter("width > 64");
    vec![
        (spec("video", &["video_id"]).field(field("audio", "1")).field(field("frames", frames)), "demo"),
        (
            spec("video/thumb", &["video_id"])
                .dep(video)
                .field(field("image", "3").depends_on("video", ["frames"])),
            "demo",
        ),
        (
            spec("video/chunk", &["video_id", "chunk"])
                .dep(chunks)
                .field(field("audio", "1").depends_on("video", ["audio"]))
                .description("Ten seconds each"),
            "demo",
        ),
        (
            spec("chunk/speech", &["video_id", "chunk"])
                .dep("video/chunk")
                .field(FieldSpec::new("text").depends_on("video/chunk", ["audio"])),
            "demo",
        ),
        (
            spec("video/report", &["video_id"])
                .dep(if optional { thumbs.optional() } else { thumbs })
                .dep("video")
                .field(field("summary", "2024-11")),
            "demo",
        ),
    ]
}

/// Many features in three projects, some with long keys and several parents, all lineages; the same every time.
pub(crate) fn large(features: usize) -> FeatureGraph {
    const WORDS: [&str; 12] = [
        "video",
        "audio",
        "frames",
        "speech_recognition",
        "face",
        "embedding",
        "scene-boundaries",
        "text",
        "normalized_transcription",
        "crop",
        "thumbnail",
        "quality",
    ];
    const PROJECTS: [&str; 3] = ["ingest", "perception", "search"];
    // A small generator of its own, so that no version of a library changes the picture.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below.max(1)
    };
    let mut keys: Vec<String> = Vec::new();
    let mut specs = Vec::new();
    for at in 0..features {
        let mut key = format!("{}/{}", WORDS[random(12)], WORDS[random(12)]);
        if random(6) == 0 {
            key = format!("{key}/{}/{}", WORDS[random(12)], WORDS[random(12)]);
        }
        let key = format!("{key}_{at}");
        let mut builder = spec(&key, &["id"]);
        let mut parents: Vec<usize> = Vec::new();
        if at > features / 10 {
            for _ in 0..[1, 1, 1, 2, 2, 3, 5][random(7)] {
                let near = keys.len().saturating_sub(features / 3 + 1);
                let parent =
                    if random(4) == 0 { random(keys.len()) } else { near + random(keys.len() - near) };
                if !parents.contains(&parent) {
                    parents.push(parent);
                }
            }
        }
        for parent in parents {
            let dep = FeatureDep::new(&keys[parent]);
            builder = builder.dep(match random(9) {
                0 => dep.lineage(Lineage::aggregation(["id"])),
                1 => dep.lineage(Lineage::expansion(["id"])),
                2 => dep.optional(),
                3 => dep.filter("score > 0.5").rename("size", "bytes"),
                _ => dep,
            });
        }
        for number in 0..=random(4) {
            let name = format!("{}_{number}", WORDS[random(12)]);
            builder = builder.field(if random(3) == 0 {
                FieldSpec::new(name)
            } else {
                field(&name, &format!("{}", random(9) + 1))
            });
        }
        specs.push((builder, PROJECTS[at * 3 / features]));
        keys.push(key);
    }
    graph(specs)
}

/// A picture with counts for every feature.
pub(crate) fn counted(graph: &FeatureGraph) -> Picture {
    let mut picture = Picture::of_graph(graph);
    for (at, feature) in picture.features.iter_mut().enumerate() {
        let at = at as u64;
        feature.status = Some(match at % 7 {
            0 => Status::Stored(1_200 + at),
            1 => Status::Counts { new: 12, stale: 3, orphaned: 1, pending: 0, up_to_date: 1_184 },
            2 => Status::Counts { new: 0, stale: 0, orphaned: 0, pending: 0, up_to_date: 1_200 },
            3 => Status::Counts { new: 1_000_000, stale: 0, orphaned: 0, pending: 0, up_to_date: 234_567 },
            4 => Status::Counts { new: 0, stale: 0, orphaned: 0, pending: 0, up_to_date: 0 },
            5 => Status::Counts { new: 0, stale: 640, orphaned: 90, pending: 20, up_to_date: 700 },
            _ => Status::Unknown("store dev: no such table".to_owned()),
        });
    }
    picture
}

/// What has changed between the small graph and the later one, with the samples that this concerns.
pub(crate) fn changed() -> Picture {
    let mut picture = Picture::of_change(&small(), &small_later());
    for feature in &mut picture.features {
        feature.samples = match feature.change {
            Change::Changed | Change::Inherited => Some(1_200),
            Change::Removed => Some(1),
            _ => None,
        };
    }
    picture
}

/// Names that try to end the text they stand in.
pub(crate) const HOSTILE: [&str; 12] = [
    "\"]; f0[\"x",
    "<script>alert(1)</script>",
    "</title></style><!--",
    "]]>",
    "a\\\" -> b; //",
    "'#quot;&amp;`code`%%{init}%%",
    "\u{1b}[31mred\u{1b}]8;;x\u{7}",
    "\u{202e}desrever\u{200b}",
    "line\nbreak\r\t\u{0}\u{fffe}",
    "größe 大きさ 🦀 e\u{301}",
    "{|}<>()[]{}|;:@$~^*_=+-?!",
    "end",
];

/// A picture with such names everywhere, and one that is very long.
pub(crate) fn hostile() -> Picture {
    let mut names: Vec<String> = HOSTILE.iter().map(ToString::to_string).collect();
    names.push("long/".repeat(200));
    let feature = |(at, name): (usize, &String)| Feature {
        key: name.clone(),
        project: name.clone(),
        version: Some(name.clone()),
        previous_version: Some(name.clone()),
        id_columns: vec![name.clone()],
        description: Some(name.clone()),
        fields: vec![Field {
            key: name.clone(),
            code_version: Some(name.clone()),
            previous_code_version: Some(Some(name.clone())),
            version: Some(name.clone()),
            parents: vec![name.clone()],
            change: Change::Changed,
            ..Field::default()
        }],
        change: Change::Changed,
        reasons: vec![name.clone()],
        status: Some(Status::Unknown(name.clone())),
        samples: Some(at as u64),
        ..Feature::default()
    };
    let link = |(at, name): (usize, &String)| Link {
        parent: at,
        child: at + 1,
        lineage: Lineage::aggregation([name.clone()]),
        renames: vec![(name.clone(), name.clone())],
        filters: vec![name.clone()],
        ..Link::default()
    };
    Picture {
        title: names.join(" "),
        features: names.iter().enumerate().map(feature).collect(),
        links: names.iter().enumerate().take(names.len() - 1).map(link).collect(),
        compares: true,
    }
}

//! Layouts of small and of random graphs: what has to hold for all of them.

use super::super::Direction;
use super::super::samples;
use super::*;
use crate::picture::Picture;

/// The same every time, and of different sizes.
fn sizes(boxes: usize) -> Vec<Size> {
    (0..boxes)
        .map(|at| Size { width: 120.0 + (at * 37 % 90) as f64, height: 40.0 + (at * 53 % 70) as f64 })
        .collect()
}

fn links(picture: &Picture) -> Vec<(usize, usize)> {
    picture.links.iter().map(|link| (link.parent, link.child)).collect()
}

/// Checks what has to hold for every layout.
fn check(layout: &Layout, wanted: &[Size], links: &[(usize, usize)]) {
    let sizes = &layout.sizes;
    assert_eq!(sizes.len(), wanted.len());
    for (size, wanted) in sizes.iter().zip(wanted) {
        assert!(size.width >= wanted.width && size.height >= wanted.height);
    }
    let end = |at: usize| {
        let (corner, size) = (layout.boxes[at], sizes[at]);
        Point { x: corner.x + size.width, y: corner.y + size.height }
    };
    for (a, size) in sizes.iter().enumerate() {
        let corner = layout.boxes[a];
        assert!(corner.x >= -0.01 && corner.y >= -0.01, "box {a} is outside");
        assert!(
            end(a).x <= layout.size.width + 0.01 && end(a).y <= layout.size.height + 0.01,
            "box {a}: {size:?}"
        );
        for b in 0..a {
            let other = layout.boxes[b];
            let apart_x = end(a).x + 8.0 <= other.x || end(b).x + 8.0 <= corner.x;
            let apart_y = end(a).y + 8.0 <= other.y || end(b).y + 8.0 <= corner.y;
            assert!(apart_x || apart_y, "boxes {a} and {b} are too close");
        }
    }
    for (line, (from, to)) in layout.lines.iter().zip(links) {
        let (first, last) = (line[0], line[line.len() - 1]);
        if layout.rightwards {
            assert!(line.windows(2).all(|pair| pair[0].x <= pair[1].x), "{from} → {to} goes back");
            assert_eq!((first.x, last.x), (end(*from).x, layout.boxes[*to].x));
            assert!(last.y > layout.boxes[*to].y && last.y < end(*to).y, "{from} → {to} misses its box");
        } else {
            assert!(line.windows(2).all(|pair| pair[0].y <= pair[1].y), "{from} → {to} goes back");
            assert_eq!((first.y, last.y), (end(*from).y, layout.boxes[*to].y));
            assert!(last.x > layout.boxes[*to].x && last.x < end(*to).x, "{from} → {to} misses its box");
        }
        // Straight pieces run between boxes, never over one.
        for piece in line.chunks_exact(2) {
            for at in (0..sizes.len()).filter(|at| at != from && at != to) {
                let (corner, end) = (layout.boxes[at], end(at));
                let beside = if layout.rightwards {
                    piece[0].y < corner.y
                        || piece[0].y > end.y
                        || piece[1].x <= corner.x
                        || piece[0].x >= end.x
                } else {
                    piece[0].x < corner.x
                        || piece[0].x > end.x
                        || piece[1].y <= corner.y
                        || piece[0].y >= end.y
                };
                assert!(beside, "{from} → {to} runs over box {at}");
            }
        }
    }
}

#[test]
fn boxes_keep_their_distance_and_lines_their_direction() {
    for features in [1, 2, 5, 17, 60, 150] {
        let links = links(&Picture::of_graph(&samples::large(features)));
        let sizes = sizes(features);
        for direction in [Direction::Down, Direction::Right, Direction::Auto] {
            let layout = Layout::new(&sizes, &links, direction);
            check(&layout, &sizes, &links);
            assert_eq!(layout, Layout::new(&sizes, &links, direction), "not the same twice");
        }
    }
}

#[test]
fn a_tree_is_drawn_without_crossings_and_its_root_is_in_the_middle() {
    let links = [(0, 1), (0, 2), (0, 3)];
    let sizes = [Size { width: 100.0, height: 40.0 }; 4];
    let layout = Layout::new(&sizes, &links, Direction::Down);
    check(&layout, &sizes, &links);
    assert_eq!(layout.boxes[0].x, layout.boxes[2].x);
    assert!(layout.boxes[1].x < layout.boxes[2].x && layout.boxes[2].x < layout.boxes[3].x);
}

#[test]
fn a_chain_is_straight_beside_a_long_line() {
    let links = [(0, 1), (1, 2), (2, 3), (0, 3)];
    let sizes = [Size { width: 100.0, height: 40.0 }; 4];
    let layout = Layout::new(&sizes, &links, Direction::Down);
    check(&layout, &sizes, &links);
    assert_eq!(layout.boxes[1].x, layout.boxes[2].x);
    let long = &layout.lines[3];
    assert!(
        long.len() > 6 && long[2..long.len() - 3].windows(2).all(|pair| pair[0].x == pair[1].x),
        "{long:?}"
    );
}

#[test]
fn lone_boxes_fill_a_rectangle() {
    let sizes = sizes(40);
    let layout = Layout::new(&sizes, &[], Direction::Auto);
    check(&layout, &sizes, &[]);
    let ratio = layout.size.width / layout.size.height;
    assert!((0.7..3.0).contains(&ratio), "{ratio}");
}

#[test]
fn what_leads_back_and_to_itself_does_no_harm() {
    let sizes = sizes(3);
    let links = [(0, 1), (1, 2), (2, 0), (1, 1)];
    let layout = Layout::new(&sizes, &links, Direction::Down);
    assert_eq!(layout.lines[2].first().map(|p| p.y), Some(layout.boxes[2].y));
    assert!(layout.lines[3].is_empty());
    assert_eq!(Layout::new(&[], &[], Direction::Auto).size, Size { width: 0.0, height: 0.0 });
}

#[test]
fn a_crowd_of_children_takes_several_rows() {
    let links: Vec<(usize, usize)> =
        (1..60).map(|child| (0, child)).chain((1..60).map(|parent| (parent, 60))).collect();
    let sizes = sizes(61);
    for direction in [Direction::Down, Direction::Right, Direction::Auto] {
        let layout = Layout::new(&sizes, &links, direction);
        check(&layout, &sizes, &links);
        let ratio = layout.size.width / layout.size.height;
        assert!((0.4..3.0).contains(&ratio), "{direction:?}: {:?}", layout.size);
    }
    // A few children fit into one.
    let few = Layout::new(&sizes[..6], &links[..5], Direction::Down);
    assert!(few.boxes[1..].iter().all(|corner| corner.y == few.boxes[1].y));
}

//! Coordinates down the layers, and the lines: curves between the layers, straight where they pass one.

use std::collections::HashMap;

use super::layers::{Layered, downwards};
use super::pack::Part;
use super::{CORNER, Measures, Point};

/// The least and the greatest height of the curves between layers, in pixels. Far lines need more to stay readable.
const CURVE: (f64, f64) = (40.0, 120.0);

/// The group with all its coordinates, from the origin on.
pub(super) fn route(
    layered: &Layered,
    centers: &[f64],
    group: &[usize],
    links: &[(usize, usize)],
    measures: &Measures,
) -> Part {
    let node: HashMap<usize, usize> = group.iter().enumerate().map(|(node, at)| (*at, node)).collect();
    let left = (0..layered.sizes.len())
        .map(|node| centers[node] - layered.sizes[node].width / 2.0)
        .fold(f64::INFINITY, f64::min);
    let center = |node: usize| centers[node] - left;
    let bands = bands(layered, centers, measures.stub);

    let mut part = Part::default();
    for (number, at) in group.iter().enumerate() {
        let corner = Point {
            x: center(number) - layered.sizes[number].width / 2.0,
            y: bands[layered.layer[number]].0,
        };
        part.size.width = part.size.width.max(corner.x + layered.sizes[number].width);
        part.size.height = part.size.height.max(corner.y + layered.sizes[number].height);
        part.boxes.push((*at, corner));
    }
    for bend in layered.boxes..layered.sizes.len() {
        part.size.width = part.size.width.max(center(bend) + layered.sizes[bend].width / 2.0);
    }
    let ports = ports(layered, centers, measures.port);
    for (index, link) in links.iter().enumerate() {
        let Some((from, to)) = downwards(*link) else { continue };
        let (Some(upper), Some(lower)) = (node.get(&from), node.get(&to)) else { continue };
        let (first, last) = (layered.layer[*upper], layered.layer[*lower]);
        let x = center(*upper);
        let mut line = vec![
            Point { x, y: bands[first].0 + layered.sizes[*upper].height },
            Point { x, y: bands[first].1 },
        ];
        let mut previous = *upper;
        for (layer, band) in bands.iter().enumerate().take(last).skip(first + 1) {
            if let Some(bend) = layered.bends.get(&(*upper, layer)) {
                line.push(Point { x: center(*bend), y: band.0 });
                line.push(Point { x: center(*bend), y: band.1 });
                previous = *bend;
            }
        }
        let port = ports.get(&(previous, *lower)).copied().unwrap_or(0.0);
        let x = center(*lower) + port;
        line.push(Point { x, y: bands[last].0 - measures.stub });
        line.push(Point { x, y: bands[last].0 });
        if *link != (from, to) {
            // Leads back: the same line from its other end, so that its tip is at the child.
            line.reverse();
        }
        part.lines.push((index, line));
    }
    part
}

/// The upper and lower edge of each layer.
fn bands(layered: &Layered, centers: &[f64], stub: f64) -> Vec<(f64, f64)> {
    let mut bands = Vec::new();
    let mut y = 0.0;
    for layer in &layered.layers {
        let height = layer.iter().map(|node| layered.sizes[*node].height).fold(0.0, f64::max);
        bands.push((y, y + height));
        let lines = layer.iter().flat_map(|node| layered.below[*node].iter().map(move |other| (node, other)));
        let farthest = lines.map(|(a, b)| (centers[*a] - centers[*b]).abs()).fold(0.0, f64::max);
        y += height + stub + (CURVE.0 + farthest * 0.08).min(CURVE.1);
    }
    bands
}

/// Where lines arrive at a box, relative to its centre: side by side, in the order in which they come.
fn ports(layered: &Layered, centers: &[f64], most: f64) -> HashMap<(usize, usize), f64> {
    let mut ports = HashMap::new();
    for (lower, above) in layered.above.iter().enumerate().take(layered.boxes) {
        let mut order = above.clone();
        order.sort_by(|a, b| centers[*a].total_cmp(&centers[*b]).then(a.cmp(b)));
        let room = layered.sizes[lower].width - 2.0 * CORNER;
        let gap = most.min(room / order.len().max(1) as f64);
        let middle = (order.len() as f64 - 1.0) / 2.0;
        for (place, upper) in order.into_iter().enumerate() {
            ports.insert((upper, lower), (place as f64 - middle) * gap);
        }
    }
    ports
}

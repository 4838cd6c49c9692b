//! The order within layers: nodes move to the mean of their neighbours, then neighbours are exchanged while that helps.

use super::layers::Layered;

/// How often the layers are walked, down and up by turns.
const ROUNDS: usize = 32;

/// How often adjacent nodes are compared in one round.
const EXCHANGES: usize = 8;

/// Reorders the layers such that few lines cross.
pub(super) fn uncross(layered: &mut Layered) {
    let mut places = places(layered);
    let mut best = layered.layers.clone();
    let mut fewest = crossings(layered, &places);
    for round in 0..ROUNDS {
        if fewest == 0 {
            break;
        }
        sort_by_means(layered, &mut places, round % 2 == 0);
        for _ in 0..EXCHANGES {
            if !exchange(layered, &mut places) {
                break;
            }
        }
        let count = crossings(layered, &places);
        if count < fewest {
            fewest = count;
            best.clone_from(&layered.layers);
        }
    }
    layered.layers = best;
}

/// The place of each node within its layer.
fn places(layered: &Layered) -> Vec<usize> {
    let mut places = vec![0; layered.sizes.len()];
    for layer in &layered.layers {
        for (place, node) in layer.iter().enumerate() {
            places[*node] = place;
        }
    }
    places
}

fn sort_by_means(layered: &mut Layered, places: &mut [usize], down: bool) {
    let count = layered.layers.len();
    for step in 1..count {
        let (layer, fixed) = if down { (step, step - 1) } else { (count - 1 - step, count - step) };
        let scale = layered.layers[fixed].len() as f64 / layered.layers[layer].len() as f64;
        let neighbours = if down { &layered.above } else { &layered.below };
        let mean = |node: usize| {
            let joined = &neighbours[node];
            if joined.is_empty() {
                // It stays about where it is.
                return (places[node] as f64 + 0.5) * scale - 0.5;
            }
            joined.iter().map(|other| places[*other] as f64).sum::<f64>() / joined.len() as f64
        };
        let mut order: Vec<(f64, usize)> =
            layered.layers[layer].iter().map(|node| (mean(*node), *node)).collect();
        // Stable, so that equals keep their order.
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        layered.layers[layer] = order.into_iter().map(|(_, node)| node).collect();
        for (place, node) in layered.layers[layer].iter().enumerate() {
            places[*node] = place;
        }
    }
}

/// Exchanges adjacent nodes wherever that takes crossings away. Whether it did so at all.
fn exchange(layered: &mut Layered, places: &mut [usize]) -> bool {
    let mut better = false;
    for layer in 0..layered.layers.len() {
        for place in 1..layered.layers[layer].len() {
            let (left, right) = (layered.layers[layer][place - 1], layered.layers[layer][place]);
            let between = |left: usize, right: usize| {
                crossed(&layered.above[left], &layered.above[right], places)
                    + crossed(&layered.below[left], &layered.below[right], places)
            };
            if between(right, left) < between(left, right) {
                layered.layers[layer].swap(place - 1, place);
                places.swap(left, right);
                better = true;
            }
        }
    }
    better
}

/// How many pairs of lines cross when one node with these neighbours is left of another.
fn crossed(left: &[usize], right: &[usize], places: &[usize]) -> usize {
    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
    pairs.filter(|(a, b)| places[**a] > places[**b]).count()
}

/// How many pairs of lines cross in all.
pub(super) fn crossings(layered: &Layered, places: &[usize]) -> usize {
    let mut count = 0;
    for (upper, layer) in layered.layers.iter().enumerate() {
        // Lines from left to right; each crosses those before it that end further right. A tree of sums counts them.
        let width = layered.layers.get(upper + 1).map_or(0, Vec::len);
        let mut ends = vec![0_usize; width + 1];
        for node in layer {
            let mut targets: Vec<usize> = layered.below[*node].iter().map(|other| places[*other]).collect();
            targets.sort_unstable();
            for target in &targets {
                count += above(&ends, *target);
            }
            for target in targets {
                add(&mut ends, target);
            }
        }
    }
    count
}

/// Counts one more line that ends at this place.
fn add(sums: &mut [usize], place: usize) {
    let mut at = place + 1;
    while at < sums.len() {
        sums[at] += 1;
        at += at & at.wrapping_neg();
    }
}

/// How many lines end at later places.
fn above(sums: &[usize], place: usize) -> usize {
    let prefix = |mut at: usize| {
        let mut sum = 0;
        while at > 0 {
            sum += sums[at];
            at &= at - 1;
        }
        sum
    };
    let all = prefix(sums.len().saturating_sub(1));
    all - prefix(place + 1)
}

#[cfg(test)]
mod tests {
    use super::super::{DOWN, Size};
    use super::*;

    fn layered(boxes: usize, links: &[(usize, usize)]) -> Layered {
        let group: Vec<usize> = (0..boxes).collect();
        Layered::new(&group, &vec![Size { width: 10.0, height: 10.0 }; boxes], links, &DOWN)
    }

    /// The same count, pair by pair.
    fn slowly(layered: &Layered, places: &[usize]) -> usize {
        let mut lines = Vec::new();
        for (node, below) in layered.below.iter().enumerate() {
            lines.extend(below.iter().map(|other| (layered.layer[node], places[node], places[*other])));
        }
        let pairs = lines.iter().flat_map(|a| lines.iter().map(move |b| (a, b)));
        pairs.filter(|(a, b)| a.0 == b.0 && a.1 < b.1 && a.2 > b.2).count()
    }

    #[test]
    fn crossings_are_counted() {
        let layered = layered(8, &[(0, 5), (0, 6), (1, 4), (1, 7), (2, 4), (3, 5), (3, 4), (2, 7)]);
        let places = places(&layered);
        assert_eq!(crossings(&layered, &places), slowly(&layered, &places));
        assert!(crossings(&layered, &places) > 0);
    }

    #[test]
    fn what_need_not_cross_does_not() {
        // Two chains and a tree, given in an order that tangles them.
        let links =
            [(0, 5), (1, 4), (2, 3), (5, 6), (4, 7), (3, 8), (0, 9), (9, 10), (6, 11), (7, 11), (8, 11)];
        let mut layered = layered(12, &links);
        uncross(&mut layered);
        let places = places(&layered);
        assert_eq!(slowly(&layered, &places), 0);
    }
}

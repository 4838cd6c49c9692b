//! Coordinates across the layers: every node as close to its neighbours as the order and the distances allow.

use super::layers::Layered;
use super::{BOX_GAP, LINE_GAP};

/// How often the layers are walked, down and up by turns.
const ROUNDS: usize = 48;

/// The horizontal centre of each node.
pub(super) fn centers(layered: &Layered) -> Vec<f64> {
    let mut centers = vec![0.0; layered.sizes.len()];
    for layer in &layered.layers {
        let wanted: Vec<(f64, f64)> = layer.iter().map(|_| (0.0, 1.0)).collect();
        set(layered, &mut centers, layer, &wanted);
    }
    for round in 0..ROUNDS {
        // At first only from one side, so that a whole branch moves; then the mean of both.
        let both = round >= ROUNDS / 2;
        let count = layered.layers.len();
        for step in 0..count {
            let down = round % 2 == 0;
            let layer = &layered.layers[if down { step } else { count - 1 - step }];
            let wanted: Vec<(f64, f64)> = layer
                .iter()
                .map(|node| pull(layered, &centers, *node, both || down, both || !down))
                .collect();
            set(layered, &mut centers, layer, &wanted);
        }
    }
    straighten(layered, &mut centers);
    centers
}

/// Where a node wants to be, and how much.
fn pull(layered: &Layered, centers: &[f64], node: usize, up: bool, down: bool) -> (f64, f64) {
    let above = layered.above[node].iter().filter(|_| up);
    let below = layered.below[node].iter().filter(|_| down);
    // Long lines are to be straight, and their ends may give way.
    let weight = |other: &usize| match (layered.is_bend(node), layered.is_bend(*other)) {
        (true, true) => 8.0,
        (true, false) | (false, true) => 2.0,
        (false, false) => 1.0,
    };
    let (mut sum, mut weights) = (0.0, 0.0);
    for other in above.chain(below) {
        sum += centers[*other] * weight(other);
        weights += weight(other);
    }
    if weights == 0.0 { (centers[node], 0.1) } else { (sum / weights, weights) }
}

/// How far apart the centres of two neighbours in a layer are at least.
fn distance(layered: &Layered, left: usize, right: usize) -> f64 {
    let gap = if layered.is_bend(left) || layered.is_bend(right) { LINE_GAP } else { BOX_GAP };
    (layered.sizes[left].width + layered.sizes[right].width) / 2.0 + gap
}

/// Puts the nodes of a layer where the weighted squares of their distances from where they want to be are smallest,
/// in their order: nodes that would come too close are joined to a block, which goes to the mean.
fn set(layered: &Layered, centers: &mut [f64], layer: &[usize], wanted: &[(f64, f64)]) {
    let mut offsets = Vec::with_capacity(layer.len());
    let mut offset = 0.0;
    for (at, node) in layer.iter().enumerate() {
        if at > 0 {
            offset += distance(layered, layer[at - 1], *node);
        }
        offsets.push(offset);
    }
    // Blocks of mean, weight and how many nodes.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for ((want, weight), offset) in wanted.iter().zip(&offsets) {
        let mut block = (want - offset, *weight, 1);
        while let Some(last) = blocks.pop_if(|last| last.0 > block.0) {
            let weight = last.1 + block.1;
            block = ((last.0 * last.1 + block.0 * block.1) / weight, weight, last.2 + block.2);
        }
        blocks.push(block);
    }
    let means = blocks.iter().flat_map(|(mean, _, nodes)| std::iter::repeat_n(*mean, *nodes));
    for ((node, offset), mean) in layer.iter().zip(&offsets).zip(means) {
        centers[*node] = mean + offset;
    }
}

/// Takes the last small kinks out: nodes in a row of one neighbour each get one coordinate if there is room.
fn straighten(layered: &Layered, centers: &mut [f64]) {
    let mut place = vec![(0, 0); layered.sizes.len()];
    for (at, layer) in layered.layers.iter().enumerate() {
        for (index, node) in layer.iter().enumerate() {
            place[*node] = (at, index);
        }
    }
    let mut done = vec![false; layered.sizes.len()];
    for start in layered.layers.iter().flatten().copied() {
        let mut chain = Vec::new();
        let mut at = start;
        while !std::mem::replace(&mut done[at], true) {
            chain.push(at);
            match layered.below[at].as_slice() {
                [next] if layered.above[*next].len() == 1 || layered.is_bend(*next) => at = *next,
                _ => break,
            }
        }
        if chain.len() < 2 {
            continue;
        }
        let (mut least, mut most, mut sum) = (f64::NEG_INFINITY, f64::INFINITY, 0.0);
        for node in &chain {
            let (layer, index) = place[*node];
            let layer = &layered.layers[layer];
            if let Some(left) = index.checked_sub(1).and_then(|left| layer.get(left)) {
                least = least.max(centers[*left] + distance(layered, *left, *node));
            }
            if let Some(right) = layer.get(index + 1) {
                most = most.min(centers[*right] - distance(layered, *node, *right));
            }
            sum += centers[*node];
        }
        if least <= most {
            let center = (sum / chain.len() as f64).clamp(least, most);
            for node in chain {
                centers[node] = center;
            }
        }
    }
}

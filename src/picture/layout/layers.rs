//! Layers: which boxes lie at the same height, and the bends of lines that pass other layers.

use std::collections::{BTreeSet, HashMap};

use super::{BOX_GAP, LINE_GAP, Measures, Size};

/// A group of connected boxes in layers. Its nodes are the boxes, then the bends of long lines.
#[derive(Debug)]
pub(super) struct Layered {
    /// The nodes of each layer, from left to right.
    pub(super) layers: Vec<Vec<usize>>,
    /// The layer of each node.
    pub(super) layer: Vec<usize>,
    /// The size of each node; a bend has no height.
    pub(super) sizes: Vec<Size>,
    /// The nodes one layer up that a node is joined with.
    pub(super) above: Vec<Vec<usize>>,
    /// The nodes one layer down that a node is joined with.
    pub(super) below: Vec<Vec<usize>>,
    /// How many of the nodes are boxes.
    pub(super) boxes: usize,
    /// The bend of the lines from a box in a layer. Lines from one box share theirs, as far as they go.
    pub(super) bends: HashMap<(usize, usize), usize>,
}

/// Boxes that are joined by links, directly or not: each group with its boxes in order.
pub(super) fn groups(boxes: usize, links: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); boxes];
    for (from, to) in links {
        neighbours[*from].push(*to);
        neighbours[*to].push(*from);
    }
    let mut seen = vec![false; boxes];
    let mut groups = Vec::new();
    for start in 0..boxes {
        let (mut group, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                group.insert(at);
                open.extend(&neighbours[at]);
            }
        }
        if !group.is_empty() {
            groups.push(group.into_iter().collect());
        }
    }
    groups
}

/// A link as it is laid out: from the box that comes first. One that leads back is drawn against its direction.
pub(super) fn downwards((from, to): (usize, usize)) -> Option<(usize, usize)> {
    match from.cmp(&to) {
        std::cmp::Ordering::Less => Some((from, to)),
        std::cmp::Ordering::Greater => Some((to, from)),
        std::cmp::Ordering::Equal => None,
    }
}

impl Layered {
    /// Layers for the boxes of a group; nodes are numbered as in the group.
    pub(super) fn new(
        group: &[usize],
        boxes: &[Size],
        links: &[(usize, usize)],
        measures: &Measures,
    ) -> Self {
        let node: HashMap<usize, usize> = group.iter().enumerate().map(|(node, at)| (*at, node)).collect();
        let links: BTreeSet<(usize, usize)> = links
            .iter()
            .filter_map(|link| downwards(*link))
            .filter_map(|(from, to)| Some((*node.get(&from)?, *node.get(&to)?)))
            .collect();
        let sizes: Vec<Size> = group.iter().map(|at| boxes[*at]).collect();
        let layer = thinned(&layers(group.len(), &links), &sizes, &links, measures);
        let mut layered = Self {
            layers: vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)],
            sizes,
            above: vec![Vec::new(); group.len()],
            below: vec![Vec::new(); group.len()],
            boxes: group.len(),
            bends: HashMap::new(),
            layer,
        };
        for (from, to) in links {
            let mut last = from;
            for layer in layered.layer[from] + 1..layered.layer[to] {
                last = layered.bend(from, last, layer);
            }
            layered.join(last, to);
        }
        layered.fill();
        layered
    }

    pub(super) fn is_bend(&self, node: usize) -> bool {
        node >= self.boxes
    }

    fn bend(&mut self, from: usize, last: usize, layer: usize) -> usize {
        if let Some(bend) = self.bends.get(&(from, layer)) {
            return *bend;
        }
        let bend = self.sizes.len();
        self.sizes.push(Size { width: LINE_GAP / 2.0, height: 0.0 });
        self.layer.push(layer);
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.bends.insert((from, layer), bend);
        self.join(last, bend);
        bend
    }

    fn join(&mut self, upper: usize, lower: usize) {
        self.below[upper].push(lower);
        self.above[lower].push(upper);
    }

    /// A first order: depth first, so that what belongs together starts out together.
    fn fill(&mut self) {
        let mut seen = vec![false; self.sizes.len()];
        for start in 0..self.boxes {
            let mut open = if self.above[start].is_empty() { vec![start] } else { Vec::new() };
            while let Some(at) = open.pop() {
                if !std::mem::replace(&mut seen[at], true) {
                    self.layers[self.layer[at]].push(at);
                    open.extend(self.below[at].iter().rev());
                }
            }
        }
    }
}

/// The layer of each node: below all its parents; and whoever pulls more lines down than up lies just above its
/// highest child. Links lead from smaller numbers to larger ones.
fn layers(nodes: usize, links: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let mut layer = vec![0_usize; nodes];
    let (mut above, mut below) = (vec![0_usize; nodes], vec![Vec::new(); nodes]);
    for (from, to) in links {
        above[*to] += 1;
        below[*from].push(*to);
    }
    for from in 0..nodes {
        for to in &below[from] {
            layer[*to] = layer[*to].max(layer[from] + 1);
        }
    }
    for from in (0..nodes).rev() {
        let highest = below[from].iter().map(|to| layer[*to]).min();
        if let Some(highest) = highest.filter(|_| below[from].len() > above[from]) {
            layer[from] = layer[from].max(highest - 1);
        }
    }
    layer
}

/// The layers again, with crowded ones as several: a hundred children of one parent are no picture in one row.
fn thinned(
    layer: &[usize],
    sizes: &[Size],
    links: &BTreeSet<(usize, usize)>,
    measures: &Measures,
) -> Vec<usize> {
    // What a box takes with the space around it; half of that below it is for lines.
    let area: f64 =
        sizes.iter().map(|size| (size.width + BOX_GAP) * (size.height + 3.0 * measures.stub)).sum();
    let limit = (area * measures.ratio).sqrt().max(measures.width);
    let has_children: BTreeSet<usize> = links.iter().map(|(from, _)| *from).collect();
    let first_parent: HashMap<usize, usize> = links.iter().rev().map(|(from, to)| (*to, *from)).collect();
    let mut thinned = vec![0; layer.len()];
    let mut next = 0;
    for number in 0..layer.iter().max().map_or(0, |last| last + 1) {
        let mut nodes: Vec<usize> = (0..layer.len()).filter(|node| layer[*node] == number).collect();
        // Whoever has children stays close to them, and the children of one parent stay together.
        nodes.sort_by_key(|node| (has_children.contains(node), first_parent.get(node), *node));
        let width = |node: usize| sizes[node].width + BOX_GAP;
        let whole: f64 = nodes.iter().map(|node| width(*node)).sum();
        let rows = (whole / limit).ceil().max(1.0);
        let mut used = 0.0;
        for node in nodes {
            // The middle of the box says which row it is in, so that all rows are about as wide.
            let row = ((used + width(node) / 2.0) / whole * rows) as usize;
            thinned[node] = next + row.min(rows as usize - 1);
            used += width(node);
        }
        next += rows as usize;
    }
    thinned
}

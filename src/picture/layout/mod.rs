//! Where boxes and the lines between them go: a layered drawing in which children lie below their parents.
//!
//! Each group of connected boxes is laid out for itself, in the steps of Sugiyama's method:
//! 1. `layers`: every box gets a layer, crowded layers become several; long lines get bends, so that each piece
//!    spans one layer;
//! 2. `order`: the order within each layer, such that few lines cross;
//! 3. `place`: coordinates that keep the order and the distances, and bring relatives close;
//! 4. `route`: the lines.
//!
//! `pack` then puts the groups side by side. All of this goes downwards; a drawing to the right is the same with its
//! axes exchanged.

mod layers;
mod order;
mod pack;
mod place;
mod route;

use self::layers::Layered;

/// Distances, in pixels.
const BOX_GAP: f64 = 30.0;
const LINE_GAP: f64 = 18.0;
const GROUP_GAP: f64 = 56.0;

/// How far from its corners lines arrive at a box.
const CORNER: f64 = 12.0;

/// How a picture is best proportioned, width to height.
const RATIO: f64 = 1.5;

/// What is not the same in both directions. The drawing goes downwards, here too.
#[derive(Debug, Clone, Copy)]
struct Measures {
    /// How long the last, straight piece of a line is: there is a mark on it.
    stub: f64,
    /// How far apart lines arrive at a box.
    port: f64,
    /// The proportions to aim at, width to height.
    ratio: f64,
    /// The width that a layer may have in any case: about that of a screen.
    width: f64,
}

const DOWN: Measures = Measures { stub: 32.0, port: 38.0, ratio: RATIO, width: 1500.0 };
const RIGHT: Measures = Measures { stub: 50.0, port: 20.0, ratio: 1.0 / RATIO, width: 1000.0 };

/// The size of a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A point; y goes down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Where everything is, within a rectangle that begins at the origin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) size: Size,
    /// The upper left corners of the boxes.
    pub(super) boxes: Vec<Point>,
    /// The sizes of the boxes: larger than asked for where many lines arrive.
    pub(super) sizes: Vec<Size>,
    /// The lines from parents to children: straight and curved pieces by turns, the first and the last one straight.
    /// A curve leaves and arrives in the direction of the drawing.
    pub(super) lines: Vec<Vec<Point>>,
    /// Whether children lie to the right of their parents rather than below.
    pub(super) rightwards: bool,
}

impl Layout {
    /// Lays boxes out; a link leads from a box to one below it.
    pub(super) fn new(boxes: &[Size], links: &[(usize, usize)], direction: super::Direction) -> Self {
        let down = || Self::down(boxes, links, &DOWN);
        let right = || {
            let turned: Vec<Size> = boxes.iter().copied().map(Size::turned).collect();
            Self::down(&turned, links, &RIGHT).turned()
        };
        match direction {
            super::Direction::Down => down(),
            super::Direction::Right => right(),
            super::Direction::Auto => {
                let (down, right) = (down(), right());
                // Down is what people expect, so that it may be somewhat worse.
                if down.badness() <= right.badness() * 1.35 { down } else { right }
            }
        }
    }

    fn down(boxes: &[Size], links: &[(usize, usize)], measures: &Measures) -> Self {
        let sizes = widened(boxes, links, measures);
        let mut parts = Vec::new();
        for group in layers::groups(boxes.len(), links) {
            let mut layered = Layered::new(&group, &sizes, links, measures);
            order::uncross(&mut layered);
            let centers = place::centers(&layered);
            parts.push(route::route(&layered, &centers, &group, links, measures));
        }
        pack::pack(&parts, sizes, links.len(), measures.ratio)
    }

    /// The same with its axes exchanged.
    fn turned(self) -> Self {
        let turn = |points: Vec<Point>| points.into_iter().map(|p| Point { x: p.y, y: p.x }).collect();
        Self {
            size: self.size.turned(),
            boxes: turn(self.boxes),
            sizes: self.sizes.into_iter().map(Size::turned).collect(),
            lines: self.lines.into_iter().map(turn).collect(),
            rightwards: !self.rightwards,
        }
    }

    /// How high a screen of good proportions has to be to show all of it.
    fn badness(&self) -> f64 {
        (self.size.width / RATIO).max(self.size.height)
    }
}

/// The boxes, wide enough for all lines that arrive at them.
fn widened(boxes: &[Size], links: &[(usize, usize)], measures: &Measures) -> Vec<Size> {
    let mut sizes = boxes.to_vec();
    for (place, size) in sizes.iter_mut().enumerate() {
        let lines = links.iter().filter(|(_, to)| *to == place).count();
        size.width = size.width.max(lines as f64 * measures.port + 2.0 * CORNER);
    }
    sizes
}

impl Size {
    fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

#[cfg(test)]
mod tests;

//! Where boxes and the lines between them go: a layered drawing in which children lie below their parents.
//!
//! Each group of connected boxes is laid out for itself, in the steps of Sugiyama's method:
//! 1. `layers`: every box gets a layer; long lines get bends, so that each piece spans one layer;
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

/// How long the last, straight piece of a line is, downwards and to the right: there is a mark on it.
const STUB: (f64, f64) = (32.0, 50.0);

/// How a picture is best proportioned, width to height.
const RATIO: f64 = 1.5;

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
    /// The lines from parents to children: straight and curved pieces by turns, the first and the last one straight.
    /// A curve leaves and arrives in the direction of the drawing.
    pub(super) lines: Vec<Vec<Point>>,
    /// Whether children lie to the right of their parents rather than below.
    pub(super) rightwards: bool,
}

impl Layout {
    /// Lays boxes out; a link leads from a box to one below it.
    pub(super) fn new(boxes: &[Size], links: &[(usize, usize)], direction: super::Direction) -> Self {
        let down = || Self::down(boxes, links, STUB.0);
        let right = || {
            let turned: Vec<Size> = boxes.iter().map(|size| size.turned()).collect();
            Self::down(&turned, links, STUB.1).turned()
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

    fn down(boxes: &[Size], links: &[(usize, usize)], stub: f64) -> Self {
        let mut parts = Vec::new();
        for group in layers::groups(boxes.len(), links) {
            let mut layered = Layered::new(&group, boxes, links);
            order::uncross(&mut layered);
            let centers = place::centers(&layered);
            parts.push(route::route(&layered, &centers, &group, links, stub));
        }
        pack::pack(&parts, boxes.len(), links.len())
    }

    /// The same with its axes exchanged.
    fn turned(self) -> Self {
        let turn = |points: Vec<Point>| points.into_iter().map(|p| Point { x: p.y, y: p.x }).collect();
        Self {
            size: self.size.turned(),
            boxes: turn(self.boxes),
            lines: self.lines.into_iter().map(turn).collect(),
            rightwards: !self.rightwards,
        }
    }

    /// How high a screen of good proportions has to be to show all of it.
    fn badness(&self) -> f64 {
        (self.size.width / RATIO).max(self.size.height)
    }
}

impl Size {
    fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

#[cfg(test)]
mod tests;

//! Groups side by side, in rows.

use super::{GROUP_GAP, Layout, Point, Size};

/// A group that is laid out, with the numbers that its boxes and lines have in the whole.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) size: Size,
    pub(super) boxes: Vec<(usize, Point)>,
    pub(super) lines: Vec<(usize, Vec<Point>)>,
}

impl Default for Part {
    fn default() -> Self {
        Self { size: Size { width: 0.0, height: 0.0 }, boxes: Vec::new(), lines: Vec::new() }
    }
}

/// Puts the groups into rows, the highest first, so that low ones share a row.
pub(super) fn pack(parts: &[Part], sizes: Vec<Size>, lines: usize, ratio: f64) -> Layout {
    let origin = Point { x: 0.0, y: 0.0 };
    let mut layout = Layout {
        size: Size { width: 0.0, height: 0.0 },
        boxes: vec![origin; sizes.len()],
        sizes,
        lines: vec![Vec::new(); lines],
        rightwards: false,
    };
    let area: f64 = parts.iter().map(|p| (p.size.width + GROUP_GAP) * (p.size.height + GROUP_GAP)).sum();
    let widest = parts.iter().map(|part| part.size.width).fold(0.0, f64::max);
    let width = widest.max((area * ratio).sqrt());
    let mut order: Vec<&Part> = parts.iter().collect();
    order.sort_by(|a, b| b.size.height.total_cmp(&a.size.height));
    let (mut corner, mut row) = (origin, 0.0_f64);
    for part in order {
        if corner.x > 0.0 && corner.x + part.size.width > width {
            corner = Point { x: 0.0, y: corner.y + row + GROUP_GAP };
            row = 0.0;
        }
        let moved = |p: &Point| Point { x: p.x + corner.x, y: p.y + corner.y };
        for (number, point) in &part.boxes {
            layout.boxes[*number] = moved(point);
        }
        for (number, line) in &part.lines {
            layout.lines[*number] = line.iter().map(moved).collect();
        }
        layout.size.width = layout.size.width.max(corner.x + part.size.width);
        layout.size.height = layout.size.height.max(corner.y + part.size.height);
        row = row.max(part.size.height);
        corner.x += part.size.width + GROUP_GAP;
    }
    layout
}

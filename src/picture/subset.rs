//! A part of a picture: some features and those around them.

use std::collections::BTreeSet;

use super::{Link, Picture};
use crate::error::{MetaxyError, Result};

impl Picture {
    /// The features of these keys, with ancestors up to `up` steps away and descendants up to `down` steps away,
    /// and the links between them. Without a number, all.
    ///
    /// # Errors
    /// A key that no feature has.
    pub fn around(&self, keys: &[String], up: Option<usize>, down: Option<usize>) -> Result<Self> {
        let mut start = BTreeSet::new();
        for key in keys {
            let place = self.features.iter().position(|feature| feature.key == *key);
            start.insert(place.ok_or_else(|| MetaxyError::UnknownFeature {
                feature: key.clone(),
                reason: "it is not in the picture".to_owned(),
            })?);
        }
        let mut kept = self.reach(&start, up, |link| (link.child, link.parent));
        kept.extend(self.reach(&start, down, |link| (link.parent, link.child)));
        Ok(self.only(&kept))
    }

    /// Everything that can be reached in so many steps over links seen as from and to.
    fn reach(
        &self,
        start: &BTreeSet<usize>,
        steps: Option<usize>,
        ends: impl Fn(&Link) -> (usize, usize),
    ) -> BTreeSet<usize> {
        let (mut reached, mut last, mut left) = (start.clone(), start.clone(), steps);
        while !last.is_empty() && left != Some(0) {
            let next = self
                .links
                .iter()
                .map(&ends)
                .filter(|(from, to)| last.contains(from) && !reached.contains(to));
            last = next.map(|(_, to)| to).collect();
            reached.extend(&last);
            left = left.map(|left| left - 1);
        }
        reached
    }

    /// The features at these places, and the links between them.
    fn only(&self, kept: &BTreeSet<usize>) -> Self {
        let places: Vec<usize> = kept.iter().copied().collect();
        let place = |old: usize| places.binary_search(&old).ok();
        let links = self.links.iter().filter_map(|link| {
            Some(Link { parent: place(link.parent)?, child: place(link.child)?, ..link.clone() })
        });
        Picture {
            title: self.title.clone(),
            features: places.iter().filter_map(|old| self.features.get(*old).cloned()).collect(),
            links: links.collect(),
            compares: self.compares,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn around(key: &str, up: Option<usize>, down: Option<usize>) -> Vec<String> {
        let picture = Picture::of_graph(&samples::small()).around(&[key.to_owned()], up, down).unwrap();
        for link in &picture.links {
            assert!(link.parent < link.child && link.child < picture.features.len());
        }
        picture.features.into_iter().map(|feature| feature.key).collect()
    }

    #[test]
    fn steps_are_counted() {
        assert_eq!(around("video/thumb", None, None), ["video", "video/thumb", "video/report"]);
        assert_eq!(around("video/thumb", Some(0), None), ["video/thumb", "video/report"]);
        assert_eq!(around("video", None, Some(0)), ["video"]);
        assert_eq!(around("chunk/speech", Some(1), Some(0)), ["video/chunk", "chunk/speech"]);
        assert_eq!(around("chunk/speech", Some(2), None), ["video", "video/chunk", "chunk/speech"]);
    }

    #[test]
    fn links_are_those_of_the_part() {
        let picture = Picture::of_graph(&samples::small());
        let part = picture.around(&["video/report".to_owned()], Some(1), None).unwrap();
        // Video, thumb and report, and the link between video and thumb too.
        assert_eq!((part.features.len(), part.links.len()), (3, 3));
        let error = picture.around(&["gone".to_owned()], None, None).unwrap_err().to_string();
        assert!(error.starts_with("unknown feature gone"), "{error}");
    }
}

//! Finds what a user may have meant.

/// The candidate nearest to `given`, if it is near enough to be a slip of the keyboard.
pub(super) fn nearest<S: AsRef<str>>(given: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    let given = given.to_lowercase();
    let limit = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&given, &candidate.as_ref().to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by(|a, b| (a.0, a.1.as_ref()).cmp(&(b.0, b.1.as_ref())))
        .map(|(_, candidate)| candidate.as_ref().to_owned())
}

/// How many characters must be put in, left out or replaced to get from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.windows(2)) {
            let (diagonal, up) = (above[0], above[1]);
            left = (diagonal + usize::from(x != *y)).min(up + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "", 3), ("ab", "ab", 0)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn near_and_far() {
        let names = ["video/raw", "video/crop", "audio"];
        assert_eq!(nearest("video/corp", names), Some("video/crop".to_owned()));
        assert_eq!(nearest("AUDIO", names), Some("audio".to_owned()));
        assert_eq!(nearest("document", names), None);
        assert_eq!(nearest("x", Vec::<String>::new()), None);
    }
}

//! "Did you mean": the known name that is nearest to a mistyped one.

/// The name among `known` that `given` most likely stands for, if any is near enough.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    known
        .iter()
        .map(|name| (distance(&given, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= 1.max(name.chars().count() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What to say after "unknown …": the nearest name, else all that are known.
pub(super) fn hint(given: &str, known: &[&str]) -> String {
    match nearest(given, known) {
        Some(name) => format!("did you mean {name:?}?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("known: {}", known.join(", ")),
    }
}

/// Edits (insert, remove or replace a character, swap two neighbours) that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // rows[i][j] is the distance of the first i characters of `a` to the first j of `b`.
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typing_mistakes_only() {
        let known = ["root_path", "layout", "storage_options"];
        assert_eq!(nearest("rootpath", &known), Some("root_path"));
        assert_eq!(nearest("Layuot", &known), Some("layout"));
        assert_eq!(nearest("layuto", &["layout", "layer"]), Some("layout"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(hint("colour", &known), "known: root_path, layout, storage_options");
        assert_eq!(hint("lay", &[]), "there are none");
    }
}

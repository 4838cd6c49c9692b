//! Where the files of a Delta table are: the log has their names encoded as in a URL, this crate has them decoded, and a
//! scan tells URLs.

use url::Url;

/// The URL that a scan tells for the file of this name below a table.
///
/// A name may have what stands for something else in a URL: writers name the folder of a partition `k=50%25`.
pub(super) fn url_of_file(table: &Url, name: &str) -> Url {
    let mut url = table.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(name.split('/'));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_whatever_its_name() {
        // As the log has a name, and as it is on the disk.
        for (logged, name) in [
            ("part-0.parquet", "part-0.parquet"),
            ("k=my%2520data/part-0.parquet", "k=my%20data/part-0.parquet"),
            ("k=a%255Cb/part-0.parquet", "k=a%5Cb/part-0.parquet"),
            ("k=a%20b/part-0.parquet", "k=a b/part-0.parquet"),
            ("k=%E6%97%A5/part-0.parquet", "k=日/part-0.parquet"),
            ("k=%3F%23%25/part-0.parquet", "k=?#%/part-0.parquet"),
        ] {
            for table in ["file:///a%20b/t.delta/", "s3://bucket/t.delta"] {
                let table = Url::parse(table).unwrap();
                let folder = Url::parse(&format!("{}/", table.as_str().trim_end_matches('/'))).unwrap();
                assert_eq!(url_of_file(&table, name), folder.join(logged).unwrap(), "{name}");
            }
        }
    }
}

//! A project for tests of subcommands: photos, faces that are found in them for most, sizes whose code has changed.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::support::{Cli, copy_folder};

const CONFIG: &str = r#"
project = "photos"
store = "dev"

[stores.dev]
type = "delta"

[stores.dev.config]
root_path = "store"

[stores.prod]
type = "delta"

[stores.prod.config]
root_path = "prod"

[ext.datafusion]
features = ["features*.toml"]
"#;

/// `photo/size` with the version of the code that computes it.
fn features(size: u8) -> String {
    format!(
        r#"
[[feature]]
key = "photo"
id_columns = ["path"]

[[feature]]
key = "photo/face"
id_columns = ["path"]
deps = ["photo"]
fields = [{{ key = "faces", code_version = "1" }}]
description = "Faces that are found in a photo"

[[feature]]
key = "photo/size"
id_columns = ["path"]
deps = ["photo"]
fields = [{{ key = "width", code_version = "{size}" }}]
"#
    )
}

const LISTING: &str = "CREATE VIEW listing AS
SELECT path, named_struct('default', hash) AS metaxy_provenance_by_field
FROM (VALUES ('a.jpg', 'v1'), ('b.jpg', 'v1'), ('c.tmp', 'v1')) AS t(path, hash);
";

/// One of the three photos was edited, one is gone, one is new.
pub const CHANGED_LISTING: &str = "CREATE VIEW listing AS
SELECT path, named_struct('default', hash) AS metaxy_provenance_by_field
FROM (VALUES ('a.jpg', 'v1'), ('b.jpg', 'v2'), ('d.jpg', 'v1')) AS t(path, hash);
";

static PREPARED: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("metaxy.toml", CONFIG);
    write("listing.sql", LISTING);
    write("features.toml", &features(1));
    let cli = || Cli::new(folder.path());
    cli().args(["push", "-q"]).run().ok();
    let statements = [
        "INSERT INTO photo SELECT * FROM resolve_update('photo', listing)",
        "INSERT INTO photo__face SELECT *, 1 AS faces FROM resolve_update('photo/face') WHERE path LIKE '%.jpg'",
        "INSERT INTO photo__size SELECT *, 640 AS width FROM resolve_update('photo/size')",
    ];
    cli().args(["-f", "listing.sql"]).sql(&statements).run().ok();
    write("features.toml", &features(2));
    folder
});

/// A folder of its own with the project in it.
pub fn photos() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(PREPARED.path(), folder.path());
    folder
}

/// What a statement answers in a project, as CSV.
pub fn csv(folder: &Path, sql: &str) -> String {
    Cli::new(folder).args(["--format", "csv"]).sql(&[sql]).run().ok()
}

//! `init`: a project for a folder of files.

use std::path::{Component, Path, PathBuf};

use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
use serde_json::json;

use crate::cli::program::{Outcome, Program, folder as working_folder};
use crate::cli::report;
use crate::cli::rows::{Format, Rows};
use crate::cli::sql_text::{name, string};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli init images
  Wrote metaxy.toml, features.toml, listing.sql, changes.sql and update.sql.

  Next:
    metaxy-cli -q -f changes.sql   lists the new, changed and removed files of images
    metaxy-cli -q -f update.sql    takes note of the files as they are now
  Run both whenever you like. features.toml shows how to declare what is computed from the files.";

/// Start a project for a folder of files: configuration, a first feature, and scripts that find what has changed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The folder whose files are to be watched
    folder: PathBuf,

    /// The key of the feature that has a sample per file [default: the folder's name]
    #[arg(long, value_name = "KEY")]
    feature: Option<String>,

    /// The project's name [default: the working folder's name]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Writes the files. One that is there already is never touched, and then none is written.
///
/// # Errors
///
/// A file is there already or can't be written, or the folder's name can't be made into a key. A folder that isn't
/// there, and names that can't be used, are wrong usage.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let here = working_folder()?;
    let Some(folder) =
        args.folder.to_str().map(|text| text.trim_end_matches('/')).filter(|text| !text.is_empty())
    else {
        return Ok(Outcome::Usage("FOLDER is no name of a folder".to_owned()));
    };
    if folder.contains("://") {
        return Ok(Outcome::Usage(format!(
            "{folder} is no folder of this machine; name one, and put the URL into listing.sql in its place"
        )));
    }
    let folder = normalised(&here, folder);
    let folder = folder.as_str();
    if folder.contains(['*', '?', '[', '\n', '\r']) {
        return Ok(Outcome::Usage(format!(
            "{folder:?} has letters that stand for patterns; rename the folder"
        )));
    }
    if let Some(problem) = no_folder(&here, folder) {
        return Ok(Outcome::Usage(problem));
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(&here).starts_with(real(&here.join(folder))) {
        let reason = format!("{folder} has the project's own files in it; name a folder that has not");
        return Ok(Outcome::Usage(reason));
    }
    if holds_store(&real(&here.join(folder)), &real(&real(&here).join(STORE))) {
        let reason = format!(
            "the store of the project goes into {STORE}, and its files would be listed with those of {folder}; name \
             another folder"
        );
        return Ok(Outcome::Usage(reason));
    }
    let project = match args.project {
        Some(name) => name,
        None => project_name(&here),
    };
    if let Some(problem) = crate::config::project_problem(&project) {
        return Ok(Outcome::Usage(format!("{project:?} is no project: {problem}")));
    }
    let feature = match &args.feature {
        Some(key) => match FeatureKey::parse(key) {
            Ok(key) => key,
            Err(error) => return Ok(Outcome::Usage(error.to_string())),
        },
        None => FeatureKey::parse(&key_of(folder))?,
    };
    let names = Names { project, folder: folder.to_owned(), feature };
    write_all(&here, &names.files())?;
    let files: Vec<&str> = FILES.to_vec();
    if program.format() == Format::Table {
        report::output(names.next_steps().as_bytes())?;
    } else {
        let mut rows = Rows::new(["file"]);
        files.iter().for_each(|file| rows.push([json!(file)]));
        program.print(&rows)?;
    }
    Ok(Outcome::Done)
}

/// What is written, in this order.
const FILES: [&str; 5] = ["metaxy.toml", "features.toml", "listing.sql", "changes.sql", "update.sql"];

/// The folder of the store, as the configuration has it.
const STORE: &str = "metaxy-store";

/// What the files are about.
struct Names {
    project: String,
    folder: String,
    feature: FeatureKey,
}

impl Names {
    fn files(&self) -> [(&'static str, String); 5] {
        let [config, features, listing, changes, update] = FILES;
        let texts = [CONFIG, FEATURES, LISTING, CHANGES, UPDATE].map(|text| self.filled_in(text));
        let [of_config, of_features, of_listing, of_changes, of_update] = texts;
        [
            (config, of_config),
            (features, of_features),
            (listing, of_listing),
            (changes, of_changes),
            (update, of_update),
        ]
    }

    fn filled_in(&self, text: &str) -> String {
        let table = self.feature.table_name();
        let values = [
            ("{project}", self.project.clone()),
            ("{location}", string(&self.folder)),
            ("{view}", format!("{}_now", table.to_lowercase())),
            ("{table}", table_in_sql(&table)),
            ("{feature}", self.feature.to_string()),
            ("{folder}", self.folder.clone()),
            ("{store}", STORE.to_owned()),
        ];
        // In one pass: a folder may have a name that looks like one of these.
        let (mut filled, mut rest) = (String::new(), text);
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            filled += before;
            let value = values.iter().find_map(|(place, value)| Some((value, from.strip_prefix(*place)?)));
            rest = match value {
                Some((value, behind)) => {
                    filled += value;
                    behind
                }
                None => {
                    filled.push('{');
                    from.strip_prefix('{').unwrap_or_default()
                }
            };
        }
        filled + rest
    }

    fn next_steps(&self) -> String {
        self.filled_in(NEXT)
    }
}

/// Whether files of the store are among those of the folder: it is the store's, or within it, or around it.
fn holds_store(folder: &Path, store: &Path) -> bool {
    folder.starts_with(store) || store.starts_with(folder)
}

/// Why the files of this folder can't be watched: it isn't there, or is none.
fn no_folder(here: &Path, folder: &str) -> Option<String> {
    let path = here.join(folder);
    if path.is_dir() {
        return None;
    }
    if path.is_file() {
        return Some(format!("{folder} is a file; name the folder that it is in"));
    }
    let remedy = match (path.parent().filter(|parent| parent.is_dir()), path.file_name()) {
        (Some(parent), Some(name)) => {
            let folders =
                parent.read_dir().into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
            let names: Vec<String> =
                folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            crate::config::nearest(&name.to_string_lossy(), &names).map(|near| {
                let near = Path::new(folder).with_file_name(near);
                format!("did you mean {}?", near.display())
            })
        }
        _ => None,
    };
    let remedy = remedy.unwrap_or_else(|| "make it first".to_owned());
    Some(format!("there is no folder {folder}; {remedy}"))
}

/// The folder without detours: listed paths start with what is written here.
fn normalised(here: &Path, folder: &str) -> String {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in Path::new(folder).components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let short: PathBuf = parts.iter().collect();
    // A step back out of a link leads elsewhere.
    let same = |short: &Path| match (here.join(short).canonicalize(), here.join(folder).canonicalize()) {
        (Ok(short), Ok(long)) => short == long,
        _ => true,
    };
    match short.to_str() {
        Some(text) if !text.is_empty() && same(&short) => text.to_owned(),
        _ => folder.to_owned(),
    }
}

/// A table's name as it has to be written in SQL: in quotes if it would mean something else without.
fn table_in_sql(table: &str) -> String {
    let is_keyword = ALL_KEYWORDS.binary_search(&table.to_uppercase().as_str()).is_ok();
    if is_keyword || table.contains(|letter: char| letter.is_ascii_uppercase()) {
        name(table)
    } else {
        table.to_owned()
    }
}

/// A folder's name as that of a project.
fn project_name(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match word(&name, '-') {
        name if name.is_empty() => "project".to_owned(),
        name => name,
    }
}

/// A folder's name as the key of a feature, in small letters since SQL takes names for such.
fn key_of(folder: &str) -> String {
    let last = Path::new(folder).file_name().map(|name| name.to_string_lossy().to_lowercase());
    match word(&last.unwrap_or_default(), '_') {
        name if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) => {
            format!("files_{name}").trim_end_matches('_').to_owned()
        }
        name => name,
    }
}

/// Letters and digits of ASCII, with one of `between` for all else.
fn word(text: &str, between: char) -> String {
    let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(&between.to_string())
}

fn write_all(folder: &Path, files: &[(&str, String)]) -> Result<()> {
    let failed = |file: &Path, reason: String| MetaxyError::File { file: file.to_owned(), reason };
    for (name, _) in files {
        if folder.join(name).symlink_metadata().is_ok() {
            return Err(failed(Path::new(name), "is there already; nothing was written".to_owned()));
        }
    }
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, text) in files {
        let file = folder.join(name);
        if let Err(error) = create(&file, text) {
            // All or nothing; what can't be taken back is named by the next try.
            written.iter().for_each(|file| drop(std::fs::remove_file(file)));
            return Err(failed(Path::new(name), format!("cannot be written: {error}")));
        }
        written.push(file);
    }
    Ok(())
}

/// Fails if the file has come into being meanwhile.
fn create(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| drop(std::fs::remove_file(path)))
}

const NEXT: &str = "\
Wrote metaxy.toml, features.toml, listing.sql, changes.sql and update.sql.

Next:
  metaxy-cli -q -f changes.sql   lists the new, changed and removed files of {folder}
  metaxy-cli -q -f update.sql    takes note of the files as they are now
Run both whenever you like. features.toml shows how to declare what is computed from the files.
";

const CONFIG: &str = r#"# The configuration of metaxy-cli, which looks for it in the working folder and in those above.
# Work in the folder of this file: the paths below start at the working folder.

# The project that the features belong to. Only it writes to them.
project = "{project}"

# The store that is used unless --store names another.
store = "dev"

# How many characters are kept of a hash. Fewer save space and miss changes more often.
# This and hash_algorithm can't be changed once something was written.
hash_truncation_length = 16

[stores.dev]
# Delta Lake tables; "parquet" for plain Parquet files.
type = "delta"

[stores.dev.config]
# The folder of the tables. It is made by the first write.
root_path = "{store}"
hash_algorithm = "xxhash64"

[ext.datafusion]
# The files that declare features.
features = ["features.toml"]
"#;

const FEATURES: &str = r#"# The features of this project. A feature is a table of samples.

# The files in {folder}, one sample each. It has no parents: listing.sql brings its samples.
[[feature]]
key = "{feature}"
id_columns = ["path"]

# What is computed from the files is a feature, too. Take the # away to have one:
# [[feature]]
# key = "{feature}/thumbnail"
# id_columns = ["path"]
# deps = ["{feature}"]
# fields = [{ key = "thumbnail", code_version = "1" }]
#
# Then these are the files that need a thumbnail:
# SELECT metaxy_increment, path FROM resolve_update('{feature}/thumbnail');
"#;

const LISTING: &str = r#"-- The files of {folder} as they are now. The hash of its content is a file's version: it changes when the file does.
CREATE VIEW {view} AS
SELECT path, size, named_struct('default', content_hash) AS metaxy_provenance_by_field
FROM files({location}, content_hash => true)
-- Only some of the files: take the -- away.
-- WHERE path LIKE '%.jpg'
;
"#;

const CHANGES: &str = r#"-- What has changed since update.sql was run: metaxy-cli -q -f changes.sql
-- A file is new, stale when it was changed, or orphaned when it is gone.
\i listing.sql
SELECT metaxy_increment AS change, path, size
FROM resolve_update('{feature}', {view})
ORDER BY path;
"#;

const UPDATE: &str = r#"-- Takes note of the files as they are now: metaxy-cli -q -f update.sql
-- It prints how many rows were written, then how many were marked as deleted.
\i listing.sql
INSERT INTO {table}
SELECT * FROM resolve_update('{feature}', {view})
WHERE metaxy_increment IN ('new', 'stale');

DELETE FROM {table}
WHERE path IN (SELECT path FROM resolve_update('{feature}', {view}) WHERE metaxy_increment = 'orphaned');
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_become_names_of_projects_and_features() {
        assert_eq!(project_name(Path::new("/home/ada/My photos (2026)")), "My-photos-2026");
        assert_eq!(project_name(Path::new("/")), "project");
        for (folder, key) in [
            ("images", "images"),
            ("./data/Raw Images", "raw_images"),
            ("2024", "files_2024"),
            ("..", "files"),
            ("ä", "files"),
            ("a__b", "a_b"),
        ] {
            assert_eq!(key_of(folder), key, "{folder}");
            assert!(FeatureKey::parse(&key_of(folder)).is_ok(), "{folder}");
        }
        assert!(crate::config::project_problem(&project_name(Path::new("a__b  c"))).is_none());
    }

    #[test]
    fn detours_are_taken_out_of_folders() {
        let nowhere = Path::new("/no/such/place");
        for (folder, short) in [
            ("images", "images"),
            ("./images", "images"),
            ("images/.", "images"),
            ("a/../images", "images"),
            ("../images", "../images"),
            ("/data/./images", "/data/images"),
            (".", "."),
            ("a/..", "a/.."),
        ] {
            assert_eq!(normalised(nowhere, folder), short, "{folder}");
        }
    }

    #[test]
    fn words_of_sql_are_quoted() {
        for (table, written) in [
            ("images", "images"),
            ("order", "\"order\""),
            ("select", "\"select\""),
            ("table", "\"table\""),
            ("Raw", "\"Raw\""),
        ] {
            assert_eq!(table_in_sql(table), written);
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let feature = FeatureKey::parse("a/b-c").unwrap();
        let names = Names { project: "p".to_owned(), folder: "it's".to_owned(), feature };
        for (name, text) in names.files() {
            for word in ["{project}", "{location}", "{view}", "{table}", "{feature}", "{folder}", "{store}"] {
                assert!(!text.contains(word), "{name}: {text}");
            }
        }
        let [.., (_, listing), _, (_, update)] = names.files();
        assert!(listing.contains("VIEW a__b_c_now") && listing.contains("files('it''s', "), "{listing}");
        assert!(
            update.contains("INSERT INTO a__b_c\n") && update.contains("resolve_update('a/b-c', "),
            "{update}"
        );
    }

    #[test]
    fn names_that_look_like_places_stay_as_they_are() {
        let feature = FeatureKey::parse("files").unwrap();
        let names = Names { project: "p".to_owned(), folder: "{{view} {feature".to_owned(), feature };
        assert_eq!(names.filled_in("{view} of {location}"), "files_now of '{{view} {feature'");
        let [(_, config), ..] = names.files();
        assert!(config.contains("\nroot_path = \"metaxy-store\"\n"), "{config}");
    }

    #[test]
    fn files_of_the_store_are_not_watched() {
        let store = Path::new("/p/metaxy-store");
        for (folder, holds) in [
            ("/p/metaxy-store", true),
            ("/p/metaxy-store/images", true),
            ("/p", true),
            ("/p/metaxy-store-2", false),
            ("/p/images", false),
        ] {
            assert_eq!(holds_store(Path::new(folder), store), holds, "{folder}");
        }
    }
}

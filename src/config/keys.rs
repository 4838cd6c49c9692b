//! The list of every key there is, from which unknown keys and JSON variables are judged.

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Flag,
    Whole,
    List,
    Table,
    /// A table whose values are all text.
    Texts,
    /// Whatever the owner of the key makes of it.
    Any,
}

/// Every key, `NAME` standing for a name of the user's and `OPTION` for a session option.
const KEYS: &[(&str, Shape)] = &[
    ("store", Shape::Text),
    ("project", Shape::Text),
    ("extend", Shape::Text),
    ("hash_truncation_length", Shape::Whole),
    ("auto_create_tables", Shape::Flag),
    ("enable_map_datatype", Shape::Flag),
    ("stores.NAME.type", Shape::Text),
    ("stores.NAME.config.root_path", Shape::Text),
    ("stores.NAME.config.layout", Shape::Text),
    ("stores.NAME.config.storage_options", Shape::Texts),
    ("stores.NAME.config.fallback_stores", Shape::List),
    ("stores.NAME.config.hash_algorithm", Shape::Text),
    ("stores.NAME.config.versioning_engine", Shape::Text),
    ("stores.NAME.config.prefer_native", Shape::Flag),
    ("stores.NAME.config.delta_write_options", Shape::Table),
    ("stores.NAME.config.connection_string", Shape::Text),
    ("stores.NAME.config.connection_params", Shape::Texts),
    ("stores.NAME.config.schema", Shape::Text),
    ("stores.NAME.config.table_prefix", Shape::Text),
    ("stores.NAME.config.auto_create_tables", Shape::Flag),
    ("stores.NAME.config.auto_cast_struct_for_jsonb", Shape::Flag),
    ("ext.datafusion.enable", Shape::Flag),
    ("ext.datafusion.features", Shape::List),
    ("ext.datafusion.stores.NAME.prefer_native", Shape::Flag),
    ("ext.datafusion.stores.NAME.engine", Shape::Text),
    ("ext.datafusion.stores.NAME.fallback", Shape::Text),
    ("ext.datafusion.OPTION", Shape::Text),
    ("ext.NAME.enable", Shape::Flag),
    ("entrypoints", Shape::List),
    ("sync", Shape::Flag),
    ("locked", Shape::Flag),
    ("extra_features", Shape::List),
    ("metaxy_lock_path", Shape::Text),
    ("theme", Shape::Text),
];

/// Every key there is, as a full path such as `stores.NAME.config.root_path`.
pub fn known_keys() -> Vec<&'static str> {
    KEYS.iter().map(|(key, _)| *key).collect()
}

/// The names that may stand directly below `table`, itself written with `NAME`; empty for the top.
pub(super) fn names_below(table: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = known_keys()
        .into_iter()
        .filter_map(|key| match table {
            "" => Some(key),
            _ => key.strip_prefix(table)?.strip_prefix('.'),
        })
        .filter_map(|rest| rest.split('.').next())
        .filter(|name| *name != "OPTION")
        .collect();
    // Neighbours in the list share their tables, but not all of them do.
    names.sort_unstable();
    names.dedup();
    names
}

/// What the key at `path` takes.
pub(super) fn shape(path: &[&str]) -> Shape {
    let matches = |pattern: &str| {
        pattern.split('.').zip(path).all(|(want, have)| matches!(want, "NAME" | "OPTION") || want == *have)
    };
    let depth = |pattern: &str| pattern.split('.').count();
    let same_plugin = |pattern: &str| !pattern.starts_with("ext.NAME") || path.get(1) != Some(&"datafusion");
    if KEYS.iter().any(|(key, _)| depth(key) > path.len() && matches(key)) {
        return Shape::Table;
    }
    if let Some((_, shape)) =
        KEYS.iter().find(|(key, _)| depth(key) == path.len() && matches(key) && same_plugin(key))
    {
        return *shape;
    }
    match path.split_last() {
        Some((_, parent)) if !parent.is_empty() && shape(parent) == Shape::Texts => Shape::Text,
        _ => Shape::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_the_key_list() {
        assert_eq!(shape(&["stores", "dev"]), Shape::Table);
        assert_eq!(shape(&["stores", "dev", "config", "fallback_stores"]), Shape::List);
        assert_eq!(shape(&["stores", "dev", "config", "storage_options", "x"]), Shape::Text);
        assert_eq!(shape(&["ext", "datafusion", "features"]), Shape::List);
        assert_eq!(shape(&["ext", "datafusion", "engine"]), Shape::Text);
        assert_eq!(shape(&["ext", "sqlmodel", "anything"]), Shape::Any);
        assert_eq!(shape(&["nothing"]), Shape::Any);
    }

    #[test]
    fn names_below_a_table() {
        assert_eq!(names_below("stores.NAME"), ["config", "type"]);
        assert_eq!(names_below("ext.datafusion"), ["enable", "features", "stores"]);
        assert!(names_below("").contains(&"hash_truncation_length"));
    }
}

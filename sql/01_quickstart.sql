-- The source files of this repository as a feature, and a feature computed from them.
--
--     cargo run -- -f sql/01_quickstart.sql
--
-- metaxy.toml names the store (a folder, scratch/quickstart), sql/features/sources.toml the features.

-- A root feature needs one version per field for each of its samples. Here a file has one field, and its version is
-- the hash of its content: a file that is edited gets another version, a file that is only touched does not.
CREATE VIEW listing AS
SELECT path, size, named_struct('default', content_hash) AS metaxy_provenance_by_field
FROM files('src/**/*.rs', content_hash => true);

-- Which files are new, edited or gone, compared with what the store knows? At the first run all of them are new.
SELECT metaxy_increment, count(*) AS files
FROM resolve_update('source/file', listing)
GROUP BY metaxy_increment ORDER BY metaxy_increment;

-- Write down the new and the edited ones. Columns are matched by name.
INSERT INTO source__file
SELECT * FROM resolve_update('source/file', listing)
WHERE metaxy_increment IN ('new', 'stale');

-- The feature source/stats is computed from source/file. Only what is new or stale is computed, here in SQL.
INSERT INTO source__stats
SELECT
    increment.*,
    regexp_count(file.content, '\n') AS lines,
    regexp_count(file.content, '\w+') AS words
FROM resolve_update('source/stats') AS increment
JOIN files('src/**/*.rs', content => true) AS file ON file.path = increment.path
WHERE increment.metaxy_increment IN ('new', 'stale');

-- The longest files.
SELECT path, lines, words FROM source__stats ORDER BY lines DESC, path LIMIT 3;

-- Nothing is left to do: the next increment is empty.
SELECT count(*) AS left_to_do FROM resolve_update('source/stats');

-- Edit a file, run this again, and only that file is computed.

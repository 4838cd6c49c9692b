-- What else happens to a store: samples go, rows move, definitions change, and everybody has to know.
--
--     cargo run -- -f sql/05_operations.sql
--
-- The features: photo -> photo/thumbnail. The stores are in memory, so that the story starts afresh each time.

USE STORE scratch;

CREATE FEATURE photo ID COLUMNS (path);
CREATE FEATURE "photo/thumbnail" (thumbnail CODE VERSION '1') ID COLUMNS (path) FROM photo;

-- Push. A definition lives in its session until it is recorded in the store, with those of its project.
-- From then on everybody who opens the store knows the features.
CALL push(tags => MAP {'git': '4f2a'});

INSERT INTO photo
SELECT path, named_struct('default', hash) AS metaxy_provenance_by_field
FROM (VALUES ('a.jpg', 'e2f1'), ('b.jpg', '90cc'), ('c.jpg', '17d0')) AS t(path, hash);

INSERT INTO photo__thumbnail
SELECT *, concat('small-', path) AS thumbnail FROM resolve_update('photo/thumbnail');

-- Delete. Two photos are gone. A soft delete writes down that they are; their history stays.
DELETE FROM photo WHERE path IN ('b.jpg', 'c.jpg');

SELECT path, metaxy_deleted_at IS NOT NULL AS deleted FROM history.photo ORDER BY path, deleted;

-- Their thumbnails have lost their origin.
SELECT metaxy_increment, path FROM resolve_update('photo/thumbnail') ORDER BY path;

DELETE FROM photo__thumbnail
WHERE path IN (SELECT path FROM resolve_update('photo/thumbnail') WHERE metaxy_increment = 'orphaned');

-- A photo comes back with its next write.
INSERT INTO photo SELECT 'b.jpg' AS path, named_struct('default', '90cc') AS metaxy_provenance_by_field;

SELECT metaxy_increment, path FROM resolve_update('photo/thumbnail');

INSERT INTO photo__thumbnail
SELECT *, concat('small-', path) AS thumbnail FROM resolve_update('photo/thumbnail');

-- Nobody must find the other one any more: a hard delete takes its rows out of the store.
DELETE FROM history.photo__thumbnail WHERE path = 'c.jpg';
DELETE FROM history.photo WHERE path = 'c.jpg';

-- Copy. Rows go to another store with their versions and times; what is there already is left out.
CALL archive.system.copy(from_store => 'scratch');
CALL archive.system.copy(from_store => 'scratch');

-- Rebase. The code was tidied up and computes the same, but a new code version makes all samples new ...
CREATE OR REPLACE FEATURE "photo/thumbnail" (thumbnail CODE VERSION '2') ID COLUMNS (path) FROM photo;

SELECT metaxy_increment, path FROM resolve_update('photo/thumbnail') ORDER BY path;

-- ... unless the rows of the old version are taken over. (SHOW FEATURES tells a feature's version.)
CALL rebase('photo/thumbnail', from_version => '0d717f8c');

SELECT count(*) AS left_to_do FROM resolve_update('photo/thumbnail');

-- The new definition is recorded, too. A push of what is recorded already would do nothing.
CALL push(tags => MAP {'git': '8c01'});

-- All of this has left a trace.
SELECT event_type, feature_key FROM system.events ORDER BY timestamp;

-- Trying something out on the data of production, without writing there: a branch.
--
--     cargo run -- -f sql/04_fallback.sql
--
-- In metaxy.toml the store branch has fallback_stores = ["production"]: it reads from production what it does not
-- have itself. Both are in memory, so that the story starts afresh each time.

-- Production is up to date. (Features of sql/features/video.toml: example/video -> example/crop -> example/face)
USE STORE production;

INSERT INTO example__video
SELECT video_id, named_struct('audio', 'a1', 'frames', 'f1') AS metaxy_provenance_by_field
FROM (VALUES ('v1'), ('v2'), ('v3')) AS t(video_id);

INSERT INTO example__crop SELECT * FROM resolve_update('example/crop');
INSERT INTO example__face SELECT *, 2 AS faces FROM resolve_update('example/face');

-- You have a better way to find faces. On your branch there is nothing yet, and everything can be read.
USE STORE branch;

SELECT video_id FROM example__crop ORDER BY video_id;

-- Another code version says that the faces have to be found again. The definition is for this session alone.
CREATE OR REPLACE FEATURE "example/face" (
    faces CODE VERSION '2' FROM example__crop (frames)
)
ID COLUMNS (video_id)
FROM example__crop;

-- All videos are new here; their crops come from production.
SELECT metaxy_increment, video_id FROM resolve_update('example/face') ORDER BY video_id;

SELECT parent, store, is_fallback, reason FROM system.resolution('example/face');

-- Try it with one of them. What is written goes to the branch.
INSERT INTO example__face
SELECT *, 3 AS faces FROM resolve_update('example/face') WHERE video_id = 'v1';

SELECT metaxy_increment, video_id FROM resolve_update('example/face') ORDER BY video_id;

-- What has changed? The history of production has the rows of the old way.
SELECT old.video_id, old.faces AS faces_before, new.faces
FROM production.history.example__face AS old
JOIN example__face AS new ON new.video_id = old.video_id;

-- Not convinced? Without the definition, what production knows holds again. Nothing was written there.
DROP FEATURE "example/face";

SELECT video_id, faces FROM production.features.example__face ORDER BY video_id;

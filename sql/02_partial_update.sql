-- A video has sound and frames. When only the sound changes, nothing that looks at the frames is computed again.
--
--     cargo run -- -f sql/02_partial_update.sql
--
-- The features: example/video -> example/crop -> example/face (from the frames)
--                                             -> example/speech (from the sound)

-- A store in memory, so that the story starts afresh each time.
USE STORE scratch;

-- Three videos. Each field's version is anything that changes when the field does: a hash, a time, a number.
INSERT INTO example__video
SELECT video_id, path, named_struct('audio', audio, 'frames', frames) AS metaxy_provenance_by_field
FROM (VALUES ('v1', 'a.mp4', 'a1', 'f1'), ('v2', 'b.mp4', 'a2', 'f2'), ('v3', 'c.mp4', 'a3', 'f3'))
     AS t(video_id, path, audio, frames);

-- The first time everything is new. A real pipeline would compute something here; we only write the samples down.
INSERT INTO example__crop
SELECT * FROM resolve_update('example/crop') WHERE metaxy_increment IN ('new', 'stale');
INSERT INTO example__face
SELECT *, 2 AS faces FROM resolve_update('example/face') WHERE metaxy_increment IN ('new', 'stale');
INSERT INTO example__speech
SELECT *, 'hello' AS text FROM resolve_update('example/speech') WHERE metaxy_increment IN ('new', 'stale');

-- Now the sound of v2 changes. Its frames stay what they were.
INSERT INTO example__video
SELECT 'v2' AS video_id, 'b.mp4' AS path,
       named_struct('audio', 'a2 louder', 'frames', 'f2') AS metaxy_provenance_by_field;

-- The crop of v2 is stale, since it has both.
SELECT metaxy_increment, video_id FROM resolve_update('example/crop');

INSERT INTO example__crop
SELECT * FROM resolve_update('example/crop') WHERE metaxy_increment IN ('new', 'stale');

-- Speech has to be recognised again ...
SELECT metaxy_increment, video_id FROM resolve_update('example/speech');

-- ... but the faces are still the same, and nobody pays for finding them again.
SELECT count(*) AS faces_to_find_again FROM resolve_update('example/face');

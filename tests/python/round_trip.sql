-- What metaxy-cli does with the project that `round_trip.py create` makes: all the work that is left, one statement
-- per feature, parents first. round_trip_orphans.sql then deletes what lost its parent.

-- 1:1. Every column of the increment is stored, the parent's `path` and `size` among them.
INSERT INTO video__crop
SELECT * FROM resolve_update('video/crop')
WHERE metaxy_increment IN ('new', 'stale');

-- 1:N: the increment has one row per video, a job makes chunks of it. Eleven, so that numeric and text order differ.
-- Each chunk gets data versions of its own, so that what depends on the chunks depends on their order too.
INSERT INTO video__chunk
SELECT
    video.video_id,
    chunk.chunk_no,
    video.path,
    video.metaxy_provenance_by_field,
    named_struct(
        'audio', video.metaxy_provenance_by_field['audio'] || '-' || CAST(chunk.chunk_no AS VARCHAR),
        'frames', video.metaxy_provenance_by_field['frames'] || '-' || CAST(chunk.chunk_no AS VARCHAR)
    ) AS metaxy_data_version_by_field
FROM resolve_update('video/chunk') AS video
CROSS JOIN generate_series(0, 10) AS chunk(chunk_no)
WHERE video.metaxy_increment IN ('new', 'stale');

-- 1:1 on a composite id.
INSERT INTO video__label
SELECT * FROM resolve_update('video/label')
WHERE metaxy_increment IN ('new', 'stale');

-- N:1: the increment has one row per chunk, all rows of a video with the same provenance.
INSERT INTO video__summary
SELECT DISTINCT video_id, metaxy_provenance_by_field
FROM resolve_update('video/summary')
WHERE metaxy_increment IN ('new', 'stale');

-- A required and an optional parent: `language` is NULL where there is no transcript.
INSERT INTO video__subtitle
SELECT * FROM resolve_update('video/subtitle')
WHERE metaxy_increment IN ('new', 'stale');

-- Two parents, renamed columns, filters.
INSERT INTO video__public
SELECT * FROM resolve_update('video/public')
WHERE metaxy_increment IN ('new', 'stale');

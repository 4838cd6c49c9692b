-- Soft deletes of the samples whose parent is gone, parents first: deleted chunks leave orphaned labels behind.

DELETE FROM video__crop WHERE video_id IN (
    SELECT video_id FROM resolve_update('video/crop') WHERE metaxy_increment = 'orphaned'
);

-- Orphans of an expansion are compared by video: all its chunks go.
DELETE FROM video__chunk WHERE video_id IN (
    SELECT video_id FROM resolve_update('video/chunk') WHERE metaxy_increment = 'orphaned'
);

-- A composite id.
DELETE FROM video__label WHERE EXISTS (
    SELECT 1 FROM resolve_update('video/label') AS lost
    WHERE lost.metaxy_increment = 'orphaned'
      AND lost.video_id = video__label.video_id
      AND lost.chunk_no = video__label.chunk_no
);

DELETE FROM video__summary WHERE video_id IN (
    SELECT video_id FROM resolve_update('video/summary') WHERE metaxy_increment = 'orphaned'
);

DELETE FROM video__subtitle WHERE video_id IN (
    SELECT video_id FROM resolve_update('video/subtitle') WHERE metaxy_increment = 'orphaned'
);

DELETE FROM video__public WHERE video_id IN (
    SELECT video_id FROM resolve_update('video/public') WHERE metaxy_increment = 'orphaned'
);

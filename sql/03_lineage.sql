-- Several rows from one, and one row from several: the scenes of a video, and a summary of its scenes.
--
--     cargo run -- -f sql/03_lineage.sql
--
-- The features: film -> film/scene (many from one, an expansion) -> film/summary (one from many, an aggregation)

-- A store in memory, so that the story starts afresh each time. The features are defined here, for this session.
USE STORE scratch;

CREATE FEATURE film ID COLUMNS (film_id);

-- A scene knows its film. BY names the columns that lead back from a scene to the one film that it was cut out of.
CREATE FEATURE "film/scene" ID COLUMNS (film_id, scene)
FROM film
    EXPANDED BY (film_id);

-- The scenes of one film make one summary.
CREATE FEATURE "film/summary" ID COLUMNS (film_id)
FROM "film/scene"
    SELECT (scene, seconds)
    AGGREGATED BY (film_id);

INSERT INTO film
SELECT film_id, named_struct('default', version) AS metaxy_provenance_by_field
FROM (VALUES ('sunrise', 'v1'), ('market', 'v1')) AS t(film_id, version);

-- How many scenes a film has is what the work finds out. So the increment has one row per film ...
SELECT metaxy_increment, film_id FROM resolve_update('film/scene') ORDER BY film_id;

-- ... and the work makes several rows of it. Here the cuts are a table; a pipeline would look at the film.
CREATE TABLE cuts AS
SELECT * FROM (VALUES ('sunrise', 1, 40), ('sunrise', 2, 25), ('market', 1, 30), ('market', 2, 10), ('market', 3, 55))
     AS t(film_id, scene, seconds);

INSERT INTO film__scene
SELECT film.*, cuts.scene, cuts.seconds
FROM resolve_update('film/scene') AS film JOIN cuts ON cuts.film_id = film.film_id;

-- An aggregation's increment has all rows of a group, for the work to aggregate. They carry the same versions.
SELECT metaxy_increment, film_id, scene, seconds FROM resolve_update('film/summary') ORDER BY film_id, scene;

INSERT INTO film__summary
SELECT film_id, count(*) AS scenes, sum(seconds) AS seconds,
       first_value(metaxy_provenance_by_field) AS metaxy_provenance_by_field
FROM resolve_update('film/summary')
GROUP BY film_id;

SELECT film_id, scenes, seconds FROM film__summary ORDER BY film_id;

-- The market was filmed again, and there are only two scenes now.
INSERT INTO film
SELECT 'market' AS film_id, named_struct('default', 'v2') AS metaxy_provenance_by_field;

-- One stale row, although three scenes were cut out of it.
SELECT metaxy_increment, film_id FROM resolve_update('film/scene');

-- The scenes of the old film go, and those of the new one come.
DELETE FROM film__scene
WHERE film_id IN (SELECT film_id FROM resolve_update('film/scene') WHERE metaxy_increment = 'stale');

INSERT INTO film__scene
SELECT film.*, cuts.scene, cuts.seconds + 5 AS seconds
FROM resolve_update('film/scene') AS film JOIN cuts ON cuts.film_id = film.film_id
WHERE cuts.scene < 3;

-- So the summary of this film is stale, and that of the other is not.
SELECT metaxy_increment, film_id, scene, seconds FROM resolve_update('film/summary') ORDER BY scene;

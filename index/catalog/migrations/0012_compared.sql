-- A comparison has rows of a method less a part; and what other work on the machine lengthens is no measure of a network.
COMMENT ON COLUMN comparisons.method IS 'runs.method, and the part that is left out of it, as kd3 --without weighting';
COMMENT ON COLUMN comparisons.cpu_ms IS 'least time of one image on one CPU core, measured when the run had finished';

CREATE OR REPLACE VIEW compared AS
    SELECT c.comparison, c.method, c.selection, c.rounds, any_value(m.selected) AS images, any_value(r.steps) AS steps, count(*) AS seeds,
           avg(c.accuracy) AS accuracy, CASE WHEN count(*) > 1 THEN stddev_samp(c.accuracy) END AS sd,
           any_value(c.evaluated_on) AS evaluated_on, any_value(c.params) AS params, any_value(c.macs) AS macs, any_value(c.flops) AS flops,
           min(c.cpu_ms) AS cpu_ms, avg(c.seconds) AS seconds
    FROM comparisons c JOIN runs r ON r.name = c.run LEFT JOIN manifests m ON m.name = c.manifest
    WHERE c.manifest_hash IS NOT DISTINCT FROM m.content_hash
    GROUP BY c.comparison, c.method, c.selection, c.rounds;
COMMENT ON VIEW compared IS 'the table that kdcurate compare prints: one row per method and selection, over the seeds that have finished';
COMMENT ON COLUMN compared.comparison IS 'comparisons.comparison';
COMMENT ON COLUMN compared.method IS 'comparisons.method';
COMMENT ON COLUMN compared.selection IS 'how its images were chosen: a strategy, or the name of a manifest; own images where the method makes them';
COMMENT ON COLUMN compared.rounds IS 're-selections while it learned; 0 is none';
COMMENT ON COLUMN compared.images IS 'images that its manifest took; with rounds, the one whose settings they went by';
COMMENT ON COLUMN compared.steps IS 'batches that each student learned from';
COMMENT ON COLUMN compared.seeds IS 'students that have finished';
COMMENT ON COLUMN compared.accuracy IS 'mean share of the images of evaluated_on that they get right';
COMMENT ON COLUMN compared.sd IS 'sample standard deviation of the accuracy over the seeds; NULL of one';
COMMENT ON COLUMN compared.evaluated_on IS '--eval';
COMMENT ON COLUMN compared.params IS 'parameters of what is deployed';
COMMENT ON COLUMN compared.macs IS 'multiply-accumulates of one image at the student''s input size';
COMMENT ON COLUMN compared.flops IS 'the same as the KD3 paper counts FLOPs';
COMMENT ON COLUMN compared.cpu_ms IS 'least time of one image on one CPU core, over the seeds';
COMMENT ON COLUMN compared.seconds IS 'mean training time';

-- A build of a folder with the workspace in it took images that a method made for the crawl's: their lists are to be read again.
DELETE FROM partitions WHERE container LIKE '%/synthetic/%.jsonl' AND NOT EXISTS (
    SELECT 1 FROM locations l WHERE l.metadata->>'run' = regexp_extract(container, '([^/]+)[.]jsonl$', 1));

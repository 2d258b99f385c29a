CREATE TABLE comparisons (
    comparison VARCHAR NOT NULL, terms VARCHAR NOT NULL, method VARCHAR NOT NULL, selection VARCHAR NOT NULL, rounds INTEGER NOT NULL,
    seed BIGINT NOT NULL, run VARCHAR NOT NULL, manifest VARCHAR, manifest_hash VARCHAR, accuracy DOUBLE NOT NULL,
    evaluated_on VARCHAR NOT NULL, params BIGINT NOT NULL, macs BIGINT NOT NULL, flops BIGINT NOT NULL, cpu_ms DOUBLE NOT NULL);
COMMENT ON TABLE comparisons IS 'which runs kdcurate compare set side by side: one row a training';
COMMENT ON COLUMN comparisons.comparison IS 'its name: --name, or from what its rows have in common';
COMMENT ON COLUMN comparisons.terms IS 'SHA-256 of what its rows have in common; one comparison has one';
COMMENT ON COLUMN comparisons.method IS 'runs.method';
COMMENT ON COLUMN comparisons.selection IS 'how its images were chosen: a strategy, or the name of a manifest; own images where the method makes them';
COMMENT ON COLUMN comparisons.rounds IS 're-selections while it learned; 0 is none';
COMMENT ON COLUMN comparisons.seed IS 'of training and, where a strategy depends on it, of selection';
COMMENT ON COLUMN comparisons.run IS 'runs.name';
COMMENT ON COLUMN comparisons.manifest IS 'manifests.name that it trained on; NULL of a method that makes its own images';
COMMENT ON COLUMN comparisons.manifest_hash IS 'manifests.content_hash of it then: another one of that name is another selection';
COMMENT ON COLUMN comparisons.accuracy IS 'share of the images of evaluated_on that the student gets right; runs.accuracy is of the last --eval, whoever asked';
COMMENT ON COLUMN comparisons.evaluated_on IS '--eval';
COMMENT ON COLUMN comparisons.params IS 'parameters of what is deployed';
COMMENT ON COLUMN comparisons.macs IS 'multiply-accumulates of one image at the student''s input size';
COMMENT ON COLUMN comparisons.flops IS 'the same as the KD3 paper counts FLOPs';
COMMENT ON COLUMN comparisons.cpu_ms IS 'median time of one image on one CPU core, measured when the run had finished';

CREATE VIEW compared AS
    SELECT c.comparison, c.method, c.selection, c.rounds, any_value(m.selected) AS images, any_value(r.steps) AS steps, count(*) AS seeds,
           avg(c.accuracy) AS accuracy, CASE WHEN count(*) > 1 THEN stddev_samp(c.accuracy) END AS sd,
           any_value(c.evaluated_on) AS evaluated_on, any_value(c.params) AS params, any_value(c.macs) AS macs, any_value(c.flops) AS flops,
           median(c.cpu_ms) AS cpu_ms, avg(r.seconds) AS seconds
    FROM comparisons c JOIN runs r ON r.name = c.run LEFT JOIN manifests m ON m.name = c.manifest
    WHERE c.manifest_hash IS NOT DISTINCT FROM m.content_hash
    GROUP BY c.comparison, c.method, c.selection, c.rounds;
COMMENT ON VIEW compared IS 'the table that kdcurate compare prints: one row per method and selection, over the seeds that have finished';
COMMENT ON COLUMN compared.comparison IS 'comparisons.comparison';
COMMENT ON COLUMN compared.method IS 'runs.method';
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
COMMENT ON COLUMN compared.cpu_ms IS 'median time of one image on one CPU core, over the seeds';
COMMENT ON COLUMN compared.seconds IS 'mean training time';

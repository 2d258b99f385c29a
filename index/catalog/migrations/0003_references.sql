ALTER TABLE shifts ADD COLUMN reference VARCHAR;
COMMENT ON COLUMN shifts.reference IS 'what the estimate was fitted on: reference_sets.key, or where it needs none models.key of the embedder; NULL of the teacher''s own estimates';
COMMENT ON COLUMN shifts.estimator IS 'bn_shift, bn_kl, null_space, classifier_angle: a network has those that fit its layers; knn and others: fitted over the vectors';
COMMENT ON COLUMN shifts.value IS 'larger is further; of classifier_angle, prototype, mmd_witness, domain, dsir and retrieve, larger is nearer';
COMMENT ON COLUMN manifests.embedder IS 'models.key of the embedder whose near-duplicates were looked for, or over whose vectors an estimate was fitted';

CREATE TABLE reference_sets (
    key VARCHAR NOT NULL, sources JSON NOT NULL, listing VARCHAR, embedder VARCHAR NOT NULL, teacher VARCHAR NOT NULL,
    images BIGINT NOT NULL, file VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, created_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE reference_sets IS 'images that stand for the teacher''s own data, as select --reference was given them; none of them is in the pool by that';
COMMENT ON COLUMN reference_sets.key IS 'hash of the image ids, the embedder and the teacher';
COMMENT ON COLUMN reference_sets.sources IS 'where the images were read, as last given';
COMMENT ON COLUMN reference_sets.listing IS 'hash of paths, sizes and times of change of the sources: unchanged, they are not read again; NULL where some could not be read for now';
COMMENT ON COLUMN reference_sets.embedder IS 'models.key of the embedder that made its vectors';
COMMENT ON COLUMN reference_sets.teacher IS 'models.key of the teacher that made its logits';
COMMENT ON COLUMN reference_sets.images IS 'images in it';
COMMENT ON COLUMN reference_sets.file IS 'in the workspace: ids, vectors and logits';
COMMENT ON COLUMN reference_sets.sha256 IS 'of the file';
COMMENT ON COLUMN reference_sets.created_at IS 'when it was first read';

CREATE TABLE set_shifts (
    manifest VARCHAR NOT NULL, measure VARCHAR NOT NULL, reference VARCHAR, pool DOUBLE, selected DOUBLE, images BIGINT NOT NULL);
COMMENT ON TABLE set_shifts IS 'how far the pool and what each manifest took are, as sets, from the teacher''s own data';
COMMENT ON COLUMN set_shifts.manifest IS 'manifests.name';
COMMENT ON COLUMN set_shifts.measure IS 'frechet, mmd, proxy_a: distances to a reference set; bn_moments: to the statistics in the teacher''s BatchNorm layers';
COMMENT ON COLUMN set_shifts.reference IS 'reference_sets.key that it is measured against; NULL where it needs no reference';
COMMENT ON COLUMN set_shifts.pool IS 'of a sample of the images that were decided; smaller is closer';
COMMENT ON COLUMN set_shifts.selected IS 'of a sample of those that were taken; smaller is closer';
COMMENT ON COLUMN set_shifts.images IS 'images in each of the two samples';

-- As it was, but that no estimate by a reference that is not the manifest's own counts.
-- KL(p || uniform over K) = ln K + sum p ln p, and sum p ln p = sum n ln n / N - ln N for counts n of N.
-- Rounded, for a balanced pool would have -1e-14.
CREATE OR REPLACE VIEW manifest_shift AS
    SELECT m.name AS manifest, shifted.estimator,
           shifted.pool_mean, shifted.selected_mean, shifted.rejected_mean,
           shifted.pool_median, shifted.selected_median, shifted.rejected_median,
           abs(round(labels.pool_kl + ln(logits.classes), 9)) AS pool_kl, abs(round(labels.selected_kl + ln(logits.classes), 9)) AS selected_kl,
           agreed.pool_disagreement, agreed.selected_disagreement
    FROM manifests m
    LEFT JOIN (SELECT store, max(width) AS classes FROM parts GROUP BY store) logits ON logits.store = 'logits/' || m.teacher
    LEFT JOIN (
        SELECT manifest, sum(pool * ln(pool)) / sum(pool) - ln(sum(pool)) AS pool_kl,
               sum(selected * ln(greatest(selected, 1))) / sum(selected) - ln(sum(selected)) AS selected_kl
        FROM (SELECT manifest, pseudo_label, count(*) AS pool, count(*) FILTER (selected) AS selected
              FROM decisions GROUP BY manifest, pseudo_label)
        GROUP BY manifest) labels ON labels.manifest = m.name
    LEFT JOIN (
        SELECT d.manifest, s.estimator, avg(s.value) AS pool_mean, avg(s.value) FILTER (d.selected) AS selected_mean,
               avg(s.value) FILTER (NOT d.selected) AS rejected_mean, median(s.value) AS pool_median,
               median(s.value) FILTER (d.selected) AS selected_median, median(s.value) FILTER (NOT d.selected) AS rejected_median
        FROM decisions d JOIN manifests dm ON dm.name = d.manifest
             JOIN shifts s ON s.image_id = d.image_id AND s.model = dm.teacher
                  AND (s.reference IS NULL OR s.reference IN (dm.options->>'reference', dm.embedder))
        GROUP BY d.manifest, s.estimator) shifted ON shifted.manifest = m.name
    LEFT JOIN (
        SELECT d.manifest, avg((NOT a.agrees)::INTEGER) AS pool_disagreement,
               avg((NOT a.agrees)::INTEGER) FILTER (d.selected) AS selected_disagreement
        FROM decisions d JOIN agreement a ON a.manifest = d.manifest AND a.image_id = d.image_id
        GROUP BY d.manifest) agreed ON agreed.manifest = m.name;
COMMENT ON VIEW manifest_shift IS 'how far what each manifest took and left is from the teacher''s own data: one row per manifest and stored estimate, of those by a reference or an embedder only its own, one in all where there is none';
COMMENT ON COLUMN manifest_shift.manifest IS 'manifests.name';
COMMENT ON COLUMN manifest_shift.estimator IS 'shifts.estimator, e.g. bn_shift; NULL where the teacher has no estimate';
COMMENT ON COLUMN manifest_shift.pool_mean IS 'mean estimate of all images that were decided and are still catalogued; smaller is closer where shifts.value says so';
COMMENT ON COLUMN manifest_shift.selected_mean IS 'mean estimate of those that were taken';
COMMENT ON COLUMN manifest_shift.rejected_mean IS 'mean estimate of those that were left';
COMMENT ON COLUMN manifest_shift.pool_median IS 'median estimate of all images that were decided and are still catalogued';
COMMENT ON COLUMN manifest_shift.selected_median IS 'median estimate of those that were taken';
COMMENT ON COLUMN manifest_shift.rejected_median IS 'median estimate of those that were left';
COMMENT ON COLUMN manifest_shift.pool_kl IS 'KL divergence in nats of the pool''s pseudo-labels from uniform over the teacher''s classes; 0 is balanced, ln K a single class';
COMMENT ON COLUMN manifest_shift.selected_kl IS 'the same of the images that were taken';
COMMENT ON COLUMN manifest_shift.pool_disagreement IS 'share of the pool that teacher and student label differently; NULL where no student''s scores are stored';
COMMENT ON COLUMN manifest_shift.selected_disagreement IS 'the same of the images that were taken';

CREATE VIEW manifest_measures AS
    SELECT manifest, measure, pool, selected, images, reference FROM set_shifts
    UNION ALL
    SELECT manifest, 'label_kl', any_value(pool_kl), any_value(selected_kl), NULL, NULL FROM manifest_shift GROUP BY manifest
    UNION ALL
    SELECT manifest, 'disagreement', any_value(pool_disagreement), any_value(selected_disagreement), NULL, NULL
    FROM manifest_shift WHERE pool_disagreement IS NOT NULL GROUP BY manifest;
COMMENT ON VIEW manifest_measures IS 'what is known of each manifest as a set, beside its pool: one row per measure';
COMMENT ON COLUMN manifest_measures.manifest IS 'manifests.name';
COMMENT ON COLUMN manifest_measures.measure IS 'set_shifts.measure; label_kl: of the pseudo-labels from uniform; disagreement: share that teacher and student label differently';
COMMENT ON COLUMN manifest_measures.pool IS 'of the images that were decided; smaller is closer, or more balanced';
COMMENT ON COLUMN manifest_measures.selected IS 'of those that were taken';
COMMENT ON COLUMN manifest_measures.images IS 'images in each of the two samples; NULL where all count';
COMMENT ON COLUMN manifest_measures.reference IS 'reference_sets.key that it is measured against; NULL where it needs no reference';

-- As it was, and which reference an estimate is by, and how many images have it. Means are rounded,
-- for that of z-scores over a pool would be -1e-9; and 0.0 is added, for it would be -0.
CREATE OR REPLACE VIEW manifest_shift AS
    SELECT m.name AS manifest, shifted.estimator,
           shifted.pool_mean, shifted.selected_mean, shifted.rejected_mean,
           shifted.pool_median, shifted.selected_median, shifted.rejected_median,
           abs(round(labels.pool_kl + ln(logits.classes), 9)) AS pool_kl, abs(round(labels.selected_kl + ln(logits.classes), 9)) AS selected_kl,
           agreed.pool_disagreement, agreed.selected_disagreement,
           shifted.reference, shifted.images
    FROM manifests m
    LEFT JOIN (SELECT store, max(width) AS classes FROM parts GROUP BY store) logits ON logits.store = 'logits/' || m.teacher
    LEFT JOIN (
        SELECT manifest, sum(pool * ln(pool)) / sum(pool) - ln(sum(pool)) AS pool_kl,
               sum(selected * ln(greatest(selected, 1))) / sum(selected) - ln(sum(selected)) AS selected_kl
        FROM (SELECT manifest, pseudo_label, count(*) AS pool, count(*) FILTER (selected) AS selected
              FROM decisions GROUP BY manifest, pseudo_label)
        GROUP BY manifest) labels ON labels.manifest = m.name
    LEFT JOIN (
        SELECT d.manifest, s.estimator, any_value(s.reference) AS reference, count(*) AS images,
               round(avg(s.value), 8) + 0.0 AS pool_mean, round(avg(s.value) FILTER (d.selected), 8) + 0.0 AS selected_mean,
               round(avg(s.value) FILTER (NOT d.selected), 8) + 0.0 AS rejected_mean, median(s.value) AS pool_median,
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
COMMENT ON COLUMN manifest_shift.reference IS 'shifts.reference';
COMMENT ON COLUMN manifest_shift.images IS 'images that were decided and have the estimate: fewer than of another one where it is of an older pool';

-- Over manifest_shift once: it reads every decision. An estimate of an older pool is no measure of this one.
CREATE OR REPLACE VIEW manifest_measures AS
    SELECT manifest, measure, pool, selected, images, reference FROM set_shifts
    UNION ALL
    SELECT manifest, found.measure, found.pool, found.selected, NULL, found.reference
    FROM (SELECT manifest, unnest(list_concat(
                 [{measure: 'label_kl', pool: any_value(pool_kl), selected: any_value(selected_kl), reference: NULL::VARCHAR},
                  {measure: 'disagreement', pool: any_value(pool_disagreement), selected: any_value(selected_disagreement), reference: NULL::VARCHAR}],
                 list({measure: 'mean_' || estimator, pool: pool_mean, selected: selected_mean, reference: reference})
                 FILTER (images = most))) AS found
          FROM (SELECT *, max(images) OVER (PARTITION BY manifest) AS most FROM manifest_shift) GROUP BY manifest)
    WHERE found.pool IS NOT NULL;
COMMENT ON VIEW manifest_measures IS 'what is known of each manifest as a set, beside its pool: one row per measure';
COMMENT ON COLUMN manifest_measures.manifest IS 'manifests.name';
COMMENT ON COLUMN manifest_measures.measure IS 'set_shifts.measure; label_kl: of the pseudo-labels from uniform; disagreement: share that teacher and student label differently; mean_ and shifts.estimator: mean of an estimate that every image has';
COMMENT ON COLUMN manifest_measures.pool IS 'of the images that were decided; smaller is closer, or more balanced; of a mean where shifts.value says so';
COMMENT ON COLUMN manifest_measures.selected IS 'of those that were taken';
COMMENT ON COLUMN manifest_measures.images IS 'images in each of the two samples; NULL where all count';
COMMENT ON COLUMN manifest_measures.reference IS 'reference_sets.key that it is measured against, of a mean shifts.reference; NULL where it needs neither';

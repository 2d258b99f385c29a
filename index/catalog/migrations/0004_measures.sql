COMMENT ON COLUMN set_shifts.measure IS 'frechet, mmd, proxy_a: distances to a reference set; bn_moments: to the statistics in the teacher''s BatchNorm layers';
COMMENT ON COLUMN set_shifts.pool IS 'of a sample of the images that were decided; smaller is closer';
COMMENT ON COLUMN set_shifts.selected IS 'of a sample of those that were taken; smaller is closer';
COMMENT ON COLUMN set_shifts.images IS 'images in each of the two samples';

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

ALTER TABLE set_shifts ALTER COLUMN images DROP NOT NULL;
COMMENT ON COLUMN set_shifts.images IS 'images in each of the two samples; NULL where all count';
COMMENT ON COLUMN set_shifts.measure IS 'frechet, mmd, proxy_a: distances to a reference set; label_shift: KL divergence in nats of the pseudo-labels from those of the reference; bn_moments: to the statistics in the teacher''s BatchNorm layers';

CREATE VIEW placeholders AS
    SELECT l.image_id, count(*) AS places, min(l.uri) AS first_uri, any_value(i.bytes) AS bytes,
           any_value(i.width) AS width, any_value(i.height) AS height
    FROM locations l JOIN images i ON i.id = l.image_id GROUP BY l.image_id HAVING count(*) >= 10;
COMMENT ON VIEW placeholders IS 'one content at 10 or more places, such as a server''s "image unavailable"; select --max-copies 9 leaves them out';
COMMENT ON COLUMN placeholders.image_id IS 'images.id';
COMMENT ON COLUMN placeholders.places IS 'different uris at which exactly these bytes were found';
COMMENT ON COLUMN placeholders.first_uri IS 'first of them by name';
COMMENT ON COLUMN placeholders.bytes IS 'size of the file';
COMMENT ON COLUMN placeholders.width IS 'pixels';
COMMENT ON COLUMN placeholders.height IS 'pixels';

CREATE VIEW selected AS
    SELECT d.*, m.strategy, m.teacher, md.classes[d.pseudo_label + 1] AS class_name
    FROM decisions d JOIN manifests m ON m.name = d.manifest LEFT JOIN models md ON md.key = m.teacher WHERE d.selected;
COMMENT ON VIEW selected IS 'the images that each manifest took, with the teacher''s name for their pseudo-label';
COMMENT ON COLUMN selected.manifest IS 'manifests.name';
COMMENT ON COLUMN selected.image_id IS 'images.id';
COMMENT ON COLUMN selected.selected IS 'always true';
COMMENT ON COLUMN selected."rank" IS '1 is the best selected image; NULL where not selected';
COMMENT ON COLUMN selected.pseudo_label IS 'class that the strategy gives it, from 0';
COMMENT ON COLUMN selected.weight IS 'factor of its loss in training';
COMMENT ON COLUMN selected.score IS 'what the strategy ranks by, larger is better';
COMMENT ON COLUMN selected.threshold IS 'score that the class had to exceed; NULL where the strategy has none';
COMMENT ON COLUMN selected.components IS 'what the score was made of, e.g. components[''bn_shift'']';
COMMENT ON COLUMN selected.reason IS 'why, in words and numbers';
COMMENT ON COLUMN selected.why IS 'the reason without its numbers, to group by';
COMMENT ON COLUMN selected.strategy IS 'of the manifest';
COMMENT ON COLUMN selected.teacher IS 'models.key of the manifest''s teacher';
COMMENT ON COLUMN selected.class_name IS 'the teacher''s name for the pseudo-label; NULL where its card names none';

CREATE VIEW rejected AS
    SELECT d.*, m.strategy, m.teacher, md.classes[d.pseudo_label + 1] AS class_name
    FROM decisions d JOIN manifests m ON m.name = d.manifest LEFT JOIN models md ON md.key = m.teacher WHERE NOT d.selected;
COMMENT ON VIEW rejected IS 'the images that each manifest left, with the reason';
COMMENT ON COLUMN rejected.manifest IS 'manifests.name';
COMMENT ON COLUMN rejected.image_id IS 'images.id';
COMMENT ON COLUMN rejected.selected IS 'always false';
COMMENT ON COLUMN rejected."rank" IS 'always NULL: only selected images are ranked';
COMMENT ON COLUMN rejected.pseudo_label IS 'class that the strategy gives it, from 0';
COMMENT ON COLUMN rejected.weight IS 'factor of its loss in training';
COMMENT ON COLUMN rejected.score IS 'what the strategy ranks by, larger is better';
COMMENT ON COLUMN rejected.threshold IS 'score that the class had to exceed; NULL where the strategy has none';
COMMENT ON COLUMN rejected.components IS 'what the score was made of, e.g. components[''bn_shift'']';
COMMENT ON COLUMN rejected.reason IS 'why, in words and numbers';
COMMENT ON COLUMN rejected.why IS 'the reason without its numbers, to group by';
COMMENT ON COLUMN rejected.strategy IS 'of the manifest';
COMMENT ON COLUMN rejected.teacher IS 'models.key of the manifest''s teacher';
COMMENT ON COLUMN rejected.class_name IS 'the teacher''s name for the pseudo-label; NULL where its card names none';

CREATE VIEW agreement AS
    SELECT m.name AS manifest, t.image_id, t.pseudo_label AS teacher_label, s.pseudo_label AS student_label,
           t.confidence AS teacher_confidence, s.confidence AS student_confidence, t.pseudo_label = s.pseudo_label AS agrees
    FROM manifests m JOIN scores t ON t.model = m.teacher JOIN scores s ON s.model = m.student AND s.image_id = t.image_id;
COMMENT ON VIEW agreement IS 'teacher and student side by side, for manifests that were selected with a student card';
COMMENT ON COLUMN agreement.manifest IS 'manifests.name';
COMMENT ON COLUMN agreement.image_id IS 'images.id';
COMMENT ON COLUMN agreement.teacher_label IS 'class of the teacher''s largest logit, from 0';
COMMENT ON COLUMN agreement.student_label IS 'class of the student''s largest logit, from 0';
COMMENT ON COLUMN agreement.teacher_confidence IS 'largest softmax probability of the teacher';
COMMENT ON COLUMN agreement.student_confidence IS 'largest softmax probability of the student';
COMMENT ON COLUMN agreement.agrees IS 'whether both labels are the same';

CREATE VIEW class_balance AS
    SELECT d.manifest, d.pseudo_label, any_value(md.classes[d.pseudo_label + 1]) AS class_name, count(*) AS pool,
           count(*) FILTER (d.selected) AS selected, avg(d.score) FILTER (d.selected) AS mean_score
    FROM decisions d JOIN manifests m ON m.name = d.manifest LEFT JOIN models md ON md.key = m.teacher
    GROUP BY d.manifest, d.pseudo_label;
COMMENT ON VIEW class_balance IS 'per manifest and pseudo-label: images in the pool and selected';
COMMENT ON COLUMN class_balance.manifest IS 'manifests.name';
COMMENT ON COLUMN class_balance.pseudo_label IS 'class that the strategy gives, from 0';
COMMENT ON COLUMN class_balance.class_name IS 'the teacher''s name for it; NULL where its card names none';
COMMENT ON COLUMN class_balance.pool IS 'images with this pseudo-label, taken or left';
COMMENT ON COLUMN class_balance.selected IS 'those of them that were taken';
COMMENT ON COLUMN class_balance.mean_score IS 'mean score of those that were taken';

-- KL(p || uniform over K) = ln K + sum p ln p, and sum p ln p = sum n ln n / N - ln N for counts n of N.
-- Rounded, for a balanced pool would have -1e-14.
CREATE VIEW manifest_shift AS
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
        GROUP BY d.manifest, s.estimator) shifted ON shifted.manifest = m.name
    LEFT JOIN (
        SELECT d.manifest, avg((NOT a.agrees)::INTEGER) AS pool_disagreement,
               avg((NOT a.agrees)::INTEGER) FILTER (d.selected) AS selected_disagreement
        FROM decisions d JOIN agreement a ON a.manifest = d.manifest AND a.image_id = d.image_id
        GROUP BY d.manifest) agreed ON agreed.manifest = m.name;
COMMENT ON VIEW manifest_shift IS 'how far what each manifest took and left is from the teacher''s own data: one row per manifest and stored shift estimate, one in all where there is none';
COMMENT ON COLUMN manifest_shift.manifest IS 'manifests.name';
COMMENT ON COLUMN manifest_shift.estimator IS 'shifts.estimator, e.g. bn_shift; NULL where the teacher has no estimate';
COMMENT ON COLUMN manifest_shift.pool_mean IS 'mean estimate of all images that were decided and are still catalogued; smaller is closer';
COMMENT ON COLUMN manifest_shift.selected_mean IS 'mean estimate of those that were taken';
COMMENT ON COLUMN manifest_shift.rejected_mean IS 'mean estimate of those that were left';
COMMENT ON COLUMN manifest_shift.pool_median IS 'median estimate of all images that were decided and are still catalogued';
COMMENT ON COLUMN manifest_shift.selected_median IS 'median estimate of those that were taken';
COMMENT ON COLUMN manifest_shift.rejected_median IS 'median estimate of those that were left';
COMMENT ON COLUMN manifest_shift.pool_kl IS 'KL divergence in nats of the pool''s pseudo-labels from uniform over the teacher''s classes; 0 is balanced, ln K a single class';
COMMENT ON COLUMN manifest_shift.selected_kl IS 'the same of the images that were taken';
COMMENT ON COLUMN manifest_shift.pool_disagreement IS 'share of the pool that teacher and student label differently; NULL where no student''s scores are stored';
COMMENT ON COLUMN manifest_shift.selected_disagreement IS 'the same of the images that were taken';

CREATE VIEW near_duplicates AS
    SELECT kind, embedder, bound, group_id, count(*) AS size, list(image_id ORDER BY image_id) AS members,
           arg_min(uri, image_id, 2) AS uris
    FROM (SELECT d.kind, d.embedder, d.bound, d.group_id, d.image_id, min(l.uri) AS uri
          FROM duplicates d LEFT JOIN locations l ON l.image_id = d.image_id
          GROUP BY d.kind, d.embedder, d.bound, d.group_id, d.image_id)
    GROUP BY kind, embedder, bound, group_id;
COMMENT ON VIEW near_duplicates IS 'one row per group of images that show the same thing, as last looked for within each bound';
COMMENT ON COLUMN near_duplicates.kind IS 'embedding: the cosine is at least the bound; perceptual: so many bits of dhash differ at most';
COMMENT ON COLUMN near_duplicates.embedder IS 'whose vectors were compared; NULL for perceptual';
COMMENT ON COLUMN near_duplicates.bound IS 'least cosine, or most bits that differ';
COMMENT ON COLUMN near_duplicates.group_id IS 'the smallest image id of the group';
COMMENT ON COLUMN near_duplicates.size IS 'images in the group';
COMMENT ON COLUMN near_duplicates.members IS 'their ids, ascending';
COMMENT ON COLUMN near_duplicates.uris IS 'where the first two members were found';

CREATE VIEW runs_with_manifest AS
    SELECT r.name AS run, r.method, r.teacher, r.student, r.accuracy, r.steps, r.seed, r.seconds, r.finished_at,
           r.manifest, m.strategy, m.content_hash, m.selected, m.pool
    FROM runs r LEFT JOIN manifests m ON m.name = r.manifest;
COMMENT ON VIEW runs_with_manifest IS 'each finished student with the manifest that it learned from';
COMMENT ON COLUMN runs_with_manifest.run IS 'runs.name';
COMMENT ON COLUMN runs_with_manifest.method IS 'kd, kd3, or a plugin''s';
COMMENT ON COLUMN runs_with_manifest.teacher IS 'models.key of the teacher';
COMMENT ON COLUMN runs_with_manifest.student IS 'models.key of the student';
COMMENT ON COLUMN runs_with_manifest.accuracy IS 'share of the images of --eval that it gets right; NULL without --eval';
COMMENT ON COLUMN runs_with_manifest.steps IS 'batches that it learned from';
COMMENT ON COLUMN runs_with_manifest.seed IS 'of everything random in the training';
COMMENT ON COLUMN runs_with_manifest.seconds IS 'training time';
COMMENT ON COLUMN runs_with_manifest.finished_at IS 'when it was done';
COMMENT ON COLUMN runs_with_manifest.manifest IS 'manifests.name; with rounds, the one whose settings they went by';
COMMENT ON COLUMN runs_with_manifest.strategy IS 'of the manifest';
COMMENT ON COLUMN runs_with_manifest.content_hash IS 'of the manifest: SHA-256 of what it decides';
COMMENT ON COLUMN runs_with_manifest.selected IS 'images that the manifest took';
COMMENT ON COLUMN runs_with_manifest.pool IS 'images that it decided';

ALTER TABLE rounds ADD COLUMN refreshed BIGINT;
ALTER TABLE rounds ADD COLUMN reused BIGINT;
ALTER TABLE rounds ADD COLUMN mean_age DOUBLE;
COMMENT ON COLUMN rounds.refreshed IS 'images that the student was asked about for it; of the first round, which the teacher decides alone, none';
COMMENT ON COLUMN rounds.reused IS 'images of which it took what the student had said before, in training or in an earlier round; the teacher stands for the student with the rest';
COMMENT ON COLUMN rounds.mean_age IS 'steps of the training between what was reused and the round, on average; NULL where nothing was';

CREATE TABLE differences (manifest VARCHAR NOT NULL, base VARCHAR NOT NULL);
COMMENT ON TABLE differences IS 'manifests of which ledger holds only what differs from another one: the rounds of a run, from the one whose settings they go by';
COMMENT ON COLUMN differences.manifest IS 'manifests.name';
COMMENT ON COLUMN differences.base IS 'manifests.name of the other, whose own rows are whole';

ALTER TABLE decisions RENAME TO ledger;
COMMENT ON TABLE ledger IS 'decisions as they are stored: whole, or of a manifest in differences the rows, and their components, that differ from its base; query decisions';

CREATE VIEW decisions AS
    SELECT * FROM ledger ANTI JOIN differences USING (manifest)
    UNION ALL
    SELECT o.* REPLACE (map_concat(b.components, o.components) AS components)
    FROM ledger o JOIN differences d USING (manifest) JOIN ledger b ON b.manifest = d.base AND b.image_id = o.image_id
    UNION ALL
    SELECT d.manifest, b.* EXCLUDE (manifest) FROM ledger b JOIN differences d ON d.base = b.manifest
    ANTI JOIN ledger o ON o.manifest = d.manifest AND o.image_id = b.image_id;
COMMENT ON VIEW decisions IS 'the ledger: for each manifest exactly one row per image, selected or not, and why';
COMMENT ON COLUMN decisions.manifest IS 'manifests.name';
COMMENT ON COLUMN decisions.image_id IS 'images.id';
COMMENT ON COLUMN decisions.selected IS 'taken or left';
COMMENT ON COLUMN decisions."rank" IS '1 is the best selected image; NULL where not selected';
COMMENT ON COLUMN decisions.pseudo_label IS 'class that the strategy gives it, from 0';
COMMENT ON COLUMN decisions.weight IS 'factor of its loss in training';
COMMENT ON COLUMN decisions.score IS 'what the strategy ranks by, larger is better';
COMMENT ON COLUMN decisions.threshold IS 'score that the class had to exceed; NULL where the strategy has none';
COMMENT ON COLUMN decisions.components IS 'what the score was made of, e.g. components[''bn_shift'']';
COMMENT ON COLUMN decisions.reason IS 'why, in words and numbers';
COMMENT ON COLUMN decisions.why IS 'the reason without its numbers, to group by';

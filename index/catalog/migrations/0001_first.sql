-- No primary key: DuckDB holds its index in memory, 45 bytes an image. Who inserts looks first.
CREATE TABLE images (
    id BIGINT NOT NULL, sha256 BLOB NOT NULL, bytes BIGINT NOT NULL, format VARCHAR NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, mode VARCHAR NOT NULL, dhash BIGINT,
    added_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE images IS 'what decoded: one row per content, however often it occurs';
COMMENT ON COLUMN images.id IS 'first 63 bits of the SHA-256 of the file''s bytes; also the id in FAISS';
COMMENT ON COLUMN images.mode IS 'Pillow''s pixel mode as stored in the file, e.g. RGB, P, CMYK';
COMMENT ON COLUMN images.dhash IS '64-bit difference hash: bit_count(xor(a.dhash, b.dhash)) is small for look-alikes; NULL where too plain';

CREATE TABLE locations (
    image_id BIGINT NOT NULL, uri VARCHAR NOT NULL, kind VARCHAR NOT NULL, container VARCHAR NOT NULL,
    position BIGINT NOT NULL, length BIGINT NOT NULL, metadata JSON, partition VARCHAR NOT NULL);
COMMENT ON TABLE locations IS 'where a content occurs: one row per occurrence; exact copies share image_id';
COMMENT ON COLUMN locations.uri IS 'path or URL, shard.tar#member, or file.parquet#row';
COMMENT ON COLUMN locations.kind IS 'the source that reads it again: files, list, tar, parquet, or parquet:COLUMN';
COMMENT ON COLUMN locations.position IS 'byte offset in the container, or row number of a Parquet file';
COMMENT ON COLUMN locations.partition IS 'the slice of its source that holds it; see partitions.key';
COMMENT ON COLUMN locations.metadata IS 'what came with the crawl: url, caption, ...; selection never reads it';

CREATE TABLE failures (
    uri VARCHAR NOT NULL, container VARCHAR NOT NULL, reason VARCHAR NOT NULL, partition VARCHAR NOT NULL,
    transient BOOLEAN NOT NULL);
COMMENT ON COLUMN failures.transient IS 'the reason may pass, as an overloaded server does: the next build reads the partition again';
COMMENT ON TABLE failures IS 'files that could not be read or decoded, and why';

CREATE TABLE partitions (key VARCHAR NOT NULL, embedder VARCHAR NOT NULL, container VARCHAR NOT NULL, entries BIGINT NOT NULL);
COMMENT ON TABLE partitions IS 'slices of sources that are done for an embedder; the key changes with the content';

CREATE TABLE parts (
    store VARCHAR NOT NULL, part INTEGER NOT NULL, rows BIGINT NOT NULL, width INTEGER NOT NULL,
    bytes BIGINT NOT NULL, sha256 VARCHAR NOT NULL);
COMMENT ON TABLE parts IS 'append-only array files: vectors/EMBEDDER, logits/MODEL, shifts/MODEL/ESTIMATOR';
COMMENT ON COLUMN parts.sha256 IS 'SHA-256 of the part file';

CREATE TABLE vectors (image_id BIGINT NOT NULL, embedder VARCHAR NOT NULL, part INTEGER NOT NULL, "row" INTEGER NOT NULL);
COMMENT ON TABLE vectors IS 'which row of which part file holds an image''s embedding';

CREATE TABLE indexes (
    embedder VARCHAR NOT NULL, factory VARCHAR NOT NULL, vectors BIGINT NOT NULL, width INTEGER NOT NULL,
    parts INTEGER NOT NULL, sha256 VARCHAR NOT NULL, bytes BIGINT NOT NULL, mtime_ns BIGINT NOT NULL,
    asked VARCHAR NOT NULL, memory_budget BIGINT NOT NULL, seed BIGINT NOT NULL, reason VARCHAR NOT NULL,
    recall_at_10 DOUBLE, query_ms DOUBLE, memory_mb DOUBLE NOT NULL);
COMMENT ON COLUMN indexes.factory IS 'string for faiss.index_factory; inner product of unit vectors is the cosine';
COMMENT ON COLUMN indexes.asked IS 'auto or the --index that was given; the next build goes by it too';
COMMENT ON COLUMN indexes.reason IS 'why this kind of index, and how far it searches';
COMMENT ON COLUMN indexes.recall_at_10 IS 'share of the 10 nearest that it finds, against exact search on 256 of its vectors';
COMMENT ON COLUMN indexes.query_ms IS 'median time of one query alone';
COMMENT ON COLUMN indexes.mtime_ns IS 'time of change of the file; a large one that kept it is not hashed when opened';
COMMENT ON TABLE indexes IS 'the FAISS index of each embedder, rebuilt from its vectors whenever it differs';

CREATE TABLE models (
    key VARCHAR NOT NULL, architecture VARCHAR NOT NULL, card JSON NOT NULL, classes VARCHAR[], added_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE models IS 'every teacher, student and embedder met so far; the key holds a hash of weights and options';

CREATE TABLE embedders (
    model VARCHAR NOT NULL, precision VARCHAR NOT NULL, cosine FLOAT, gain FLOAT);
COMMENT ON TABLE embedders IS 'in which precision an embedder makes its vectors, settled by its first build';
COMMENT ON COLUMN embedders.cosine IS 'least cosine between a bfloat16 vector and its float32 twin, as measured then; null where the precision was asked for';
COMMENT ON COLUMN embedders.gain IS 'speed in bfloat16 over speed in float32, as measured then';

CREATE TABLE scores (
    image_id BIGINT NOT NULL, model VARCHAR NOT NULL, pseudo_label SMALLINT NOT NULL, confidence FLOAT NOT NULL,
    part INTEGER NOT NULL, "row" INTEGER NOT NULL);
COMMENT ON TABLE scores IS 'what a model says of an image; part and row point at its logits';
COMMENT ON COLUMN scores.confidence IS 'largest softmax probability, computed from the stored float16 logits';

CREATE TABLE shifts (image_id BIGINT NOT NULL, model VARCHAR NOT NULL, estimator VARCHAR NOT NULL, value FLOAT NOT NULL);
COMMENT ON TABLE shifts IS 'estimates of how far an image is from the teacher''s own training data';
COMMENT ON COLUMN shifts.estimator IS 'bn_shift, bn_kl, null_space, classifier_angle; a network has those that fit its layers';
COMMENT ON COLUMN shifts.value IS 'larger is further; of classifier_angle, a cosine, larger is nearer';

CREATE TABLE duplicates (
    kind VARCHAR NOT NULL, embedder VARCHAR, bound DOUBLE NOT NULL, image_id BIGINT NOT NULL, group_id BIGINT NOT NULL);
COMMENT ON TABLE duplicates IS 'groups of images that show the same thing, as last looked for within each bound; group_id is the smallest image id';
COMMENT ON COLUMN duplicates.kind IS 'embedding: the cosine is at least the bound; perceptual: so many bits of dhash differ at most';
COMMENT ON COLUMN duplicates.embedder IS 'whose vectors were compared; NULL for perceptual';

CREATE TABLE manifests (
    name VARCHAR NOT NULL, content_hash VARCHAR NOT NULL, strategy VARCHAR NOT NULL, options JSON NOT NULL,
    teacher VARCHAR NOT NULL, student VARCHAR, embedder VARCHAR, parent VARCHAR, seed BIGINT NOT NULL,
    pool BIGINT NOT NULL, eligible BIGINT NOT NULL, selected BIGINT NOT NULL, preprocessing JSON NOT NULL,
    code_version VARCHAR NOT NULL, created_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE manifests IS 'immutable selections; the hash covers image ids, ranks, pseudo-labels and weights';

CREATE TABLE decisions (
    manifest VARCHAR NOT NULL, image_id BIGINT NOT NULL, selected BOOLEAN NOT NULL, "rank" INTEGER,
    pseudo_label SMALLINT NOT NULL, weight FLOAT NOT NULL, score FLOAT NOT NULL, threshold FLOAT,
    components MAP(VARCHAR, FLOAT) NOT NULL, reason VARCHAR NOT NULL,
    why VARCHAR AS (regexp_extract(reason, '^[^0-9:]*[a-z]')) VIRTUAL);
COMMENT ON TABLE decisions IS 'the ledger: for each manifest exactly one row per image, selected or not, and why';
COMMENT ON COLUMN decisions."rank" IS '1 is the best selected image; NULL where not selected';
COMMENT ON COLUMN decisions.why IS 'the reason without its numbers, to group by';
COMMENT ON COLUMN decisions.components IS 'what the score was made of, e.g. components[''bn_shift'']';

CREATE TABLE runs (
    name VARCHAR NOT NULL, manifest VARCHAR NOT NULL, method VARCHAR NOT NULL, teacher VARCHAR NOT NULL,
    student VARCHAR NOT NULL, options JSON NOT NULL, seed BIGINT NOT NULL, steps BIGINT NOT NULL,
    accuracy DOUBLE, seconds DOUBLE NOT NULL, code_version VARCHAR NOT NULL, finished_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE runs IS 'finished students; the files are under runs/NAME';

CREATE TABLE rounds (
    run VARCHAR NOT NULL, round INTEGER NOT NULL, manifest VARCHAR NOT NULL, epoch INTEGER NOT NULL, alpha DOUBLE NOT NULL,
    selected BIGINT NOT NULL, entered BIGINT NOT NULL, "left" BIGINT NOT NULL, seconds DOUBLE NOT NULL);
COMMENT ON TABLE rounds IS 're-selections while a student learned: how many images entered and left';

CREATE TABLE metrics (run VARCHAR NOT NULL, step BIGINT NOT NULL, name VARCHAR NOT NULL, value DOUBLE NOT NULL);
COMMENT ON TABLE metrics IS 'training curves, as in runs/NAME/metrics.jsonl';

CREATE VIEW placeholders AS
    SELECT l.image_id, count(*) AS places, min(l.uri) AS first_uri, any_value(i.bytes) AS bytes,
           any_value(i.width) AS width, any_value(i.height) AS height
    FROM locations l JOIN images i ON i.id = l.image_id GROUP BY l.image_id HAVING count(*) >= 10;
COMMENT ON VIEW placeholders IS 'one content at 10 or more places, such as a server''s "image unavailable"; select --max-copies 9 leaves them out';
COMMENT ON COLUMN placeholders.places IS 'different uris at which exactly these bytes were found';

CREATE VIEW selected AS
    SELECT d.*, m.strategy, m.teacher, md.classes[d.pseudo_label + 1] AS class_name
    FROM decisions d JOIN manifests m ON m.name = d.manifest LEFT JOIN models md ON md.key = m.teacher WHERE d.selected;
COMMENT ON VIEW selected IS 'the images of each manifest, with the teacher''s name for their pseudo-label';
CREATE VIEW rejected AS
    SELECT d.*, m.strategy, m.teacher, md.classes[d.pseudo_label + 1] AS class_name
    FROM decisions d JOIN manifests m ON m.name = d.manifest LEFT JOIN models md ON md.key = m.teacher WHERE NOT d.selected;
COMMENT ON VIEW rejected IS 'the images that each manifest left, with the reason';
CREATE VIEW agreement AS
    SELECT m.name AS manifest, t.image_id, t.pseudo_label AS teacher_label, s.pseudo_label AS student_label,
           t.confidence AS teacher_confidence, s.confidence AS student_confidence, t.pseudo_label = s.pseudo_label AS agrees
    FROM manifests m JOIN scores t ON t.model = m.teacher JOIN scores s ON s.model = m.student AND s.image_id = t.image_id;
COMMENT ON VIEW agreement IS 'teacher and student side by side, for manifests that were selected with a student card';
CREATE VIEW class_balance AS
    SELECT d.manifest, d.pseudo_label, any_value(md.classes[d.pseudo_label + 1]) AS class_name, count(*) AS pool,
           count(*) FILTER (d.selected) AS selected, avg(d.score) FILTER (d.selected) AS mean_score
    FROM decisions d JOIN manifests m ON m.name = d.manifest LEFT JOIN models md ON md.key = m.teacher
    GROUP BY d.manifest, d.pseudo_label;
COMMENT ON VIEW class_balance IS 'per manifest and pseudo-label: images in the pool and selected';

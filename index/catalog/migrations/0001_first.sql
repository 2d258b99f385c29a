COMMENT ON TABLE kdcurate_schema IS 'which migrations this catalog has had; the largest version is the schema''s';
COMMENT ON COLUMN kdcurate_schema.version IS 'number of the migration';
COMMENT ON COLUMN kdcurate_schema.applied_at IS 'when it was applied';

-- No primary key: DuckDB holds its index in memory, 45 bytes an image. Who inserts looks first.
CREATE TABLE images (
    id BIGINT NOT NULL, sha256 BLOB NOT NULL, bytes BIGINT NOT NULL, format VARCHAR NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, mode VARCHAR NOT NULL, dhash BIGINT,
    added_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE images IS 'what decoded: one row per content, however often it occurs';
COMMENT ON COLUMN images.id IS 'first 63 bits of the SHA-256 of the file''s bytes; also the id in FAISS';
COMMENT ON COLUMN images.sha256 IS 'of the file''s bytes';
COMMENT ON COLUMN images.bytes IS 'size of the file';
COMMENT ON COLUMN images.format IS 'JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF';
COMMENT ON COLUMN images.width IS 'pixels of the file, before an EXIF orientation is applied';
COMMENT ON COLUMN images.height IS 'pixels of the file, before an EXIF orientation is applied';
COMMENT ON COLUMN images.mode IS 'Pillow''s pixel mode as stored in the file, e.g. RGB, P, CMYK';
COMMENT ON COLUMN images.dhash IS '64-bit difference hash: bit_count(xor(a.dhash, b.dhash)) is small for look-alikes; NULL where too plain';
COMMENT ON COLUMN images.added_at IS 'when a build first met this content';

CREATE TABLE locations (
    image_id BIGINT NOT NULL, uri VARCHAR NOT NULL, kind VARCHAR NOT NULL, container VARCHAR NOT NULL,
    position BIGINT NOT NULL, length BIGINT NOT NULL, metadata JSON, partition VARCHAR NOT NULL);
COMMENT ON TABLE locations IS 'where a content occurs: one row per occurrence; exact copies share image_id';
COMMENT ON COLUMN locations.image_id IS 'images.id';
COMMENT ON COLUMN locations.uri IS 'path or URL, shard.tar#member, or file.parquet#row';
COMMENT ON COLUMN locations.kind IS 'the source that reads it again: files, list, tar, parquet, or parquet:COLUMN';
COMMENT ON COLUMN locations.container IS 'the file that holds it: the image''s own, a shard, or a Parquet file';
COMMENT ON COLUMN locations.position IS 'byte offset in the container, or row number of a Parquet file';
COMMENT ON COLUMN locations.length IS 'bytes of the image''s file';
COMMENT ON COLUMN locations.metadata IS 'what came with the crawl: url, caption, ...; no selection reads it but by --where';
COMMENT ON COLUMN locations.partition IS 'the slice of its source that holds it; see partitions.key';

CREATE TABLE failures (
    uri VARCHAR NOT NULL, container VARCHAR NOT NULL, reason VARCHAR NOT NULL, partition VARCHAR NOT NULL,
    transient BOOLEAN NOT NULL);
COMMENT ON TABLE failures IS 'files that could not be read or decoded, and why';
COMMENT ON COLUMN failures.uri IS 'path or URL, shard.tar#member, or file.parquet#row';
COMMENT ON COLUMN failures.container IS 'the file that holds it';
COMMENT ON COLUMN failures.reason IS 'what is wrong with it, in words';
COMMENT ON COLUMN failures.partition IS 'the slice of its source that holds it; see partitions.key';
COMMENT ON COLUMN failures.transient IS 'the reason may pass, as an overloaded server does: the next build reads the partition again';

CREATE TABLE partitions (key VARCHAR NOT NULL, embedder VARCHAR NOT NULL, container VARCHAR NOT NULL, entries BIGINT NOT NULL);
COMMENT ON TABLE partitions IS 'slices of sources that are done for an embedder; the key changes with the content';
COMMENT ON COLUMN partitions.key IS 'hash of paths, sizes and times of change';
COMMENT ON COLUMN partitions.embedder IS 'models.key of the embedder, for which it is done';
COMMENT ON COLUMN partitions.container IS 'the folder, shard, list or Parquet file that it is a slice of';
COMMENT ON COLUMN partitions.entries IS 'files, members or rows in it';

CREATE TABLE parts (
    store VARCHAR NOT NULL, part INTEGER NOT NULL, rows BIGINT NOT NULL, width INTEGER NOT NULL,
    bytes BIGINT NOT NULL, sha256 VARCHAR NOT NULL);
COMMENT ON TABLE parts IS 'append-only array files: vectors/EMBEDDER, logits/MODEL, shifts/MODEL/ESTIMATOR';
COMMENT ON COLUMN parts.store IS 'folder in the workspace, e.g. logits/MODEL';
COMMENT ON COLUMN parts.part IS 'number of the file: part-NNNNN.npz';
COMMENT ON COLUMN parts.rows IS 'images in it';
COMMENT ON COLUMN parts.width IS 'values a row';
COMMENT ON COLUMN parts.bytes IS 'size of the part file';
COMMENT ON COLUMN parts.sha256 IS 'SHA-256 of the part file';

CREATE TABLE vectors (image_id BIGINT NOT NULL, embedder VARCHAR NOT NULL, part INTEGER NOT NULL, "row" INTEGER NOT NULL);
COMMENT ON TABLE vectors IS 'which row of which part file holds an image''s embedding';
COMMENT ON COLUMN vectors.image_id IS 'images.id';
COMMENT ON COLUMN vectors.embedder IS 'models.key of the embedder';
COMMENT ON COLUMN vectors.part IS 'parts.part in the store vectors/EMBEDDER';
COMMENT ON COLUMN vectors."row" IS 'place in that part file, from 0';

CREATE TABLE indexes (
    embedder VARCHAR NOT NULL, factory VARCHAR NOT NULL, vectors BIGINT NOT NULL, width INTEGER NOT NULL,
    parts INTEGER NOT NULL, sha256 VARCHAR NOT NULL, bytes BIGINT NOT NULL, mtime_ns BIGINT NOT NULL,
    asked VARCHAR NOT NULL, memory_budget BIGINT NOT NULL, seed BIGINT NOT NULL, reason VARCHAR NOT NULL,
    recall_at_10 DOUBLE, query_ms DOUBLE, memory_mb DOUBLE NOT NULL);
COMMENT ON TABLE indexes IS 'the FAISS index of each embedder, rebuilt from its vectors whenever it differs';
COMMENT ON COLUMN indexes.embedder IS 'models.key of the embedder whose vectors it holds';
COMMENT ON COLUMN indexes.factory IS 'string for faiss.index_factory; inner product of unit vectors is the cosine';
COMMENT ON COLUMN indexes.vectors IS 'images in it';
COMMENT ON COLUMN indexes.width IS 'values a vector';
COMMENT ON COLUMN indexes.parts IS 'part files that it was built from';
COMMENT ON COLUMN indexes.sha256 IS 'of the file';
COMMENT ON COLUMN indexes.bytes IS 'size of the file';
COMMENT ON COLUMN indexes.mtime_ns IS 'time of change of the file; a large one that kept it is not hashed when opened';
COMMENT ON COLUMN indexes.asked IS 'auto or the --index that was given; the next build goes by it too';
COMMENT ON COLUMN indexes.memory_budget IS 'bytes that it may take: --memory-budget';
COMMENT ON COLUMN indexes.seed IS 'of training and sampling';
COMMENT ON COLUMN indexes.reason IS 'why this kind of index, and how far it searches';
COMMENT ON COLUMN indexes.recall_at_10 IS 'share of the 10 nearest that it finds, against exact search on 256 of its vectors';
COMMENT ON COLUMN indexes.query_ms IS 'median time of one query alone';
COMMENT ON COLUMN indexes.memory_mb IS 'size when loaded';

CREATE TABLE models (
    key VARCHAR NOT NULL, architecture VARCHAR NOT NULL, card JSON NOT NULL, classes VARCHAR[], added_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE models IS 'every teacher, student and embedder met so far; the key holds a hash of weights and options';
COMMENT ON COLUMN models.key IS 'name and hash of weights and options';
COMMENT ON COLUMN models.architecture IS 'spec, e.g. cifar:resnet56 or timm:NAME';
COMMENT ON COLUMN models.card IS 'the card: architecture, input, options, classes';
COMMENT ON COLUMN models.classes IS 'names by label: classes[label + 1]; NULL where the card names none';
COMMENT ON COLUMN models.added_at IS 'when it was first used here';

CREATE TABLE embedders (
    model VARCHAR NOT NULL, precision VARCHAR NOT NULL, cosine FLOAT, gain FLOAT);
COMMENT ON TABLE embedders IS 'in which precision an embedder makes its vectors, settled by its first build';
COMMENT ON COLUMN embedders.model IS 'models.key';
COMMENT ON COLUMN embedders.precision IS 'float32 or bfloat16';
COMMENT ON COLUMN embedders.cosine IS 'least cosine between a bfloat16 vector and its float32 twin, as measured then; null where the precision was asked for';
COMMENT ON COLUMN embedders.gain IS 'speed in bfloat16 over speed in float32, as measured then';

CREATE TABLE scores (
    image_id BIGINT NOT NULL, model VARCHAR NOT NULL, pseudo_label SMALLINT NOT NULL, confidence FLOAT NOT NULL,
    part INTEGER NOT NULL, "row" INTEGER NOT NULL);
COMMENT ON TABLE scores IS 'what a model says of an image; part and row point at its logits';
COMMENT ON COLUMN scores.image_id IS 'images.id';
COMMENT ON COLUMN scores.model IS 'models.key';
COMMENT ON COLUMN scores.pseudo_label IS 'class of the largest logit, from 0';
COMMENT ON COLUMN scores.confidence IS 'largest softmax probability, computed from the stored float16 logits';
COMMENT ON COLUMN scores.part IS 'parts.part in the store logits/MODEL';
COMMENT ON COLUMN scores."row" IS 'place in that part file, from 0';

CREATE TABLE shifts (image_id BIGINT NOT NULL, model VARCHAR NOT NULL, estimator VARCHAR NOT NULL, value FLOAT NOT NULL);
COMMENT ON TABLE shifts IS 'estimates of how far an image is from the teacher''s own training data';
COMMENT ON COLUMN shifts.image_id IS 'images.id';
COMMENT ON COLUMN shifts.model IS 'models.key of the teacher';
COMMENT ON COLUMN shifts.estimator IS 'bn_shift, bn_kl, null_space, classifier_angle; a network has those that fit its layers';
COMMENT ON COLUMN shifts.value IS 'larger is further; of classifier_angle, a cosine, larger is nearer';

CREATE TABLE duplicates (
    kind VARCHAR NOT NULL, embedder VARCHAR, bound DOUBLE NOT NULL, image_id BIGINT NOT NULL, group_id BIGINT NOT NULL);
COMMENT ON TABLE duplicates IS 'groups of images that show the same thing, as last looked for within each bound; group_id is the smallest image id';
COMMENT ON COLUMN duplicates.kind IS 'embedding: the cosine is at least the bound; perceptual: so many bits of dhash differ at most';
COMMENT ON COLUMN duplicates.embedder IS 'whose vectors were compared; NULL for perceptual';
COMMENT ON COLUMN duplicates.bound IS 'least cosine, or most bits that differ';
COMMENT ON COLUMN duplicates.image_id IS 'images.id';
COMMENT ON COLUMN duplicates.group_id IS 'the smallest image id of the group';

CREATE TABLE manifests (
    name VARCHAR NOT NULL, content_hash VARCHAR NOT NULL, strategy VARCHAR NOT NULL, options JSON NOT NULL,
    teacher VARCHAR NOT NULL, student VARCHAR, embedder VARCHAR, parent VARCHAR, seed BIGINT NOT NULL,
    pool BIGINT NOT NULL, eligible BIGINT NOT NULL, selected BIGINT NOT NULL, preprocessing JSON NOT NULL,
    code_version VARCHAR NOT NULL, created_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE manifests IS 'immutable selections; the hash covers image ids, ranks, pseudo-labels and weights';
COMMENT ON COLUMN manifests.name IS 'what --manifest takes; RUN/round-NNN for the rounds of a run';
COMMENT ON COLUMN manifests.content_hash IS 'SHA-256 of what it decides; the same in any workspace';
COMMENT ON COLUMN manifests.strategy IS 'random, msp, entropy, kd3, or a plugin''s';
COMMENT ON COLUMN manifests.options IS 'what select was given';
COMMENT ON COLUMN manifests.teacher IS 'models.key';
COMMENT ON COLUMN manifests.student IS 'models.key of the student that had a say, or RUN@ROUND; NULL without one';
COMMENT ON COLUMN manifests.embedder IS 'models.key of the embedder whose near-duplicates were looked for';
COMMENT ON COLUMN manifests.parent IS 'the manifest whose settings a round goes by';
COMMENT ON COLUMN manifests.seed IS 'of everything random in it';
COMMENT ON COLUMN manifests.pool IS 'images that were decided';
COMMENT ON COLUMN manifests.eligible IS 'images that no filter, threshold or duplicate ruled out';
COMMENT ON COLUMN manifests.selected IS 'images that were taken';
COMMENT ON COLUMN manifests.preprocessing IS 'input of the teacher: size, mean, deviation, ...';
COMMENT ON COLUMN manifests.code_version IS 'of kdcurate';
COMMENT ON COLUMN manifests.created_at IS 'when it was written';

CREATE TABLE decisions (
    manifest VARCHAR NOT NULL, image_id BIGINT NOT NULL, selected BOOLEAN NOT NULL, "rank" INTEGER,
    pseudo_label SMALLINT NOT NULL, weight FLOAT NOT NULL, score FLOAT NOT NULL, threshold FLOAT,
    components MAP(VARCHAR, FLOAT) NOT NULL, reason VARCHAR NOT NULL,
    why VARCHAR AS (regexp_extract(reason, '^[^0-9:]*[a-z]')) VIRTUAL);
COMMENT ON TABLE decisions IS 'the ledger: for each manifest exactly one row per image, selected or not, and why';
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

CREATE TABLE runs (
    name VARCHAR NOT NULL, manifest VARCHAR NOT NULL, method VARCHAR NOT NULL, teacher VARCHAR NOT NULL,
    student VARCHAR NOT NULL, options JSON NOT NULL, seed BIGINT NOT NULL, steps BIGINT NOT NULL,
    accuracy DOUBLE, seconds DOUBLE NOT NULL, code_version VARCHAR NOT NULL, finished_at TIMESTAMPTZ NOT NULL);
COMMENT ON TABLE runs IS 'finished students; the files are under runs/NAME';
COMMENT ON COLUMN runs.name IS 'folder below runs/';
COMMENT ON COLUMN runs.manifest IS 'manifests.name that it trained on, or whose settings its rounds went by';
COMMENT ON COLUMN runs.method IS 'kd, kd3, or a plugin''s';
COMMENT ON COLUMN runs.teacher IS 'models.key';
COMMENT ON COLUMN runs.student IS 'models.key';
COMMENT ON COLUMN runs.options IS 'what distill was given';
COMMENT ON COLUMN runs.seed IS 'of everything random in it';
COMMENT ON COLUMN runs.steps IS 'batches that it learned from';
COMMENT ON COLUMN runs.accuracy IS 'share of the images of --eval that it gets right; NULL without --eval';
COMMENT ON COLUMN runs.seconds IS 'training time';
COMMENT ON COLUMN runs.code_version IS 'of kdcurate';
COMMENT ON COLUMN runs.finished_at IS 'when it was done';

CREATE TABLE rounds (
    run VARCHAR NOT NULL, round INTEGER NOT NULL, manifest VARCHAR NOT NULL, epoch INTEGER NOT NULL, alpha DOUBLE NOT NULL,
    selected BIGINT NOT NULL, entered BIGINT NOT NULL, "left" BIGINT NOT NULL, seconds DOUBLE NOT NULL);
COMMENT ON TABLE rounds IS 're-selections while a student learned: how many images entered and left';
COMMENT ON COLUMN rounds.run IS 'runs.name';
COMMENT ON COLUMN rounds.round IS 'from 1';
COMMENT ON COLUMN rounds.manifest IS 'manifests.name of what this round selected';
COMMENT ON COLUMN rounds.epoch IS 'passes over the manifest before it';
COMMENT ON COLUMN rounds.alpha IS 'the teacher''s share of the mixed logits';
COMMENT ON COLUMN rounds.selected IS 'images that it took';
COMMENT ON COLUMN rounds.entered IS 'images that the round before had not taken';
COMMENT ON COLUMN rounds."left" IS 'images that the round before had taken and this one has not';
COMMENT ON COLUMN rounds.seconds IS 'time that selecting took';

CREATE TABLE metrics (run VARCHAR NOT NULL, step BIGINT NOT NULL, name VARCHAR NOT NULL, value DOUBLE NOT NULL);
COMMENT ON TABLE metrics IS 'training curves, as in runs/NAME/metrics.jsonl';
COMMENT ON COLUMN metrics.run IS 'runs.name';
COMMENT ON COLUMN metrics.step IS 'batches before it';
COMMENT ON COLUMN metrics.name IS 'what was measured, e.g. loss: the mean since the step before';
COMMENT ON COLUMN metrics.value IS 'as measured';

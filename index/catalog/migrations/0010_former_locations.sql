CREATE TABLE former_locations (image_id BIGINT NOT NULL, uri VARCHAR NOT NULL, metadata JSON);
COMMENT ON TABLE former_locations IS 'where images that a manifest took were found before their sources changed; a place that is there again stands in locations too';
COMMENT ON COLUMN former_locations.image_id IS 'images.id, of an image that may be gone';
COMMENT ON COLUMN former_locations.uri IS 'path or URL, shard.tar#member, or file.parquet#row';
COMMENT ON COLUMN former_locations.metadata IS 'what came with the crawl: url, caption, licence, ...';

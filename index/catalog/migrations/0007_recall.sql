ALTER TABLE indexes ADD COLUMN recall_asked DOUBLE DEFAULT 0.95;
COMMENT ON COLUMN indexes.recall_asked IS 'recall@10 that its search should reach: --recall';

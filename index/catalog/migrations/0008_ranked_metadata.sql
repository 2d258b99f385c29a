COMMENT ON COLUMN locations.metadata IS 'what came with the crawl: url, caption, ...; no selection reads it but by --where, and by --rank the numbers that it names';

"""Methods that make their own images from what the teacher knows; no crawl is needed."""

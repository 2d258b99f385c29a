"""Data that the offline demo makes itself: a teacher's digits and a small web crawl."""

"""What is in the crawl: sources, safe decoding, embeddings, FAISS, and the DuckDB catalog."""

"""What is in the crawl: sources, safe decoding, embeddings, FAISS, and the DuckDB catalog."""

__version__ = "0.1.0"

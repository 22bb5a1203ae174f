"""Take trades from a random walk or a file; push them to ingest over TCP."""

"""Connect live sources to ingest: trades of exchanges, files, topics in, ticks out."""

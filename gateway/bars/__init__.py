"""Take queries for bars; return pages of history, or history that becomes live."""

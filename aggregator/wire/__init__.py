"""Wire bytes to columns and columns to wire bytes."""

"""Records in; the same records, in the same order, out after a crash."""

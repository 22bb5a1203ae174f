"""Closed bars in; the same bars out of a database, after any restart."""

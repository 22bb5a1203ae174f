"""Accepted trades in; what follows from all of them, by symbol, out."""

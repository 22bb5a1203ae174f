"""Batches in; the sequence of each tick, the duplicates and the acks out."""

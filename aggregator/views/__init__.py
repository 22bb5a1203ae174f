"""Accepted trades in; the states of views by symbol out."""

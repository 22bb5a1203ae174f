"""Inputs in, in order and after they are in the log; the state that follows from them out."""

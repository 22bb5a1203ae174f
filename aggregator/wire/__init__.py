"""Wire bytes of ticks in, columns out; columns of states and bars in, wire bytes out."""

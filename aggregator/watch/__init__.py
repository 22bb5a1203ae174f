"""Changed symbols and bars in; for each stream, within bounds, the encoded states to send out."""

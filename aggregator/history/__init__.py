"""A request for bars of any time in; one series from memory and store out."""

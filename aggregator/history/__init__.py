"""Read the bars of any time, from memory and store as one series."""

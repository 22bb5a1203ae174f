"""Reports of producers and the times of their ticks in; how much of a time had a feed out."""

"""For which times there was a feed."""

"""The aggregator's parts in, one run of bytes out, and back: a restored part goes on exactly."""

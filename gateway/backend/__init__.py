"""Take reads of all endpoints; answer from the aggregator, or with a fallback while it fails."""

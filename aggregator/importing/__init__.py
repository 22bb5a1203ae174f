"""Files of old trades in; stored bars out, without a running aggregator."""

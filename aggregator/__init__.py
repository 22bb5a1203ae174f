"""Take batches of ticks over gRPC; hand out the OHLCV state of every symbol over gRPC."""

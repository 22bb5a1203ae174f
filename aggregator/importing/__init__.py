"""Turn files of trades into stored bars, without a running aggregator."""

"""Take ticks from producers over TCP; hand validated batches to the aggregator over gRPC."""

import marketdata.lean  # noqa: F401

"""Take batches of ticks over gRPC; hand out the OHLCV state of every symbol over gRPC."""

import os

import marketdata.lean  # noqa: F401

# gRPC reads it when it is imported. Its core writes past our log, and into it whatever a client
# puts into a GOAWAY: bytes that are no text, and lines that look like ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

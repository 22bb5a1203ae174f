"""Run ingest, aggregator and gateway in one process, connected without sockets."""

import marketdata.lean  # noqa: F401

"""Take the state of the market from the aggregator; hand it to clients in their own protocol."""

import marketdata.lean  # noqa: F401

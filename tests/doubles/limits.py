"""Limits for tests of sums: any price and volume is valid."""

from __future__ import annotations

import sys

from marketdata.validation import ValueLimits

NO_LIMITS = ValueLimits(max_price=sys.float_info.max, max_volume=2**63 - 1)

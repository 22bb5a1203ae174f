"""The real trades that tests replay; they are no part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MARKETDATA_TEST_DATA", ROOT.parent / "shared" / "data"))
REAL_TRADES = DATA / "us-equity-trades-2013-10-07.csv.gz"

needs_real_trades = pytest.mark.skipif(
    not REAL_TRADES.exists(), reason=f"the real trades are not in {DATA}"
)

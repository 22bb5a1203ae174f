"""Ticks for property tests: usual ones, late ones, and some that break rules or limits."""

from __future__ import annotations

from math import inf, nan

from hypothesis import strategies as st

from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick

START = 1_700_006_399 * NS_PER_S  # the last second of a UTC day
LATEST = START + 10_000 * NS_PER_S
SYMBOLS = ["A", "BB", "LONGER.NAME", "S" * 32]

usual = st.builds(
    Tick,
    symbol=st.sampled_from(SYMBOLS[:2]),
    price=st.integers(1, 9).map(float),
    volume=st.integers(1, 9),
    exchange_timestamp=st.integers(0, 30).map(lambda tenths: START + tenths * NS_PER_S // 10),
)
# Of few seconds, so that many of a batch are of the same closed bars.
late = st.builds(
    Tick,
    symbol=st.sampled_from(["A", "A", "BB"]),
    price=st.integers(1, 9).map(float),
    volume=st.sampled_from([1, 2, 2**47, 2**61]),
    exchange_timestamp=st.sampled_from([-2, -1.5, -1.1, -1, 0, 0.5, 1.2, 40]).map(
        lambda s: START + int(s * NS_PER_S)
    ),
)
odd = st.builds(
    Tick,
    symbol=st.sampled_from([*SYMBOLS, "lower", "", "É"]),
    price=st.sampled_from([1.5, 0.0, -1.0, nan, inf, 1e15, 1e200, 1e308, 5e-324]),
    volume=st.sampled_from([1, 0, -5, 2**47, 2**48, 2**48 + 1, 2**62, 2**63 - 1]),
    exchange_timestamp=st.one_of(
        st.integers(-1_000, 2_000).map(lambda s: START + s * NS_PER_S),
        st.sampled_from([0, -1, LATEST, LATEST + 1, 1]),
    ),
)

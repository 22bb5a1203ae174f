"""The records of the compiled loops have the fields of the one table."""

from __future__ import annotations

from typing import get_type_hints

import numpy as np

from aggregator.bars.candle import Candle
from aggregator.bars.kernel.candle import CandleNumbers, add, take
from aggregator.bars.kernel.records import BAR, CANDLE
from marketdata.fields import CANDLE_FIELDS, Kind


def test_a_candle_has_the_fields_of_the_table_with_their_types() -> None:
    names = [field.name for field in CANDLE_FIELDS]
    types = {field.name: float if field.kind is Kind.REAL else int for field in CANDLE_FIELDS}
    assert get_type_hints(CandleNumbers) == types
    assert list(CANDLE.names or ()) == names
    assert len(Candle().values()) == len(names)


def test_a_record_takes_the_numbers_of_a_candle_and_gives_them_back() -> None:
    candle = Candle()
    candle.add(2.5, 3, 10, 7)
    bars = np.zeros(2, BAR)
    bars[1]["candle"] = candle.values()
    assert Candle(bars["candle"][1].item()).values() == candle.values()
    assert Candle(bars["candle"][0].item()).values() == Candle().values()


def test_the_rule_of_the_loops_is_that_of_python() -> None:
    assert (Candle.add, Candle.take) == (add, take)

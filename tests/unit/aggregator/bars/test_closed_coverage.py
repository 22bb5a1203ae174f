"""How much of its time had a feed, of bars that close together or one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Bar, BarKey, BarState, Coverage
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.schedule import BarSchedule
from aggregator.book import Book
from marketdata.intervals import parse_interval
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.bars import LATEST
from tests.doubles.session_rules import HalfHourDays
from tests.unit.aggregator.bars.test_open_coverage import DAY, SYMBOLS

HALF_HOUR_S = 1_800
batches = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(SYMBOLS),
            st.one_of(st.integers(0, 10), st.integers(0, 3 * HALF_HOUR_S)),
        ),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=8,
)


@dataclass
class Sink:
    """Hand bars on."""

    put: Callable[[Sequence[Bar]], None]


@given(batches)
def test_a_bar_has_what_the_rule_said_of_its_hours_when_it_closed(
    made: list[list[tuple[str, int]]],
) -> None:
    rule = HalfHourDays()
    # With every batch the rule says something else.
    number = 0

    def coverage(start: int, end: int) -> Coverage:
        return list(Coverage)[hash((number, start, end)) % 3]

    closed: dict[BarKey, Coverage] = {}

    def put(bars: Sequence[Bar]) -> None:
        for bar in bars:
            hours = BarSchedule(parse_interval(bar.interval), rule).hours(bar.start, bar.end)
            is_revised = bar.state is BarState.REVISED
            assert bar.coverage is (closed[bar.key] if is_revised else coverage(*hours))
            closed[bar.key] = bar.coverage

    plan = BarPlan(parse_intervals("1s,10s,1m,1d"), revise_ns=HALF_HOUR_S * NS_PER_S)
    engine = BarEngine(plan, lambda _symbol: rule, coverage)
    engine.output.sink = Sink(put)
    book = Book(engine, max_symbols=10, epoch=1)
    for number, batch in enumerate(made):
        ticks = [
            Tick(symbol=symbol, price=1, volume=1, exchange_timestamp=DAY + second * NS_PER_S)
            for symbol, second in batch
        ]
        book.apply(ticks, 1 + 100 * number, LATEST)

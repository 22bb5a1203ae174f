"""How much of its time had a feed, of open bars that have come less or more far."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Coverage
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.book import Book
from aggregator.sessions.sessions import NS_PER_DAY, UtcDay
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.bars import LATEST, read_bar

DAY = 16_000 * NS_PER_DAY
SYMBOLS = "ABCDEF"
# Tenths of a second from the beginning of the day.
moments = st.integers(0, 1_300)
spans = st.lists(moments, max_size=8, unique=True).map(sorted)


@given(spans, st.lists(moments, min_size=len(SYMBOLS), max_size=len(SYMBOLS)))
def test_each_is_what_the_rule_says_of_its_own_time(ends: list[int], moved: list[int]) -> None:
    covered = [DAY + end * NS_PER_S // 10 for end in ends]
    feeds = list(zip(covered[::2], covered[1::2], strict=False))

    def coverage(start: int, end: int) -> Coverage:
        if any(low <= start and end <= high for low, high in feeds):
            return Coverage.FULL
        touched = any(low < end and start < high for low, high in feeds)
        return Coverage.PARTIAL if touched else Coverage.NO_FEED

    rule = UtcDay()
    engine = BarEngine(BarPlan(parse_intervals("1s,1m,1d")), lambda _symbol: rule, coverage)
    book = Book(engine, max_symbols=10, epoch=1)
    times = dict(zip(SYMBOLS, (DAY + each * NS_PER_S // 10 for each in moved), strict=True))
    ticks = [Tick(symbol=s, price=1, volume=1, exchange_timestamp=ts) for s, ts in times.items()]
    book.apply(ticks, 1, LATEST)
    series = [each for number in range(3) for each in engine.series.of_all(number)]
    _, still_open = engine.series.present(series)
    records = engine.series.partials(still_open)
    assert len(records) == 3 * len(SYMBOLS)
    for bar in map(read_bar, records):
        latest = times[bar.symbol]
        assert bar.coverage is coverage(bar.start, min(latest + 1, bar.end))

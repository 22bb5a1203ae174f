"""Bars from memory, from the backlog and from the store are one series."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.history.query import InvalidBars, read_cursor, write_cursor
from aggregator.history.reader import BarReader
from aggregator.sessions.sessions import Phase, UtcDay
from aggregator.store.rows import to_row
from marketdata.errors import InvalidSymbol
from marketdata.intervals import InvalidInterval, parse_interval
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.made_bars import MemoryOfBars, StoreInMemory, make_bar

INTERVALS = {name: parse_interval(name) for name in ("1s", "1m", "1d", "100t")}


class Hours(UtcDay):
    """Days of UTC; the market is closed in the second half of each minute."""

    closes = False

    def phase(self, ts_ns: int) -> Phase:
        if not self.closes:
            return ""
        return "closed" if ts_ns // NS_PER_S % 60 >= 30 else "regular"


class Setup:
    def __init__(self) -> None:
        self.memory = MemoryOfBars()
        self.store = StoreInMemory()
        self.hours = Hours()
        # The time with a feed, in seconds.
        self.feed = range(10**9)
        self.reader = BarReader(
            self.memory,
            self.store,
            intervals=INTERVALS,
            hours=lambda _symbol: self.hours,
            coverage=self._coverage,
            epoch=lambda: 77,
        )

    def _coverage(self, start: int, _end: int) -> Coverage:
        return Coverage.FULL if start // NS_PER_S in self.feed else Coverage.NO_FEED

    def put_stored(self, *bars: Bar) -> None:
        self.store.rows |= {(bar.start, bar.number): to_row(bar) for bar in bars}

    async def read(
        self, interval: str = "1s", *, symbol: str = "AAPL", from_ns: int | None = None, **more: Any
    ) -> wire.BarsResponse:
        asked = {"symbol": symbol, "interval": interval, "from": from_ns, **more}
        return await self.reader.read(wire.BarsRequest(**asked))


@pytest.fixture
def bars() -> Setup:
    return Setup()


def starts(response: wire.BarsResponse) -> list[int]:
    return [bar.start // NS_PER_S for bar in response.bars]


def s(seconds: int) -> int:
    return seconds * NS_PER_S


async def test_memory_waiting_and_stored_bars_are_one_series(bars: Setup) -> None:
    bars.put_stored(make_bar(1), make_bar(2), make_bar(3))
    bars.store.backlog.put([make_bar(4), make_bar(3, state=BarState.REVISED, revision=1)])
    bars.memory.bars = [make_bar(2, state=BarState.REVISED, revision=2), make_bar(5)]
    bars.memory.bars.append(make_bar(6, state=BarState.PARTIAL))
    bars.memory.sequences["AAPL", "1s"] = 42
    response = await bars.read()
    assert [(bar.start // NS_PER_S, bar.revision) for bar in response.bars] == [
        (1, 0), (2, 2), (3, 1), (4, 0), (5, 0),
    ]  # fmt: skip
    assert (response.sequence, response.epoch, response.next_cursor) == (42, 77, "")
    assert starts(await bars.read(include_partial=True)) == [1, 2, 3, 4, 5, 6]


async def test_a_stored_bar_wins_over_an_older_state_in_memory(bars: Setup) -> None:
    bars.put_stored(make_bar(1, prices=(1.0, 2.0), state=BarState.REVISED, revision=1))
    bars.memory.bars = [make_bar(1), make_bar(2, state=BarState.PARTIAL)]
    (bar,) = (await bars.read()).bars
    assert (bar.revision, bar.trades) == (1, 2)


async def test_bars_that_are_written_and_forgotten_during_a_read_are_in_it(bars: Setup) -> None:
    bars.put_stored(make_bar(1))
    bars.store.backlog.put([make_bar(2)])
    bars.memory.bars = [make_bar(3, state=BarState.PARTIAL)]

    def close_write_forget() -> None:
        bars.memory.bars = []
        bars.memory.sequences["AAPL", "1s"] = 9
        bars.store.backlog.put([make_bar(3), make_bar(4, "MSFT")])
        bars.store.write()

    bars.store.meanwhile = close_write_forget
    response = await bars.read()
    assert (starts(response), response.sequence) == ([1, 2, 3], 9)


async def test_without_from_the_last_ones_before_to_come_in_ascending_order(bars: Setup) -> None:
    bars.put_stored(*map(make_bar, range(10)))
    bars.memory.bars = [make_bar(10), make_bar(11)]
    response = await bars.read(limit=4)
    assert (starts(response), response.next_cursor) == ([8, 9, 10, 11], "")
    assert starts(await bars.read(limit=3, to=s(9))) == [6, 7, 8]


async def test_a_range_is_read_page_by_page_while_bars_are_revised(bars: Setup) -> None:
    bars.put_stored(*map(make_bar, range(10)))
    first = await bars.read(from_ns=s(1), to=s(9), limit=3)
    bars.put_stored(make_bar(3, state=BarState.REVISED, revision=1))
    second = await bars.read(from_ns=s(1), to=s(9), limit=3, cursor=first.next_cursor)
    third = await bars.read(from_ns=s(1), to=s(9), limit=3, cursor=second.next_cursor)
    assert [starts(page) for page in (first, second, third)] == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert third.next_cursor == ""


async def test_a_page_that_ends_with_the_range_has_no_cursor(bars: Setup) -> None:
    bars.put_stored(*map(make_bar, range(3)))
    assert (await bars.read(from_ns=0, limit=3)).next_cursor == ""


async def test_a_symbol_without_bars_has_none(bars: Setup) -> None:
    response = await bars.read(symbol=" nope ")
    assert (list(response.bars), response.sequence, response.epoch) == ([], 0, 77)


async def test_symbols_are_normalized(bars: Setup) -> None:
    bars.put_stored(make_bar(1))
    assert starts(await bars.read(symbol=" AAPL ")) == [1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"from_ns": 5, "to": 5}, r"from 5 is not before to 5"),
        ({"from_ns": 6, "to": 5}, r"from 6 is not before to 5"),
        ({"limit": 10_001}, r"limit 10001 is above 10000"),
        ({"cursor": "%"}, r"cursor '%' was not given by an answer"),
        ({"cursor": "YWJj"}, r"cursor 'YWJj' was not given"),
        ({"cursor": "LTEuMA"}, r"cursor 'LTEuMA' was not given"),
        (
            {"from_ns": 0, "to": s(100_001), "fill": wire.FILL_ALL},
            r"fill of 100001 intervals between from and to, limit is 100000",
        ),
        ({"interval": "100t", "fill": wire.FILL_ALL}, r"fill is for intervals of time, 100t is"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    bars: Setup, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidBars, match=message):
        await bars.read(**asked)


async def test_an_unknown_interval_is_told_with_those_there_are(bars: Setup) -> None:
    with pytest.raises(InvalidInterval, match="interval '5m' is not one of 1s 1m 1d 100t"):
        await bars.read("5m")
    with pytest.raises(InvalidSymbol):
        await bars.read(symbol="A*")


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1))
def test_a_cursor_comes_back_as_it_was(start: int, number: int) -> None:
    assert read_cursor(write_cursor((start, number))) == (start, number)


@given(st.text(max_size=30))
def test_any_cursor_is_read_or_refused(cursor: str) -> None:
    try:
        place = read_cursor(cursor)
    except InvalidBars:
        return
    assert read_cursor(write_cursor(place)) == place


async def test_a_filler_says_how_many_rows_of_an_import_were_refused(bars: Setup) -> None:
    bars.put_stored(make_bar(3), make_bar(6))
    bars.store.refused = {s(4): 7, s(8): 1}
    response = await bars.read(from_ns=0, to=s(10), fill=wire.FILL_ALL)
    assert [(bar.filler, bar.refused) for bar in response.bars] == [
        *((wire.FILLER_NONE, 0), (wire.FILLER_REFUSED, 7)),
        *((wire.FILLER_NO_TRADES, 0), (wire.FILLER_NONE, 0)),
    ]


async def test_fillers_stand_between_the_bars_only(bars: Setup) -> None:
    bars.put_stored(make_bar(3, prices=(5.0, 6.0)), make_bar(6))
    bars.feed = range(5)
    response = await bars.read(from_ns=0, to=s(10), fill=wire.FILL_ALL)
    assert starts(response) == [3, 4, 5, 6]
    assert [bar.filler for bar in response.bars] == [
        wire.FILLER_NONE, wire.FILLER_NO_TRADES, wire.FILLER_NO_FEED, wire.FILLER_NONE,
    ]  # fmt: skip
    filler = response.bars[1]
    assert filler == wire.Bar(
        symbol="AAPL",
        interval="1s",
        start=s(4),
        end=s(5),
        open=6.0,
        high=6.0,
        low=6.0,
        close=6.0,
        vwap=6.0,
        state=wire.BAR_STATE_FINAL,
        coverage=wire.COVERAGE_FULL,
        filler=wire.FILLER_NO_TRADES,
    )


async def test_pages_of_fillers_join(bars: Setup) -> None:
    bars.put_stored(make_bar(0, prices=(7.0,)), make_bar(7), make_bar(9))
    cursor, pages = "", []
    while True:
        page = await bars.read(from_ns=0, limit=3, fill=wire.FILL_ALL, cursor=cursor)
        pages.append(starts(page))
        cursor = page.next_cursor
        if not cursor:
            break
        assert [bar.close for bar in page.bars if bar.filler and bar.start < s(7)] == [
            7.0 for bar in page.bars if bar.filler and bar.start < s(7)
        ]
    assert pages == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


async def test_the_last_bars_are_filled_from_the_end(bars: Setup) -> None:
    # One bar of 1970 and one of today: no more fillers are made than the limit.
    bars.put_stored(make_bar(0), make_bar(1_700_000_000), make_bar(1_700_000_003))
    response = await bars.read(limit=6, fill=wire.FILL_ALL)
    assert starts(response) == [1_699_999_998 + n for n in range(6)]


async def test_a_gap_of_too_many_intervals_is_refused_where_all_of_it_is_asked(
    bars: Setup,
) -> None:
    bars.put_stored(make_bar(0), make_bar(1_700_000_000))
    page = await bars.read(from_ns=0, limit=10, fill=wire.FILL_ALL)
    assert starts(page) == list(range(10))
    bars.hours.closes = True
    cursor = write_cursor((s(10), 0))
    page = await bars.read(from_ns=0, limit=30, fill=wire.FILL_ALL, cursor=cursor)
    assert starts(page) == [*range(11, 30), *range(60, 71)]


async def test_the_last_bars_of_a_symbol_without_any_have_no_fillers(bars: Setup) -> None:
    assert list((await bars.read(fill=wire.FILL_ALL)).bars) == []


async def test_there_are_no_fillers_while_the_market_is_closed(bars: Setup) -> None:
    bars.hours.closes = True
    bars.put_stored(make_bar(28), make_bar(62))
    response = await bars.read(from_ns=0, fill=wire.FILL_ALL)
    assert starts(response) == [28, 29, 60, 61, 62]
    assert response.bars[1].phase == "regular"
    assert starts(await bars.read(limit=4, fill=wire.FILL_ALL)) == [29, 60, 61, 62]


async def test_days_are_filled_by_their_sessions(bars: Setup) -> None:
    day = 86_400
    bars.put_stored(make_bar(day, interval="1d"), make_bar(4 * day, interval="1d"))
    for from_ns in (0, None):
        response = await bars.read("1d", from_ns=from_ns, fill=wire.FILL_ALL)
        assert starts(response) == [n * day for n in (1, 2, 3, 4)]


async def test_without_a_store_memory_is_all_there_is(bars: Setup) -> None:
    reader = BarReader(
        bars.memory,
        None,
        intervals=INTERVALS,
        hours=lambda _symbol: bars.hours,
        coverage=lambda _start, _end: Coverage.FULL,
        epoch=lambda: 1,
    )
    bars.memory.bars = [make_bar(1), make_bar(2)]
    response = await reader.read(wire.BarsRequest(symbol="AAPL", interval="1s"))
    assert starts(response) == [1, 2]

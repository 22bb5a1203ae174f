"""The states that wait for each stream."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.watch.watcher import Watcher
from aggregator.watch.watchers import TooManyWatched
from marketdata.wire.market_data_pb2 import Aggregate, Tick, TickBatch, UpdateBatch
from tests.doubles.watched_market import NOW, WatchedMarket, make_batch, make_market


async def next_states(watcher: Watcher, limit: int = 10) -> list[Aggregate]:
    pieces = await watcher.next_states(limit)
    return [UpdateBatch.FromString(piece).updates[0] for piece in pieces]


async def next_symbols(watcher: Watcher, limit: int = 10) -> list[str]:
    return [state.symbol for state in await next_states(watcher, limit)]


async def test_a_watcher_that_does_not_read_holds_each_symbol_once() -> None:
    market = make_market()
    watcher = market.watchers.open()
    market.watchers.watch(watcher, ["A", "B"])
    for i in range(100):
        market.publish_batch(make_batch(1 + i, 1, symbol="AB"[i % 2]).SerializeToString(), NOW)
    assert await next_symbols(watcher, 10) == ["A", "B"]


async def test_the_longest_waiting_symbol_is_sent_first_and_a_limit_leaves_the_rest() -> None:
    market = make_market()
    watcher = market.watchers.open()
    market.watchers.watch_all(watcher, True)
    for i, symbol in enumerate("CABC"):
        market.publish_batch(make_batch(1 + i, 1, symbol=symbol).SerializeToString(), NOW)
    assert await next_symbols(watcher, 2) == ["C", "A"]
    assert await next_symbols(watcher, 2) == ["B"]


async def test_what_is_no_longer_watched_is_not_sent() -> None:
    market = make_market()
    watcher = market.watchers.open()
    market.watchers.watch(watcher, ["A", "B"])
    market.publish_batch(make_batch(1, 1, symbol="A").SerializeToString(), NOW)
    market.publish_batch(make_batch(2, 1, symbol="B").SerializeToString(), NOW)
    market.watchers.unwatch(watcher, ["A"])
    market.publish_batch(make_batch(3, 1, symbol="A").SerializeToString(), NOW)
    assert await next_symbols(watcher, 10) == ["B"]


async def test_after_watching_all_only_named_symbols_are_sent_again() -> None:
    market = make_market()
    watcher = market.watchers.open()
    market.watchers.watch(watcher, ["A"])
    market.watchers.watch_all(watcher, True)
    market.publish_batch(make_batch(1, 1, symbol="B").SerializeToString(), NOW)
    market.watchers.watch_all(watcher, False)
    market.publish_batch(make_batch(2, 1, symbol="A").SerializeToString(), NOW)
    assert await next_symbols(watcher, 10) == ["A"]


def buffering_watcher(market: WatchedMarket, max_states: int) -> Watcher:
    watcher = market.watchers.open()
    watcher.buffer(max_states)
    market.watchers.watch_all(watcher, True)
    return watcher


async def test_a_buffer_keeps_every_state_in_order() -> None:
    market = make_market()
    watcher = buffering_watcher(market, 10)
    for i in range(6):
        market.publish_batch(make_batch(1 + i, 1, symbol="AB"[i % 2]).SerializeToString(), NOW)
    states = await next_states(watcher, 4) + await next_states(watcher, 4)
    assert [(s.symbol, s.sequence) for s in states] == [
        ("A", 1),
        ("B", 1),
        ("A", 2),
        ("B", 2),
        ("A", 3),
        ("B", 3),
    ]


async def test_a_watcher_that_finishes_gives_everything_first() -> None:
    market = make_market()
    watcher = buffering_watcher(market, 10)
    for i in range(3):
        market.publish_batch(make_batch(1 + i, 1, symbol="A").SerializeToString(), NOW)
    reason = RuntimeError("the end")
    watcher.finish(reason)
    assert [s.sequence for s in await next_states(watcher, 2)] == [1, 2]
    assert len((await watcher.next_updates(10, 10)).states) == 1
    with pytest.raises(RuntimeError, match="the end"):
        await watcher.next_updates(10, 10)
    with pytest.raises(RuntimeError, match="the end"):
        await watcher.next_states(10)


async def test_a_watcher_that_waits_finishes_at_once() -> None:
    watcher = buffering_watcher(make_market(), 10)
    waiting = asyncio.create_task(watcher.next_updates(10, 10))
    await asyncio.sleep(0)
    watcher.finish(RuntimeError("the end"))
    with pytest.raises(RuntimeError, match="the end"):
        await waiting


async def test_a_full_buffer_skips_to_the_newest_and_then_buffers_again() -> None:
    market = make_market()
    watcher = buffering_watcher(market, 3)
    for i in range(5):
        market.publish_batch(make_batch(1 + i, 1, symbol="A").SerializeToString(), NOW)
        assert watcher.waiting <= 3
    assert [s.sequence for s in await next_states(watcher)] == [5]
    for i in range(5, 7):
        market.publish_batch(make_batch(1 + i, 1, symbol="A").SerializeToString(), NOW)
    assert [s.sequence for s in await next_states(watcher)] == [6, 7]


async def test_what_is_no_longer_watched_leaves_the_buffer() -> None:
    market = make_market()
    watcher = buffering_watcher(market, 10)
    market.watchers.watch(watcher, ["B"])
    for i, symbol in enumerate("ABA"):
        market.publish_batch(make_batch(1 + i, 1, symbol=symbol).SerializeToString(), NOW)
    market.watchers.watch_all(watcher, False)
    assert await next_symbols(watcher) == ["B"]


def test_a_closed_watcher_leaves_nothing_behind() -> None:
    watchers = make_market().watchers
    for _ in range(100):
        watcher = watchers.open()
        watchers.watch(watcher, ["A", "B"])
        watchers.watch_all(watcher, True)
        watchers.close(watcher)
    assert (len(watchers), watchers.watched_symbols) == (0, 0)
    watchers.notify(np.zeros(1, np.int32))


def test_one_stream_watches_a_bounded_number_of_symbols() -> None:
    watchers = make_market().watchers
    watcher = watchers.open()
    with pytest.raises(TooManyWatched, match="at most 3 symbols"):
        watchers.watch(watcher, ["A", "B", "A", "C", "D"])


async def test_a_symbol_that_does_not_exist_is_waited_for_by_all_who_watch_it() -> None:
    market = make_market(max_symbols=3_000)
    first, second, third = (market.watchers.open() for _ in range(3))
    for watcher in (first, second, third):
        market.watchers.watch(watcher, ["LAST"])
    market.watchers.unwatch(third, ["LAST"])
    assert market.watchers.watched_symbols == 1
    ticks = [
        Tick(symbol=symbol, price=1, volume=1, exchange_timestamp=NOW)
        for symbol in (*(f"S{n}" for n in range(2_000)), "LAST")
    ]
    market.publish_batch(TickBatch(ticks=ticks).SerializeToString(), NOW)
    assert await next_symbols(first) == ["LAST"]
    assert await next_symbols(second) == ["LAST"]
    assert third.waiting == 0
    market.watchers.close(first)
    market.watchers.close(second)
    assert market.watchers.watched_symbols == 0


async def test_each_watcher_hears_of_its_own_symbols() -> None:
    market = make_market()
    first, second = market.watchers.open(), market.watchers.open()
    market.watchers.watch(first, ["A", "B"])
    market.watchers.watch(second, ["B", "C"])
    for number, symbol in enumerate("ABC"):
        market.publish_batch(make_batch(1 + number, 1, symbol=symbol).SerializeToString(), NOW)
    assert await next_symbols(first) == ["A", "B"]
    assert await next_symbols(second) == ["B", "C"]


steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["watch", "unwatch"]), st.integers(0, 2), st.sampled_from("ABCD")
        ),
        st.tuples(st.just("all"), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("take"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("publish"), st.just(0), st.sets(st.sampled_from("ABCD"), min_size=1)),
    ),
    max_size=40,
)


@given(steps)
async def test_every_watcher_has_the_newest_state_of_what_it_watches_and_nothing_else(
    moves: list[tuple[str, int, object]],
) -> None:
    market = make_market()
    watchers = [market.watchers.open() for _ in range(3)]
    # The symbols that wait for each, the longest waiting first.
    due: list[dict[str, None]] = [{}, {}, {}]
    names: list[set[str]] = [set(), set(), set()]
    whole = [False] * 3
    for what, number, detail in moves:
        watcher, mine = watchers[number], due[number]
        match what, detail:
            case "watch", str() as symbol if len(names[number]) < 3:
                names[number].add(symbol)
                market.watchers.watch(watcher, [symbol])
            case "unwatch", str() as symbol:
                if symbol in names[number] and not whole[number]:
                    mine.pop(symbol, None)
                names[number].discard(symbol)
                market.watchers.unwatch(watcher, [symbol])
            case "all", bool() as on:
                whole[number] = on
                market.watchers.watch_all(watcher, on)
                due[number] = {s: None for s in mine if on or s in names[number]}
            case "take", int() as limit if mine:
                taken = await next_states(watcher, limit)
                assert [state.symbol for state in taken] == list(mine)[:limit]
                for state in taken:
                    del mine[state.symbol]
                    assert state == market.book.aggregate(state.symbol)
            case "publish", set() as symbols:
                ticks = [
                    Tick(symbol=symbol, price=1, volume=1, exchange_timestamp=NOW)
                    for symbol in sorted(symbols)
                ]
                market.publish_batch(TickBatch(ticks=ticks).SerializeToString(), NOW)
                for index in range(3):
                    wanted = symbols if whole[index] else symbols & names[index]
                    due[index].update(dict.fromkeys(sorted(wanted)))
    assert [watcher.waiting for watcher in watchers] == list(map(len, due))
    for watcher in watchers:
        market.watchers.close(watcher)
    assert market.watchers.watched_symbols == 0

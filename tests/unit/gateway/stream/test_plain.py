"""The rules of the original's WebSocket."""

from __future__ import annotations

import pytest

from gateway.encoding import AGGREGATE_KEYS, aggregate_to_dict, encode_json
from gateway.hub.updates import AggregateUpdate, Delivery, FeedStatus
from gateway.stream.plain import PlainFormat, PlainSession
from marketdata.wire.market_data_pb2 import Aggregate
from tests.unit.gateway.stream.doubles import Client, Feed


def connect(feed: Feed, symbol: str = "AAPL", *, room: int = 1000) -> Client:
    return Client(PlainSession(feed.sessions, symbol), room=room)


def test_each_state_is_bare_json_with_numbers_where_the_original_had_them() -> None:
    feed = Feed()
    client = connect(feed, " AAPL ")
    feed.publish("AAPL", "MSFT")
    (state,) = client.take()
    assert tuple(state) == AGGREGATE_KEYS
    assert (state["symbol"], state["volume"], state["timestamp"]) == ("AAPL", 2**60, 0)
    assert (state["sequence"], state["timestampNs"]) == ("1", "0")


def test_it_is_written_once_for_all() -> None:
    feed = Feed()
    one, two = connect(feed), connect(feed)
    feed.publish("AAPL")
    assert one.sent[0] is two.sent[0]


def test_a_slow_reader_gets_the_newest_state() -> None:
    feed = Feed()
    client = connect(feed, room=1)
    feed.publish("AAPL")
    feed.publish("AAPL", "AAPL")
    client.drain()
    assert [state["sequence"] for state in client.take()] == ["1", "3"]


def test_nothing_but_states_is_sent() -> None:
    feed = Feed()
    client = connect(feed)
    feed.hub.set_status(FeedStatus.STALE)
    client.reader.on_message("whatever")
    client.reader.on_message(b"\xff")
    assert (client.take(), client.closed) == ([], None)


def test_a_bad_symbol_is_told_and_closed() -> None:
    client = connect(Feed(), "AAPL,MSFT")
    (error,) = client.take()
    assert (error["type"], error["code"]) == ("error", "invalid_input")
    assert client.closed is not None
    assert client.closed[0] == 4400


def test_a_client_that_sends_too_much_is_closed() -> None:
    client = connect(Feed(message_rate=1, message_burst=1))
    client.say(type="ping")
    assert client.closed is None
    client.say(type="ping")
    assert client.closed is not None
    assert client.closed[0] == 4429


def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    feed = Feed()
    client = connect(feed)
    client.leave()
    assert (feed.hub.subscriptions, len(feed.sessions)) == (0, 0)


@pytest.mark.parametrize("symbol", ["AAPL", 'a,"volume":"5"', '\\","timestamp":"7', "é"])
@pytest.mark.parametrize("number", [0, 5, 2**62, -(10**18) - 7])
def test_only_the_two_integers_of_the_original_lose_their_quotes(symbol: str, number: int) -> None:
    state = Aggregate(symbol=symbol, volume=number, timestamp=number, close=1.5)
    update = AggregateUpdate(state.SerializeToString())
    expected = aggregate_to_dict(state) | {"volume": number, "timestamp": number // 10**6}
    (message,) = PlainFormat().encode([Delivery(update, None, 0)]).messages
    assert message == encode_json(expected)

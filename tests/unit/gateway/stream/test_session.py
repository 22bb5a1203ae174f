"""The rules of a stream over WebSocket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ending import end_sessions
from gateway.hub.updates import FeedStatus
from gateway.stream.session import StreamSession
from tests.unit.gateway.stream.doubles import EPOCH, Client, Feed

LIVE = {"type": "status", "status": "live"}


def connect(feed: Feed, query: dict[str, list[str]] | None = None, **options: Any) -> Client:
    return Client(StreamSession(feed.sessions, query or {}), **options)


def subscribe(client: Client, *symbols: str, id: str = "1", **more: Any) -> None:  # noqa: A002
    client.say(type="subscribe", id=id, symbols=list(symbols), **more)


def updates(client: Client) -> list[tuple[str, str, int, bool | None, int]]:
    """What each update says: id, symbol, sequence, recovered, conflated."""
    return [
        (m["id"], m["data"]["symbol"], int(m["sequence"]), m["recovered"], m["conflated"])
        for m in client.take()
        if m["type"] == "update"
    ]


def failure(client: Client) -> tuple[str | None, str, int]:
    """What a client was told last: the id, the code, and the close code."""
    last = client.take()[-1]
    assert last["type"] == "error"
    assert last["message"]
    assert client.closed is not None
    return last["id"], last["code"], client.closed[0]


def test_the_status_comes_first() -> None:
    assert connect(Feed()).take() == [LIVE]


def test_a_subscription_is_confirmed_and_begins_with_the_present_state() -> None:
    feed = Feed()
    connect(feed, {"symbols": ["AAPL"]})
    feed.publish("AAPL")
    client = connect(feed)
    subscribe(client, " AAPL ", "MSFT")
    _, confirmed, update = client.take()
    assert confirmed == {
        "type": "subscribed",
        "id": "1",
        "symbols": ["AAPL", "MSFT"],
        "policy": "conflate",
    }
    data = update.pop("data")
    assert update == {
        "type": "update",
        "id": "1",
        "recovered": None,
        "conflated": 0,
        "sequence": "1",
        "epoch": str(EPOCH),
    }
    assert (data["symbol"], data["volume"]) == ("AAPL", str(2**60))


def test_the_address_subscribes() -> None:
    feed = Feed()
    client = connect(feed, {"symbols": ["AAPL,MSFT", "IBM"], "policy": ["buffer"]})
    assert client.take()[1] == {
        "type": "subscribed",
        "id": "query",
        "symbols": ["AAPL", "MSFT", "IBM"],
        "policy": "buffer",
    }
    client.say(type="unsubscribe", id="query")
    assert client.take() == [{"type": "unsubscribed", "id": "query"}]


@pytest.mark.parametrize(
    "query", [{"symbols": ["A*B"]}, {"symbols": [""]}, {"symbols": ["A"], "policy": ["slow"]}]
)
def test_an_address_that_cannot_be_used_is_told_and_closed(query: dict[str, list[str]]) -> None:
    assert failure(connect(Feed(), query)) == ("query", "invalid_input", 4400)


def test_an_asterisk_is_every_symbol() -> None:
    feed = Feed()
    client = connect(feed)
    subscribe(client, "*", "AAPL")
    assert client.take()[1]["symbols"] == ["*"]
    feed.publish("NEW")
    assert updates(client) == [("1", "NEW", 1, None, 0)]


def test_each_subscription_gets_its_own() -> None:
    feed = Feed()
    client = connect(feed)
    subscribe(client, "A", id="1")
    subscribe(client, "A", "B", id="2")
    feed.publish("A", "B")
    assert updates(client) == [
        ("1", "A", 1, None, 0),
        ("2", "A", 1, None, 0),
        ("2", "B", 1, None, 0),
    ]


def test_after_unsubscribed_nothing_more_comes_and_the_id_is_free() -> None:
    feed = Feed()
    client = connect(feed)
    subscribe(client, "A")
    client.say(type="unsubscribe", id="1")
    feed.publish("A")
    assert updates(client) == []
    assert feed.hub.subscriptions == 0
    subscribe(client, "B")
    feed.publish("B")
    assert updates(client) == [("1", "B", 1, None, 0)]


def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    feed = Feed()
    client = connect(feed, {"symbols": ["A"]})
    subscribe(client, "*")
    assert (feed.hub.subscriptions, len(feed.sessions)) == (2, 1)
    client.leave()
    assert (feed.hub.subscriptions, len(feed.sessions)) == (0, 0)


def test_ping_is_answered_with_the_time_it_came_and_the_time_the_answer_went() -> None:
    feed = Feed()
    client = connect(feed)
    feed.times = iter([1_735_201_234_567_890_123, 1_735_201_234_567_900_456])
    client.say(type="ping")
    pong = {
        "type": "pong",
        "receivedNs": "1735201234567890123",
        "sentNs": "1735201234567900456",
    }
    assert client.take() == [LIVE, pong]


def test_each_change_of_the_status_is_told() -> None:
    feed = Feed()
    client = connect(feed, {"symbols": ["A"]})
    client.take()
    feed.hub.set_status(FeedStatus.STALE)
    feed.hub.set_status(FeedStatus.LIVE)
    assert [m["status"] for m in client.take()] == ["stale", "live"]


def test_a_client_that_does_not_read_is_told_the_newest_status_once() -> None:
    feed = Feed()
    client = connect(feed, {"symbols": ["A"]}, room=2)
    client.take()
    for _ in range(10):
        feed.hub.set_status(FeedStatus.STALE)
        feed.hub.set_status(FeedStatus.LIVE)
    feed.hub.set_status(FeedStatus.STALE)
    assert client.take() == []
    client.drain()
    assert client.take() == [{"type": "status", "status": "stale"}]


def test_a_slow_reader_gets_the_newest_state_and_how_many_were_skipped() -> None:
    feed = Feed()
    client = connect(feed, {"symbols": ["A"]}, room=2)
    feed.publish("A", "A", "A")
    client.drain()
    assert updates(client) == [("query", "A", 3, None, 2)]


def test_a_slow_reader_that_buffers_gets_every_state() -> None:
    feed = Feed()
    client = connect(feed, {"symbols": ["A"], "policy": ["buffer"]}, room=2)
    feed.publish("A", "A", "A")
    client.drain()
    assert [sequence for _, _, sequence, _, _ in updates(client)] == [1, 2, 3]


def test_a_slow_reader_that_buffers_too_much_is_told_and_closed() -> None:
    feed = Feed()
    client = connect(feed)
    subscribe(client, "A", policy="buffer")
    client.room = 0
    feed.publish("A", "A", "A", "A")
    assert failure(client) == ("1", "slow_consumer", 4490)


def test_a_client_that_asks_and_never_reads_the_answers_is_closed() -> None:
    client = connect(Feed())
    client.hard_limit = 1
    client.say(type="ping")
    client.say(type="ping")
    assert client.closed is not None
    assert client.closed[0] == 4490


def test_a_client_that_comes_back_gets_all_it_missed() -> None:
    feed = Feed()
    connect(feed, {"symbols": ["A,B"]})
    feed.publish("A", "A", "A", "B")
    client = connect(feed)
    resume = {"epoch": str(EPOCH), "sequences": {" A": "1", "OTHER": "5"}}
    subscribe(client, "A", "B", policy="buffer", resume=resume)
    assert sorted(updates(client)) == [
        ("1", "A", 2, True, 0),
        ("1", "A", 3, True, 0),
        ("1", "B", 1, None, 0),
    ]


def test_a_client_that_comes_back_too_late_gets_a_snapshot() -> None:
    feed = Feed()
    connect(feed, {"symbols": ["A"]})
    feed.publish("A", "A")
    feed.restart()
    feed.publish("A")
    client = connect(feed)
    subscribe(client, "A", resume={"epoch": str(EPOCH), "sequences": {"A": "1"}})
    assert updates(client) == [("1", "A", 1, False, 0)]


BAD_MESSAGES = [
    "",
    "{",
    "null",
    "[]",
    '"subscribe"',
    "{}",
    '{"type":"buy"}',
    '{"type":7}',
    '{"type":"' + "x" * 100_000 + '"}',
    '{"type":"ping","more":1}',
    '{"type":"subscribe"}',
    '{"type":"subscribe","id":"1"}',
    '{"type":"subscribe","id":1,"symbols":["A"]}',
    '{"type":"subscribe","id":"","symbols":["A"]}',
    '{"type":"subscribe","id":"' + "x" * 65 + '","symbols":["A"]}',
    '{"type":"subscribe","id":"\\ud800","symbols":["A"]}',
    '{"type":"subscribe","id":"1","symbols":"A"}',
    '{"type":"subscribe","id":"1","symbols":[7]}',
    '{"type":"subscribe","id":"1","symbols":["A"],"policy":"drop"}',
    '{"type":"subscribe","id":"1","symbols":["A"],"bars":"1m"}',
    '{"type":"subscribe","id":"1","symbols":["A"],"resume":{"epoch":"7"}}',
    '{"type":"subscribe","id":"1","symbols":["A"],"resume":{"epoch":7,"sequences":{}}}',
    '{"type":"subscribe","id":"1","symbols":["A"],"resume":{"epoch":"7","sequences":{"A":"-1"}}}',
    '{"type":"unsubscribe"}',
    "[" * 10_000,
]


@pytest.mark.parametrize("message", BAD_MESSAGES, ids=range(len(BAD_MESSAGES)))
def test_a_message_that_is_none_is_told_and_closed(message: str) -> None:
    client = connect(Feed())
    client.reader.on_message(message)
    assert len(client.sent[-1]) < 1000
    assert failure(client) == (None, "malformed_message", 4400)


_SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["A", "*", "1"])
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)
_NAMES = st.sampled_from(["type", "id", "symbols", "policy", "resume", "epoch", "sequences"])
_TYPES = st.sampled_from(["subscribe", "unsubscribe", "ping"])


@given(
    st.lists(
        st.text()
        | st.binary()
        | st.builds(
            lambda fields, kind: json.dumps({**fields, "type": kind}),
            st.dictionaries(_NAMES, _VALUES),
            _TYPES,
        ),
        max_size=5,
    )
)
def test_whatever_a_client_sends_is_answered_or_a_documented_end(
    messages: list[str | bytes],
) -> None:
    feed = Feed()
    client = connect(feed)
    for message in messages:
        client.reader.on_message(message)
        if client.closed is not None:
            assert client.closed[0] in {1003, 4400, 4429}
            break
        feed.publish("A")
    client.leave()
    assert (feed.hub.subscriptions, len(feed.sessions)) == (0, 0)


@pytest.mark.parametrize(
    ("symbols", "resume"),
    [
        ([], None),
        (["A*B"], None),
        ([""], None),
        (["A,,B"], None),
        (["A"] * 31, None),
        (["A"], {"epoch": "7", "sequences": {"A*B": "1"}}),
        (["A"], {"epoch": "7", "sequences": {f"A{n}": "1" for n in range(31)}}),
    ],
)
def test_what_cannot_be_subscribed_to_is_told_and_closed(
    symbols: list[str], resume: object
) -> None:
    feed = Feed()
    client = connect(feed)
    subscribe(client, *symbols, resume=resume)
    assert failure(client) == ("1", "invalid_input", 4400)
    assert feed.hub.subscriptions == 0


def test_both_sides_of_the_symbols_of_a_subscription() -> None:
    client = connect(Feed())
    subscribe(client, *(f"A{n}" for n in range(30)))
    assert client.closed is None


def test_an_id_in_use_is_told_and_closed() -> None:
    client = connect(Feed())
    subscribe(client, "A")
    subscribe(client, "B")
    assert failure(client) == ("1", "subscription_in_use", 4400)


def test_an_unknown_id_is_told_and_closed() -> None:
    client = connect(Feed())
    client.say(type="unsubscribe", id="7")
    assert failure(client) == ("7", "unknown_subscription", 4400)


def test_subscriptions_are_limited() -> None:
    client = connect(Feed(max_subscriptions=2))
    subscribe(client, "A", id="1")
    subscribe(client, "A", id="2")
    assert client.closed is None
    subscribe(client, "A", id="3")
    assert failure(client) == ("3", "too_many_subscriptions", 4429)


def test_what_the_gateway_cannot_follow_is_told_and_closed() -> None:
    client = connect(Feed(max_followed=1))
    subscribe(client, "A", "B")
    assert failure(client) == ("1", "too_many_symbols", 4429)


def test_a_binary_message_is_told_and_closed() -> None:
    client = connect(Feed())
    client.reader.on_message(b'{"type":"ping"}')
    assert failure(client) == (None, "binary_message", 1003)


def test_messages_pass_at_the_rate_and_a_burst_of_them_at_once() -> None:
    feed = Feed(message_rate=2, message_burst=2)
    client = connect(feed)
    for _ in range(2):
        client.say(type="ping")
    feed.clock.now = 0.5
    client.say(type="ping")
    assert client.closed is None
    client.say(type="ping")
    assert failure(client) == (None, "rate_limited", 4429)


def check_farewell(client: Client) -> list[dict[str, Any]]:
    *before, message = client.take()
    after_ms = message["reconnectAfterMs"]
    assert message == {
        "type": "status",
        "status": "server-shutdown",
        "reconnectAfterMs": after_ms,
    }
    assert 1000 <= after_ms <= 6000
    assert client.closed == (1012, f"server-shutdown; reconnectAfterMs={after_ms}")
    return before


async def test_when_the_gateway_stops_streams_end_and_those_that_still_come() -> None:
    feed = Feed()
    before = connect(feed)
    await end_sessions(feed.sessions, 0)
    check_farewell(before)
    check_farewell(connect(feed))


async def test_a_slow_client_gets_what_waits_before_the_farewell() -> None:
    feed = Feed()
    client = connect(feed)
    client.say(type="subscribe", id="1", symbols=["AAPL"], policy="buffer")
    client.room = 0
    feed.publish("AAPL")
    feed.publish("AAPL")
    stopping = asyncio.create_task(end_sessions(feed.sessions, 60))
    await asyncio.sleep(0)
    assert client.closed is None
    client.drain()
    await stopping
    before = check_farewell(client)
    assert [each["sequence"] for each in before if each["type"] == "update"] == ["1", "2"]


async def test_a_client_that_does_not_read_gets_the_farewell_when_its_time_is_over() -> None:
    feed = Feed()
    client = connect(feed)
    client.say(type="subscribe", id="1", symbols=["AAPL"])
    client.room = 0
    feed.publish("AAPL")
    await end_sessions(feed.sessions, 0.01)
    check_farewell(client)


async def test_clients_are_told_different_times() -> None:
    feed = Feed()
    clients = [connect(feed) for _ in range(50)]
    await end_sessions(feed.sessions, 0)
    times = {client.take()[-1]["reconnectAfterMs"] for client in clients}
    assert len(times) > 40

"""The rules of a stream over SSE."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub.subscription import BufferLimits
from gateway.hub.updates import AggregateUpdate, FeedStatus, Policy
from gateway.stream.events import (
    MAX_SYMBOLS_IN_ID,
    EventSession,
    Positions,
    encode_event,
    parse_event_id,
)
from marketdata.wire.market_data_pb2 import Aggregate
from tests.unit.gateway.stream.doubles import Client, Feed


def connect(
    feed: Feed,
    symbols: list[str] | None,
    last_event_id: str = "",
    *,
    policy: Policy = "buffer",
    room: int = 1_000_000,
) -> Client:
    session = EventSession(
        feed.sessions, symbols=symbols, policy=policy, last_event_id=last_event_id, retry_ms=1234
    )
    return Client(session, room=room)


def events(client: Client) -> list[tuple[str, str, dict[str, Any]]]:
    """What came: name, id, data; the same lines that the HTML standard reads."""
    found = []
    for block in b"".join(map(bytes_of, client.sent)).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    client.sent.clear()
    return found


def bytes_of(message: str | bytes) -> bytes:
    assert isinstance(message, bytes)
    return message


def updates(client: Client) -> list[tuple[str, int, bool | None]]:
    return [
        (data["data"]["symbol"], int(data["sequence"]), data["recovered"])
        for name, _, data in events(client)
        if name == "update"
    ]


def last_id(client: Client) -> str:
    return [event_id for _, event_id, _ in events(client) if event_id][-1]


def test_it_begins_with_the_retry_time_and_the_status() -> None:
    client = connect(Feed(), ["A"])
    assert client.sent == [
        b'retry: 1234\nevent: status\ndata: {"type":"status","status":"live"}\n\n',
    ]


def test_an_update_is_the_message_of_the_websocket_without_an_id() -> None:
    feed = Feed()
    client = connect(feed, ["A"])
    feed.publish("A")
    name, event_id, message = events(client)[-1]
    assert (name, event_id) == ("update", "7:A=1")
    assert message.pop("data")["symbol"] == "A"
    assert message == {
        "type": "update",
        "recovered": None,
        "conflated": 0,
        "sequence": "1",
        "epoch": "7",
    }


def test_the_id_says_where_the_client_is_with_each_symbol() -> None:
    feed = Feed()
    client = connect(feed, ["A", "B"])
    feed.publish("A", "B", "A")
    assert last_id(client) == "7:A=2,B=1"
    feed.restart()
    feed.publish("B")
    assert last_id(client) == "8:B=1"


def test_a_change_of_the_status_has_no_id() -> None:
    feed = Feed()
    client = connect(feed, ["A"])
    events(client)
    feed.hub.set_status(FeedStatus.STALE)
    assert events(client) == [("status", "", {"type": "status", "status": "stale"})]


def test_a_client_that_comes_back_gets_all_it_missed() -> None:
    feed = Feed()
    first = connect(feed, ["A", "B"])
    feed.publish("A", "B")
    first_id = last_id(first)
    first.leave()
    feed.publish("A", "A")
    again = connect(feed, ["A", "B"], first_id)
    assert updates(again) == [("A", 2, True), ("A", 3, True)]
    feed.publish("B")
    assert last_id(again) == "7:A=3,B=2"


def test_the_id_of_one_that_came_back_still_says_all_it_knew() -> None:
    feed = Feed()
    connect(feed, ["A", "B"])
    feed.publish("A", "B")
    again = connect(feed, ["A", "B"], "7:A=1,B=1,OTHER=9")
    feed.publish("A")
    assert last_id(again) == "7:A=2,B=1"


@pytest.mark.parametrize(
    "last_event_id",
    [
        "6:A=1",
        "7:A=99",
        "7",
        "7:",
        "nonsense",
        "7:A",
        "7:A=x",
        "7:=1",
        "-1:A=1",
        "7:A*=1",
        "9" * 21,
    ],
)
@pytest.mark.parametrize("symbols", [["A"], None])
def test_an_id_from_which_nothing_can_be_told_gives_a_snapshot(
    last_event_id: str, symbols: list[str] | None
) -> None:
    feed = Feed()
    connect(feed, ["A"])
    feed.publish("A", "A")
    again = connect(feed, symbols, last_event_id)
    feed.publish("A")
    assert updates(again) == [("A", 2, False), ("A", 3, None)]


def test_symbols_that_the_id_leaves_out_are_snapshots() -> None:
    feed = Feed()
    connect(feed, ["A", "B"])
    feed.publish("A", "B", "B")
    assert sorted(updates(connect(feed, ["A", "B"], "7:A=0"))) == [("A", 1, True), ("B", 2, False)]


@pytest.mark.parametrize(
    "symbols", [None, [f"A{n}" for n in range(MAX_SYMBOLS_IN_ID + 1)]], ids=["all", "many"]
)
def test_the_id_of_many_symbols_is_short_and_gives_a_snapshot(symbols: list[str] | None) -> None:
    feed = Feed()
    client = connect(feed, symbols)
    feed.publish("A1", "A2")
    short = last_id(client)
    assert short == "7"
    again = connect(feed, symbols, short)
    assert sorted(updates(again)) == [("A1", 1, False), ("A2", 1, False)]
    feed.publish("A1")
    assert updates(again) == [("A1", 2, None)]


def test_the_largest_list_whose_symbols_are_in_the_id() -> None:
    feed = Feed(buffer=BufferLimits())
    symbols = [f"{n}".rjust(32, "A") for n in range(MAX_SYMBOLS_IN_ID)]
    client = connect(feed, symbols)
    feed.publish(*symbols)
    whole = last_id(client)
    assert whole.count("=") == MAX_SYMBOLS_IN_ID
    assert len(whole) < 2000


def test_a_slow_reader_that_buffers_too_much_is_told_and_ended() -> None:
    feed = Feed()
    client = connect(feed, ["A"], room=1)
    feed.publish(*"AAAA")
    name, event_id, data = events(client)[-1]
    assert (name, event_id, data["code"]) == ("error", "", "slow_consumer")
    assert client.closed is not None


def test_a_slow_reader_gets_the_newest_and_an_id_that_says_so() -> None:
    feed = Feed()
    client = connect(feed, ["A"], policy="conflate", room=1)
    feed.publish("A", "A", "A")
    client.drain()
    (update,) = [event for event in events(client) if event[0] == "update"]
    assert (update[1], update[2]["conflated"]) == ("7:A=3", 2)


def test_what_the_gateway_cannot_follow_is_told_and_ended() -> None:
    client = connect(Feed(max_followed=1), ["A", "B"])
    assert events(client)[-1][2]["code"] == "too_many_symbols"
    assert client.closed is not None


def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    feed = Feed()
    connect(feed, ["A"]).leave()
    assert (feed.hub.subscriptions, len(feed.sessions)) == (0, 0)


def test_an_event_is_as_the_html_standard_reads_it() -> None:
    assert encode_event("update", b"{}", "7:A=1") == b"event: update\nid: 7:A=1\ndata: {}\n\n"
    assert encode_event("status", b"{}") == b"event: status\ndata: {}\n\n"


SYMBOLS = st.sampled_from(["A", "ES=F", "BRK/B", "^GSPC", "X:Y", "A+B@C$D"])


@given(st.integers(1, 2**64 - 1), st.dictionaries(SYMBOLS, st.integers(1, 2**64 - 1), min_size=1))
def test_an_id_reads_back_as_it_was_written(epoch: int, sequences: dict[str, int]) -> None:
    positions = Positions()
    text = ""
    for symbol, sequence in sequences.items():
        text = positions.advance(
            AggregateUpdate(
                Aggregate(symbol=symbol, sequence=sequence, epoch=epoch).SerializeToString()
            )
        )
    parsed = parse_event_id(text, None)
    assert parsed is not None
    assert (parsed.epoch, parsed.sequences) == (epoch, sequences)


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    parsed = parse_event_id(text, None)
    assert parsed is None or parsed.epoch >= 0


def test_an_endless_id_is_none() -> None:
    assert parse_event_id("7:" + "A=1," * 10_000, None) is None

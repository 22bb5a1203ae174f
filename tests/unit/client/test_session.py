"""The rules of a stream, those of the client for browsers (gateway/dashboard/tests/client)."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson
import pytest

from gateway.encoding import aggregate_to_dict, bar_to_dict
from marketdata.client import (
    AggregatorUnavailable,
    Gap,
    GatewayError,
    IntervalComplete,
    InvalidInput,
    Live,
    RateLimited,
    Stale,
    TooManySymbols,
    UnexpectedAnswer,
    Update,
)
from marketdata.client.live import wanted as wanted_module
from marketdata.client.live.session import DEAD_AFTER_LOOKS, LOST, StreamSession
from marketdata.client.live.wanted import build_wanted
from marketdata.wire import market_data_pb2 as wire

MINUTE = 60 * 10**9
START = 1_735_201_200 * 10**9


class Connection:
    """What a gateway sees and says."""

    def __init__(self, session: StreamSession) -> None:
        self._session = session
        self.sent = [orjson.loads(text) for text in session.open_connection()]
        self.subscribes = [each for each in self.sent if each["type"] == "subscribe"]

    def say(self, **message: Any) -> list[Any]:
        return self._session.receive(orjson.dumps(message))

    def update(self, symbol: str, sequence: int, *, at: int = 0, **fields: Any) -> list[Any]:
        epoch = fields.pop("epoch", 7)
        data = wire.Aggregate(symbol=symbol, close=10.0, sequence=sequence, epoch=epoch)
        return self._say_update(aggregate_to_dict(data), at, fields)

    def bar(self, minute: int, *, symbol: str = "AAPL", at: int = 0, **fields: Any) -> list[Any]:
        usual = {"recovered": None, "conflated": 0}
        more = {name: fields.pop(name) for name in usual if name in fields}
        start = START + minute * MINUTE
        data = wire.Bar(
            symbol=symbol,
            interval="1m",
            start=start,
            **{
                "end": start + MINUTE,
                "state": wire.BAR_STATE_FINAL,
                "coverage": wire.COVERAGE_FULL,
                "epoch": 7,
                **fields,
            },
        )
        return self._say_update(bar_to_dict(data), at, more)

    def _say_update(self, data: Any, at: int, fields: dict[str, Any]) -> list[Any]:
        head = {"type": "update", "id": self.subscribes[at]["id"]}
        return self.say(**head, **{"recovered": None, "conflated": 0, **fields}, data=data)


def session(symbols: Any = "AAPL", policy: Any = "conflate", **options: Any) -> StreamSession:
    wanted = build_wanted(symbols, policy, options.get("interval"), options.get("since"))
    return StreamSession("http://h/", wanted, Random(7))


def sequences(events: list[Any]) -> list[Any]:
    return [each.data.sequence if isinstance(each, Update) else each for each in events]


def test_each_connection_is_asked_for_all_of_it_under_new_ids() -> None:
    stream = session([" AAPL ", "MSFT", "AAPL"])
    first = Connection(stream)
    assert first.sent[0] == {"type": "ping"}
    assert first.subscribes == [
        {"type": "subscribe", "id": "1", "symbols": ["AAPL", "MSFT"], "policy": "conflate"}
    ]
    stream.close_connection()
    assert Connection(stream).subscribes[0]["id"] == "2"


def test_more_symbols_than_one_request_may_name_become_several() -> None:
    symbols = [f"S{number}" for number in range(1_001)]
    asked = Connection(session(symbols)).subscribes
    assert [len(each["symbols"]) for each in asked] == [500, 500, 1]


def test_it_resumes_where_it_was() -> None:
    stream = session(["AAPL", "MSFT", "NIX"])
    first = Connection(stream)
    first.update("AAPL", 41)
    first.update("MSFT", 5)
    stream.close_connection()
    resume = {"epoch": "7", "sequences": {"AAPL": "41", "MSFT": "5"}}
    assert Connection(stream).subscribes[0]["resume"] == resume


def test_symbols_last_seen_in_an_earlier_epoch_begin_anew() -> None:
    stream = session("*")
    first = Connection(stream)
    first.update("AAPL", 41)
    first.update("MSFT", 5, epoch=8)
    stream.close_connection()
    asked = Connection(stream).subscribes[0]
    assert asked["resume"] == {"epoch": "8", "sequences": {"MSFT": "5"}}


def test_what_was_seen_before_is_dropped() -> None:
    connection = Connection(session())
    given = [connection.update("AAPL", sequence) for sequence in (1, 2, 2, 1, 3)]
    assert [sequences(each) for each in given] == [[1], [2], [], [], [3]]


def gap_of(events: list[Any]) -> Gap | None:
    (update,) = events
    assert isinstance(update, Update)
    return update.gap


def test_a_hole_in_the_sequence_is_told_with_its_size() -> None:
    connection = Connection(session())
    assert gap_of(connection.update("AAPL", 1)) is None
    assert gap_of(connection.update("AAPL", 5)) == Gap("AAPL", 3)
    assert gap_of(connection.update("AAPL", 9, conflated=3)) is None
    assert gap_of(connection.update("AAPL", 2**64 - 1, conflated=1)) == Gap("AAPL", 2**64 - 12)


def test_a_fresh_snapshot_after_a_resume_is_a_gap_of_unknown_size() -> None:
    stream = session()
    Connection(stream).update("AAPL", 1)
    stream.close_connection()
    again = Connection(stream)
    assert gap_of(again.update("AAPL", 9, recovered=False)) == Gap("AAPL", None)
    assert gap_of(again.update("AAPL", 20, recovered=True)) is None
    assert gap_of(again.update("AAPL", 1, epoch=8)) == Gap("AAPL", None)


def test_it_waits_longer_after_each_failure_up_to_a_bound_and_anew_after_success() -> None:
    stream = session()
    delays = []
    for _ in range(8):
        stream.close_connection("refused")
        delays.append(stream.delay_s)
    ceilings = [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    for delay, ceiling in zip(delays, ceilings, strict=True):
        assert ceiling / 2 <= delay <= ceiling
    Connection(stream)
    stream.close_connection()
    assert stream.delay_s <= 0.5


def test_it_comes_back_when_the_gateway_says() -> None:
    stream = session()
    connection = Connection(stream)
    connection.say(type="status", status="live")
    connection.say(type="status", status="server-shutdown", reconnectAfterMs=2345)
    assert stream.close_connection("", 1012) == [Stale("connection", "the server restarts")]
    assert stream.delay_s == 2.345
    assert stream.close_connection("full", retry_after_s=5) == []
    assert stream.delay_s == 5


def test_stale_and_live_are_told_once() -> None:
    stream = session()
    connection = Connection(stream)
    assert stream.stale == "connection"
    assert connection.say(type="status", status="live") == [Live()]
    assert connection.say(type="status", status="live") == []
    (stale,) = connection.say(type="status", status="stale")
    assert (stale.reason, stream.stale) == ("feed", "feed")
    assert stream.close_connection("gone") == [Stale("connection", "gone")]
    assert stream.close_connection("gone") == []
    connection = Connection(stream)
    assert stream.stale == "connection"
    assert connection.say(type="status", status="live") == [Live()]


def test_a_silent_connection_is_asked_and_then_counts_as_dead() -> None:
    stream = session()
    connection = Connection(stream)
    assert stream.look() is None
    ping = stream.look()
    assert ping is not None
    assert orjson.loads(ping) == {"type": "ping"}
    connection.say(type="pong", receivedNs="1", sentNs="2")
    for _ in range(DEAD_AFTER_LOOKS):
        stream.look()
        assert not stream.is_dead
    stream.look()
    assert stream.is_dead
    stream.rest()
    assert not stream.is_dead


@pytest.mark.parametrize(
    ("code", "kind", "close_code"),
    [
        ("invalid_input", InvalidInput, 4400),
        ("invalid_interval", InvalidInput, 4400),
        ("malformed_message", GatewayError, 4400),
        ("too_many_symbols", TooManySymbols, 4429),
        ("too_many_subscriptions", TooManySymbols, 4429),
        ("binary_message", GatewayError, 1003),
    ],
)
def test_a_mistake_of_the_request_is_not_repeated(
    code: str, kind: type[GatewayError], close_code: int
) -> None:
    stream = session()
    connection = Connection(stream)
    assert connection.say(type="error", id="1", code=code, message="no") == []
    assert stream.close_connection("", close_code) == []
    assert type(stream.failure) is kind
    assert (str(stream.failure), stream.failure.type) == ("no", code)


@pytest.mark.parametrize(
    ("code", "kind", "close_code"),
    [
        ("slow_consumer", GatewayError, 4490),
        ("history_failed", AggregatorUnavailable, 1011),
        ("rate_limited", RateLimited, 4429),
        ("first_message_timeout", GatewayError, 4408),
    ],
)
def test_what_may_be_otherwise_the_next_time_is_tried_again(
    code: str, kind: type[GatewayError], close_code: int
) -> None:
    stream = session()
    connection = Connection(stream)
    connection.say(type="status", status="live")
    connection.say(type="error", id=None, code=code, message="not now")
    assert stream.close_connection("", close_code) == [Stale("connection", "not now")]
    assert stream.failure is None
    assert 0 < stream.delay_s <= 0.5


def test_what_is_no_message_of_ours_is_ignored_and_what_is_broken_is_not() -> None:
    stream = session()
    connection = Connection(stream)
    assert connection.say(type="novelty", value=1) == []
    assert stream.receive(b"[1]") == []
    head = {"type": "update", "recovered": None, "conflated": 0}
    # Of a subscription that was not made here.
    assert connection.say(**head, id="9", data={}) == []
    assert stream.failure is None
    assert connection.say(**head, id="1", data={"symbol": "AAPL", "sequence": "x"}) == []
    assert isinstance(stream.failure, UnexpectedAnswer)


# Bars


def test_bars_are_asked_for_by_interval_and_since() -> None:
    asked = Connection(session(interval="1m", since=START)).subscribes
    assert asked[0]["interval"] == "1m"
    assert asked[0]["since"] == str(START)


def test_each_newer_state_of_a_bar_comes_and_an_older_one_never() -> None:
    connection = Connection(session(interval="1m"))
    early, final, revised = 2, 3, 4
    assert len(connection.bar(0, state=early, sequence=1)) == 1
    assert len(connection.bar(0, state=final, sequence=2)) == 1
    assert connection.bar(0, state=early, sequence=3) == []
    assert len(connection.bar(0, state=revised, revision=1, sequence=4)) == 1
    assert connection.bar(0, state=final, sequence=5) == []


def test_after_a_reconnect_history_begins_where_bars_may_have_been_revised() -> None:
    stream = session(["AAPL", "MSFT"], interval="1m", since=START)
    first = Connection(stream)
    for minute in range(60):
        first.bar(minute, sequence=minute + 1)
    for minute in range(31):
        first.bar(minute, sequence=minute + 1, symbol="MSFT")
    stream.close_connection()
    # Each from its own place on.
    asked = Connection(stream).subscribes
    assert [each["symbols"] for each in asked] == [["AAPL"], ["MSFT"]]
    assert [each["since"] for each in asked] == [
        str(START + 39 * MINUTE),
        str(START + 10 * MINUTE),
    ]


def test_a_bar_that_is_longer_than_the_time_for_revisions_is_asked_for_again() -> None:
    stream = session(interval="1h")
    first = Connection(stream)
    hour = 60 * MINUTE
    for number in range(3):
        first.bar(60 * number, end=START + (number + 1) * hour, sequence=number + 1)
    stream.close_connection()
    # A trade of the end of the second hour may have come in the third.
    assert Connection(stream).subscribes[0]["since"] == str(START + hour)


def test_a_symbol_that_has_shown_nothing_needs_all_its_history() -> None:
    stream = session(["AAPL", "MSFT"], interval="1m", since=START)
    Connection(stream).bar(60, sequence=1)
    stream.close_connection()
    assert [each["since"] for each in Connection(stream).subscribes] == [
        str(START + 60 * MINUTE),
        str(START),
    ]


def test_without_since_nothing_from_before_the_beginning_comes() -> None:
    stream = session(["AAPL", "MSFT"], interval="1m")
    first = Connection(stream)
    assert "since" not in first.subscribes[0]
    first.say(type="pong", receivedNs=str(START + 5), sentNs=str(START + 6))
    first.bar(3, sequence=1)
    stream.close_connection()
    assert [each["since"] for each in Connection(stream).subscribes] == [
        str(START + 3 * MINUTE),
        str(START + 5),
    ]


def test_a_new_epoch_is_a_gap_in_bars_too() -> None:
    connection = Connection(session(interval="1m"))
    connection.bar(0, sequence=1)
    # Told with a state that was seen, it belongs to the next one.
    assert connection.bar(0, sequence=1, recovered=False) == []
    assert gap_of(connection.bar(1, sequence=2)) == Gap("AAPL", None)
    assert gap_of(connection.bar(2, sequence=3)) is None


def test_bars_of_all_symbols_say_when_they_cannot_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted_module, "MAX_SYMBOLS", 1)
    stream = session("*", interval="1m")
    first = Connection(stream)
    first.bar(0, sequence=1)
    stream.close_connection()
    again = Connection(stream)
    assert again.subscribes[0]["resume"] == {"epoch": "7", "sequences": {"AAPL": "1"}}
    again.bar(0, sequence=2)
    again.bar(0, sequence=5, symbol="MSFT")
    stream.close_connection()
    last = Connection(stream)
    assert "resume" not in last.subscribes[0]
    assert gap_of(last.bar(1, sequence=3)) is None
    assert gap_of(last.bar(1, sequence=7, symbol="MSFT")) == Gap("MSFT", None)
    # States of several open bars overtake each other.
    assert gap_of(last.bar(1, sequence=9, symbol="MSFT")) is None


def test_an_interval_is_complete_when_all_subscriptions_say_so() -> None:
    stream = session(["AAPL", "MSFT"], interval="1m", since=START)
    Connection(stream)
    stream.close_connection()
    connection = Connection(stream)
    end = START + MINUTE

    def marker(at: int) -> list[Any]:
        return connection.say(
            type="interval_complete",
            id=connection.subscribes[at]["id"],
            interval="1m",
            end="0",
            endNs=str(end),
            epoch="7",
        )

    assert marker(0) == []
    assert marker(1) == [IntervalComplete("1m", end)]


def test_too_much_history_goes_on_without_a_word_while_there_is_progress() -> None:
    stream = session(interval="1m", since=START)
    first = Connection(stream)
    first.bar(0, sequence=0)
    first.say(type="error", id="1", code="history_too_long", message="over 10,000 bars")
    assert stream.close_connection("", 4429) == []
    assert (stream.failure, stream.delay_s) == (None, 0.0)
    second = Connection(stream)
    second.say(type="error", id="2", code="history_too_long", message="over 10,000 bars")
    stream.close_connection("", LOST)
    assert str(stream.failure) == "over 10,000 bars"

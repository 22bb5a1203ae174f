"""The rules of a session, without a socket."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.session.batches import BatchReader, Hello, SessionBatch
from ingest.session.errors import SessionError, SessionReason
from ingest.session.protocol import TRANSITIONS, Phase, SessionProtocol
from marketdata.framing import encode_frame
from marketdata.validation import TickRules
from marketdata.warm import load_kernels
from marketdata.wire.market_data_pb2 import Tick
from marketdata.wire.producer_pb2 import IngestMessage, ProducerError
from tests.doubles.hostile_ticks import NOW, cut, make_payload
from tests.doubles.session_client import batch, hello

load_kernels()

MAX_FRAME_SIZE = 10_000
GOOD = Tick(symbol="AAPL", price=1.5, volume=3, exchange_timestamp=NOW)
BAD = Tick(symbol="AAPL", price=-1, volume=3, exchange_timestamp=NOW)
RULES = TickRules(timestamp_unit="auto", max_future_skew_s=60)
READER = BatchReader(RULES, MAX_FRAME_SIZE)
Message = Hello | SessionBatch


def make(last_sequence: int | None = None) -> SessionProtocol:
    """Return a session, open if the last sequence of the producer is given."""
    protocol = SessionProtocol(READER, MAX_FRAME_SIZE)
    if last_sequence is not None:
        protocol.receive_data(hello("feed-1"))
        assert take(protocol) == [Hello("feed-1")]
        protocol.welcome(last_sequence)
    return protocol


def take(protocol: SessionProtocol) -> list[Message]:
    found: list[Message] = []
    while (message := protocol.next_message(NOW)) is not None:
        found.append(message)
    return found


def error_of(protocol: SessionProtocol) -> ProducerError:
    farewell = protocol.farewell()
    assert int.from_bytes(farewell[:4], "big") == len(farewell) - 4
    return IngestMessage.FromString(farewell[4:]).error


def run(chunks: list[bytes]) -> tuple[list[Message], str]:
    """Give a session its bytes, and the welcome as soon as it waits for it."""
    protocol, found = make(), list[Message]()
    for chunk in chunks:
        protocol.receive_data(chunk)
        found += take(protocol)
        if protocol.phase is Phase.AWAITING_WELCOME:
            protocol.welcome(0)
            found += take(protocol)
    return found, str(protocol.failure)


def make_stream(random: Random) -> bytes:
    parts, sequence = [hello("feed-1")], 1
    for _ in range(random.randrange(6)):
        ticks = random.choices((GOOD, BAD, Tick()), (8, 1, 1), k=random.randrange(1, 9))
        parts.append(batch(sequence, ticks))
        sequence += len(ticks)
    if random.random() < 0.3:
        other = random.choice(
            (
                b"\0\0\0\0",
                hello("x"),
                batch(sequence + 1, [GOOD]),
                encode_frame(make_payload(random)),
            )
        )
        parts.insert(random.randrange(len(parts) + 1), other)
    return b"".join(parts)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**64))
def test_any_cut_of_the_bytes_gives_the_same(seed: int) -> None:
    random = Random(seed)
    data = make_stream(random)
    whole = run([data])
    assert run(cut(random, data, 8)) == whole
    assert run([data[at : at + 1] for at in range(len(data))]) == whole


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_after_the_magic_ends_the_session_or_waits(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    protocol = make()
    for start, end in pairwise(edges):
        protocol.receive_data(data[start:end])
        take(protocol)
    if protocol.failure is not None:
        assert error_of(protocol).reason == protocol.failure.reason
        assert protocol.phase is Phase.ENDED


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64))
def test_a_damaged_stream_gives_whole_batches_up_to_the_damage(seed: int) -> None:
    random = Random(seed)
    data = bytearray(make_stream(random))
    at = random.randrange(len(data))
    data[at : at + random.randrange(3)] = random.randbytes(random.randrange(3))
    found, _ = run(cut(random, bytes(data), 3))
    expected = 1
    for each in found:
        if isinstance(each, SessionBatch) and expected > 1:
            assert each.first_sequence <= expected
        if isinstance(each, SessionBatch):
            expected = max(expected, each.last_sequence + 1)


def test_the_welcome_says_where_to_go_on() -> None:
    protocol = make()
    protocol.receive_data(hello("feed-1"))
    take(protocol)
    frame = protocol.welcome(41)
    assert IngestMessage.FromString(frame[4:]).welcome.last_sequence == 41
    assert protocol.last_sequence == 41


def test_batches_wait_for_the_welcome() -> None:
    protocol = make()
    protocol.receive_data(hello("feed-1") + batch(42, [GOOD]))
    assert take(protocol) == [Hello("feed-1")]
    protocol.welcome(41)
    (sent,) = take(protocol)
    assert isinstance(sent, SessionBatch)
    assert sent.first_sequence == 42


@pytest.mark.parametrize("first", [1, 41, 42])
def test_a_batch_may_begin_with_any_sequence_up_to_the_next(first: int) -> None:
    protocol = make(41)
    protocol.receive_data(batch(first, [GOOD]))
    assert len(take(protocol)) == 1
    # What was sent again does not lower the next one.
    protocol.receive_data(batch(43 if first == 42 else 42, [GOOD]))
    assert len(take(protocol)) == 1


def test_an_unknown_producer_begins_where_it_likes() -> None:
    protocol = make(0)
    protocol.receive_data(batch(1_000_000, [GOOD]) + batch(1_000_001, [GOOD]))
    assert len(take(protocol)) == 2


ERRORS = [
    (batch(1, [GOOD]), None, SessionReason.HELLO_EXPECTED),
    (hello(""), None, SessionReason.INVALID_PRODUCER_ID),
    (hello("x" * 65), None, SessionReason.INVALID_PRODUCER_ID),
    (hello("feed 1"), None, SessionReason.INVALID_PRODUCER_ID),
    (hello("feed\x7f"), None, SessionReason.INVALID_PRODUCER_ID),
    (hello("Äpfel"), None, SessionReason.INVALID_PRODUCER_ID),
    (hello("ingest-1"), None, SessionReason.INVALID_PRODUCER_ID),
    (b"\0\0\0\0", None, SessionReason.EMPTY_FRAME),
    (b"\0\0\0\0", 0, SessionReason.EMPTY_FRAME),
    ((MAX_FRAME_SIZE + 1).to_bytes(4, "big"), None, SessionReason.FRAME_TOO_LARGE),
    (b"GET / HTTP/1.1\r\n", 0, SessionReason.FRAME_TOO_LARGE),
    (encode_frame(b"\xff"), None, SessionReason.MALFORMED_MESSAGE),
    (encode_frame(b"\x12\x02\x10"), 0, SessionReason.MALFORMED_MESSAGE),
    (hello("feed-1"), 0, SessionReason.BATCH_EXPECTED),
    (batch(43, [GOOD]), 41, SessionReason.SEQUENCE_GAP),
    (batch(0, [GOOD]), 41, SessionReason.INVALID_SEQUENCE),
    (batch(2**63, [GOOD]), 2**63 - 1, SessionReason.INVALID_SEQUENCE),
    (batch(42, []), 41, SessionReason.INVALID_BATCH),
]


@pytest.mark.parametrize(("data", "last_sequence", "reason"), ERRORS)
def test_each_violation_ends_the_session_with_its_reason(
    data: bytes, last_sequence: int | None, reason: SessionReason
) -> None:
    protocol = make(last_sequence)
    protocol.receive_data(data + batch(42, [GOOD]))
    assert take(protocol) == []
    error = error_of(protocol)
    assert error.reason == reason
    assert error.detail
    # Later data is ignored.
    protocol.receive_data(hello("feed-1") + batch(42, [GOOD]))
    assert take(protocol) == []
    assert protocol.phase is Phase.ENDED


def test_limits_are_named() -> None:
    protocol = make()
    protocol.receive_data(b"\x00\x01\x00\x00")
    take(protocol)
    assert error_of(protocol).detail == "frame announces 65536 bytes, limit is 10000 bytes"
    protocol = make(41)
    protocol.receive_data(batch(50, [GOOD]))
    take(protocol)
    assert error_of(protocol).detail == "the batch begins with 50, expected is 42"


def test_a_frame_of_the_largest_size_is_read() -> None:
    protocol = make(0)
    size = 0
    ticks = [GOOD]
    while size < MAX_FRAME_SIZE - 100:
        ticks.append(GOOD)
        size = len(batch(1, ticks))
    pad = Tick()
    pad.CopyFrom(GOOD)
    while len(batch(1, [*ticks, pad])) < MAX_FRAME_SIZE + 4:
        pad.symbol = f" {pad.symbol}"
    assert len(batch(1, [*ticks, pad])) == MAX_FRAME_SIZE + 4
    protocol.receive_data(batch(1, [*ticks, pad]))
    (found,) = take(protocol)
    assert isinstance(found, SessionBatch)
    assert found.rejections == []


@pytest.mark.parametrize("producer_id", ["!", "~", "x" * 64, "feed-1", "a/b:c", "ingest"])
def test_a_producer_may_have_any_name_of_printable_ascii(producer_id: str) -> None:
    protocol = make()
    protocol.receive_data(hello(producer_id))
    assert take(protocol) == [Hello(producer_id)]


def test_the_first_reason_counts() -> None:
    protocol = make()
    protocol.fail(SessionError(SessionReason.REPLACED, "a"))
    protocol.fail(SessionError(SessionReason.SHUTTING_DOWN, "b"))
    assert error_of(protocol).reason == "replaced"


def test_only_a_hello_and_then_batches_are_allowed() -> None:
    assert {(before, after) for (before, _), after in TRANSITIONS.items()} == {
        (Phase.AWAITING_HELLO, Phase.AWAITING_WELCOME),
        (Phase.OPEN, Phase.OPEN),
    }

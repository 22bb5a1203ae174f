"""The batches of sessions hold what the protobuf library and the rules make of each tick."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.session.batches import (
    MAX_BATCH_TICKS,
    MAX_SEQUENCE,
    BatchReader,
    Hello,
    SessionBatch,
    read_message,
)
from ingest.session.errors import SessionError, SessionReason
from ingest.ticks import TickReader
from marketdata.channel import MAX_MESSAGE_BYTES
from marketdata.price_rules import PriceRules
from marketdata.timestamps import UnitHistory
from marketdata.validation import RejectReason, TickRules
from marketdata.warm import load_kernels
from marketdata.wire.encoded_batches_pb2 import EncodedProducerMessage, EncodedTickBatch
from marketdata.wire.market_data_pb2 import FeedReport, Refusal, Tick, TickAction, TickBatch
from marketdata.wire.producer_pb2 import ProducerHello, ProducerMessage
from tests.doubles.hostile_ticks import MAX_FRAME_SIZE, NOW, UNITS, make_payload, tag, varint

load_kernels()

GOOD = Tick(symbol="AAPL", price=1.5, volume=3, exchange_timestamp=NOW)
LARGEST = Tick(
    symbol="A" * 64,
    price=1,
    volume=2**63 - 1,
    exchange_timestamp=NOW,
    volume_decimals=18,
    trade_id=b"i" * 64,
    excludes=15,
    action=TickAction.TICK_ACTION_CORRECT,
)
Read = tuple[str, object]
# Of rules that take any unit.
AUTO_SEED = 14


def make_rules(random: Random) -> TickRules:
    return TickRules(
        timestamp_unit=random.choice(UNITS),
        max_future_skew_s=random.choice((0.0, 60.0, 1e30)),
        symbol_case=random.choice(("preserve", "upper")),
        prices=PriceRules(random.choice(("*=positive", "*=positive,A*=any", "*=nonnegative"))),
    )


def plain_read(message: bytes, rules: TickRules, units: UnitHistory) -> Read:
    """Read a message by the library, tick by tick, as in docs/protocols/tcp.md."""
    try:
        parsed = EncodedProducerMessage.FromString(message)
    except DecodeError:
        return "error", SessionReason.MALFORMED_MESSAGE
    kind = parsed.WhichOneof("message")
    if kind == "hello":
        return "hello", parsed.hello.producer_id
    reason = plain_check(parsed.batch) if kind else SessionReason.MALFORMED_MESSAGE
    if reason is not None:
        return "error", reason
    return "batch", plain_ticks(parsed.batch, rules, units)


def plain_check(batch: EncodedTickBatch) -> SessionReason | None:
    others = batch.producer_id or batch.refusals or batch.first_refusal or batch.any_price
    if others or batch.HasField("feed"):
        return SessionReason.INVALID_BATCH
    if len(batch.ticks) > MAX_BATCH_TICKS:
        return SessionReason.TOO_MANY_TICKS
    if not batch.ticks:
        return SessionReason.INVALID_BATCH
    if not 1 <= batch.first_sequence <= MAX_SEQUENCE - len(batch.ticks) + 1:
        return SessionReason.INVALID_SEQUENCE
    return None


def plain_ticks(batch: EncodedTickBatch, rules: TickRules, units: UnitHistory) -> object:
    ticks, rejections, refusals = [], [], []
    for sequence, payload in enumerate(batch.ticks, batch.first_sequence):
        tick = Tick()
        reason: RejectReason | None
        try:
            tick.MergeFromString(payload)
            reason = rules.normalize(tick, NOW, units)
        except DecodeError:
            reason = RejectReason.MALFORMED
        tick.DiscardUnknownFields()
        ticks.append(Tick() if reason else tick)
        if reason:
            rejections.append((sequence, reason))
            refusal = None if reason == "malformed" else rules.refusal(tick, NOW)
            if refusal is not None:
                refusal.sequence = sequence
                refusals.append(refusal)
    return batch.first_sequence, ticks, rejections, refusals


def fast_read(message: bytes, rules: TickRules, units: UnitHistory) -> Read:
    """Read a message as ingest does."""
    reader = BatchReader(rules, MAX_FRAME_SIZE)
    try:
        found = read_message(message)
        if isinstance(found, Hello):
            return "hello", found.producer_id
        batch = reader.read(found, "p", NOW, units)
    except SessionError as exc:
        return "error", exc.reason
    sent = TickBatch.FromString(batch.data)
    assert (sent.producer_id, sent.first_sequence) == ("p", batch.first_sequence)
    assert len(sent.ticks) == batch.ticks
    assert batch.last_sequence == sent.first_sequence + batch.ticks - 1
    ticks = list(sent.ticks)
    for tick in ticks:
        tick.DiscardUnknownFields()
    return "batch", (sent.first_sequence, ticks, batch.rejections, list(sent.refusals))


def compare(message: bytes, seed: int = 0) -> Read:
    plain_rules, fast_rules = make_rules(Random(seed)), make_rules(Random(seed))
    plain_units, fast_units = UnitHistory(), UnitHistory()
    expected = plain_read(message, plain_rules, plain_units)
    found = fast_read(message, fast_rules, fast_units)
    assert repr(found) == repr(expected)
    if found[0] == "batch":
        assert fast_rules.conversions == plain_rules.conversions
        assert (fast_units.unit_ns, fast_units.changes) == (
            plain_units.unit_ns,
            plain_units.changes,
        )
    return found


def field(number: int, content: bytes, width: int = 0) -> bytes:
    return tag(number, 2) + varint(len(content), width) + content


def make_message(random: Random) -> bytes:
    """Return a message with hostile ticks, usually in the usual form."""
    payloads = [make_payload(random) for _ in range(random.randrange(12))]
    parts = [field(3, payload, random.choice((0, 0, 0, 0, 2, 3))) for payload in payloads]
    first = tag(2, 0) + varint(random.choice((1, 5, 2**40, 0, 2**63 - 5, 2**63, 2**64 - 1)))
    dice = random.random()
    if dice < 0.6:
        parts.insert(0, first)
    else:
        parts.insert(random.randrange(len(parts) + 1), first)
    if dice > 0.8:
        other = random.choice(
            (
                tag(9, 0) + varint(7),
                field(15, b"xyz"),
                field(1, b""),
                field(1, b"p"),
                field(4, b""),
                field(5, b""),
                tag(6, 0) + varint(3),
                tag(6, 0) + varint(0),
                tag(7, 0) + varint(1),
                tag(7, 0) + varint(0),
                first,
            )
        )
        parts.insert(random.randrange(len(parts) + 1), other)
    content = b"".join(parts)
    if dice > 0.95:
        at = random.randrange(len(content) + 1)
        content = content[:at] + random.randbytes(1) + content[at + random.randrange(2) :]
    message = field(2, content, random.choice((0, 0, 0, 3)))
    return message + random.choice((b"", b"", b"", b"", field(7, b"x"), message, b"\x07"))


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, 2**64))
def test_whatever_comes_is_read_as_the_library_and_the_rules_read_it(seed: int) -> None:
    compare(make_message(Random(seed)), seed)


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=1, max_size=200))
@example(b"\x12")
@example(b"\x12\x02\x10\x01")
@example(b"\x12\x03\x10\x01\x1a")
@example(b"\x12\x04\x10\x01\x1a\x00")
@example(b"\x12\x05\x10\x01\x1a\x80\x00")
@example(b"\x12\x04\x10\x01\x1a\x05")
@example(b"\x12\x00")
@example(b"\x0a\x00")
@example(b"\x0a\x00\x12\x00")
def test_arbitrary_bytes_are_read_as_the_library_reads_them(data: bytes) -> None:
    compare(data)


def test_a_large_tick_between_small_ones_is_read_too() -> None:
    large = GOOD.SerializeToString() + field(15, b"x" * 20_000)
    small = GOOD.SerializeToString()
    message = field(
        2, tag(2, 0) + b"\x05" + b"".join(field(3, each) for each in (small, large, small))
    )
    kind, found = compare(message, AUTO_SEED)
    assert kind == "batch"
    assert isinstance(found, tuple)
    assert len(found[1]) == 3
    assert found[2] == []


def read(message: bytes) -> SessionBatch:
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=60)
    found = read_message(message)
    assert not isinstance(found, Hello)
    return BatchReader(rules, 16_000_000).read(found, "x" * 64, NOW, UnitHistory())


def written(first_sequence: int, ticks: list[Tick]) -> bytes:
    batch = TickBatch(first_sequence=first_sequence, ticks=ticks)
    return ProducerMessage(batch=batch).SerializeToString()


def test_refused_ticks_keep_their_places_and_carry_their_sequences() -> None:
    cheap = Tick(symbol="AAPL", price=-1, volume=3, exchange_timestamp=NOW)
    late = Tick(symbol="AAPL", price=1, volume=3, exchange_timestamp=NOW + 10**12)
    batch = read(written(70, [GOOD, cheap, GOOD, late, GOOD]))
    assert batch.rejections == [(71, "price_not_positive"), (73, "timestamp_in_future")]
    assert (batch.accepted, batch.last_sequence) == (3, 74)
    sent = TickBatch.FromString(batch.data)
    assert [tick.volume for tick in sent.ticks] == [3, 0, 3, 0, 3]
    assert list(sent.refusals) == [
        Refusal(symbol="AAPL", exchange_timestamp=NOW, reason="price_not_positive", sequence=71)
    ]
    assert sent.first_refusal == 0


def test_the_loop_takes_each_tick_with_decimals_an_id_and_excludes() -> None:
    ticks = [
        Tick(
            symbol="BTC-USDT",
            price=1.5,
            volume=10**15 * 10**decimals if decimals < 4 else 2**63 - 1,
            exchange_timestamp=NOW,
            volume_decimals=decimals,
            trade_id=b"i" * length,
            excludes=length % 16,
        )
        for decimals in range(19)
        for length in (0, 1, 8, 16, 36)
    ]
    # The protobuf library would be asked here.
    with patch.object(TickReader, "read", side_effect=AssertionError):
        batch = read(written(1, ticks))
    for tick in ticks:
        tick.ingest_timestamp = NOW
    assert list(TickBatch.FromString(batch.data).ticks) == ticks


@pytest.mark.parametrize(("text", "any_price"), [("*=positive", False), ("CL*=any", True)])
def test_a_batch_says_whether_prices_of_0_and_below_are_meant(
    text: str, *, any_price: bool
) -> None:
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=60, prices=PriceRules(text))
    raw = read_message(written(1, [GOOD]))
    assert not isinstance(raw, Hello)
    batch = BatchReader(rules, MAX_FRAME_SIZE).read(raw, "p", NOW, UnitHistory())
    assert TickBatch.FromString(batch.data).any_price is any_price


@pytest.mark.parametrize(
    "tick",
    [
        Tick(symbol="A" * 64, price=1, volume=10**15, exchange_timestamp=NOW),
        Tick(symbol="A" * 64, price=-1, volume=10**15, exchange_timestamp=NOW),
        Tick(symbol="A" * 64, price=1, volume=10**16, exchange_timestamp=NOW // 10**6),
        LARGEST,
        Tick(symbol="A" * 64, excludes=16, exchange_timestamp=NOW),
    ],
)
def test_the_largest_batch_fits_into_a_message_of_grpc(tick: Tick) -> None:
    batch = read(written(MAX_SEQUENCE - MAX_BATCH_TICKS + 1, [tick] * MAX_BATCH_TICKS))
    assert batch.ticks == MAX_BATCH_TICKS
    assert len(batch.data) < MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (written(1, [GOOD] * (MAX_BATCH_TICKS + 1)), SessionReason.TOO_MANY_TICKS),
        (written(1, [Tick()] * (MAX_BATCH_TICKS + 1)), SessionReason.TOO_MANY_TICKS),
        (written(0, [GOOD]), SessionReason.INVALID_SEQUENCE),
        (written(2**63, [GOOD]), SessionReason.INVALID_SEQUENCE),
        (written(2**63 - 1, [GOOD, GOOD]), SessionReason.INVALID_SEQUENCE),
        (written(1, []), SessionReason.INVALID_BATCH),
        *(
            (ProducerMessage(batch=batch).SerializeToString(), SessionReason.INVALID_BATCH)
            for batch in (
                TickBatch(producer_id="p", first_sequence=1, ticks=[GOOD]),
                TickBatch(first_sequence=1, ticks=[GOOD], feed=FeedReport()),
                TickBatch(first_sequence=1, ticks=[GOOD], refusals=[Refusal()]),
                TickBatch(first_sequence=1, ticks=[GOOD], first_refusal=1),
                TickBatch(first_sequence=1, ticks=[GOOD], any_price=True),
            )
        ),
        (b"\x0a\xff", SessionReason.MALFORMED_MESSAGE),
        (b"\x12\x02\x0a\xff", SessionReason.MALFORMED_MESSAGE),
        (b"\x3a\x00", SessionReason.MALFORMED_MESSAGE),
    ],
)
def test_what_is_wrong_with_a_batch_is_named(message: bytes, reason: SessionReason) -> None:
    with pytest.raises(SessionError) as error:
        read(message)
    assert error.value.reason == reason


def test_the_largest_sequence_is_the_last() -> None:
    assert read(written(2**63 - 2, [GOOD, GOOD])).last_sequence == 2**63 - 1


def test_the_encoded_messages_are_those_of_the_contract() -> None:
    for encoded, plain in (
        (EncodedProducerMessage, ProducerMessage),
        (EncodedTickBatch, TickBatch),
    ):
        fields = {each.name: each.number for each in plain.DESCRIPTOR.fields}
        assert {each.name: each.number for each in encoded.DESCRIPTOR.fields} == fields
    hello = ProducerMessage(hello=ProducerHello(producer_id="feed-1"))
    assert read_message(hello.SerializeToString()) == Hello("feed-1")

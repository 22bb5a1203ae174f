"""Read the messages of producer sessions; a batch becomes the batch that the aggregator gets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from ingest.kernel import COUNTS, SLACK
from ingest.packed_rules import PackedRules
from ingest.session import kernel
from ingest.session.errors import SessionError, SessionReason
from ingest.ticks import MAX_RECORD_SIZE, TickReader
from marketdata.timestamps import UnitHistory
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.encoded_batches_pb2 import EncodedProducerMessage, EncodedTickBatch
from marketdata.wire.market_data_pb2 import Refusal, TickBatch

# So that a batch whose ticks are as long as can be, or all refused, fits into a message of gRPC.
MAX_BATCH_TICKS = 20_000
MAX_SEQUENCE = 2**63 - 1

_BATCH_TAG = EncodedProducerMessage.BATCH_FIELD_NUMBER << 3 | 2
_FIRST_SEQUENCE_TAG = EncodedTickBatch.FIRST_SEQUENCE_FIELD_NUMBER << 3
_TICKS_TAG = EncodedTickBatch.TICKS_FIELD_NUMBER << 3 | 2
# A tick that keeps its place and nothing else.
_EMPTY_RECORD = bytes((_TICKS_TAG, 0))
# Ticks that the protobuf library reads in a row before the kernel is tried again.
_LONGEST_RUN = 64
_N_REASONS = len(COUNTS.names or ()) - 3
# The place of a tick in its batch, why it was refused, and what the aggregator is told of it.
_Refused = tuple[int, RejectReason, Refusal | None]
_CONVERSIONS, _UNIT_NS, _UNIT_CHANGES = range(_N_REASONS, _N_REASONS + 3)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a session."""

    producer_id: str


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A batch whose ticks are not read yet."""

    first_sequence: int
    # The ticks, each with its tag and length, one after the other.
    records: bytes | memoryview
    # The message, if it may turn out that there is something else between the ticks.
    message: bytes = b""


class _NotTicks(Exception):
    """There is something else between the ticks."""


@dataclass(frozen=True, slots=True)
class SessionBatch:
    """A batch as the aggregator gets it: a refused tick keeps its place as an empty one."""

    first_sequence: int
    ticks: int
    data: bytes
    rejections: list[tuple[int, RejectReason]]

    @property
    def last_sequence(self) -> int:
        """The sequence of the last tick."""
        return self.first_sequence + self.ticks - 1

    @property
    def accepted(self) -> int:
        """How many ticks were not rejected."""
        return self.ticks - len(self.rejections)

    @property
    def rejected(self) -> Counter[str]:
        """How many were, by reason."""
        return Counter(reason for _, reason in self.rejections)


def read_message(payload: bytes) -> Hello | RawBatch:
    """Return the message of one frame.

    Raises:
        SessionError: it does not parse, has no message, or a batch with other fields.
    """
    # What the protobuf library of any language writes for a batch.
    if payload[0] == _BATCH_TAG:
        size, at = _read_varint(payload, 1)
        if at + size == len(payload) and at < len(payload) and payload[at] == _FIRST_SEQUENCE_TAG:
            first_sequence, at = _read_varint(payload, at + 1)
            if 0 < first_sequence <= MAX_SEQUENCE and at < len(payload):
                return RawBatch(first_sequence, memoryview(payload)[at:], payload)
    return _read_by_library(payload)


def _read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    # Returns the number and where the rest begins; 0: it is damaged.
    value = shift = 0
    for position in range(at, min(at + 9, len(data))):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    return 0, len(data)


def _parse(payload: bytes) -> EncodedProducerMessage:
    try:
        return EncodedProducerMessage.FromString(payload)
    except DecodeError as exc:
        problem = "the message does not parse as a ProducerMessage"
        raise SessionError(SessionReason.MALFORMED_MESSAGE, problem) from exc


def _read_by_library(payload: bytes) -> Hello | RawBatch:
    message = _parse(payload)
    match message.WhichOneof("message"):
        case "hello":
            return Hello(message.hello.producer_id)
        case "batch":
            return _raw_batch(message.batch)
    problem = "the message has neither hello nor batch"
    raise SessionError(SessionReason.MALFORMED_MESSAGE, problem)


def _raw_batch(batch: EncodedTickBatch) -> RawBatch:
    others = batch.producer_id or batch.refusals or batch.first_refusal or batch.any_price
    if others or batch.HasField("feed"):
        problem = "a batch of a session has first_sequence and ticks and no other fields"
        raise SessionError(SessionReason.INVALID_BATCH, problem)
    return RawBatch(batch.first_sequence, EncodedTickBatch(ticks=batch.ticks).SerializeToString())


class BatchReader:
    """Check and normalize the ticks of batches, all sessions with the same buffers."""

    def __init__(self, rules: TickRules, max_frame_size: int) -> None:
        self._rules = rules
        self._reader = TickReader(rules)
        self._packed_rules = PackedRules(rules, max_frame_size)
        # The records of a batch as they came, and as they go.
        raw = np.empty(max_frame_size + SLACK, np.uint8)
        out = np.empty(MAX_BATCH_TICKS * MAX_RECORD_SIZE + SLACK, np.uint8)
        self._raw, self._raw_address = raw.data, int(raw.ctypes.data)
        self._out, self._out_address = out.data, int(out.ctypes.data)
        self._counts = np.zeros(_N_REASONS + 3, np.int64)

    def read(
        self, raw: RawBatch, producer_id: str, now_ns: int, units: UnitHistory
    ) -> SessionBatch:
        """Return the batch for the aggregator.

        Args:
            raw: the batch of the producer.
            producer_id: of the session.
            now_ns: when it arrived.
            units: the exchange times before it in the session.

        Raises:
            SessionError: it does not parse, has no tick or too many, or a sequence is outside
                1..2^63-1.
        """
        history = units.unit_ns, units.changes, self._rules.conversions
        try:
            ticks, used, refused = self._read_records(raw.records, now_ns, units)
        except _NotTicks:
            units.unit_ns, units.changes, self._rules.conversions = history
            message = _parse(raw.message)
            raw = _raw_batch(message.batch)
            ticks, used, refused = self._read_records(raw.records, now_ns, units)
        first = raw.first_sequence
        _check(first, ticks)
        head = TickBatch(producer_id=producer_id, first_sequence=first).SerializeToString()
        refusals = []
        for index, _, refusal in refused:
            if refusal is not None:
                refusal.sequence = first + index
                refusals.append(refusal)
        tail = TickBatch(refusals=refusals, any_price=self._rules.prices.has_others)
        return SessionBatch(
            first,
            ticks,
            b"".join((head, self._out[:used], tail.SerializeToString())),
            [(first + index, reason) for index, reason, _ in refused],
        )

    # Returns how many ticks there are, how many bytes of records, and the refused ticks.
    def _read_records(
        self, records: bytes | memoryview, now_ns: int, units: UnitHistory
    ) -> tuple[int, int, list[_Refused]]:
        size = len(records)
        self._raw[:size] = records
        self._packed_rules.set_time(now_ns)
        begin, end, out = self._raw_address, self._raw_address + size, self._out_address
        counts, ticks, run = self._counts, 0, 1
        refused: list[_Refused] = []
        counts.fill(0)
        while True:
            counts[_UNIT_NS] = units.unit_ns
            code, begin, out, taken = kernel.parse_records(
                begin, end, out, MAX_BATCH_TICKS - ticks, self._packed_rules.numbers, counts
            )
            units.unit_ns = int(counts[_UNIT_NS])
            ticks += taken
            if code == kernel.DONE:
                break
            if code == kernel.FULL or ticks == MAX_BATCH_TICKS:
                problem = f"a batch has more than {MAX_BATCH_TICKS} ticks"
                raise SessionError(SessionReason.TOO_MANY_TICKS, problem)
            # A producer that sends one unusual tick sends more.
            run = 1 if taken else min(2 * run, _LONGEST_RUN)
            for _ in range(min(run, MAX_BATCH_TICKS - ticks)):
                if begin == end:
                    break
                payload, next_at = self._cut(begin - self._raw_address, size)
                begin = self._raw_address + next_at
                record = self._read_unusual(payload, ticks, now_ns, units, refused)
                at = out - self._out_address
                self._out[at : at + len(record)] = record
                out += len(record)
                ticks += 1
        self._rules.conversions += int(counts[_CONVERSIONS])
        units.changes += int(counts[_UNIT_CHANGES])
        return ticks, out - self._out_address, refused

    def _cut(self, at: int, size: int) -> tuple[bytes, int]:
        # Returns the tick whose record begins at a position, and where the next one begins.
        if self._raw[at] != _TICKS_TAG:
            raise _NotTicks
        length, start = _read_varint(self._raw, at + 1)
        stop = start + length
        if stop > size:
            raise _NotTicks
        return bytes(self._raw[start:stop]), stop

    def _read_unusual(
        self,
        payload: bytes,
        index: int,
        now_ns: int,
        units: UnitHistory,
        refused: list[_Refused],
    ) -> bytes:
        record = self._reader.read(payload, now_ns, units)
        if not isinstance(record, RejectReason):
            return record
        refused.append((index, record, self._reader.refusal(payload, now_ns)))
        return _EMPTY_RECORD


def _check(first: int, ticks: int) -> None:
    if ticks == 0:
        raise SessionError(SessionReason.INVALID_BATCH, "a batch has at least one tick")
    if not 0 < first <= MAX_SEQUENCE - ticks + 1:
        problem = f"sequences {first}..{first + ticks - 1} are not within 1..{MAX_SEQUENCE}"
        raise SessionError(SessionReason.INVALID_SEQUENCE, problem)

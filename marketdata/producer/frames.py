"""The frames of a producer session: batches out, answers in."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from google.protobuf.message import DecodeError

from marketdata.producer.encoding import encode_varint
from marketdata.producer.errors import (
    ProducerError,
    ProducerRefused,
    ProducerReplaced,
    ProtocolViolation,
)
from marketdata.wire.producer_pb2 import IngestMessage, ProducerHello, ProducerMessage

MAGIC = b"MDS2"
# An ack may reject each tick of a batch, with a reason of 64 bytes.
MAX_ANSWER_SIZE = 1_000_000

# Errors that may pass: another connection may go on. So may one whose reason is not known here.
# After the others the producer would only fail again.
_HOPELESS = frozenset(
    {
        *("invalid_producer_id", "replaced", "hello_expected", "batch_expected"),
        *("malformed_message", "invalid_batch", "too_many_ticks", "invalid_sequence"),
        *("sequence_gap", "empty_frame", "frame_too_large"),
    }
)
_LENGTH = Struct(">I")


class ServerEnded(ProducerError):
    """The server ended the connection, for a reason that may pass."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class AnswerReader:
    """Cut the server's bytes into messages."""

    def __init__(self) -> None:
        self._received = bytearray()

    def clear(self) -> None:
        """Forget what was received."""
        self._received.clear()

    def read(self, data: bytes) -> Iterator[IngestMessage]:
        """Return the messages that ``data`` completes.

        Raises:
            ProtocolViolation: the bytes are no frames, or a message does not parse.
        """
        received, at = self._received, 0
        received += data
        try:
            while len(received) - at >= _LENGTH.size:
                (size,) = _LENGTH.unpack_from(received, at)
                if not 0 < size <= MAX_ANSWER_SIZE:
                    raise ProtocolViolation(
                        f"the server's answer announces {size} bytes, limit is {MAX_ANSWER_SIZE}"
                    )
                end = at + _LENGTH.size + size
                if len(received) < end:
                    return
                payload = bytes(received[at + _LENGTH.size : end])
                at = end
                yield _parse(payload)
        finally:
            del received[:at]


def hello_frame(producer_id: str) -> bytes:
    """Return what a connection begins with."""
    hello = ProducerMessage(hello=ProducerHello(producer_id=producer_id)).SerializeToString()
    return MAGIC + _LENGTH.pack(len(hello)) + hello


def batch_frame(first_sequence: int, records: bytes) -> bytes:
    """Return a batch of encoded records as a frame."""
    # TickBatch.first_sequence, and before it the head of ProducerMessage.batch.
    head = b"\x10" + encode_varint(first_sequence)
    head = b"\x12" + encode_varint(len(head) + len(records)) + head
    return b"".join((_LENGTH.pack(len(head) + len(records)), head, records))


def error_of(reason: str, detail: str) -> ProducerError:
    """Return the error that the server named."""
    if reason == "replaced":
        return ProducerReplaced(reason, detail)
    if reason in _HOPELESS:
        return ProducerRefused(reason, detail)
    return ServerEnded(reason, detail)


def _parse(payload: bytes) -> IngestMessage:
    try:
        return IngestMessage.FromString(payload)
    except DecodeError as exc:
        raise ProtocolViolation("the server's answer does not parse") from exc

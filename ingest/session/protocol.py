"""The rules of one producer session: bytes in, messages and answers out."""

from __future__ import annotations

import re
from enum import Enum, auto

from ingest.session.batches import BatchReader, Hello, RawBatch, SessionBatch, read_message
from ingest.session.errors import SessionError, SessionReason
from ingest.session.frames import FrameBuffer, encode_answer
from marketdata.errors import WireError
from marketdata.timestamps import UnitHistory
from marketdata.wire.producer_pb2 import ProducerError, ProducerWelcome

# The names that ingest gives itself.
RESERVED_PREFIX = "ingest-"
# A space would make the name under which the aggregator counts the refusals of another producer.
_PRODUCER_ID = re.compile(r"[!-~]{1,64}")


class Phase(Enum):
    """Where a session stands."""

    AWAITING_HELLO = auto()
    AWAITING_WELCOME = auto()
    OPEN = auto()
    ENDED = auto()


# What may come in which phase, and the phase after it.
TRANSITIONS = {
    (Phase.AWAITING_HELLO, Hello): Phase.AWAITING_WELCOME,
    (Phase.OPEN, RawBatch): Phase.OPEN,
}
# What is wrong with any other message.
_UNEXPECTED = {
    Phase.AWAITING_HELLO: SessionError(
        SessionReason.HELLO_EXPECTED, "the first message must be a hello"
    ),
    Phase.OPEN: SessionError(SessionReason.BATCH_EXPECTED, "only the first message is a hello"),
}


class SessionProtocol:
    """Apply the rules to the bytes of one session, after the magic.

    After a violation :attr:`failure` says why, and later data is ignored.

    Args:
        reader: reads the ticks.
        max_frame_size: bytes in one frame.
    """

    def __init__(self, reader: BatchReader, max_frame_size: int) -> None:
        self._reader = reader
        self._frames = FrameBuffer(max_frame_size)
        self.phase = Phase.AWAITING_HELLO
        self.failure: SessionError | None = None
        self.producer_id = ""
        #: The last sequence that came or was acked; 0: the producer is unknown.
        self.last_sequence = 0
        self.units = UnitHistory()
        self.accepted = 0
        self.rejected = 0

    @property
    def buffered_bytes(self) -> int:
        """How many bytes wait for :meth:`next_message`, or for the rest of their frame."""
        return len(self._frames)

    def receive_data(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        if self.phase is not Phase.ENDED:
            self._frames.receive_data(data)

    def next_message(self, now_ns: int) -> Hello | SessionBatch | None:
        """Return the next message; None: it has not arrived, the welcome is due, or it is over."""
        if self.phase in {Phase.AWAITING_WELCOME, Phase.ENDED}:
            return None
        try:
            payload = self._frames.next_frame()
            return None if payload is None else self._take(payload, now_ns)
        except WireError as exc:
            self.fail(SessionError(SessionReason(exc.reason), str(exc)))
        except SessionError as exc:
            self.fail(exc)
        return None

    def welcome(self, last_sequence: int) -> bytes:
        """Open the session; return the bytes of the welcome."""
        self.phase = Phase.OPEN
        self.last_sequence = last_sequence
        return encode_answer(ProducerWelcome(last_sequence=last_sequence))

    def fail(self, error: SessionError) -> None:
        """End the session; the first reason counts."""
        if self.failure is None:
            self.failure = error
        self.phase = Phase.ENDED

    def farewell(self) -> bytes:
        """Return the bytes that tell the producer why the session ended."""
        if self.failure is None:
            return b""
        error = ProducerError(reason=self.failure.reason, detail=self.failure.detail)
        return encode_answer(error)

    def _take(self, payload: bytes, now_ns: int) -> Hello | SessionBatch:
        message = read_message(payload)
        phase = TRANSITIONS.get((self.phase, type(message)))
        if phase is None:
            raise _UNEXPECTED[self.phase]
        if isinstance(message, Hello):
            _check_producer_id(message.producer_id)
            self.producer_id = message.producer_id
            self.phase = phase
            return message
        batch = self._reader.read(message, self.producer_id, now_ns, self.units)
        expected = self.last_sequence + 1
        # An unknown producer begins where it likes.
        if batch.first_sequence > expected > 1:
            problem = f"the batch begins with {batch.first_sequence}, expected is {expected}"
            raise SessionError(SessionReason.SEQUENCE_GAP, problem)
        self.last_sequence = max(self.last_sequence, batch.last_sequence)
        self.accepted += batch.accepted
        self.rejected += len(batch.rejections)
        return batch


def _check_producer_id(producer_id: str) -> None:
    if not _PRODUCER_ID.fullmatch(producer_id):
        problem = "producer_id must be 1 to 64 characters of printable ASCII without spaces"
        raise SessionError(SessionReason.INVALID_PRODUCER_ID, problem)
    if producer_id.startswith(RESERVED_PREFIX):
        problem = f"producer_id must not begin with {RESERVED_PREFIX!r}"
        raise SessionError(SessionReason.INVALID_PRODUCER_ID, problem)

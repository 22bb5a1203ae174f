"""Cut the bytes of a session into frames, and make frames of answers."""

from __future__ import annotations

from google.protobuf.message import Message

from marketdata.errors import EmptyFrame, FrameTooLarge
from marketdata.framing import LENGTH_SIZE, encode_frame
from marketdata.wire.producer_pb2 import IngestMessage, ProducerAck, ProducerError, ProducerWelcome


class FrameBuffer:
    """The bytes of one session that were received and not used yet."""

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def receive_data(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._data += data

    def next_frame(self) -> bytes | None:
        """Return the payload of the next whole frame; None: it has not arrived.

        Raises:
            EmptyFrame: it announces no bytes.
            FrameTooLarge: it announces more than the limit.
        """
        data = self._data
        if len(data) < LENGTH_SIZE:
            return None
        size = int.from_bytes(data[:LENGTH_SIZE], "big")
        if size == 0:
            raise EmptyFrame
        if size > self._max_frame_size:
            raise FrameTooLarge(size, self._max_frame_size)
        end = LENGTH_SIZE + size
        if len(data) < end:
            return None
        with memoryview(data) as view:
            payload = bytes(view[LENGTH_SIZE:end])
        del data[:end]
        return payload


def encode_answer(answer: ProducerWelcome | ProducerAck | ProducerError) -> bytes:
    """Return the frame of an answer to a producer."""
    return encode_frame(_wrap(answer).SerializeToString())


def _wrap(answer: Message) -> IngestMessage:
    match answer:
        case ProducerWelcome():
            return IngestMessage(welcome=answer)
        case ProducerAck():
            return IngestMessage(ack=answer)
        case ProducerError():
            return IngestMessage(error=answer)
    raise AssertionError(answer)

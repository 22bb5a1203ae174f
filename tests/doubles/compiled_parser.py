"""The parser as ingest runs it, with the interface of the plain one, so that both compare."""

from __future__ import annotations

from collections import Counter

from ingest.parser import FrameParser, ProducerStream
from ingest.reports import FeedState
from ingest.ring import BatchRing
from marketdata.errors import WireError
from marketdata.timestamps import UnitHistory
from marketdata.validation import TickRules
from marketdata.warm import load_kernels

load_kernels()

_PRODUCER = "p"


class CompiledParser:
    """Turn the bytes of one connection into the records of a batch."""

    def __init__(
        self, rules: TickRules, max_frame_size: int, read_size: int = 4096, batch_ticks: int = 7
    ) -> None:
        self._ring = BatchRing(
            producer_id=_PRODUCER, first_sequence=1, batch_ticks=batch_ticks, max_batches=10**9
        )
        self._read_size = read_size
        self._feed = FeedState(0)
        self._parser = FrameParser(rules, self._ring, self._feed, max_frame_size, read_size)
        self.stream = ProducerStream(self._parser)

    @property
    def failure(self) -> WireError | None:
        """What the producer did wrong."""
        return self.stream.failure

    @property
    def has_partial_frame(self) -> bool:
        """Whether a frame was begun and not finished."""
        return self.stream.has_partial_frame

    @property
    def units(self) -> UnitHistory:
        """The units of its exchange times."""
        return self.stream.units

    @property
    def accepted(self) -> int:
        """How many ticks were accepted."""
        return self._feed.accepted

    @property
    def rejected(self) -> Counter[str]:
        """How many were not, by reason."""
        return self._feed.rejected

    def receive_data(self, data: bytes, now_ns: int) -> tuple[list[bytes], Counter[str]]:
        """Return the records and the rejects, as the plain parser does."""
        rejected: Counter[str] = Counter()
        for start in range(0, len(data), self._read_size):
            part = data[start : start + self._read_size]
            self._parser.window[: len(part)] = part
            rejected += self.stream.receive_data(len(part), now_ns).rejected
        self._ring.close_batch()
        records: list[bytes] = []
        while (batch := self._ring.next_unsent()) is not None:
            self._ring.acknowledge(batch.last_sequence)
            found = _records(batch.data)
            assert len(found) == batch.ticks
            records += found
        return records, rejected


def _records(batch: bytes) -> list[bytes]:
    # Fields until the ticks: the producer's id with its length, the sequence as a varint.
    position = 2 + len(_PRODUCER)
    assert batch[position] == 0x10
    position += 1
    while batch[position] > 0x7F:
        position += 1
    position += 1
    records = []
    # Refusals come after the ticks.
    while position < len(batch) and batch[position] != 0x2A:
        assert batch[position] == 0x1A
        size, start = batch[position + 1], position + 2
        if size > 0x7F:
            size, start = size & 0x7F | batch[start] << 7, start + 1
        end = start + size
        records.append(batch[position:end])
        position = end
    return records

"""Join the acks of batches that need none of their own."""

from __future__ import annotations

from marketdata.load import LoadMeter
from marketdata.wire.market_data_pb2 import BatchAck

# How long an ack may wait for the next batch, and how many batches one ack answers at most.
DELAY_S = 0.005
MAX_JOINED = 2


class JoinedAcks:
    """The acks that wait to be sent, in order.

    Args:
        load: measures the load of this process, which each ack says.
    """

    def __init__(self, load: LoadMeter) -> None:
        self._load = load
        self._due: list[BatchAck] = []
        # The ack that may wait, and how many batches it answers.
        self._open: BatchAck | None = None
        self._joined = 0

    @property
    def due(self) -> int:
        """How many acks have to be sent now."""
        return len(self._due)

    @property
    def is_waiting(self) -> bool:
        """Whether an ack waits for the next batch."""
        return self._open is not None

    def add(self, ack: BatchAck, *, may_wait: bool) -> None:
        """Take in the ack of the next batch."""
        before = self._open
        if not may_wait:
            self.release()
            self._due.append(ack)
        elif before is None or before.last_sequence == ack.last_sequence:
            # Of two that end at one sequence, each must be seen: a batch may have no ticks.
            self.release()
            self._open, self._joined = ack, 1
            if ack.rejections:
                self.release()
        else:
            before.last_sequence = ack.last_sequence
            before.accepted += ack.accepted
            before.duplicates += ack.duplicates
            before.rejections.extend(ack.rejections)
            self._joined += 1
            if self._joined == MAX_JOINED or ack.rejections:
                self.release()

    def release(self) -> None:
        """Let the ack that waits be sent now."""
        if self._open is not None:
            self._due.append(self._open)
            self._open = None

    def take(self) -> list[BatchAck]:
        """Return the acks to send, the earliest first."""
        due, self._due = self._due, []
        if due:
            due[-1].load_percent = round(100 * self._load.read())
        return due

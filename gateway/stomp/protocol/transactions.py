"""Hold the SENDs of open transactions until COMMIT."""

from __future__ import annotations

from gateway.stomp.protocol.errors import SessionLimitExceeded, TransactionInUse, UnknownTransaction
from gateway.stomp.protocol.events import SignalSent

# What one held SEND costs beside its body and headers.
_OVERHEAD = 1024


class Transactions:
    """The open transactions of one session.

    Args:
        max_open: transactions open at a time.
        max_bytes: what the SENDs held in all of them may need together.
    """

    def __init__(self, max_open: int, max_bytes: int) -> None:
        self._max_open = max_open
        self._max_bytes = max_bytes
        self._open: dict[str, list[SignalSent]] = {}
        self.held_bytes = 0

    def begin(self, transaction: str) -> None:
        """Open a transaction.

        Raises:
            TransactionInUse: it is open already.
            SessionLimitExceeded: as many as allowed are open.
        """
        if transaction in self._open:
            raise TransactionInUse(transaction)
        if len(self._open) >= self._max_open:
            raise SessionLimitExceeded(self._max_open, "open transactions")
        self._open[transaction] = []

    def check(self, transaction: str) -> None:
        """Check that a transaction is open.

        Raises:
            UnknownTransaction: it is not.
        """
        if transaction not in self._open:
            raise UnknownTransaction(transaction)

    def hold(self, transaction: str, sent: SignalSent) -> None:
        """Keep a SEND until its transaction ends.

        Raises:
            UnknownTransaction: it is not open.
            SessionLimitExceeded: the SENDs held would need more than allowed.
        """
        self.check(transaction)
        size = _size(sent)
        if self.held_bytes + size > self._max_bytes:
            raise SessionLimitExceeded(self._max_bytes, "octets held in transactions")
        self.held_bytes += size
        self._open[transaction].append(sent)

    def end(self, transaction: str) -> list[SignalSent]:
        """Close a transaction and return its SENDs in order; an ABORT drops them.

        Raises:
            UnknownTransaction: it is not open.
        """
        self.check(transaction)
        held = self._open.pop(transaction)
        self.held_bytes -= sum(map(_size, held))
        return held

    def clear(self) -> None:
        """Drop everything: the connection ended."""
        self._open.clear()
        self.held_bytes = 0


def _size(sent: SignalSent) -> int:
    headers = sent.message.headers
    # The signal keeps the parsed strings beside the body.
    return _OVERHEAD + 2 * len(sent.message.body) + sum(len(k) + len(v) for k, v in headers.items())

"""The errors of a producer.

::

    ProducerError
    ├── InvalidTick               an argument of a send is not valid
    ├── CannotConnect             no session within the time for it
    ├── ProducerClosed            it was closed before the call
    ├── UnackedTicks              the server did not answer for some ticks in time
    ├── ProducerRefused           the server refused the session for ever
    │   └── ProducerReplaced      another connection took the producer_id over
    ├── ServerLostTicks           the server has less than it had acked
    ├── SequenceConflict          the server has more than was sent
    └── ProtocolViolation         the bytes of the server are not the protocol
"""

from __future__ import annotations

from marketdata.errors import MarketDataError


class ProducerError(MarketDataError):
    """Base of every error of a producer."""


class InvalidTick(ProducerError, ValueError):
    """An argument of a send cannot be a tick; nothing of it was sent.

    ``argument`` is its name, such as ``symbol`` or ``volume``, and ``problem`` is the rest.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument} {problem}")
        self.argument = argument
        self.problem = problem


class CannotConnect(ProducerError):
    """No session with the server began in time; ``reason`` is the last failure."""

    def __init__(self, address: str, timeout_s: float, reason: str) -> None:
        super().__init__(f"no session with {address} within {timeout_s:g} s: {reason}")
        self.address = address
        self.timeout_s = timeout_s
        self.reason = reason


class ProducerClosed(ProducerError):
    """The producer is closed, or was never opened."""

    def __init__(self) -> None:
        super().__init__("the producer is not open")


class UnackedTicks(ProducerError):
    """The server did not ack ``unacked`` ticks in time: they may or may not have arrived."""

    def __init__(self, unacked: int, timeout_s: float, reason: str) -> None:
        super().__init__(f"{unacked} ticks are not acked after {timeout_s:g} s: {reason}")
        self.unacked = unacked
        self.timeout_s = timeout_s


class ProducerRefused(ProducerError):
    """The server ended the session with an error that another connection would not change.

    ``reason`` is its word for it, such as ``invalid_producer_id``, ``detail`` its explanation.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"the server refused the producer: {reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ProducerReplaced(ProducerRefused):
    """A newer connection with the same producer_id took over."""


class ServerLostTicks(ProducerError):
    """The server's last sequence is lower than what it acked: it lost its data.

    The sequences from ``first_sequence`` to ``last_sequence`` were acked and are gone.
    """

    def __init__(self, first_sequence: int, last_sequence: int) -> None:
        super().__init__(
            f"the server lost {last_sequence - first_sequence + 1} acked ticks: its last sequence "
            f"is {first_sequence - 1}, it had acked {last_sequence}"
        )
        self.first_sequence = first_sequence
        self.last_sequence = last_sequence


class SequenceConflict(ProducerError):
    """The server has sequences that this producer did not send: the producer_id is used twice."""

    def __init__(self, last_sequence: int, last_sent: int) -> None:
        super().__init__(
            f"the server has ticks up to sequence {last_sequence}, only {last_sent} were sent: "
            "another program uses the same producer_id"
        )
        self.last_sequence = last_sequence
        self.last_sent = last_sent


class ProtocolViolation(ProducerError):
    """The server's bytes are not those of a producer session."""

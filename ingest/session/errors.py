"""Why a producer session ends."""

from __future__ import annotations

from enum import StrEnum

from marketdata.errors import EmptyFrame, FrameTimeout, FrameTooLarge, MarketDataError


class SessionReason(StrEnum):
    """The ``reason`` of a ``ProducerError``, under which the end is also counted."""

    INVALID_PRODUCER_ID = "invalid_producer_id"
    HELLO_EXPECTED = "hello_expected"
    HELLO_TIMEOUT = "hello_timeout"
    BATCH_EXPECTED = "batch_expected"
    MALFORMED_MESSAGE = "malformed_message"
    INVALID_BATCH = "invalid_batch"
    TOO_MANY_TICKS = "too_many_ticks"
    INVALID_SEQUENCE = "invalid_sequence"
    SEQUENCE_GAP = "sequence_gap"
    EMPTY_FRAME = EmptyFrame.reason
    FRAME_TOO_LARGE = FrameTooLarge.reason
    FRAME_TIMEOUT = FrameTimeout.reason
    REPLACED = "replaced"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL_ERROR = "internal_error"


class SessionError(MarketDataError):
    """A producer session must end; the message is the ``detail`` of its ``ProducerError``."""

    def __init__(self, reason: SessionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

"""The options of a producer, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypedDict, get_args

from marketdata.addresses import split_address
from marketdata.producer.encoding import MAX_BATCH_BYTES, MAX_BATCH_TICKS
from marketdata.producer.session import Limits, LostRange, RejectedTick
from marketdata.timestamps import TimestampUnit

# An encoded tick takes about 40 bytes.
DEFAULT_MAX_UNACKED_TICKS = 1_000_000
DEFAULT_MAX_UNACKED_BYTES = 64 * 1024 * 1024
# One complete batch must fit.
MIN_MAX_UNACKED_BYTES = MAX_BATCH_BYTES
MAX_ID_LENGTH = 64
# Ingest counts the ticks of v1 connections under such ids.
RESERVED_PREFIX = "ingest-"

OnReject = Callable[[int, str, RejectedTick], object]
OnServerLost = Callable[[LostRange], object]


class Options(TypedDict, total=False):
    """What a producer can be told beside its address and id.

    Attributes:
        timestamp_unit: of timestamps that are numbers: ``s``, ``ms``, ``us`` or ``ns``; ``auto``
            (default): the server goes by their magnitude.
        max_unacked_ticks: so many ticks may wait for acks; then sends wait (1,000,000).
        max_unacked_bytes: the same in bytes of encoded ticks, about 40 each (64 MiB).
        on_reject: called with the sequence, the reason and the tick for each that the server
            rejects; :class:`SyncProducer` calls it in a thread of its own.
        on_server_lost: called with the range of sequences that the server had acked and has lost;
            then the session goes on. Without it, such a loss raises :class:`ServerLostTicks`.
        connect_timeout_s: the first session must begin within so many seconds; inf: wait (10).
        close_timeout_s: how many seconds the end of the context waits for acks (30).
    """

    timestamp_unit: TimestampUnit
    max_unacked_ticks: int
    max_unacked_bytes: int
    on_reject: OnReject | None
    on_server_lost: OnServerLost | None
    connect_timeout_s: float
    close_timeout_s: float


@dataclass(frozen=True, slots=True)
class Checked:
    """Valid options."""

    address: tuple[str, int]
    address_name: str
    producer_id: str
    unit: TimestampUnit
    limits: Limits
    on_reject: OnReject | None
    on_server_lost: OnServerLost | None
    connect_timeout_s: float
    close_timeout_s: float

    @property
    def piece_ticks(self) -> int:
        """How many ticks are encoded and added together."""
        return min(MAX_BATCH_TICKS, self.limits.max_unacked_ticks)


def check_options(address: str, producer_id: str, options: Options) -> Checked:
    """Return the options with their defaults.

    Raises:
        ValueError: one is not valid; the message names it.
        TypeError: there is no such option.
    """
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"unknown option {sorted(unknown)[0]!r}")
    try:
        split = split_address(address)
    except ValueError as exc:
        raise ValueError(f"address {address!r:.60} {exc}") from exc
    check_producer_id(producer_id)
    unit = options.get("timestamp_unit", "auto")
    if unit not in get_args(TimestampUnit):
        raise ValueError(f"timestamp_unit {unit!r:.40} must be one of auto, s, ms, us, ns")
    ticks = options.get("max_unacked_ticks", DEFAULT_MAX_UNACKED_TICKS)
    size = options.get("max_unacked_bytes", DEFAULT_MAX_UNACKED_BYTES)
    _check_least("max_unacked_ticks", ticks, 1)
    _check_least("max_unacked_bytes", size, MIN_MAX_UNACKED_BYTES)
    return Checked(
        split,
        address,
        producer_id,
        unit,
        Limits(ticks, size),
        options.get("on_reject"),
        options.get("on_server_lost"),
        check_seconds("connect_timeout_s", options.get("connect_timeout_s", 10.0)),
        check_seconds("close_timeout_s", options.get("close_timeout_s", 30.0)),
    )


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds, inf included.

    Raises:
        ValueError: it is not above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= inf:
        raise ValueError(f"{name} is {value!r:.40}, must be above 0")
    return value


def check_producer_id(producer_id: object) -> None:
    """Check the name of a producer.

    Raises:
        ValueError: it is not valid.
    """
    if not isinstance(producer_id, str):
        raise ValueError(f"producer_id must be a string, is {producer_id!r:.40}")  # noqa: TRY004
    if not 1 <= len(producer_id) <= MAX_ID_LENGTH:
        raise ValueError(f"producer_id has {len(producer_id)} characters, limits are 1 and 64")
    if not (producer_id.isascii() and producer_id.isprintable()) or " " in producer_id:
        raise ValueError(f"producer_id {producer_id!r} must be printable ASCII without spaces")
    if producer_id.startswith(RESERVED_PREFIX):
        raise ValueError(f"producer_id {producer_id!r} must not begin with {RESERVED_PREFIX}")


def _check_least(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r:.40}, must be {least} or more")

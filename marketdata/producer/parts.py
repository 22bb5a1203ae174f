"""What the producer for asyncio and the one for plain programs have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from marketdata.producer.columns import (
    Additions,
    read_columns,
    table_additions,
    table_columns,
)
from marketdata.producer.encoding import MAX_BATCH_BYTES, EncodedTicks
from marketdata.producer.errors import UnackedTicks
from marketdata.producer.link import Link
from marketdata.producer.matrix import encode_columns
from marketdata.producer.options import Checked
from marketdata.producer.session import LostRange, ProducerSession, Rejected


def make_session(options: Checked, report: Callable[[str, Exception], None]) -> ProducerSession:
    """Return the session of a producer; ``report`` gets what the user's functions raise."""
    on_reject, on_lost = options.on_reject, options.on_server_lost

    def reject(rejected: Rejected) -> None:
        if on_reject is not None:
            try:
                on_reject(*rejected)
            except Exception as exc:
                report("on_reject failed", exc)

    def lose(lost: LostRange) -> None:
        if on_lost is not None:
            try:
                on_lost(lost)
            except Exception as exc:
                report("on_server_lost failed", exc)

    session_lost = None if on_lost is None else lose
    return ProducerSession(options.producer_id, options.limits, reject, session_lost)


def make_link(options: Checked, session: ProducerSession, on_change: Callable[[], None]) -> Link:
    """Return the link that carries a session."""
    return Link(options.address, session, on_change, Random())  # noqa: S311  jitter


def check_piece(ticks: EncodedTicks, options: Checked) -> None:
    """Check that encoded ticks can be sent at all.

    Raises:
        ValueError: they have more ticks or bytes than one batch, or than may wait for acks.
    """
    if ticks.ticks > options.piece_ticks:
        raise ValueError(f"ticks has {ticks.ticks} ticks, limit is {options.piece_ticks}")
    if len(ticks.data) > MAX_BATCH_BYTES:
        raise ValueError(f"ticks has {len(ticks.data)} bytes, limit is {MAX_BATCH_BYTES}")


def encode_any_columns(
    symbols: Any,
    prices: Any,
    volumes: Any,
    timestamps: Any,
    options: Checked,
    *,
    additions: Additions,
) -> Iterator[EncodedTicks]:
    """Return columns, or a table alone, as encoded ticks.

    Raises:
        InvalidTick: a column cannot be sent; this is raised before anything is returned.
    """
    if prices is None and volumes is None and timestamps is None:
        pairs = zip(additions, table_additions(symbols), strict=True)
        additions = Additions(*(own if given is None else given for given, own in pairs))
        symbols, prices, volumes, timestamps = table_columns(symbols)
    columns = read_columns(symbols, prices, volumes, timestamps, options.unit, additions=additions)
    return encode_columns(columns, options.piece_ticks)


def unacked_error(
    unacked: int, timeout_s: float, session: ProducerSession, link: Link
) -> UnackedTicks:
    """Return the error for ticks that were not acked in time."""
    reason = "the server does not answer" if session.welcomed else link.problem
    return UnackedTicks(unacked, timeout_s, reason)

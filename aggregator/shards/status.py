"""What all workers say of themselves, as one."""

from __future__ import annotations

from collections.abc import Iterable

from marketdata.wire.market_data_pb2 import StatusResponse, StoreStatus


def merge_statuses(statuses: Iterable[StatusResponse]) -> StatusResponse:
    """Return the status of a whole; what only the front counts is that of the first."""
    first, *others = statuses
    merged = StatusResponse()
    merged.CopyFrom(first)
    for other in others:
        merged.late += other.late
        merged.bars_late += other.bars_late
        merged.out_of_session += other.out_of_session
        _add_store(merged.store, other.store)
    return merged


def _add_store(merged: StoreStatus, other: StoreStatus) -> None:
    if other.state == "failing" and merged.state != "failing":
        merged.state, merged.problem = other.state, other.problem
    merged.waiting += other.waiting
    merged.max_waiting += other.max_waiting
    merged.written += other.written
    merged.lost += other.lost

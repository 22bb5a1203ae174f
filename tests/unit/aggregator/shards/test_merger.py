"""Answers of workers count when all have come as far."""

from __future__ import annotations

from aggregator.shards.merger import Merger
from aggregator.shards.splitter import Split
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import BatchAck
from marketdata.wire.shards_pb2 import Applied, Change, End, Progress

REVISE = 900


def change(end: int, opened: int = 0, closed: int = 0) -> Change:
    return Change(interval=0, end=end, opened=opened, closed=closed)


def progress(*changes: Change, clock: int = 0) -> Progress:
    return Progress(changes=changes, clock=clock)


class Desk:
    """Two workers and what they answered."""

    def __init__(self) -> None:
        self.merger = Merger(2, 1, REVISE)
        self.acks: list[BatchAck] = []

    def expect(self, *rejections: tuple[int, RejectReason]) -> None:
        self.merger.expect(Split(10, 3, [], list(rejections)), self.acks.append)

    def answer(self, worker: int, *changes: Change, clock: int = 0) -> list[int]:
        found = self.merger.applied(worker, Applied(accepted=2), progress(*changes, clock=clock))
        return ends(found)


def ends(found: list[End]) -> list[int]:
    return [end.end for end in found]


def test_an_ack_waits_for_all_and_has_the_rejections_of_all_in_order() -> None:
    desk = Desk()
    desk.expect((5, RejectReason.TOO_MANY_SYMBOLS))
    applied = Applied(accepted=4, sequences=[9, 4], reasons=["total_overflow", "malformed"])
    desk.merger.applied(1, applied, Progress())
    assert desk.acks == []
    desk.merger.applied(0, Applied(accepted=1), Progress())
    (ack,) = desk.acks
    assert (ack.last_sequence, ack.accepted, ack.duplicates) == (10, 5, 3)
    assert [(r.sequence, r.reason) for r in ack.rejections] == [
        (4, "malformed"),
        (5, "too_many_symbols"),
        (9, "total_overflow"),
    ]
    assert desk.merger.accepted == 5
    assert desk.merger.rejected.total() == 3


def test_an_end_is_complete_when_the_bars_of_all_workers_are_final() -> None:
    desk = Desk()
    desk.expect()
    assert desk.answer(0, change(60, opened=3)) == []
    assert desk.answer(1, change(60, opened=1)) == []
    desk.expect()
    assert desk.answer(0, change(60, closed=3)) == []
    # Not even now: the other may have opened one in this batch.
    assert desk.answer(1) == []
    assert ends(desk.merger.progress(1, progress(change(60, closed=1)))) == [60]


def test_a_worker_without_bars_keeps_no_end_back() -> None:
    desk = Desk()
    desk.expect()
    desk.answer(0, change(60, opened=1, closed=1))
    assert desk.answer(1) == [60]


def test_what_a_worker_does_by_the_clock_counts_behind_its_answers() -> None:
    desk = Desk()
    desk.expect()
    assert desk.answer(0, change(60, opened=1)) == []
    # The first answer does not count yet, so neither does what follows it.
    assert desk.merger.progress(0, progress(change(60, closed=1))) == []
    assert desk.answer(1) == [60]


def test_a_worker_that_is_ahead_does_not_complete_what_another_may_still_open() -> None:
    desk = Desk()
    desk.expect()
    desk.expect()
    assert desk.answer(0, change(60, opened=1)) == []
    assert desk.answer(0, change(60, closed=1)) == []
    assert desk.answer(1, change(60, opened=1)) == []
    assert desk.merger.waiting == 1
    assert desk.answer(1) == []
    assert ends(desk.merger.progress(1, progress(change(60, closed=1)))) == [60]


def test_a_quiet_symbol_keeps_an_end_back_until_it_cannot_be_revised_by_the_clock_of_all() -> None:
    desk = Desk()
    desk.expect()
    desk.answer(0, change(60, opened=1))
    assert desk.answer(1, clock=60 + REVISE - 1) == []
    desk.expect()
    desk.answer(1, clock=60 + REVISE)
    assert desk.answer(0) == [60]

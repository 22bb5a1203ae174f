"""The fault suite finds each kind of difference; see `make faults`."""

from __future__ import annotations

import pytest

from marketdata.wire.market_data_pb2 import Bar
from tests.faults.follower import Follower
from tests.faults.outcome import Difference, compare
from tests.faults.run import Run, find_differences
from tests.faults.schedule import WITHOUT_ACKS, Fault, make_schedule
from tests.faults.workload import count_trades, last_batch, make_batches, symbols


def test_a_seed_names_one_schedule() -> None:
    faults = list(Fault)
    assert make_schedule(7, 40, faults) == make_schedule(7, 40, faults)
    assert make_schedule(7, 40, faults) != make_schedule(8, 40, faults)


def test_many_schedules_have_every_fault_and_fit_between_the_batches() -> None:
    steps = [step for seed in range(200) for step in make_schedule(seed, 40, list(Fault))]
    assert {step.fault for step in steps} == set(Fault)
    assert all(0 < step.after < 40 for step in steps)


def test_ingest_lives_on_where_the_producer_has_no_acks() -> None:
    gone = {Fault.KILL_INGEST, Fault.TERM_INGEST, Fault.CUT_PRODUCER}
    assert gone.isdisjoint(WITHOUT_ACKS)


def test_the_last_batch_is_later_than_every_other_trade_and_has_every_symbol() -> None:
    latest = max(ts for batch in make_batches() for *_, ts in batch)
    assert {symbol for symbol, *_ in last_batch()} == set(symbols())
    assert all(ts > latest for *_, ts in last_batch())
    assert sum(count_trades().values()) == sum(map(len, make_batches())) + len(symbols())


def test_what_differs_what_is_missing_and_what_is_new_is_reported() -> None:
    found = compare({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"})
    assert found == [
        Difference("b", "2", "4"),
        Difference("c", "3", None),
        Difference("d", None, "5"),
    ]


BAR = ("SPY", "2013-10-07T14:00:00Z", 0)
GOOD = {"outcome": {"SPY aggregate": str(Bar(volume=7))}, "acked": 5, "closed": [BAR]}


@pytest.mark.parametrize(
    "changed",
    [
        {"outcome": {"SPY aggregate": str(Bar(volume=8))}},
        {"outcome": {"SPY 1m": ""}},
        {"outcome": {}},
        {"acked": 4},
        {"closed": []},
        {"closed": [BAR, BAR]},
        {"faults": ["not recovered: SPY states"]},
    ],
)
def test_a_run_that_differs_in_anything_is_wrong(changed: dict[str, object]) -> None:
    good = Run(**GOOD)  # type: ignore[arg-type]
    assert find_differences(good, Run(**GOOD)) == []  # type: ignore[arg-type]
    assert find_differences(good, Run(**{**GOOD, **changed}))  # type: ignore[arg-type]


def state(sequence: int, *, epoch: str = "1", recovered: bool | None = None) -> dict[str, object]:
    data = {"symbol": "SPY"}
    return {
        "type": "update",
        "id": "states",
        "sequence": str(sequence),
        "epoch": epoch,
        "recovered": recovered,
        "data": data,
    }


@pytest.mark.parametrize(
    ("third", "complaint"),
    [
        (state(3), None),
        (state(2), "SPY: state 2 instead of 3"),
        (state(4), "SPY: state 4 instead of 3"),
        (state(3, recovered=False), "not recovered: SPY states"),
    ],
)
def test_a_client_complains_about_holes_repeats_and_states_that_are_not_recovered(
    third: dict[str, object], complaint: str | None
) -> None:
    follower = Follower(["SPY"])
    for message in (state(1), state(2), third):
        follower.take(message)
    assert follower.faults == ([] if complaint is None else [complaint])


def test_a_client_complains_about_another_epoch() -> None:
    follower = Follower(["SPY"])
    follower.take(state(1))
    follower.take(state(2, epoch="2"))
    assert len(follower.faults) == 1

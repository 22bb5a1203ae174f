"""A checkpoint that does not fit is refused, and nothing of it is taken over."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aggregator.bars.kernel.records import BAR
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.checkpoint import state
from aggregator.checkpoint.errors import DamagedCheckpoint, StateMismatch
from aggregator.checkpoint.format import VERSION, decode, describe, encode
from aggregator.checkpoint.state import describe_setup, dump, load
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import FeedReport, Tick, TickBatch
from tests.doubles.random_ticks import START
from tests.doubles.replica import Batch, Clock, OpenFeed, Replica, Want

PLAN = BarPlan(intervals=parse_intervals("1s,1m,3t"))


def trade(symbol: str, ts_s: float, first: int) -> Batch:
    ts = START + int(ts_s * NS_PER_S)
    ticks = [Tick(symbol=symbol, price=5, volume=2, exchange_timestamp=ts)]
    message = TickBatch(producer_id="p", first_sequence=first, ticks=ticks)
    return Batch(ts, message.SerializeToString(), 0)


def used_replica(plan: BarPlan = PLAN) -> Replica:
    replica = Replica(plan)
    for each in (OpenFeed(START), trade("A", 0, 1), trade("A", 1, 2), trade("BB", 30, 3)):
        replica.apply(each)
    return replica


def test_a_restored_aggregator_has_the_epoch_and_the_sequences_of_before() -> None:
    saved = used_replica().dump()
    restored = Replica(PLAN, epoch=99)
    restored.load(saved)
    assert restored.book.epoch == 1
    assert restored.book.state("A").sequence == 2
    assert restored.market.last_sequence("p") == 3
    assert restored.engine.output.epoch == 1


def test_a_restored_aggregator_knows_whose_bars_are_wanted() -> None:
    first = used_replica()
    first.apply(Want("BB", 0, True))
    first.apply(Want("*", 2, True))
    restored = Replica(PLAN)
    restored.load(first.dump())
    seen = [each.apply(trade("BB", 31, 4)) for each in (first, restored)]
    assert seen[0] == seen[1]
    step = len(restored.engine.series.intervals)
    assert any(isinstance(each, tuple) and step in each[0] for each in seen[1])


def test_a_timer_of_before_closes_bars_after_the_restore() -> None:
    first = used_replica()
    restored = Replica(PLAN)
    restored.load(first.dump())
    assert restored.engine.next_timer() == first.engine.next_timer() is not None
    assert restored.seen == []
    late = Clock(START + 500 * NS_PER_S, 1_000)
    assert restored.apply(late) == first.apply(late)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"intervals": parse_intervals("1s,1m,4t")}, "setup.bars"),
        ({"grace_ns": 7}, "setup.grace_ns: 2000000000, here 7"),
        ({"revise_ns": 600 * NS_PER_S}, "setup.revise_ns"),
    ],
)
def test_another_plan_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    saved = used_replica().dump()
    other = Replica(replace(PLAN, **change))
    with pytest.raises(StateMismatch, match=named):
        other.load(saved)
    assert len(other.book) == 0
    assert other.feeds.open_feeds() == []


@pytest.mark.parametrize("name", ["session", "calendars", "anchor"])
def test_another_rule_of_sessions_is_refused_by_name(name: str) -> None:
    saved = used_replica().dump()
    rules = {"session": "utc-day", "calendars": "", "anchor": "utc"} | {name: "XNYS"}
    core = replace(Replica(PLAN).core, setup=describe_setup(PLAN, **rules))
    with pytest.raises(StateMismatch, match=f"setup.{name}: .*, here XNYS"):
        load(saved, core)


def test_another_layout_of_records_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = used_replica().dump()
    longer = np.dtype([*((name, BAR[name]) for name in BAR.names or ()), ("new", np.int64)])
    monkeypatch.setitem(state._LAYOUTS, "bar", longer)
    with pytest.raises(StateMismatch, match=r"layouts\.bar"):
        Replica(PLAN).load(saved)


def test_limits_may_change() -> None:
    saved = used_replica().dump()
    other = Replica(replace(PLAN, max_closed=1))
    other.load(saved)
    assert other.engine.table.tables.state["max_closed"][0] == 1
    other.apply(trade("A", 100, 4))
    assert other.engine.table.tables.state["closed"][0] == 1


class Other:
    """A part of another package."""

    def __init__(self, value: int) -> None:
        self.value = value

    def dump_state(self) -> dict[str, Any]:
        """Return the value."""
        return {"value": self.value}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the value over."""
        self.value = state["value"]


def test_other_parts_are_saved_by_name_and_none_may_be_missing() -> None:
    core = replace(used_replica().core, others={"watch": Other(7)})
    saved = b"".join(dump(core))
    other = Other(0)
    load(saved, replace(Replica(PLAN).core, others={"watch": other}))
    assert other.value == 7
    with pytest.raises(StateMismatch, match="part watch: only in the checkpoint"):
        load(saved, Replica(PLAN).core)
    with pytest.raises(StateMismatch, match="part watch: only here"):
        load(used_replica().dump(), replace(Replica(PLAN).core, others={"watch": other}))


def test_an_aggregator_with_symbols_takes_no_state_over() -> None:
    replica = used_replica()
    with pytest.raises(RuntimeError, match="2 symbols already"):
        replica.load(replica.dump())


def test_a_state_within_a_batch_is_not_saved() -> None:
    replica = used_replica()
    replica.engine.table.tables.state["events"] = 1
    with pytest.raises(RuntimeError, match="a batch is not at its end: events"):
        replica.dump()


@pytest.mark.parametrize("value", [None, [], {"parts": {}}])
def test_a_value_that_is_no_state_is_damaged(value: Any) -> None:
    with pytest.raises(DamagedCheckpoint, match="it has no state"):
        Replica(PLAN).load(b"".join(encode(value, "")))


def test_a_part_that_lacks_a_value_is_damaged() -> None:
    replica = used_replica()
    saved = decode(replica.dump())
    del saved["parts"]["feeds"]["senders"]
    with pytest.raises(DamagedCheckpoint, match="part feeds: KeyError"):
        Replica(PLAN).load(b"".join(encode(saved, "")))


# By version: a hash of the names and types of all that is saved.
SHAPES = {1: "f4cd948dcd4cacf8", 2: "e09bc31eacbcf327", 3: "cf42bc4251817556"}


def test_whoever_changes_what_is_saved_makes_a_new_version() -> None:
    # An older release must refuse the checkpoint, and say which one reads it.
    replica = used_replica()
    message = TickBatch(producer_id="p", first_sequence=9, feed=FeedReport(producers=1))
    replica.apply(Batch(START, message.SerializeToString(), 0))
    shape = json.dumps(shape_of(decode(replica.dump())))
    assert hashlib.sha256(shape.encode()).hexdigest()[:16] == SHAPES[VERSION]


def shape_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape_of(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return describe(value.dtype)
    if isinstance(value, list):
        return [shape_of(value[0])] if value and isinstance(value[0], dict | list) else "list"
    return type(value).__name__


def test_every_refusal_goes_to_the_store_again() -> None:
    first = used_replica()
    first.engine.refuse([("A", START)])
    first.refusals.take_changes()
    first.apply(trade("A", 2, 9))
    restored = Replica(PLAN)
    restored.load(first.dump())
    assert restored.refusals.take_changes().keys() == {"A"}

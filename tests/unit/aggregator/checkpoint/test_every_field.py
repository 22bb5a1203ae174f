"""No field of a class with state is forgotten: it is saved, or it follows from what is."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import pytest

from aggregator.bars.kernel.records import Tables
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.saved_tables import dump_tables
from aggregator.bars.tables import make_tables
from tests.doubles.random_ticks import START
from tests.doubles.replica import OpenFeed, Replica

PLAN = BarPlan(intervals=parse_intervals("1s,1d,3t"))


# The fields of each class that are not saved, and why. A new field belongs into dump_state and
# load_state of its class, unless it follows from saved ones or from the settings.
DERIVED = {
    "Market": {
        "_producers": "saved by the numbering",
        "last_sequence": "a method of the producers",
        "last_sequences": "a method of the producers",
        "_notify": "given to a new one",
        "_max_future_skew_ns": "a setting",
    },
    "Views": {"_views": "a setting"},
    "Numbering": {},
    "Producers": {"_max_producers": "a setting"},
    "Book": {
        "_max_symbols": "a setting",
        "_limits": "a setting",
        "opened": "given to a new one",
        "_room": "holds nothing between two calls",
        "decoder": "holds nothing between two calls",
        "_amender": "holds nothing between two calls",
    },
    "TradeMemory": {"_capacity": "a limit"},
    "BarEngine": {
        "wake_at": "given to a new one",
        "series": "has numbers of the settings only",
        "_clock_bars": "one of the sources",
    },
    "BarOutput": {
        "listener": "given to a new one",
        "sink": "given to a new one",
        "position": "saved by the machine",
    },
    "BarTable": {
        "names": "settings",
        "_plan": "settings",
        "_rule_for": "settings",
        "_coverage": "asks the feeds",
        "is_whole": "counts only while bars of the store are restored",
        "_refused_rows": "the rows of symbols with refusals",
        "_rules": "the rule of each symbol",
        "_new_rows": "by rule",
        "_schedules": "by rule",
        "_one_session": "written anew by each call",
        "_one_group": "written anew by each call",
        "_one_coverage": "written anew by each call",
    },
    "SymbolTable": {
        "_name_bytes": "the names, seen as bytes",
        "_head_bytes": "the heads, seen as bytes",
    },
    "Refusals": {},
    "ClockBars": {
        "names": "settings",
        "_table": "saved by the engine",
        "_step": "settings",
        "_output": "saved by the engine",
        "_writer": "holds nothing between two calls",
        "_restored": "empty after finish_restore",
    },
    "Completion": {"_revise_ns": "a setting"},
    "Timers": {"_wake": "given to a new one"},
    "Wanted": {},
    "EventBarSource": {
        "names": "settings",
        "_table": "saved by the engine",
        "_intervals": "settings",
        "_factory": "given to a new one",
        "_first": "settings",
        "_step": "settings",
        "_output": "saved by the engine",
        "_restored": "empty after finish_restore",
    },
    "EventSeries": {"name": "a setting"},
    "EventBars": {
        "_symbol": "given to a new one",
        "_interval": "a setting",
        "_size": "follows from the interval and the decimals",
        "_decimals": "loaded with what follows from it",
        "_enough": "follows from the interval and the decimals",
        "_grace_ns": "a setting",
        "_coverage": "asks the feeds",
        "_phase": "asks the rules",
        "_refused": "asks the refusals",
    },
    "Feeds": {
        "live_within_ns": "a setting",
        "_answers": "found again when they are asked for",
        "_endless": "found again when they are asked for",
        "_partial_to": "found again when they are asked for",
    },
    "Gaps": {},
    "Feed": {"_registry": "given to a new one"},
    "Sender": {},
    "Spans": {"_max_spans": "a limit"},
}
# Arrays of the tables that are empty between two batches, or made of the saved ones.
DERIVED_TABLES = {
    "deferred": "empty between two batches",
    "heads": "the index of the bars",
    "events": "empty between two batches",
    "touched": "empty between two batches",
    "noted": "lists of one batch",
    "ends": "empty between two batches",
}


def stateful_objects() -> dict[str, Any]:
    replica = Replica(PLAN)
    replica.apply(OpenFeed(START))
    market, feeds, engine = replica.market, replica.feeds, replica.engine
    clock_bars, event_source = engine._sources
    numbering = market._numbering
    replica.book.open("A")
    series = event_source._series[0][0]  # type: ignore[attr-defined]
    feed = feeds.open_feeds()[0]
    found = [
        *(
            market,
            market.views,
            numbering,
            numbering._producers,
            replica.book,
            replica.book.memory,
            engine,
            engine.output,
        ),
        *(engine.table, engine.table.symbols, replica.refusals, clock_bars, event_source),
        *(clock_bars._completion, clock_bars._timers, clock_bars._wanted),  # type: ignore[attr-defined]
        *(series, series.bars, feeds, feed, feeds.sender("p"), feeds.spans, feeds.gaps),
    ]
    return {type(each).__name__: each for each in found}


OBJECTS = stateful_objects()


def fields_of(each: Any) -> set[str]:
    slots = [name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
    return {*getattr(each, "__dict__", {}), *slots} - {"__dict__", "__weakref__"}


def named_in(each: Any, method: str) -> set[str]:
    # What a method names of its own object.
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(type(each), method))))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


@pytest.mark.parametrize("name", sorted(DERIVED))
def test_every_field_is_saved_or_listed_as_derived(name: str) -> None:
    if name == "BarOutput":
        # The engine saves its epoch.
        assert fields_of(OBJECTS[name]) == {"epoch", *DERIVED[name]}
        return
    each, derived = OBJECTS[name], set(DERIVED[name])
    fields = fields_of(each)
    assert derived <= fields, "a name on the list is no field any more"
    loaded = named_in(each, "load_state")
    forgotten = fields - derived - loaded
    assert not forgotten, f"neither loaded by {name}.load_state nor listed as derived"


def test_every_class_with_a_state_is_looked_at() -> None:
    def related(each: Any) -> set[type]:
        values = [getattr(each, name, None) for name in fields_of(each)]
        many = [one for value in values for one in _members(value)]
        return {type(one) for one in many if hasattr(one, "dump_state")}

    seen = {kind.__name__ for each in OBJECTS.values() for kind in related(each)}
    assert seen <= set(OBJECTS)
    assert set(OBJECTS) == set(DERIVED)


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | set | tuple):
        return [inner for each in value for inner in [each, *_members(each)]]
    return [value]


def test_every_array_of_the_tables_is_saved_or_listed_as_derived() -> None:
    saved = set(dump_tables(make_tables(PLAN), 0))
    assert set(Tables._fields) - saved == set(DERIVED_TABLES)

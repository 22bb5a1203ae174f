"""Dump the whole state of an aggregator between two inputs, and go on from it exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aggregator.bars.kernel.records import BAR, BASE, ENGINE_STATE, SLOT, SYMBOL
from aggregator.bars.plan import BarPlan
from aggregator.bars.saved_bars import SAVED_BAR
from aggregator.bars.saved_series import SAVED_SERIES, SAVED_TRADE
from aggregator.checkpoint.errors import DamagedCheckpoint, StateMismatch
from aggregator.checkpoint.format import Buffer, decode, describe, differences, encode
from aggregator.coverage.feeds import Feeds
from aggregator.market import Market

_LAYOUTS = {
    "base": BASE,
    "symbol": SYMBOL,
    "slot": SLOT,
    "bar": BAR,
    "engine_state": ENGINE_STATE,
    "saved_bar": SAVED_BAR,
    "saved_series": SAVED_SERIES,
    "saved_trade": SAVED_TRADE,
}


class Stateful(Protocol):
    """A part of the aggregator whose later behaviour depends on earlier inputs.

    Each field of such a class is saved here or follows from the others;
    tests/unit/aggregator/checkpoint/test_every_field.py has the list of the latter.
    """

    def dump_state(self) -> dict[str, Any]:
        """Return plain values and arrays: all that cannot be found out from the settings.

        Arrays may be the part's own ones, which change with the next input.
        """

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was; this one had no input yet."""


@dataclass(frozen=True, slots=True)
class CoreState:
    """The parts that have all state of an aggregator.

    Attributes:
        market: trades, bars, symbols, epoch, sequences of producers and counts.
        feeds: the streams of ticks, and which times they covered.
        setup: the settings that the state depends on, see :func:`describe_setup`.
        release: the release that runs.
        others: more parts by name.
    """

    market: Market
    feeds: Feeds
    setup: Mapping[str, Any]
    release: str = ""
    others: Mapping[str, Stateful] = field(default_factory=dict)


def describe_setup(plan: BarPlan, *, session: str, calendars: str, anchor: str) -> dict[str, Any]:
    """Return the settings that the state depends on, as plain values.

    Limits are not among them: with others, the same state goes on.
    """
    return {
        "bars": [interval.name for interval in (*plan.by_clock, *plan.by_trades)],
        "grace_ns": plan.grace_ns,
        "revise_ns": plan.revise_ns,
        "base_ns": plan.base_ns,
        "session": session,
        "calendars": calendars,
        "anchor": anchor,
    }


def dump(core: CoreState) -> Iterator[Buffer]:
    """Give the whole state, in parts; use them all before the next input.

    The same inputs give the same bytes.
    """
    value = {
        "fingerprint": _fingerprint(core),
        "parts": {name: part.dump_state() for name, part in _parts(core).items()},
    }
    return encode(value, core.release)


def load(content: bytes, core: CoreState) -> None:
    """Let an aggregator without any input yet go on from a state.

    Raises:
        DamagedCheckpoint: it is not a checkpoint, or not all of one. The aggregator may have a part
            of it then.
        UnknownVersion: another release wrote it.
        StateMismatch: it was made with other settings, or has other records.
    """
    value = decode(content)
    try:
        fingerprint, saved = value["fingerprint"], value["parts"]
    except (TypeError, KeyError) as exc:
        raise DamagedCheckpoint("it has no state") from exc
    parts = _parts(core)
    found = differences(fingerprint, _fingerprint(core))
    found += [f"part {name}: only in the checkpoint" for name in saved if name not in parts]
    found += [f"part {name}: only here" for name in parts if name not in saved]
    if found:
        raise StateMismatch(found)
    for name, part in parts.items():
        try:
            part.load_state(saved[name])
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as exc:
            raise DamagedCheckpoint(f"part {name}: {exc!r}") from exc


def _parts(core: CoreState) -> dict[str, Stateful]:
    return {"market": core.market, "feeds": core.feeds, **core.others}


def _fingerprint(core: CoreState) -> dict[str, Any]:
    layouts = {name: describe(dtype) for name, dtype in _LAYOUTS.items()}
    return {"setup": dict(core.setup), "layouts": layouts}

"""The symbols, their bars that the clock ends, and what the compiled loops ask of Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import SESSION, Bar, BarState, Coverage, CoverageRule
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.bars.closed_bars import ClosedBars, copy_records
from aggregator.bars.kernel import codes, query, refuse, restore, scale
from aggregator.bars.kernel.records import EARLY, PHASES, UNSURE, OpenTables, Tables
from aggregator.bars.plan import BarPlan
from aggregator.bars.refusals import Refusals
from aggregator.bars.saved_tables import dump_tables, load_tables
from aggregator.bars.schedule import BarSchedule
from aggregator.bars.tables import NewRow, make_tables, with_room
from aggregator.sessions.sessions import RuleFor, SessionRule
from aggregator.wire.symbol_table import SymbolTable

_NO_PLACES = np.zeros(0, np.int64)
# What decides the coverage of a bar of the pool.
_COVERED = ("row", "slot", "start", "end", "state", "coverage")


class BarTable:
    """The symbols, each in a row of :attr:`tables`, and the bars that the clock ends.

    A *slot* is an interval by its place in :attr:`names`. Closed bars, and those that wait out the
    grace, are at *places* in a pool. Keep no tables: they are replaced when they grow.
    """

    def __init__(
        self, plan: BarPlan, rule_for: RuleFor, coverage: CoverageRule, refusals: Refusals
    ) -> None:
        self.symbols = SymbolTable()
        self.tables: Tables = make_tables(plan)
        self.names = [interval.name for interval in plan.by_clock]
        self._plan = plan
        self._rule_for = rule_for
        self._coverage = coverage
        self.refusals = refusals
        # The symbols with refusals.
        self._refused_rows: set[int] = set()
        # Whether the bars that are restored have all trades of their epoch.
        self.is_whole = True
        # The rule of each row; rows and schedules of a rule are alike.
        self._rules: list[SessionRule] = []
        self._new_rows: dict[SessionRule, NewRow] = {}
        self._schedules: dict[SessionRule, list[BarSchedule]] = {}
        # Used again for each lone session.
        self._one_session: NDArray[Any] = np.empty(1, query.OPEN_BAR)
        self._one_group: NDArray[Any] = np.empty(1, query.OPEN_GROUP)
        self._one_coverage: NDArray[np.int64] = np.empty(1, np.int64)

    # What the loops need.

    def add(self, symbol: str) -> int:
        """Return the row of a new symbol."""
        row = self.symbols.add(symbol)
        rule = self._find_rule(row, symbol)
        self.tables = self._new_rows[rule].put(self.tables, row)
        return row

    # Finds out about the symbol of the next row what is not in the tables.
    def _find_rule(self, row: int, symbol: str) -> SessionRule:
        if self.refusals.knows(symbol):
            self._refused_rows.add(row)
        rule = self._rule_for(symbol)
        if rule not in self._new_rows:
            self._new_rows[rule] = NewRow(self._plan, rule)
            self._schedules[rule] = [BarSchedule(each, rule) for each in self._plan.by_clock]
        self._rules.append(rule)
        return rule

    def dump_state(self) -> dict[str, Any]:
        """Return the symbols, the used parts of the tables, and the refusals."""
        tables = dump_tables(self.tables, len(self.symbols))
        # A reader writes down how many ticks were refused so far.
        early = np.flatnonzero(tables["bars"]["state"] == EARLY)
        bars = tables["bars"][early]
        self._count_refused(bars)
        tables["bars"]["refused"][early] = bars["refused"]
        return {
            "symbols": self.symbols.dump_state(),
            "tables": tables,
            "refusals": self.refusals.dump_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another table was; this one has no symbols."""
        if self.symbols.symbols:
            raise RuntimeError(f"the table has {len(self.symbols)} symbols already")
        self.symbols.load_state(state["symbols"])
        self.refusals.load_state(state["refusals"])
        for row, symbol in enumerate(self.symbols.symbols):
            self._find_rule(row, symbol)
        self.tables = load_tables(self.tables, state["tables"])

    @property
    def open_tables(self) -> OpenTables:
        """What the encoders need of the tables."""
        return OpenTables(self.tables.bases, self.tables.symbols, self.tables.slots)

    def make_room(self, row: int) -> None:
        """Have room for one trade of ``row``, whatever it does."""
        self.tables = with_room(self.tables, row)

    def find_session(self, row: int, ts: int) -> None:
        """Write down the session of a time."""
        rule = self._rules[row]
        session, day = rule.session(ts), rule.day(ts)
        known = [bounds for bounds in (session, day) if bounds is not None]
        holds_from, holds_to = ts, ts + 1
        if len(known) == 2:
            holds_from = max(bounds.start for bounds in known)
            holds_to = min(bounds.end for bounds in known)
        symbol = self.tables.symbols[row]
        symbol["known_from"], symbol["known_to"] = holds_from, _int64(holds_to)
        start, end = (session.start, session.end) if session else (0, 0)
        symbol["known_start"], symbol["known_end"] = start, _int64(end)
        start, end = (day.start, day.end) if day else (0, 0)
        symbol["known_day_start"], symbol["known_day_end"] = start, _int64(end)

    def restore(self, row: int, slot: int, bar: Bar) -> None:
        """Take over a bar of an earlier epoch; call :func:`restore.finish_row` after the last."""
        self.make_room(row)
        tables = self.tables
        symbol = tables.symbols[row]
        symbol["latest"] = max(int(symbol["latest"]), bar.candle.last_ts)
        self._align(row, bar.candle)
        place = restore.restore_bar(tables, row, slot, bar.start, bar.end, bar.state.value)
        record = tables.bars[place]
        record["candle"] = bar.candle.values()
        unsure = 0 if self.is_whole else UNSURE
        record["revision"], record["coverage"] = bar.revision, bar.coverage + unsure
        record["refused"] = bar.refused
        record["phase"] = PHASES.index(bar.phase)

    # The open bar of a slot.

    def latest(self, row: int) -> int:
        """Return the latest exchange time of a symbol, -1 before the first."""
        candle = self.tables.bases[row]["candle"]
        latest = candle["last_ts"] if candle["trades"] else self.tables.symbols[row]["latest"]
        return max(int(latest), int(self.tables.bases[row]["other_latest"]))

    def decimals(self, row: int) -> int:
        """Return the scale of a symbol: its volumes count 10^-decimals."""
        return int(self.tables.symbols[row]["session"]["volume_decimals"])

    def refine(self, row: int, decimals: int) -> bool:
        """Give a symbol a finer scale; return whether no total passes an int64 with it."""
        return scale.refine(self.tables, row, decimals) == codes.DONE

    def fit_scale(self, row: int, volume: int, decimals: int) -> bool:
        """Give a symbol the scale that a volume needs; return whether all totals, and it, fit."""
        while decimals and not volume % 10:
            volume, decimals = volume // 10, decimals - 1
        if decimals > self.decimals(row) and not self.refine(row, decimals):
            return False
        factor: int = 10 ** (self.decimals(row) - decimals)
        return volume * factor <= MAX_INT64

    @property
    def duplicates(self) -> int:
        """How many trades came whose id came before, so far."""
        return int(self.tables.state["duplicates"][0])

    def _align(self, row: int, candle: Candle) -> None:
        # Gives the symbol and a restored candle the finer one of their scales.
        if candle.volume_decimals > self.decimals(row):
            if not self.refine(row, candle.volume_decimals):
                raise OverflowError(f"{self.symbols.symbols[row]}: a volume passes an int64")
        else:
            candle.refine(self.decimals(row))

    def is_too_late(self, row: int, ts: int) -> bool:
        """Return whether a trade is older than the window in which bars are revised."""
        return self.latest(row) - ts > self._plan.revise_ns

    def lag(self, row: int) -> int:
        """Return how far the time of a symbol is from the wall clock."""
        return int(self.tables.bases[row]["lag"])

    def time(self, row: int, now_ns: int) -> int:
        """Return the time of a symbol, which goes on with the wall clock while it is live."""
        latest = self.latest(row)
        is_live = bool(self.tables.symbols[row]["live"])
        return max(latest, now_ns - self.lag(row)) if is_live else latest

    def open_bar(self, row: int, slot: int) -> Bar | None:
        """Return the present state of the bar that is open, or None."""
        record, symbol = self.tables.slots[row, slot], self.tables.symbols[row]
        start, end = int(record["start"]), int(record["end"])
        candle = _read_candle(record["candle"])
        if start <= symbol["base_start"] < end:
            _merge(candle, self.tables.bases[row]["candle"])
        if int(symbol["gathered_slots"]) >> slot & 1:
            _merge(candle, symbol["gathered"])
        if not candle.trades:
            return None
        schedule = self._schedule(row, slot)
        bar = schedule.make(self.symbols.symbols[row], start, end, candle)
        bar.sequence = int(record["open_sequence"])
        reached = min(max(self.latest(row), start) + 1, end)
        bar.coverage = self._coverage(*schedule.hours(start, reached))
        bar.refused = self.refusals.count(bar.symbol, start, end)
        return bar

    def count_open(self, rows: NDArray[np.int64], slot: int) -> int:
        """Return for how many symbols :meth:`open_bar` returns a bar."""
        slots, bases = self.tables.slots[rows, slot], self.tables.bases[rows]
        base_starts = self.tables.symbols[rows]["base_start"]
        has_base = (slots["start"] <= base_starts) & (base_starts < slots["end"])
        has_base &= bases["candle"]["trades"] != 0
        return int(np.count_nonzero((slots["candle"]["trades"] != 0) | has_base))

    def find_open(
        self, series: NDArray[np.int64], step: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return each as an ``OpenBar``, and how much of the time of its bar had a feed.

        Args:
            series: row x step + slot.
            step: how many series a row has.
        """
        found = np.empty(len(series), query.OPEN_BAR)
        groups = np.empty(len(series), query.OPEN_GROUP)
        count, unknown = query.find_open(self.open_tables, series, step, found, groups)
        coverages, differing = self._coverages(found, groups, count)
        for index in differing:
            row, slot, start, reached, *_ = found[index].item()
            coverages[index] = self._coverage(*self._schedule(row, slot).hours(start, reached))
        self._count_refused(found)
        if unknown:
            # Only Python's rules have phases.
            for row, slot, start, *_ in found.tolist():
                record = self.tables.slots[row, slot]
                if record["phase"] < 0:
                    record["phase"] = self._phase(row, slot, start)
        return found, coverages

    def find_sessions(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return each session as an ``OpenBar``, and how much of it, so far, had a feed.

        The next call writes them anew.
        """
        if len(rows) == 1:
            # Usual for a batch of one tick: new arrays take 0.6 us more.
            found, groups = self._one_session, self._one_group
        else:
            found = np.empty(len(rows), query.OPEN_BAR)
            groups = np.empty(len(rows), query.OPEN_GROUP)
        count = query.find_sessions(self.open_tables, rows, found, groups)
        coverages, differing = self._coverages(found, groups, count)
        for index in differing:
            row, _, start, reached, *_ = found[index].item()
            session = self._rules[row].session(start)
            if session is not None and session.opens < min(reached, session.closes):
                start, reached = session.opens, min(reached, session.closes)
            coverages[index] = self._coverage(start, reached)
        self._count_refused(found)
        return found, coverages

    # Returns the coverage of each OpenBar by its group, and the indexes of those that have to be
    # asked for one by one.
    def _coverages(
        self, found: NDArray[Any], groups: NDArray[Any], count: int
    ) -> tuple[NDArray[np.int64], list[int]]:
        if len(found) == 1 and count:
            # Otherwise numpy takes 3 us.
            coverage = self._one_coverage[0] = self._alike(*groups.item(0))
            return self._one_coverage, [0] if coverage < 0 else []
        alike = [self._alike(*group) for group in groups[:count].tolist()]
        # The last answer is for bars without a group.
        coverages: NDArray[np.int64] = np.array([*alike, -1], np.int64)[found["group"]]
        return coverages, np.flatnonzero(coverages < 0).tolist()

    # The present session of a symbol, as a bar.

    def session_bar(self, row: int) -> Bar | None:
        """Return a copy of the present session with all its trades, or None."""
        symbol = self.tables.symbols[row]
        candle = _read_candle(symbol["session"])
        if symbol["in_session"]:
            _merge(candle, self.tables.bases[row]["candle"])
        _merge(candle, symbol["gathered"])
        if not candle.trades:
            return None
        bounds = int(symbol["session_start"]), int(symbol["session_end"])
        return Bar(self.symbols.symbols[row], SESSION, *bounds, candle)

    def count_sessions(self) -> int:
        """Return for how many symbols :meth:`session_bar` returns a bar."""
        count = len(self.symbols.symbols)
        symbols, bases = self.tables.symbols[:count], self.tables.bases[:count]
        has_base = symbols["in_session"].astype(bool) & (bases["candle"]["trades"] != 0)
        return int(np.count_nonzero((symbols["session"]["trades"] != 0) | has_base))

    def restore_session(self, row: int, bar: Bar) -> None:
        """Take over the session of an earlier epoch, unless the symbol has come further."""
        symbol = self.tables.symbols[row]
        if symbol["session_start"] <= bar.start and symbol["latest"] < bar.end:
            symbol["latest"] = max(int(symbol["latest"]), bar.candle.last_ts)
            self._align(row, bar.candle)
            symbol["session"] = bar.candle.values()
            symbol["session_start"], symbol["session_end"] = bar.start, bar.end
            # The snapshot of a symbol is its first state.
            self.tables.bases[row]["sequence"] = 1

    # Refused ticks.

    def refused(self, symbol: str, ts: int) -> None:
        """Let the bars of a time be published again, in which a tick was refused."""
        row = self.symbols.rows.get(symbol)
        if row is not None:
            self._refused_rows.add(row)
            self.make_room(row)
            self.find_session(row, ts)
            refuse.refuse(self.tables, row, ts)

    def _count_refused(self, bars: NDArray[Any]) -> None:
        # Of records that have row, start, end and refused. Of a restored bar more may be known.
        if not self._refused_rows and not self.refusals.has_every_symbol:
            return
        concerned = np.isin(bars["row"], list(self._refused_rows))
        if self.refusals.has_every_symbol:
            concerned[:] = True
        for index in np.flatnonzero(concerned).tolist():
            bar = bars[index]
            symbol = self.symbols.symbols[int(bar["row"])]
            count = self.refusals.count(symbol, int(bar["start"]), int(bar["end"]))
            bar["refused"] = max(count, int(bar["refused"]))

    def _alike(self, start: int, least: int, most: int) -> int:
        # Of bars that begin together and have come less or more far: where both ends of them are
        # covered alike, all between are.
        coverage = self._coverage(start, most)
        is_alike = least == most or coverage is self._coverage(start, least)
        return coverage if is_alike else -1

    def _schedule(self, row: int, slot: int) -> BarSchedule:
        return self._schedules[self._rules[row]][slot]

    def _phase(self, row: int, slot: int, start: int) -> int:
        return PHASES.index(self._schedule(row, slot).phase(start))

    # Bars of the pool.

    def early(self, rows: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of the bars that wait out the grace; of each slot in their order."""
        places = self.tables.slots["early_first"][rows, slots]
        return self._following(places)

    def _following(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        # The places, and those of the bars that come after them.
        found = [_NO_PLACES]
        while len(places := places[places >= 0]):
            found.append(places)
            places = self.tables.bars["next"][places]
        return np.concatenate(found)

    def held(self, row: int, slot: int, from_ns: int, to_ns: int) -> NDArray[np.int64]:
        """Return the places of the bars with from_ns <= start < to_ns."""
        room = np.zeros(1_024, np.int64)
        count = query.list_bars(self.tables, row, slot, from_ns, to_ns, room)
        if count > len(room):
            room = np.zeros(count, np.int64)
            query.list_bars(self.tables, row, slot, from_ns, to_ns, room)
        return room[:count]

    def fill_in(self, places: NDArray[np.int64]) -> None:
        """Write down what the loops do not know of bars: coverage and phase."""
        count, bars = len(places), self.tables.bars
        firsts, group_of = np.empty((2, count), np.int64)
        n_groups, unknown = query.group_bars(bars, self.tables.slots, places, firsts, group_of)
        if n_groups:
            answers = []
            for row, slot, start, end, state, coverage in _columns(bars, firsts[:n_groups]):
                hours = self._schedule(row, slot).hours(start, end)
                if state != BarState.REVISED or not coverage:
                    answers.append(self._coverage(*hours))
                else:
                    answers.append(min(coverage - UNSURE, Coverage.PARTIAL))
            is_asked = group_of >= 0
            bars["coverage"][places[is_asked]] = np.array(answers, np.int64)[group_of[is_asked]]
        if len(places) and (self._refused_rows or self.refusals.has_every_symbol):
            found = bars[places]
            self._count_refused(found)
            bars["refused"][places] = found["refused"]
        if unknown:
            # Only Python's rules have phases.
            for place in places[bars["phase"][places] < 0].tolist():
                row, slot, start, *_ = next(_columns(bars, np.array([place])))
                bars["phase"][place] = self._phase(row, slot, start)

    def open_ends(self) -> list[int]:
        """Return when the bars end that are not closed."""
        tables, count = self.tables, len(self.symbols)
        slots = tables.slots[:count]
        open_ends = slots["end"][slots["start"] < slots["end"]]
        first = slots["early_first"]
        early_ends = tables.bars["end"][self._following(first[first >= 0])]
        found: list[int] = np.unique(np.concatenate([open_ends, early_ends])).tolist()
        return found

    def bars(self, places: NDArray[np.int64]) -> ClosedBars:
        """Return copies of bars that are filled in."""
        records = copy_records(self.tables.bars, places)
        return ClosedBars(records, self.symbols, self.names)


def _columns(bars: NDArray[Any], places: NDArray[np.int64]) -> Any:
    return zip(*(bars[name][places].tolist() for name in _COVERED), strict=True)


def _read_candle(record: Any) -> Candle:
    return Candle(record.item())


def _merge(candle: Candle, record: Any) -> None:
    if record["trades"]:
        candle.merge(_read_candle(record))


def _int64(time: int) -> int:
    return min(time, MAX_INT64)

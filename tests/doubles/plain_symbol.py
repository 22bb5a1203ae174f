"""The trades of one symbol: its present session and its bars.

Per trade only the *base candle* is touched: it sums up the trades of the present base piece, which
no end of a bar, of a session or of a day divides. Each trade with ``lo <= exchange time < hi`` may
be added to :attr:`SymbolBars.base` as it is, as long as its totals stay below ``room`` and
``money_room``; every other one goes to :meth:`SymbolBars.take`.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Protocol

from aggregator.bars.bar import Bar, BarState
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.bars.engine import TradeCounts
from aggregator.bars.plan import BarPlan
from aggregator.sessions.sessions import SessionRule
from marketdata.timestamps import NS_PER_S
from tests.doubles.plain_slot import Slot

NEVER = 2**63
# Sums below this cannot become infinite where they are added up in another order.
MAX_MONEY = 1.7e308
LAG_STEP_NS = NS_PER_S // 10


class BarKeeper(Protocol):
    """What a symbol tells of its bars; the engine."""

    counts: TradeCounts
    now: int

    def opened(self, slot: Slot, end: int) -> None:
        """A bar that ends there has begun."""

    def early(self, slot: Slot, bar: Bar) -> None:
        """A bar's end has passed."""

    def closed(self, slot: Slot, bar: Bar, latest: int) -> None:
        """A bar is final; the symbol's latest trade is of ``latest``."""

    def touched(self, slot: Slot, bar: Bar) -> Bar:
        """Return the bar to add a late trade to, which may be a copy of ``bar``."""

    def came(self, bars: SymbolBars, clock: int) -> None:
        """A trade came, and the symbol's latest one is of that time."""


class SymbolBars:
    """Apply the trades of one symbol, in any order."""

    __slots__ = (
        "_anchor",
        "_base_ns",
        "_due_at",
        "_grace_ns",
        "_keeper",
        "_latest",
        "_next_at",
        "_revise_ns",
        "_rule",
        "base",
        "base_end",
        "base_start",
        "finals",
        "hi",
        "in_session",
        "lag",
        "live",
        "lo",
        "money_room",
        "room",
        "session",
        "session_end",
        "session_start",
        "slots",
        "symbol",
        "timer_at",
    )

    def __init__(
        self,
        symbol: str,
        plan: BarPlan,
        rule: SessionRule,
        keeper: BarKeeper,
    ) -> None:
        self.symbol = symbol
        self._rule = rule
        self._keeper = keeper
        self._base_ns = plan.base_ns
        self._anchor = rule.anchor(plan.base_ns) if plan.base_ns else 0
        self._grace_ns = plan.grace_ns
        self._revise_ns = plan.revise_ns
        self.slots = [Slot(symbol, interval, i, rule) for i, interval in enumerate(plan.by_clock)]
        # Before every session: the first tick starts one.
        self.session = Candle()
        self.session_start = self.session_end = 0
        self.base = Candle()
        self.base_start = self.base_end = 0
        # Whether the base candle is of the present session.
        self.in_session = False
        self.lo = self.hi = 0
        # From here on a trade begins a new base candle.
        self._next_at = 0
        # The latest exchange time, as far as the base candle does not know it.
        self._latest = -1
        # No total of an open bar or the session, without the base candle, is nearer to the limit.
        self.room = MAX_INT64
        self.money_room = MAX_MONEY
        # End, slot and start of the bars that wait out the grace; a heap.
        self.finals: list[tuple[int, int, int]] = []
        # Before it nothing ends: neither the base piece, nor a bar, nor a grace.
        self._due_at = NEVER
        # How far the symbol's time was from the wall clock when it moved last.
        self.lag = 0
        # Whether the wall clock closes bars, and when it looks next; 0: it does not.
        self.live = False
        self.timer_at = 0

    @property
    def latest(self) -> int:
        """The latest exchange time of the symbol, -1 before the first."""
        return self._known_latest()

    def _known_latest(self) -> int:
        return self.base.last_ts if self.base.trades else self._latest

    def aggregate(self) -> Candle | None:
        """Return the sum of the present session, or None if it has no trades; do not change it."""
        if not (self.in_session and self.base.trades):
            return self.session if self.session.trades else None
        if not self.session.trades:
            return self.base
        whole = self.session.copy()
        whole.merge(self.base)
        return whole

    def open_bar(self, slot: Slot) -> Bar | None:
        """Return the present state of the bar that is open, or None."""
        base = self.base
        with_base = base.trades > 0 and slot.start <= self.base_start < slot.end
        if slot.candle is None:
            if not with_base:
                return None
            candle = base.copy()
        else:
            candle = slot.candle.copy()
            if with_base:
                candle.merge(base)
        bar = slot.make(slot.start, slot.end, candle)
        bar.sequence = slot.open_sequence
        return bar

    def take(self, price: float, volume: int, ts: int, sequence: int) -> bool | None:
        """Take one trade in.

        Returns:
            Whether the session changed, or None if a total would overflow: nothing did.
        """
        if price * volume == inf:
            return None
        if ts >= self._next_at:
            if not self._fits(price, volume, ts):
                return None
            latest = max(ts, self._known_latest())
            self._close(latest, latest)
            self._begin_base(ts)
            self.base.add(price, volume, ts, sequence)
        elif self.base.trades and ts >= self.base_start:
            if not self._fits(price, volume, ts):
                return None
            latest = max(ts, self.base.last_ts)
            self._close(latest, latest)
            self.base.add(price, volume, ts, sequence)
        else:
            return self._take_late(price, volume, ts, sequence)
        self.measure_lag(ts)
        self._keeper.came(self, ts)
        self._set_limits()
        if not self.in_session:
            self._keeper.counts.out_of_session += 1
        return self.in_session

    def measure_lag(self, ts: int) -> None:
        """Note how old a trade was when it arrived, if the symbol's time is that of the trade."""
        now = self._keeper.now
        if now and ts == self._known_latest():
            lag = now - ts
            # Steps of 0.1 s, of which the first is the network's.
            self.lag = 0 if lag <= LAG_STEP_NS else -(-lag // LAG_STEP_NS) * LAG_STEP_NS

    def advance(self, now: int) -> None:
        """Close what ends by the symbol's time, which goes on with the wall clock from its lag."""
        # The clock says what is over, and the symbol's own trades how late one may still come.
        self._close(now - self.lag, self._known_latest())
        self._set_limits()

    def _close(self, clock: int, latest: int) -> None:
        if clock < self._due_at:
            return
        if self.base.trades and clock >= self.base_end:
            self._fold_base()
        for slot in self.slots:
            if slot.candle is not None and clock >= slot.end:
                bar = slot.make(slot.start, slot.end, slot.candle)
                self._begin_grace(slot, bar)
                slot.candle = None
                slot.start = slot.end
                # The wall clock may have closed more than the base piece: a trade for any of it is
                # late.
                self._next_at = max(self._next_at, slot.end)
                if clock < bar.end + self._grace_ns:
                    self._keeper.early(slot, bar)
        finals = self.finals
        while finals and finals[0][0] + self._grace_ns <= clock:
            _, index, start = heappop(finals)
            slot = self.slots[index]
            bar = slot.early.pop(start)
            bar.state = BarState.FINAL
            slot.closed[start] = bar
            self._keeper.closed(slot, bar, latest)
        self._find_due()

    def _find_due(self) -> None:
        due = self.base_end if self.base.trades else NEVER
        if self.finals:
            due = min(due, self.finals[0][0] + self._grace_ns)
        for slot in self.slots:
            if slot.candle is not None and slot.end < due:
                due = slot.end
        self._due_at = due

    def next_timer(self) -> int:
        """Return when the wall clock has something to close next, 0 for never."""
        return self._due_at + self.lag if self.slots and self._due_at < NEVER else 0

    def restore(self, slot: Slot, bar: Bar) -> None:
        """Take over a bar of an earlier epoch, before any trade of this one."""
        self._latest = max(self._latest, bar.candle.last_ts)
        if bar.state.is_closed:
            slot.closed[bar.start] = bar
        else:
            self._keeper.opened(slot, bar.end)
            self._begin_grace(slot, bar)

    def restored(self) -> None:
        """Know where the restored bars end and new ones begin; call it when they are all there."""
        # What is not over by its own trades is open again.
        for slot in self.slots:
            for start, bar in list(slot.early.items()):
                if start <= self._latest < bar.end:
                    del slot.early[start]
                    slot.start, slot.end, slot.candle = start, bar.end, bar.candle
        self.finals = [(b.end, x.index, b.start) for x in self.slots for b in x.early.values()]
        heapify(self.finals)
        over = [b.end for x in self.slots for b in (*x.early.values(), *x.closed.values())]
        self._next_at = max([*over, self._latest - self._latest % NS_PER_S])
        self._find_due()

    def _set_limits(self) -> None:
        self.lo = self.hi = 0
        # A trade outside a session has to be counted, so none of them is usual.
        if self.base.trades and self.in_session:
            self.lo, self.hi = self.base_start, self.base_end
            if self.finals:
                self.hi = min(self.hi, self.finals[0][0] + self._grace_ns)

    def _begin_base(self, ts: int) -> None:
        if ts >= self.session_end:
            self._start_session(ts)
        self.in_session = self.session_start <= ts < self.session_end
        # Sessions begin and end with a second, and what lies between them has no end to cut at.
        size = self._base_ns if self.in_session else NS_PER_S
        start, end = self.session_start, self.session_end
        if size:
            start = ts - (ts - self._anchor) % size
            end = start + size
        if self.in_session:
            start, end = max(start, self.session_start), min(end, self.session_end)
        for slot in self.slots:
            if not slot.start <= ts < slot.end:
                bounds = slot.bounds(ts)
                slot.start, slot.end = bounds or (0, 0)
                if bounds is not None:
                    self._keeper.opened(slot, slot.end)
            if slot.is_daily and slot.end:
                start, end = max(start, slot.start), min(end, slot.end)
        self.base_start, self.base_end, self._next_at = start, end, end
        self._due_at = min(self._due_at, end)

    def _start_session(self, ts: int) -> None:
        session = self._rule.session(ts)
        if session is not None:
            self.session_start, self.session_end = session.start, session.end
            self.session = Candle()

    def _fold_base(self) -> None:
        base, start = self.base, self.base_start
        if self.in_session:
            self.session.merge(base)
        kept = False
        for slot in self.slots:
            if slot.start <= start < slot.end:
                if slot.candle is not None:
                    slot.candle.merge(base)
                else:
                    # It can belong to one of them, which is cheaper than a copy.
                    slot.candle = base.copy() if kept else base
                    kept = True
        self.room -= base.volume
        self.money_room -= base.notional
        self._latest = base.last_ts
        self.base = Candle()

    def _begin_grace(self, slot: Slot, bar: Bar) -> None:
        bar.state = BarState.EARLY
        slot.early[bar.start] = bar
        heappush(self.finals, (bar.end, slot.index, bar.start))
        self._due_at = min(self._due_at, bar.end + self._grace_ns)

    def _fits(self, price: float, volume: int, ts: int) -> bool:
        # Whether no candle that a trade in or after the base piece adds to would overflow.
        base, money = self.base, price * volume
        if base.volume + volume <= self.room and base.notional + money <= self.money_room:
            return True
        candles = [slot.candle or _EMPTY for slot in self.slots if slot.start <= ts < slot.end]
        if self.session_start <= ts < self.session_end:
            candles.append(self.session)
        if ts < self._next_at or candles:
            volume, money = volume + base.volume, base.notional + money
        if money == inf or not all(_has_room(c, volume, money) for c in (*candles, _EMPTY)):
            return False
        # The next one may not have to look so closely.
        candles = [self.session, *(slot.candle for slot in self.slots if slot.candle is not None)]
        self.room = MAX_INT64 - max(c.volume for c in candles)
        self.money_room = MAX_MONEY - max(c.notional for c in candles)
        return True

    def _take_late(self, price: float, volume: int, ts: int, sequence: int) -> bool | None:
        # A trade from before the base piece, or for a bar that the wall clock closed.
        counts, money, latest = self._keeper.counts, price * volume, self._known_latest()
        too_late = latest - ts > self._revise_ns
        targets, evicted = self._late_targets(ts, too_late=too_late)
        if any(not self._late_fits(slot, start, volume, money) for slot, start, _ in targets):
            return None
        counts.bars_evicted += evicted
        if ts >= self.session_end:
            self._start_session(ts)
        in_session = self.session_start <= ts < self.session_end
        if in_session:
            base = self.base if self.in_session else _EMPTY
            if not _has_room(self.session, base.volume + volume, base.notional + money):
                return None
            self.session.add(price, volume, ts, sequence)
        elif self._rule.session(ts) is None:
            counts.out_of_session += 1
        else:
            counts.late += 1
        if too_late and self.slots and not targets:
            counts.bars_late += 1
        if ts > latest:
            self._latest = ts
            self.measure_lag(ts)
            self._close(ts, ts)
        for slot, start, end in targets:
            known = start in slot.closed or start in slot.early or start == slot.start < slot.end
            if not known and start <= slot.evicted_until:
                counts.bars_evicted += 1
                continue
            self._late_candle(slot, start, end).add(price, volume, ts, sequence)
        self.room -= volume
        self.money_room -= money
        self._keeper.came(self, self._known_latest())
        self._set_limits()
        return in_session

    def _late_targets(self, ts: int, *, too_late: bool) -> tuple[list[tuple[Slot, int, int]], int]:
        # The bars that a late trade belongs to, and how many of them were given up. If it is too
        # late, only bars that are not closed.
        targets, evicted = [], 0
        for slot in self.slots:
            bounds = slot.bounds(ts)
            if bounds is None:
                continue
            start, end = bounds
            is_open = start == slot.start < slot.end
            over = self._known_latest() >= end + self._grace_ns
            if too_late and not is_open and (over or start in slot.closed):
                continue
            known = start in slot.closed or start in slot.early or is_open
            if not known and start <= slot.evicted_until:
                evicted += 1
                continue
            targets.append((slot, start, end))
        return targets, evicted

    def _late_fits(self, slot: Slot, start: int, volume: int, money: float) -> bool:
        if start == slot.start < slot.end:
            base = self.base
            if base.trades and slot.start <= self.base_start < slot.end:
                volume, money = volume + base.volume, money + base.notional
            return _has_room(slot.candle or _EMPTY, volume, money)
        bar = slot.early.get(start) or slot.closed.get(start)
        return _has_room(bar.candle if bar else _EMPTY, volume, money)

    def _late_candle(self, slot: Slot, start: int, end: int) -> Candle:
        # What a late trade is to be added to, made if it has to be.
        if start == slot.start < slot.end:
            if slot.candle is None:
                slot.candle = Candle()
                self._due_at = min(self._due_at, slot.end)
            return slot.candle
        bar = slot.early.get(start) or slot.closed.get(start)
        if bar is None:
            bar = slot.make(start, end, Candle())
            if self._known_latest() < end + self._grace_ns:
                self._begin_grace(slot, bar)
                self._keeper.opened(slot, end)
        return self._keeper.touched(slot, bar).candle


def _has_room(candle: Candle, volume: int, money: float) -> bool:
    return candle.volume + volume <= MAX_INT64 and candle.notional + money < inf


_EMPTY = Candle()

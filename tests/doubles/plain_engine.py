"""The bars without a compiled loop: the oracle of the fast ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from heapq import heappop, heappush
from typing import Protocol

from aggregator.bars.bar import Bar, BarKey, BarState, CoverageRule, always_covered
from aggregator.bars.completion import Completion
from aggregator.bars.engine import TradeCounts
from aggregator.bars.event_series import EventBarsFactory, EventSeries
from aggregator.bars.listener import BarSink, NoStore
from aggregator.bars.plan import BarPlan
from aggregator.sessions.sessions import RuleFor
from tests.doubles.plain_slot import Slot
from tests.doubles.plain_symbol import SymbolBars


class PlainBarListener(Protocol):
    """Who hears of bars at once."""

    def symbols_wanted(self) -> Collection[str] | None:
        """Return the symbols of which somebody wants bars; None: all."""

    def wanted(self, symbol: str) -> Collection[str]:
        """Return the intervals of which somebody wants the bars of ``symbol``."""

    def partial_changed(self, key: BarKey) -> None:
        """Hear that an open bar changed."""

    def bar_published(self, bar: Bar) -> None:
        """Hear of an early, final or revised state; an early bar may still change."""

    def interval_completed(self, interval: str, end: int) -> None:
        """Hear that every bar of ``interval`` that ends there was published."""


class PlainEngine:
    """The trades and bars of all symbols.

    Trades go to the :class:`SymbolBars` of their symbol between :meth:`begin_batch` and
    :meth:`end_batch`; then the changes go to :attr:`listener` and the closed bars to :attr:`sink`.
    For symbols whose trades are of the present the wall clock closes bars too: call
    :meth:`close_due` when it reaches :meth:`next_timer`; :attr:`wake_at` hears of an earlier time.
    """

    def __init__(
        self,
        plan: BarPlan,
        rule_for: RuleFor,
        coverage: CoverageRule = always_covered,
        event_bars: EventBarsFactory | None = None,
        completion: Completion | None = None,
    ) -> None:
        self.plan = plan
        self._rule_for = rule_for
        self._coverage = coverage
        self._event_bars = event_bars
        # Those no clock ends are made of single trades: hand each one to :meth:`traded`.
        self.wants_trades = event_bars is not None and bool(plan.by_trades)
        self.listener: PlainBarListener
        self.sink: BarSink = NoStore()
        self.wake_at: Callable[[int], None] = lambda _ns: None
        self.counts = TradeCounts()
        # Closed bars that were given up to make room while they could be revised.
        self.evicted = 0
        self.symbols: dict[str, SymbolBars] = {}
        self._names = [interval.name for interval in plan.by_clock]
        self._index = {name: index for index, name in enumerate(self._names)}
        self._completion = completion or Completion(len(self._names), plan.revise_ns)
        self.now = 0
        # The latest exchange time of all symbols.
        self._clock = 0
        # Symbols with a trade that was more than an addition to the base candle.
        self._moved: dict[str, SymbolBars] = {}
        # Bars that late trades of this batch changed.
        self._touched: dict[tuple[Slot, int], Bar] = {}
        self._to_store: list[Bar] = []
        # One entry per closed bar in memory, the longest closed first.
        self._closed: deque[Slot] = deque()
        # When the wall clock closes something, and of which symbols.
        self._times: list[int] = []
        self._due: dict[int, list[SymbolBars]] = {}
        # By symbol, then interval; and the symbols of them with trades in this batch.
        self._event_series: dict[str, dict[str, EventSeries]] = {}
        self._traded: dict[str, dict[str, EventSeries]] = {}

    # What applies trades.

    def open(self, symbol: str) -> SymbolBars:
        """Return the trades of a symbol, which need not be known yet."""
        bars = self.symbols.get(symbol)
        if bars is None:
            bars = SymbolBars(symbol, self.plan, self._rule_for(symbol), self)
            self.symbols[symbol] = bars
            if self._event_bars is not None:
                self._event_series[symbol] = {
                    interval.name: EventSeries(interval.name, self._event_bars(symbol, interval))
                    for interval in self.plan.by_trades
                }
        return bars

    def begin_batch(self, now_ns: int) -> None:
        """Trades arrive at ``now_ns``; 0: none of them is of the present."""
        self.now = now_ns

    def refuse(self, symbol: str, ts: int) -> bool:
        """Let the bars of a refused tick be published again; return whether its session changed."""
        bars = self.symbols.get(symbol)
        if bars is None:
            return False
        for slot in bars.slots:
            start, _ = slot.bounds(ts) or (-1, -1)
            bar = slot.early.get(start) or slot.closed.get(start)
            if bar is not None:
                self.touched(slot, bar)
        self.came(bars, bars.latest)
        return bars.session_start <= ts < bars.session_end

    def traded(self, symbol: str, price: float, volume: int, ts: int, sequence: int) -> None:
        """Hand an accepted trade to the bars that no clock ends."""
        slots = self._traded[symbol] = self._event_series[symbol]
        for slot in slots.values():
            slot.bars.add(price, volume, ts, sequence)

    def end_batch(self, changed: Iterable[str]) -> None:
        """Publish what became of the trades.

        ``changed`` are symbols whose session changed; those nobody wants bars of may be left out.
        """
        for (slot, _), bar in self._touched.items():
            self._publish(slot, bar)
        self._touched.clear()
        for symbol, slots in self._traded.items():
            bars = self.symbols[symbol]
            self._release(slots, bars.latest)
            self._set_timer(bars)
        moved = self._moved
        for symbol in changed:
            if symbol not in moved:
                self._publish_open(symbol)
        for symbol, bars in moved.items():
            self._set_timer(bars)
            self._publish_open(symbol)
        if moved or self._to_store:
            moved.clear()
            self._flush()
        self._traded.clear()

    # The wall clock.

    def next_timer(self) -> int | None:
        """Return when the wall clock closes something next."""
        return self._times[0] if self._times else None

    def close_due(self, now_ns: int, max_symbols: int) -> bool:
        """Close what ends by the wall clock, of so many symbols; return whether that was all."""
        self.now = now_ns
        done = True
        while done and self._times and self._times[0] <= now_ns:
            time = self._times[0]
            symbols = self._due[time]
            while symbols and max_symbols:
                max_symbols -= 1
                bars = symbols.pop(0)
                if bars.timer_at == time:
                    bars.timer_at = 0
                    if bars.live:
                        bars.advance(now_ns)
                    if self.wants_trades:
                        self._release(self._event_series[bars.symbol], now_ns - bars.lag)
                    self._set_timer(bars)
            done = not symbols
            if done:
                heappop(self._times)
                del self._due[time]
        self._flush()
        return done

    # What readers ask.

    @property
    def clock(self) -> int:
        """The latest exchange time of a trade that was more than an addition."""
        return self._clock

    def sequence(self, symbol: str, interval: str) -> int:
        """Return how many states of the bars of ``symbol`` and ``interval`` were published."""
        slot = self._slot(symbol, interval)
        return 0 if slot is None else slot.sequence

    def open_bar(self, symbol: str, interval: str) -> Bar | None:
        """Return the present state of the bar that is open, or None."""
        slot = self._slot(symbol, interval)
        return None if slot is None else self._open_state(symbol, slot)

    def present(self, symbol: str, interval: str) -> tuple[list[Bar], BarKey | None]:
        """Return the bars that wait out the grace; publish the open one and return its key."""
        slot = self._slot(symbol, interval)
        early: list[Bar] = []
        if isinstance(slot, Slot):
            early = [slot.early[start] for start in sorted(slot.early)]
            for bar in early:
                self._cover(slot, bar)
        return early, None if slot is None else self._publish_partial(symbol, slot)

    def open_and_recent(self, symbol: str, interval: str, from_ns: int, to_ns: int) -> list[Bar]:
        """Return copies of the bars in memory with from_ns <= start < to_ns, in their order."""
        slot = self._slot(symbol, interval)
        if slot is None:
            return []
        if isinstance(slot, EventSeries):
            held = list(slot.recent)
        else:
            held = [*slot.closed.values(), *slot.early.values()]
            for bar in slot.early.values():
                self._cover(slot, bar)
        found = [bar.copy() for bar in held if from_ns <= bar.start < to_ns]
        open_bar = self._open_state(symbol, slot)
        if open_bar is not None and from_ns <= open_bar.start < to_ns:
            found.append(open_bar)
        found.sort(key=lambda bar: (bar.start, bar.number))
        return found

    def open_bars(self) -> list[Bar]:
        """Return copies of all bars that are not closed, for the next epoch to go on with.

        Trades that wait for their place among others count now, so this is for the end.
        """
        found: list[Bar] = []
        for symbol, bars in self.symbols.items():
            for slot in bars.slots:
                for bar in slot.early.values():
                    self._cover(slot, bar)
                    found.append(bar.copy())
                found.extend(filter(None, [self._open_state(symbol, slot)]))
            for event_slot in self._event_series.get(symbol, {}).values():
                self._publish_full(event_slot, event_slot.bars.flush())
                found.extend(filter(None, [event_slot.open_state()]))
        self._flush()
        return found

    def restore(self, bars: Iterable[Bar], now_ns: int = 0) -> None:
        """Take over bars of an earlier epoch: open ones, and those that can still be revised.

        Call it once, before the first trade. Bars of intervals that are not made any more are left
        out. With ``now_ns`` the wall clock closes those of symbols whose trades are of the present.
        """
        restored: dict[str, SymbolBars] = {}
        of_events: dict[tuple[str, str], list[Bar]] = {}
        for old in sorted(bars, key=lambda bar: (bar.end, bar.start)):
            bar = old.copy()
            bar.sequence = 0
            index = self._index.get(bar.interval)
            if index is not None:
                symbol = restored[bar.symbol] = self.open(bar.symbol)
                symbol.restore(symbol.slots[index], bar)
                if bar.state.is_closed:
                    self._remember(symbol.slots[index], bar.start)
            else:
                of_events.setdefault((bar.symbol, bar.interval), []).append(bar)
        for (name, interval), found in of_events.items():
            self.open(name)
            slot = self._event_series.get(name, {}).get(interval)
            if slot is not None:
                slot.bars.restore(found)
                slot.recent.extend(bar for bar in found if bar.state.is_closed)
        self.now = now_ns
        for symbol in restored.values():
            symbol.restored()
            self._clock = max(self._clock, symbol.latest)
            if now_ns and symbol.latest >= now_ns - self.plan.live_within_ns:
                self._watch_clock(symbol)

    # What the symbols tell.

    def opened(self, slot: Slot, end: int) -> None:
        """Count a bar that has begun."""
        self._completion.opened(slot.index, end)

    def early(self, slot: Slot, bar: Bar) -> None:
        """Publish a bar whose end has passed."""
        if slot.name in self.listener.wanted(slot.symbol):
            self._publish(slot, bar)
        else:
            # Half of all states are these, and whoever asks for them gets their coverage then.
            slot.sequence += 1
            bar.sequence = slot.sequence

    def closed(self, slot: Slot, bar: Bar, latest: int) -> None:
        """Publish a bar that is final."""
        if self._touched:
            self._touched.pop((slot, bar.start), None)
        self._completion.closed(slot.index, bar.end)
        slot.prune(latest - self.plan.revise_ns)
        self._remember(slot, bar.start)
        self._publish(slot, bar)

    def touched(self, slot: Slot, bar: Bar) -> Bar:
        """Return the bar to add a late trade to; it is published when the batch ends."""
        place = (slot, bar.start)
        known = self._touched.get(place)
        if known is not None:
            return known
        if bar.state.is_closed:
            # Whoever has the former state keeps it.
            bar = bar.copy()
            bar.state = BarState.REVISED
            bar.revision += 1
            slot.closed[bar.start] = bar
        elif bar.state is BarState.PARTIAL:
            # The first trade of its time came when that was over.
            bar.state = BarState.FINAL
            slot.closed[bar.start] = bar
            self._remember(slot, bar.start)
        self._touched[place] = bar
        return bar

    def came(self, bars: SymbolBars, clock: int) -> None:
        """Know whether the symbol's latest trade is of the present."""
        self._moved[bars.symbol] = bars
        self._clock = max(self._clock, clock)
        bars.live = bool(self.now) and clock >= self.now - self.plan.live_within_ns
        if not bars.live:
            bars.timer_at = 0

    def _watch_clock(self, bars: SymbolBars) -> None:
        bars.live = True
        self._set_timer(bars)

    def _set_timer(self, bars: SymbolBars) -> None:
        time = bars.next_timer() if bars.live else 0
        if self.wants_trades and self.now:
            # Trades of any age count when the symbol has been quiet for the grace.
            slots = self._event_series[bars.symbol].values()
            releases = [due + bars.lag for slot in slots if (due := slot.bars.next_release())]
            time = min([t for t in (time, *releases) if t], default=0)
        if not time or 0 < bars.timer_at <= time:
            # An entry that is too early finds nothing to close and sets the next one.
            return
        bars.timer_at = time
        others = self._due.get(time)
        if others is not None:
            others.append(bars)
            return
        self._due[time] = [bars]
        heappush(self._times, time)
        if self._times[0] == time:
            self.wake_at(time)

    def _slot(self, symbol: str, interval: str) -> Slot | EventSeries | None:
        bars, index = self.symbols.get(symbol), self._index.get(interval)
        if bars is None or index is None:
            return self._event_series.get(symbol, {}).get(interval)
        return bars.slots[index]

    def _open_state(self, symbol: str, slot: Slot | EventSeries) -> Bar | None:
        if isinstance(slot, EventSeries):
            return slot.open_state()
        bars = self.symbols[symbol]
        bar = bars.open_bar(slot)
        if bar is not None:
            reached = min(max(bars.latest, slot.start) + 1, slot.end)
            bar.coverage = self._coverage(*slot.hours(slot.start, reached))
        return bar

    def _cover(self, slot: Slot, bar: Bar) -> None:
        # A call less for almost every bar there is.
        start, end = slot.hours(bar.start, bar.end) if slot.is_daily else (bar.start, bar.end)
        bar.coverage = self._coverage(start, end)

    def _publish_open(self, symbol: str) -> None:
        for name in self.listener.wanted(symbol):
            slot = self._slot(symbol, name)
            if isinstance(slot, Slot) or (slot is not None and symbol in self._traded):
                key = self._publish_partial(symbol, slot)
                if key is not None:
                    self.listener.partial_changed(key)

    def _publish_partial(self, symbol: str, slot: Slot | EventSeries) -> BarKey | None:
        if isinstance(slot, Slot):
            key = BarKey(symbol, slot.name, slot.start, 0) if slot.start < slot.end else None
        else:
            bar = slot.bars.open_bar
            key = None if bar is None else bar.key
        if key is not None:
            slot.sequence += 1
            slot.open_sequence = slot.sequence
        return key

    def _publish(self, slot: Slot, bar: Bar) -> None:
        slot.sequence += 1
        bar.sequence = slot.sequence
        if bar.state is not BarState.REVISED:
            self._cover(slot, bar)
        if bar.state.is_closed:
            self._to_store.append(bar)
        self.listener.bar_published(bar)

    def _release(self, slots: dict[str, EventSeries], clock: int) -> None:
        for slot in slots.values():
            self._publish_full(slot, slot.bars.advance(clock))

    def _publish_full(self, slot: EventSeries, bars: Iterable[Bar]) -> None:
        for bar in bars:
            slot.sequence += 1
            bar.sequence = slot.sequence
            slot.recent.append(bar)
            self._to_store.append(bar)
            self.listener.bar_published(bar)

    def _remember(self, slot: Slot, start: int) -> None:
        slot.order.append(start)
        closed = self._closed
        closed.append(slot)
        while closed and (closed[0].stale or len(closed) > self.plan.max_closed):
            if closed.popleft().forget_oldest():
                self.evicted += 1

    def _flush(self) -> None:
        for index, name in enumerate(self._names):
            while (end := self._completion.next_complete(index, self._clock)) is not None:
                self.listener.interval_completed(name, end)
        if self._to_store:
            bars, self._to_store = self._to_store, []
            self.sink.put(bars)

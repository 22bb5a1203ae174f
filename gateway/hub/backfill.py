"""Put history before live states: no hole, no repeat, no older state of a bar after a newer.

Live states are held back while history is read, page by page. Each page says up to which sequence
it has what was published of its symbol, so a live state of a bar that a page covers is known if its
sequence is not above that. What was published between the first page and the first live state must
be known too: live states that do not follow on the page say that something is missing, and the
history is read again, and the reader gets the new states of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from enum import Enum

from gateway.hub.updates import BarUpdate
from marketdata.wire.market_data_pb2 import (
    BAR_STATE_FINAL,
    BAR_STATE_REVISED,
    Bar,
    BarsResponse,
)

_CLOSED = {BAR_STATE_FINAL, BAR_STATE_REVISED}

# A Watch stream begins with the open bars of a symbol, at most so many. Their sequences may seem to
# go on by chance, and what closed between them is not among them; with more states than that
# without a hole it is past them, and a hole means open states that were skipped.
MAX_OPEN = 8

# Start and number: they tell two bars of one interval and symbol apart, in order.
Place = tuple[int, int]


class Verdict(Enum):
    """How a live state relates to the history that was read."""

    NEW = "new"
    # It begins a new epoch of the aggregator: what was missed before it is not known.
    NEW_EPOCH = "new epoch"
    # History had it, or something newer of the same bar.
    KNOWN = "known"


class _Position:
    """The states of one symbol that the reader has."""

    __slots__ = (
        "confirmed",
        "epoch",
        "first",
        "known",
        "live_closed",
        "live_epoch",
        "live_first",
        "live_last",
        "places",
        "sequences",
        "settled",
        "sure",
        "unread",
    )

    def __init__(self) -> None:
        self.unread = True
        # The epoch that was read; 0: none yet.
        self.epoch = 0
        # Each page's last bar, and the sequence up to which it has all; the last page has what
        # comes later as well.
        self.places: list[Place] = []
        self.sequences: list[int] = []
        # Up to here every page has all.
        self.first = 0
        # Up to here the reader has all, whatever the bar.
        self.known = 0
        # Whether live states follow on what was read.
        self.confirmed = False
        # The live states that came without a hole between them.
        self.live_epoch = 0
        self.live_first = 0
        self.live_last = 0
        # Whether they are known to be past the open bars that their stream began with.
        self.sure = False
        # After the last live bar that closed, and after all closed bars that the reader has: a bar
        # before that is read without a sequence, from the store, is not new.
        self.live_closed: Place = (-1, 0)
        self.settled: Place = (-1, 0)

    def has(self, place: Place, sequence: int) -> bool:
        if sequence <= self.known:
            return True
        if not self.sequences:
            return False
        page = min(bisect_left(self.places, place), len(self.sequences) - 1)
        return sequence <= self.sequences[page]

    @property
    def is_sure(self) -> bool:
        """Whether a hole between live states hides no closed bar, unless the stream says so."""
        return self.sure or self.live_last - self.live_first >= MAX_OPEN

    def note(self, update: BarUpdate) -> None:
        sequence = update.sequence
        follows = self.live_epoch == update.epoch and (
            sequence == self.live_last + 1 or (update.continuous and (update.sure or self.is_sure))
        )
        if not follows:
            self.live_first = sequence
            self.sure = False
        self.live_epoch, self.live_last = update.epoch, sequence

    def misses(self) -> bool:
        """Return whether something came before the state that was noted last, and is not known."""
        if self.unread:
            # It will be judged when the reading is done.
            return False
        if self.confirmed:
            return self.live_first == self.live_last
        base = max(self.known, self.first)
        self.confirmed = self.live_first <= base + 1 <= self.live_last
        return self.live_first > base + 1


class Backfill:
    """The history of one subscription, and what it means for live states.

    Args:
        symbols: the symbols of the subscription.
        since_ns: where the history begins.
    """

    def __init__(self, symbols: Iterable[str], since_ns: int) -> None:
        self.since_ns = since_ns
        # Whether live states wait for history.
        self.is_holding = True
        # Called when history has to be read again, when all that was read went out, and at the end.
        self.on_gap: Callable[[], None] = lambda: None
        self.on_drained: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None
        self._positions = {symbol: _Position() for symbol in sorted(symbols)}

    def begin_at(self, symbol: str, epoch: int, sequence: int) -> None:
        """Take note that live states go on from here, without a hole that hides what closed."""
        position = self._positions[symbol]
        position.live_epoch = epoch
        position.live_first = position.live_last = sequence
        position.sure = True

    def take_live(self, update: BarUpdate) -> Verdict:
        """Take note of a live state; return whether the reader needs it."""
        position = self._positions[update.symbol]
        sequence = update.sequence
        position.note(update)
        if not position.epoch:
            return Verdict.NEW
        if position.epoch != update.epoch:
            position.epoch = update.epoch
            position.places, position.sequences = [], []
            position.known = position.first = 0
            position.confirmed = False
            # What closed while the aggregator went away and came back is in its store.
            position.unread = True
            if not self.is_holding:
                self.is_holding = True
                self.on_gap()
            return Verdict.NEW_EPOCH
        if position.misses():
            position.unread = True
            position.confirmed = False
            if not self.is_holding:
                self.is_holding = True
                self.on_gap()
        if update.closed:
            position.live_closed = max(position.live_closed, _after(update.bar))
        if position.has(_place(update.bar), sequence):
            return Verdict.KNOWN
        if not self.is_holding:
            # What came before it went out.
            position.known = sequence
            position.settled = max(position.settled, position.live_closed)
        return Verdict.NEW

    def has(self, update: BarUpdate) -> bool:
        """Return whether history has a live state that was held, or something newer."""
        position = self._positions[update.symbol]
        # Pages come from the epoch of the newest live states, so any other is an earlier one.
        return update.epoch != position.epoch or position.has(_place(update.bar), update.sequence)

    def release(self) -> None:
        """Take note that the live states that were held go out."""
        self.is_holding = False
        for position in self._positions.values():
            if position.confirmed and position.live_epoch == position.epoch:
                position.known = max(position.known, position.live_last)
                position.settled = max(position.settled, position.live_closed)

    def next_unread(self) -> str | None:
        """Return a symbol of which history is to be read, or None."""
        return next((symbol for symbol, each in self._positions.items() if each.unread), None)

    def begin_reading(self, symbol: str) -> Reading:
        """Begin to read the history of ``symbol``."""
        return Reading(self._positions[symbol])

    def reached(self, epoch: int) -> dict[str, int]:
        """Return up to which sequence of each symbol a reader has all, now that it was released."""
        return {
            symbol: max(each.first, each.known)
            for symbol, each in self._positions.items()
            if each.epoch == epoch
        }

    def unsure(self) -> list[str]:
        """Return the symbols of which live states do not say yet that nothing is missing."""
        return [symbol for symbol, each in self._positions.items() if not each.is_sure]

    def is_behind(self, symbol: str, answer: BarsResponse) -> bool:
        """Return whether ``answer`` has states that neither history nor live states brought.

        If so, history has to be read again.
        """
        position = self._positions[symbol]
        if position.unread or position.epoch != answer.epoch:
            return False
        position.unread = answer.sequence > max(position.first, position.known, position.live_last)
        return position.unread


class Reading:
    """One reading of the history of one symbol."""

    def __init__(self, position: _Position) -> None:
        self._position = position
        self._is_again = position.epoch != 0
        self._places: list[Place] = []
        self._sequences: list[int] = []
        self._epoch = 0
        # After the bars that closed before the first that did not.
        self._settled: Place = (-1, 0)
        self._all_closed = True

    def take_page(self, answer: BarsResponse, *, hub_epoch: int) -> list[BarUpdate] | None:
        """Return the bars of a page that the reader does not have.

        None: the page is of another epoch than live states, ask for it again.
        """
        if answer.epoch != hub_epoch:
            return None
        if answer.epoch != self._epoch:
            # Pages of an earlier epoch have nothing of what this one publishes.
            self._epoch = answer.epoch
            self._sequences = [0] * len(self._sequences)
        bars = list(answer.bars)
        last = _place(bars[-1]) if bars else (self._places[-1] if self._places else (0, 0))
        self._places.append(last)
        self._sequences.append(answer.sequence)
        for bar in bars:
            self._all_closed &= bar.state in _CLOSED
            if self._all_closed:
                self._settled = _after(bar)
        if self._is_again:
            bars = [bar for bar in bars if self._is_new(bar)]
        return [BarUpdate(_own(bar), is_history=True) for bar in bars]

    def finish(self) -> None:
        """Take note that all pages were taken."""
        position = self._position
        position.epoch = self._epoch
        position.places, position.sequences = self._places, self._sequences
        position.first = min(self._sequences)
        position.settled = max(position.settled, self._settled)
        follows = True
        if position.live_epoch == self._epoch:
            follows = position.live_first <= max(position.first, position.known) + 1
        position.unread = not follows
        position.confirmed = (
            follows and position.live_epoch == self._epoch and position.live_last > position.first
        )

    # A bar without a sequence comes from the store: it closed in an earlier epoch, or so long ago
    # that the aggregator gave up its own.
    def _is_new(self, bar: Bar) -> bool:
        if not bar.sequence:
            return _place(bar) >= self._position.settled
        return not self._position.has(_place(bar), bar.sequence)


def _place(bar: Bar) -> Place:
    return bar.start, bar.number


def _after(bar: Bar) -> Place:
    return bar.start, bar.number + 1


# A message of a list keeps the whole list in memory.
def _own(bar: Bar) -> Bar:
    own = Bar()
    own.CopyFrom(bar)
    return own

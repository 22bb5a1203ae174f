"""Hold what one subscription still has to be sent, in the way its reader chose."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.hub.join import Join, Verdict
from gateway.hub.updates import ALL, UPDATE_BYTES, BarTopic, BarUpdate, Delivery, Topic, Update

Policy = Literal["conflate", "buffer"]


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """How much may wait for a reader that chose ``buffer``."""

    max_bytes: int = 1024 * 1024
    max_age_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a reader left off: the last sequence it saw of each symbol, in one epoch."""

    epoch: int
    last_sequences: Mapping[str, int]


class Subscription:
    """What waits for one reader.

    ``conflate``: only the newest state per symbol waits, in the order in which symbols changed; of
    bars, only the newest state of each bar, in the order of the states. What says that a bar, or
    an interval, is closed is never left out, so those are bounded like ``buffer``.
    ``buffer``: every state waits, up to the limits; beyond, :attr:`overflowed` is set, nothing
    more is taken in, and the reader must be disconnected.

    Args:
        symbols: the symbols it is for, in normal form; None: all, present and future.
        policy: what happens while the reader is slow.
        resume: where the reader left off.
        limits: the bounds of ``buffer``.
        interval: whose bars it is for; None: it is for aggregates.
        join: of bars, the history to begin with; live states wait until it was read.
    """

    def __init__(
        self,
        symbols: Iterable[str] | None,
        policy: Policy = "conflate",
        resume: Resume | None = None,
        limits: BufferLimits | None = None,
        *,
        interval: str | None = None,
        join: Join | None = None,
    ) -> None:
        self.symbols = None if symbols is None else frozenset(symbols)
        self.interval = interval
        self.join = join
        self.policy = policy
        self.overflowed = False
        # States that were left out because the reader was slow.
        self.conflated = 0
        self._limits = limits or BufferLimits()
        self._resume_epoch = resume.epoch if resume else 0
        # Symbols whose first delivery has still to say whether it continues where the reader was.
        self._resuming = dict(resume.last_sequences) if resume else {}
        # By symbol, or by what tells bars and completed intervals apart.
        self._newest: dict[object, Delivery] = {}
        self._all: deque[tuple[float, Delivery]] = deque()
        # How many still wait of those that came with the subscription; None: they still come.
        self._initial: int | None = None
        # Of those in _newest, how many may not be left out, and how many of them may wait.
        self._closed = 0
        self._max_closed: int | None = None
        # What the next state of a symbol is to say, where states of bars conflate.
        self._recovered: dict[str, bool] = {}
        # What goes out before the rest: live states from before history was read anew, and history.
        self._ahead: deque[Delivery] = deque()

    @property
    def topics(self) -> list[Topic]:
        """What it is for, as the hub has it."""
        symbols = (ALL,) if self.symbols is None else self.symbols
        if self.interval is None:
            return list(symbols)
        return [BarTopic(self.interval, symbol) for symbol in symbols]

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._newest and not self._all and not self._ahead

    @property
    def has_history(self) -> bool:
        """Whether history that was read still waits."""
        return bool(self._ahead)

    @property
    def waiting_bytes(self) -> int:
        """About how many bytes wait."""
        return (len(self._newest) + len(self._all) + len(self._ahead)) * UPDATE_BYTES

    def resumes_from(self, symbol: str) -> tuple[int, int] | None:
        """Return epoch and sequence from which ``symbol`` is to continue, if the reader said so."""
        sequence = self._resuming.get(symbol)
        return None if sequence is None else (self._resume_epoch, sequence)

    def offer(self, update: Update, now: float) -> None:
        """Let ``update`` wait for the reader.

        Updates of one symbol must come in order, and without a hole unless they say so.
        """
        recovered = None if update.continuous else False
        if self.join is not None and isinstance(update, BarUpdate):
            was_holding = self.join.is_holding
            verdict = self.join.take_live(update)
            if self.join.is_holding and not was_holding:
                self._move_ahead()
            if verdict is Verdict.KNOWN:
                return
            # Within one life what was missed will be read.
            recovered = False if verdict is Verdict.NEW_LIFE else None
        if self._resuming:
            sequence = self._resuming.get(update.symbol)
            if sequence is not None:
                same_epoch = update.epoch == self._resume_epoch
                if same_epoch and self._has(update, sequence):
                    # The reader has this one; the next will tell.
                    return
                del self._resuming[update.symbol]
                recovered = same_epoch and update.sequence == sequence + 1
        self._add(update, recovered, now)

    def recover(self, missed: Iterable[Update], now: float) -> None:
        """Let all that the reader missed of one symbol wait for it."""
        for update in missed:
            self._resuming.pop(update.symbol, None)
            self._add(update, True, now)

    def begin(self) -> None:
        """Count what comes from now on against the limits.

        What waits by now, a snapshot or what a returning reader missed, says nothing of how fast
        it reads. It is bounded by the symbols and the history that the hub has.
        """
        self._initial = len(self._all)
        self._max_closed = self._closed + self._limits.max_bytes // UPDATE_BYTES

    def add_history(self, bars: Iterable[BarUpdate]) -> None:
        """Let ``bars``, which were read, go out before the live states that wait."""
        self._ahead.extend(Delivery(bar, None, 0) for bar in bars)

    def hold(self) -> None:
        """Hold live states back again, while history is read anew."""
        assert self.join is not None  # noqa: S101  there is history
        self.join.is_holding = True
        self._move_ahead()

    def release(self) -> None:
        """Let live states go out behind the history, without those that it has."""
        assert self.join is not None  # noqa: S101  there was history
        for key, delivery in list(self._newest.items()):
            update = delivery.update
            if isinstance(update, BarUpdate) and self.join.has(update):
                del self._newest[key]
                self._closed -= update.closed
        self.join.release()

    def take(self) -> Delivery | None:
        """Return what waits longest, or None."""
        if self.join is not None:
            if self._ahead:
                delivery = self._ahead.popleft()
                if not self._ahead:
                    self.join.on_drained()
                return delivery
            if self.join.is_holding:
                return None
        if self._newest:
            delivery = self._newest.pop(next(iter(self._newest)))
            if self.interval is not None:
                delivery = self._tell(delivery)
            return delivery
        if not self._all:
            return None
        if self._initial:
            self._initial -= 1
        return self._all.popleft()[1]

    def _has(self, update: Update, sequence: int) -> bool:
        # Several bars of a symbol may be open: the reader was sent their states in order.
        return update.sequence == sequence or (
            self.interval is not None and update.sequence < sequence
        )

    def _add(self, update: Update, recovered: bool | None, now: float) -> None:
        if self.interval is not None and (self.policy == "conflate" or self._is_holding):
            self._add_of_bars(update, recovered)
        elif self.policy == "conflate":
            before = self._newest.get(update.symbol)
            if before is None:
                self._newest[update.symbol] = Delivery(update, recovered, 0)
            else:
                self.conflated += 1
                if recovered is None or before.recovered is False:
                    recovered = before.recovered
                self._newest[update.symbol] = Delivery(update, recovered, before.conflated + 1)
        elif self._initial is None:
            self._all.append((now, Delivery(update, recovered, 0)))
        elif not self.overflowed:
            count = len(self._all) - self._initial + 1
            too_many = count * UPDATE_BYTES > self._limits.max_bytes
            if too_many or (self._all and self._all[0][0] < now - self._limits.max_age_s):
                self._overflow()
            else:
                self._all.append((now, Delivery(update, recovered, 0)))

    @property
    def _is_holding(self) -> bool:
        # History has only the newest state of each bar, so live states conflate meanwhile.
        return self.join is not None and self.join.is_holding

    def _move_ahead(self) -> None:
        # What waits is older than the history that is read now.
        while self._newest:
            self._ahead.append(self._tell(self._newest.pop(next(iter(self._newest)))))
        self._ahead.extend(delivery for _, delivery in self._all)
        self._all.clear()
        self._initial = 0

    def _add_of_bars(self, update: Update, recovered: bool | None) -> None:
        if self.overflowed:
            return
        if recovered is not None and self._recovered.get(update.symbol) is not False:
            self._recovered[update.symbol] = recovered
        key: object = update.key if isinstance(update, BarUpdate) else update
        skipped = 0
        # To the end of the line: a reader who says what it saw last has seen all before it.
        before = self._newest.pop(key, None)
        if before is not None:
            self.conflated += 1
            skipped = before.conflated + 1
            self._closed -= before.update.closed
        self._newest[key] = Delivery(update, None, skipped)
        self._closed += update.closed
        if self._max_closed is not None and self._closed > self._max_closed:
            self._overflow()

    def _tell(self, delivery: Delivery) -> Delivery:
        self._closed -= delivery.update.closed
        if self._recovered:
            recovered = self._recovered.pop(delivery.update.symbol, None)
            if recovered is not None:
                return delivery._replace(recovered=recovered)
        return delivery

    def _overflow(self) -> None:
        self.overflowed = True
        for waiting in (self._all, self._newest, self._ahead):
            waiting.clear()

"""Send one subscription its updates, or hold them while its reader is slow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.hub.backfill import Backfill
from gateway.hub.batch import Batch
from gateway.hub.pending import Pending
from gateway.hub.updates import (
    ALL,
    UPDATE_BYTES,
    Buffered,
    Delivery,
    FeedStatus,
    Policy,
    Topic,
    Update,
)


class Subscriber(Protocol):
    """One live session, as the hub sees it. No method may wait or raise."""

    def send(self, subscription: Subscription, batch: Batch) -> bool:
        """Send ``batch`` for one subscription; return False if the client does not keep up."""

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        """Send what waits in ``subscriptions``, all of this subscriber, as far as it goes."""

    def on_status(self, status: FeedStatus) -> None:
        """Tell the client that the feed became stale, or live again."""


class Waiting:
    """The newest state of a symbol that its reader did not take yet, as it will be delivered.

    It changes in place: a reader that does not read costs little more than that per state.
    """

    __slots__ = ("conflated", "recovered", "update")

    def __init__(self, update: Update, recovered: bool | None, conflated: int = 0) -> None:
        self.update = update
        self.recovered = recovered
        self.conflated = conflated

    def delivery(self) -> Delivery:
        """Return the delivery that the reader takes now."""
        return Delivery(self.update, self.recovered, self.conflated)


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
    """One subscription, and the updates that wait for its reader.

    ``conflate``: only the newest state per symbol waits, in the order in which symbols changed.
    ``buffer``: every state waits, up to the limits; beyond, :attr:`overflowed` is set, nothing
    more is taken in, and the reader must be disconnected.

    Args:
        symbols: the symbols it is for, in normal form; None: all, present and future.
        policy: what happens while the reader is slow.
        resume: where the reader left off.
        limits: the bounds of ``buffer``.
    """

    # The interval of its bars, and the history that they begin with; here, it is for aggregates.
    interval: str | None = None
    backfill: Backfill | None = None
    # Set by the hub while the subscription lasts.
    subscriber: Subscriber | None = None

    def __init__(
        self,
        symbols: Iterable[str] | None,
        policy: Policy = "conflate",
        resume: Resume | None = None,
        limits: BufferLimits | None = None,
    ) -> None:
        self.symbols = None if symbols is None else frozenset(symbols)
        self.policy = policy
        self.overflowed = False
        # States that were left out because the reader was slow.
        self.conflated = 0
        self._limits = limits or BufferLimits()
        self._resume_epoch = resume.epoch if resume else 0
        # Symbols whose first delivery has still to say whether it continues where the reader was.
        self._resuming = dict(resume.last_sequences) if resume else {}
        # By symbol.
        self._newest: dict[object, Waiting] = {}
        self._all: Pending[tuple[float, Delivery]] = Pending()
        # How many of the first updates, a snapshot or recovered ones, still wait; None: they still
        # come.
        self._initial: int | None = None

    @property
    def topics(self) -> list[Topic]:
        """The topics that it is for."""
        return [ALL] if self.symbols is None else list(self.symbols)

    @property
    def buffered(self) -> list[Buffered]:
        """The symbols of which it needs every state."""
        if self.policy == "conflate" or self.interval is not None:
            return []
        return (
            [Buffered(ALL)] if self.symbols is None else [Buffered(each) for each in self.symbols]
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._newest and not self._all

    @property
    def waiting_bytes(self) -> int:
        """About how many bytes wait."""
        return (len(self._newest) + len(self._all)) * UPDATE_BYTES

    def resumes_from(self, symbol: str) -> tuple[int, int] | None:
        """Return epoch and sequence from which ``symbol`` is to continue, if the reader said so."""
        sequence = self._resuming.get(symbol)
        return None if sequence is None else (self._resume_epoch, sequence)

    @property
    def has_next(self) -> bool:
        """Whether :meth:`take` has something to return."""
        return not self.is_empty

    def put(self, batch: Batch) -> bool:
        """Send ``batch`` to a client that keeps up, or let it wait.

        Returns:
            Whether the subscriber has to be woken.
        """
        continues = batch.complete if self.policy == "buffer" else batch.continuous
        if continues and not self._resuming and not self.overflowed:
            if self._newest:
                # No need to wake: the update that waited goes out when the client has drained, and
                # this one in its place.
                if self._replace(batch):
                    return False
            elif not self._all:
                subscriber = self.subscriber
                if subscriber is not None and subscriber.send(self, batch):
                    if self.policy == "conflate":
                        self.conflated += batch.skipped
                    return False
        for update in batch.updates:
            self.offer(update, batch.now)
        return True

    def _replace(self, batch: Batch) -> bool:
        # The same as :meth:`offer` where a state of the same symbol waits, in a third of the time:
        # clients that do not read take time from those that do.
        newest = batch.newest
        if len(newest) != 1:
            return False
        ((update, skipped),) = newest
        waiting = self._newest.get(update.symbol)
        if waiting is None:
            return False
        waiting.update = update
        waiting.conflated += skipped + 1
        self.conflated += skipped + 1
        return True

    def offer(self, update: Update, now: float) -> None:
        """Let ``update`` wait for the reader.

        Updates of one symbol must come in order, and without a hole unless they say so.
        """
        continues = update.continuous and (self.policy == "conflate" or not update.skipped)
        self._offer(update, None if continues else False, now)

    def offer_present(self, update: Update, now: float) -> None:
        """Let a present state wait, with which the reader begins or goes on."""
        self._offer(update, None, now, begins=True)

    def _offer(
        self, update: Update, recovered: bool | None, now: float, *, begins: bool = False
    ) -> None:
        if self._resuming:
            sequence = self._resuming.get(update.symbol)
            if sequence is not None:
                if (update.epoch, update.sequence) == (self._resume_epoch, sequence):
                    # The reader has this one; the next will tell.
                    return
                del self._resuming[update.symbol]
                recovered = update.epoch == self._resume_epoch and update.sequence == sequence + 1
                begins = True
        self._add(update, recovered, now, 0 if begins else update.skipped)

    def recover(self, missed: Iterable[Update], now: float) -> None:
        """Let all updates of one symbol wait that the reader missed."""
        for update in missed:
            self._resuming.pop(update.symbol, None)
            self._add(update, True, now)

    def begin(self) -> None:
        """Count updates that come from now on against the limits.

        The updates that wait already, a snapshot or those that a returning reader missed, do not
        show how fast it reads. The symbols and the history of the hub bound them.
        """
        self._initial = len(self._all)

    def take(self) -> Delivery | None:
        """Return the delivery that waits longest, or None."""
        if self._newest:
            return self._newest.pop(next(iter(self._newest))).delivery()
        if not self._all:
            return None
        if self._initial:
            self._initial -= 1
        return self._all.popleft()[1]

    # Skipped: the states before it that the reader was not sent because it conflates.
    def _add(self, update: Update, recovered: bool | None, now: float, skipped: int = 0) -> None:
        if self.policy == "conflate":
            waiting = self._newest.get(update.symbol)
            self.conflated += skipped
            if waiting is None:
                self._newest[update.symbol] = Waiting(update, recovered, skipped)
            else:
                self.conflated += 1
                waiting.update = update
                waiting.conflated += skipped + 1
                if recovered is not None and waiting.recovered is not False:
                    waiting.recovered = recovered
        elif self._initial is None:
            self._all.append((now, Delivery(update, recovered, 0)))
        elif not self.overflowed:
            count = len(self._all) - self._initial + 1
            too_many = count * UPDATE_BYTES > self._limits.max_bytes
            if too_many or (self._all and self._all.first[0] < now - self._limits.max_age_s):
                self.overflowed = True
                self._all.clear()
            else:
                self._all.append((now, Delivery(update, recovered, 0)))

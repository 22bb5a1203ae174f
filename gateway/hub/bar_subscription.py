"""Send one subscription its bars, or hold them while its reader is slow."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.hub.backfill import Backfill, Verdict
from gateway.hub.batch import Batch
from gateway.hub.pending import Pending
from gateway.hub.subscription import BufferLimits, Resume, Subscription, Waiting
from gateway.hub.updates import (
    ALL,
    UPDATE_BYTES,
    BarTopic,
    BarUpdate,
    Delivery,
    Policy,
    Topic,
    Update,
)


class BarSubscription(Subscription):
    """One subscription to bars, and the updates that wait for its reader.

    ``conflate``: only the newest state of each bar waits, in the order of the states. Closed bars
    and completed intervals are never left out: more of them than ``buffer`` would take set
    :attr:`overflowed`.
    ``buffer``: as for aggregates.

    Args:
        interval: the interval of its bars.
        symbols: the symbols it is for, in normal form; None: all, present and future.
        policy: what happens while the reader is slow.
        resume: where the reader left off.
        limits: the bounds.
        backfill: the history to begin with; live states wait until it was read.
    """

    interval: str

    def __init__(
        self,
        interval: str,
        symbols: Iterable[str] | None,
        policy: Policy = "conflate",
        resume: Resume | None = None,
        limits: BufferLimits | None = None,
        *,
        backfill: Backfill | None = None,
    ) -> None:
        super().__init__(symbols, policy, resume, limits)
        self.interval = interval
        self.backfill = backfill
        # How many updates in _newest may not be left out, and how many such may wait.
        self._closed = 0
        self._max_closed: int | None = None
        # Whether the next state of a symbol continues where the reader was.
        self._recovered: dict[str, bool] = {}
        # Sent before the rest: live states from before history was read again, and history.
        self._ahead: Pending[Delivery] = Pending()

    @property
    def topics(self) -> list[Topic]:
        """The topics that it is for."""
        symbols = (ALL,) if self.symbols is None else self.symbols
        return [BarTopic(self.interval, symbol) for symbol in symbols]

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return super().is_empty and not self._ahead

    @property
    def waiting_bytes(self) -> int:
        """About how many bytes wait."""
        return super().waiting_bytes + len(self._ahead) * UPDATE_BYTES

    @property
    def has_history(self) -> bool:
        """Whether history that was read still waits."""
        return bool(self._ahead)

    @property
    def has_next(self) -> bool:
        """Whether :meth:`take` has something to return."""
        if self.backfill is not None and self.backfill.is_holding:
            return bool(self._ahead)
        return not self.is_empty

    def put(self, batch: Batch) -> bool:
        """Send ``batch`` to a client that keeps up, or let it wait.

        Returns:
            Whether the subscriber has to be woken.
        """
        waits = self._newest or self._ahead or self._recovered
        if self.backfill is None and not waits:
            return super().put(batch)
        for update in batch.updates:
            self.offer(update, batch.now)
        return True

    def offer(self, update: Update, now: float) -> None:
        """Let ``update`` wait for the reader.

        States of one symbol must come in order, and without a hole unless they say so.
        """
        recovered = None if update.continuous else False
        if self.backfill is not None and isinstance(update, BarUpdate):
            was_holding = self.backfill.is_holding
            verdict = self.backfill.take_live(update)
            if self.backfill.is_holding and not was_holding:
                self._move_ahead()
            if verdict is Verdict.KNOWN:
                return
            # Within one epoch what was missed will be read.
            recovered = False if verdict is Verdict.NEW_EPOCH else None
        sequence = self._resuming.get(update.symbol)
        if sequence is not None:
            same_epoch = update.epoch == self._resume_epoch
            # Several bars of a symbol may be open; the reader was sent their states in order.
            if same_epoch and update.sequence <= sequence:
                return
            del self._resuming[update.symbol]
            recovered = same_epoch and update.sequence == sequence + 1
        self._add(update, recovered, now)

    def begin(self) -> None:
        """Count updates that come from now on against the limits."""
        super().begin()
        self._max_closed = self._closed + self._limits.max_bytes // UPDATE_BYTES

    def take(self) -> Delivery | None:
        """Return the delivery that goes next, or None."""
        if self.backfill is not None:
            if self._ahead:
                delivery = self._told(self._ahead.popleft())
                if not self._ahead:
                    self.backfill.on_drained()
                return delivery
            if self.backfill.is_holding:
                return None
        if self._newest:
            return self._tell_next()
        return super().take()

    # History

    def add_history(self, bars: Iterable[BarUpdate]) -> None:
        """Let ``bars``, which were read, go out before the live states that wait."""
        self._ahead.extend(Delivery(bar, None, 0) for bar in bars)

    def hold(self) -> None:
        """Hold live states back again, while history is read again."""
        if self.backfill is not None and not self.backfill.is_holding:
            self.backfill.is_holding = True
            self._move_ahead()

    def release(self) -> None:
        """Send live states after the history, without those that it has."""
        if self.backfill is None:
            return
        for key, waiting in list(self._newest.items()):
            update = waiting.update
            if isinstance(update, BarUpdate) and self.backfill.has(update):
                del self._newest[key]
                self._closed -= update.closed
        self.backfill.release()

    def _move_ahead(self) -> None:
        # The waiting states are older than the history that is read now.
        while self._newest:
            self._ahead.append(self._tell_next())
        self._ahead.extend(delivery for _, delivery in self._all)
        self._all.clear()
        self._initial = 0

    # The waiting updates

    def _add(self, update: Update, recovered: bool | None, now: float, skipped: int = 0) -> None:
        # History has only the newest state of each bar, so live states conflate beside it.
        if self.policy == "buffer" and not (self.backfill is not None and self.backfill.is_holding):
            super()._add(update, recovered, now)
            return
        if self.overflowed:
            return
        if recovered is not None and self._recovered.get(update.symbol) is not False:
            self._recovered[update.symbol] = recovered
        waiting = Waiting(update, None)
        key, *replaced = _keys_of(update)
        for each in (key, *replaced):
            # To the end: a reader that says which state it saw last has seen all before it.
            before = self._newest.pop(each, None)
            if before is not None:
                self.conflated += 1
                waiting.conflated += before.conflated + 1
                self._closed -= before.update.closed
        self._newest[key] = waiting
        self._closed += update.closed
        if self._max_closed is not None and self._closed > self._max_closed:
            self.overflowed = True
            self._newest.clear()
            self._ahead.clear()

    def _tell_next(self) -> Delivery:
        delivery = self._newest.pop(next(iter(self._newest))).delivery()
        self._closed -= delivery.update.closed
        return self._told(delivery)

    def _told(self, delivery: Delivery) -> Delivery:
        if self._recovered:
            recovered = self._recovered.pop(delivery.update.symbol, None)
            if recovered is not None:
                return delivery._replace(recovered=recovered)
        return delivery


def _keys_of(update: Update) -> tuple[object, ...]:
    # The key of an update that waits, and that of one that it replaces besides.
    if not isinstance(update, BarUpdate):
        return (update,)
    if not update.closed:
        return (update.key,)
    # A final state keeps its place, whatever revises it: a marker after it says that it was sent.
    return (update.key, update.bar.revision > 0), update.key

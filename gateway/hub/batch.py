"""Updates that came together, encoded once for all subscriptions that are sent the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from gateway.hub.updates import BarUpdate, Delivery, Policy, Update

T = TypeVar("T")
# Encodes deliveries; the same object for all subscriptions that are sent the same bytes.
Encode = Callable[[Sequence[Delivery]], T]
# The newest state of a symbol or bar, and how many states that came before it are left out.
Newest = tuple[Update, int]


# Without the call of a function in Python.
_new = tuple.__new__


class Batch:
    """Updates that a subscription is sent in one go, in order.

    Args:
        updates: all of them, of one topic or of several.
        newest: the newest of each symbol or bar.
        now: when they came.
    """

    __slots__ = (
        "_every",
        "_messages",
        "_newest",
        "complete",
        "continuous",
        "newest",
        "now",
        "size",
        "skipped",
        "updates",
    )

    def __init__(self, updates: Sequence[Update], newest: Sequence[Newest], now: float) -> None:
        self.updates = updates
        self.newest = newest
        self.now = now
        self.size = size = len(updates)
        # Whether no state is missing to subscriptions that conflate, and to those that buffer; most
        # batches are of one.
        if size == 1:
            (update,) = updates
            self.continuous = update.continuous
            self.complete = update.continuous and not update.skipped
        else:
            self.continuous = all(update.continuous for update in updates)
            self.complete = self.continuous and not any(update.skipped for update in updates)
        # States that are left out for subscriptions that conflate.
        self.skipped = sum(before for _, before in newest)
        # The deliveries of each policy, made when they are first needed.
        self._every: list[Delivery] | None = None
        self._newest: list[Delivery] | None = None
        self._messages: dict[tuple[bool, Encode[Any]], Any] = {}

    def encoded(self, policy: Policy, encode: Encode[T]) -> T:
        """Return the deliveries of ``policy``, encoded once for all."""
        # Where nothing is left out it is the same for both.
        everything = self.skipped != 0 and policy == "buffer"
        key = (everything, encode)
        messages = self._messages.get(key)
        if messages is None:
            if self.size == 1:
                # Alone, each call is found with cold caches.
                ((update, before),) = self.newest
                deliveries = [_new(Delivery, (update, None, before))]
            else:
                deliveries = self._deliveries(everything=everything)
            messages = self._messages[key] = encode(deliveries)
        result: T = messages
        return result

    def _deliveries(self, *, everything: bool) -> list[Delivery]:
        if everything:
            if self._every is None:
                self._every = [Delivery(update, None, 0) for update in self.updates]
            return self._every
        if self._newest is None:
            self._newest = [
                _new(Delivery, (update, None, before)) for update, before in self.newest
            ]
        return self._newest


def newest_of(updates: Sequence[Update]) -> Newest:
    """Return the newest of the states of one symbol, and how many are left out before it."""
    newest = updates[-1]
    if len(updates) == 1:
        return newest, newest.skipped
    return newest, len(updates) - 1 + sum(update.skipped for update in updates)


def batch_of_bars(updates: Sequence[BarUpdate], now: float) -> Batch:
    """Return the batch of ``updates``: the newest state of each bar, in the order of states."""
    if len(updates) == 1:
        return Batch(updates, ((updates[0], 0),), now)
    return Batch(updates, list(_newest_of_bars(updates)), now)


def _newest_of_bars(updates: Iterable[BarUpdate]) -> Iterable[Newest]:
    newest: dict[object, Newest] = {}
    for update in updates:
        # To the end: a reader that says which state it saw last has seen all before it.
        _, before = newest.pop(update.key, (None, -1))
        newest[update.key] = update, before + 1
    return newest.values()

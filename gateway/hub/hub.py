"""Know who wants which symbols, and give each update to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol

from gateway.hub.history import History
from gateway.hub.subscription import Subscription
from gateway.hub.updates import Update
from marketdata.errors import MarketDataError
from marketdata.wire.market_data_pb2 import Aggregate


class FeedStatus(StrEnum):
    """Whether what subscribers see is the present."""

    LIVE = "live"
    # The aggregator is away: the last states stand until it is back.
    STALE = "stale"


class TooManySymbols(MarketDataError):
    """The gateway follows as many symbols as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the gateway follows at most {limit} symbols")
        self.limit = limit


class Subscriber(Protocol):
    """One connection, as the hub sees it. No method may wait or raise."""

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        """Send what waits in ``subscriptions``, all of this subscriber, as far as it goes."""

    def on_status(self, status: FeedStatus) -> None:
        """Tell the client that the feed became stale, or live again."""


class Hub:
    """Join subscriptions to one upstream.

    The upstream carries every symbol that has a subscriber, once, and those that had one until
    ``linger_s`` ago, so that a client that comes back finds what it missed.

    Args:
        history: the updates a returning client may have missed.
        linger_s: how long a symbol is followed after its last subscriber left.
        max_symbols: symbols followed by name at the same time.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        history: History,
        *,
        linger_s: float,
        max_symbols: int,
        clock: Callable[[], float],
    ) -> None:
        self._history = history
        self._linger_s = linger_s
        self._max_symbols = max_symbols
        self._clock = clock
        self.status = FeedStatus.STALE
        self._subscribers: dict[Subscription, Subscriber] = {}
        # How many subscriptions each subscriber has.
        self._counts: dict[Subscriber, int] = {}
        # Those who want to know the status whether they have subscriptions or not.
        self._watchers: dict[Subscriber, None] = {}
        self._by_symbol: dict[str, dict[Subscription, None]] = {}
        self._wildcards: dict[Subscription, None] = {}
        # Followed without a subscriber, and until when; the first ends first.
        self._lingering: dict[str, float] = {}
        self._wildcard_lingers_until: float | None = None
        self._latest: dict[str, Update] = {}
        # Symbols whose subscribers saw states of an earlier life of the aggregator.
        self._interrupted: set[str] = set()
        # What the upstream has to be told.
        self._added: set[str] = set()
        self._removed: set[str] = set()
        self.on_interest_changed: Callable[[], None] = lambda: None

    # Subscribers

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscribers)

    def subscribe(self, subscription: Subscription, subscriber: Subscriber) -> None:
        """Let what is known wait in ``subscription``, and all that follows.

        The caller flushes. No update can come between what is known and what follows: nothing
        here waits.

        Raises:
            TooManySymbols: it would make the gateway follow too many symbols.
        """
        now = self._clock()
        self.expire(now)
        symbols = subscription.symbols
        if symbols is None:
            self._wildcards[subscription] = None
            self._wildcard_lingers_until = None
            self.on_interest_changed()
            known: Iterable[str] = self._latest
        else:
            new = [symbol for symbol in symbols if symbol not in self._by_symbol]
            followed = len(self._by_symbol) + len(self._lingering)
            fresh = sum(symbol not in self._lingering for symbol in new)
            if followed + fresh > self._max_symbols:
                raise TooManySymbols(self._max_symbols)
            for symbol in symbols:
                self._by_symbol.setdefault(symbol, {})[subscription] = None
            self._follow(new)
            known = symbols
        self._subscribers[subscription] = subscriber
        self._counts[subscriber] = self._counts.get(subscriber, 0) + 1
        for symbol in known:
            self._begin(subscription, symbol, now)
        subscription.begin()

    def unsubscribe(self, subscription: Subscription) -> None:
        """Let ``subscription`` hear no more; an unknown one is ignored."""
        subscriber = self._subscribers.pop(subscription, None)
        if subscriber is None:
            return
        self._counts[subscriber] -= 1
        if not self._counts[subscriber]:
            del self._counts[subscriber]
        until = self._clock() + self._linger_s
        if subscription.symbols is None:
            del self._wildcards[subscription]
            if not self._wildcards:
                self._wildcard_lingers_until = until
        else:
            for symbol in subscription.symbols:
                subscriptions = self._by_symbol[symbol]
                del subscriptions[subscription]
                if not subscriptions:
                    del self._by_symbol[symbol]
                    self._lingering[symbol] = until
        self.on_interest_changed()

    def latest(self, symbol: str) -> Update | None:
        """Return the newest state of a followed symbol, if any is known in this epoch."""
        return self._latest.get(symbol)

    def watch_status(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` of each change of the status, also without a subscription."""
        self._watchers[subscriber] = None

    def unwatch_status(self, subscriber: Subscriber) -> None:
        """Undo :meth:`watch_status`, if it was done."""
        self._watchers.pop(subscriber, None)

    def _begin(self, subscription: Subscription, symbol: str, now: float) -> None:
        latest = self._latest.get(symbol)
        if latest is None:
            return
        resume = subscription.resumes_from(symbol)
        missed = None if resume is None else self._history.since(symbol, *resume)
        if missed:
            subscription.recover(missed, now)
        else:
            # Nothing is missed, or not all of it is known: the subscription tells them apart.
            subscription.offer(latest, now)

    # Upstream

    @property
    def follows_all(self) -> bool:
        """Whether the upstream has to carry every symbol."""
        return bool(self._wildcards) or self._wildcard_lingers_until is not None

    def followed_symbols(self) -> list[str]:
        """Return the symbols that the upstream has to carry by name."""
        return [*self._by_symbol, *self._lingering]

    def take_interest_changes(self) -> tuple[set[str], set[str]]:
        """Return the symbols to add to the upstream and to remove from it since the last call."""
        added, removed = self._added, self._removed
        self._added, self._removed = set(), set()
        return added, removed

    def next_timer(self) -> float | None:
        """Return when :meth:`expire` has something to do, on the hub's clock."""
        times = [next(iter(self._lingering.values()))] if self._lingering else []
        if self._wildcard_lingers_until is not None:
            times.append(self._wildcard_lingers_until)
        return min(times, default=None)

    def expire(self, now: float) -> None:
        """Stop following what nobody asked for in the last ``linger_s``."""
        self._history.expire(now)
        while self._lingering:
            symbol, until = next(iter(self._lingering.items()))
            if until > now:
                break
            del self._lingering[symbol]
            self._added.discard(symbol)
            self._removed.add(symbol)
            if not self.follows_all:
                self._forget(symbol)
        if self._wildcard_lingers_until is not None and self._wildcard_lingers_until <= now:
            self._wildcard_lingers_until = None
            for symbol in self._latest.keys() - self._by_symbol.keys() - self._lingering.keys():
                self._forget(symbol)
        self.on_interest_changed()

    def begin_epoch(self, epoch: int) -> None:
        """Forget the states of an earlier life of the aggregator: they may be gone for good."""
        for symbol in [s for s, update in self._latest.items() if update.epoch != epoch]:
            self._forget(symbol)
            self._interrupted.add(symbol)

    def set_status(self, status: FeedStatus) -> None:
        """Tell every subscriber when the status changes."""
        if status is not self.status:
            self.status = status
            for subscriber in {**self._watchers, **self._counts}:
                subscriber.on_status(status)

    def publish(self, aggregates: Iterable[Aggregate]) -> None:
        """Give states that came from the upstream to those who subscribed; waits for nobody."""
        now = self._clock()
        woken: dict[Subscriber, dict[Subscription, None]] = {}
        subscribers = self._subscribers
        for aggregate in aggregates:
            update = self._admit(aggregate, now)
            if update is None:
                continue
            for subscription in self._by_symbol.get(update.symbol, ()):
                subscription.offer(update, now)
                woken.setdefault(subscribers[subscription], {})[subscription] = None
            for subscription in self._wildcards:
                subscription.offer(update, now)
                woken.setdefault(subscribers[subscription], {})[subscription] = None
        for subscriber, subscriptions in woken.items():
            subscriber.flush(subscriptions)

    def _admit(self, aggregate: Aggregate, now: float) -> Update | None:
        latest = self._latest.get(aggregate.symbol)
        continuous = True
        if latest is None:
            if aggregate.symbol in self._interrupted:
                self._interrupted.discard(aggregate.symbol)
                continuous = False
        else:
            if latest.epoch == aggregate.epoch and aggregate.sequence <= latest.sequence:
                # A new stream begins with the present state, which may be known.
                return None
            continuous = (
                latest.epoch == aggregate.epoch and aggregate.sequence == latest.sequence + 1
            )
            # Who keeps up has it, and in the history it would be most of the memory.
            latest.shed_forms()
        # A message of a list keeps the whole list in memory; this one stays.
        own = Aggregate()
        own.CopyFrom(aggregate)
        update = Update(own, continuous=continuous)
        self._latest[aggregate.symbol] = update
        self._history.add(update, now)
        return update

    def _follow(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            if self._lingering.pop(symbol, None) is None:
                self._removed.discard(symbol)
                self._added.add(symbol)
        self.on_interest_changed()

    def _forget(self, symbol: str) -> None:
        self._latest.pop(symbol, None)
        self._interrupted.discard(symbol)
        self._history.forget(symbol)

"""Know the subscriptions of each topic, and give every update to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.hub.bars import Bars
from gateway.hub.batch import Batch, batch_of_bars, newest_of
from gateway.hub.history import History
from gateway.hub.interest import Interest
from gateway.hub.subscription import Subscriber, Subscription
from gateway.hub.updates import (
    ALL,
    AggregateUpdate,
    BarTopic,
    BarUpdate,
    Buffered,
    Carried,
    CompletionUpdate,
    FeedStatus,
    Topic,
    Update,
)
from marketdata.errors import MarketDataError
from marketdata.intervals import not_live, parse_interval
from marketdata.wire.market_data_pb2 import Bar, IntervalComplete

# Subscribers to flush, each with its subscriptions.
Woken = dict[Subscriber, dict[Subscription, None]]


class TooManySymbols(MarketDataError):
    """The gateway follows as many symbols as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the gateway follows at most {limit} symbols")
        self.limit = limit


class Hub:
    """Connect subscriptions to one upstream.

    The upstream carries every topic that has a subscriber, once, and those that had one until
    ``linger_s`` ago, so that a client that comes back finds the updates that it missed.

    Args:
        history: the updates a returning client may have missed.
        linger_s: how long a symbol is followed after its last subscriber left.
        max_symbols: topics followed by name at the same time.
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
        # What the upstream carries, and of which symbols it carries every state.
        self._followed: Interest[Topic] = Interest(linger_s)
        self._buffered: Interest[Buffered] = Interest(linger_s)
        self._max_symbols = max_symbols
        self._clock = clock
        self.status = FeedStatus.STALE
        self._subscribers: dict[Subscription, Subscriber] = {}
        # How many subscriptions each subscriber has.
        self._counts: dict[Subscriber, int] = {}
        # Sessions that are told the status whether they have subscriptions or not.
        self._watchers: dict[Subscriber, None] = {}
        self._by_topic: dict[Topic, dict[Subscription, None]] = {}
        # Subscriptions that get the markers of an interval.
        self._by_interval: dict[str, dict[Subscription, None]] = {}
        self._latest: dict[str, AggregateUpdate] = {}
        # How many updates there were.
        self._admitted = 0
        self._bars = Bars()
        # The intervals of the aggregator's bars; None: not known yet.
        self.intervals: tuple[str, ...] | None = None
        # The epoch of the aggregator that states come from; 0: none came.
        self.epoch = 0
        # Symbols whose subscribers saw states of an earlier epoch or stream.
        self._interrupted: set[str] = set()
        # States that subscriptions which ended had left out.
        self._conflated = 0
        self.on_interest_changed: Callable[[], None] = lambda: None

    # Subscribers

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscribers)

    @property
    def topics(self) -> int:
        """How many topics the upstream carries."""
        return len(self._followed)

    @property
    def conflated(self) -> int:
        """How many states were left out because their readers were slow."""
        return self._conflated + sum(each.conflated for each in self._subscribers)

    @property
    def wildcards(self) -> int:
        """How many subscriptions are for every symbol."""
        return len(self._by_topic.get(ALL, ()))

    def subscribe(self, subscription: Subscription, subscriber: Subscriber) -> None:
        """Begin ``subscription``: known states wait in it, and all later ones follow.

        The caller flushes. No update is lost between the known and the later states, as nothing
        here awaits.

        Raises:
            TooManySymbols: it would make the gateway follow too many symbols.
            InvalidInterval: it is for bars that are not made.
        """
        now = self._clock()
        self.expire(now)
        if subscription.interval is not None:
            self.check_interval(subscription.interval)
        topics = subscription.topics
        if subscription.symbols is not None:
            fresh = sum(topic not in self._followed for topic in topics)
            if len(self._followed) + fresh > self._max_symbols:
                raise TooManySymbols(self._max_symbols)
        for topic in topics:
            self._by_topic.setdefault(topic, {})[subscription] = None
        self._followed.want(topics)
        self._buffered.want(subscription.buffered)
        self.on_interest_changed()
        self._subscribers[subscription] = subscription.subscriber = subscriber
        self._counts[subscriber] = self._counts.get(subscriber, 0) + 1
        if subscription.interval is None:
            named = subscription.symbols
            for symbol in self._latest if named is None else named:
                self._begin(subscription, symbol, now)
        else:
            self._by_interval.setdefault(subscription.interval, {})[subscription] = None
            for topic in topics:
                self._begin_bars(subscription, topic, now)
        subscription.begin()

    def unsubscribe(self, subscription: Subscription) -> None:
        """End ``subscription``; an unknown one is ignored."""
        subscriber = self._subscribers.pop(subscription, None)
        if subscriber is None:
            return
        subscription.subscriber = None
        self._conflated += subscription.conflated
        if subscription.backfill is not None:
            subscription.backfill.on_end()
        self._counts[subscriber] -= 1
        if not self._counts[subscriber]:
            del self._counts[subscriber]
        if subscription.interval is not None:
            of_interval = self._by_interval[subscription.interval]
            del of_interval[subscription]
            if not of_interval:
                del self._by_interval[subscription.interval]
        now = self._clock()
        for topic in subscription.topics:
            subscriptions = self._by_topic[topic]
            del subscriptions[subscription]
            if not subscriptions:
                del self._by_topic[topic]
        self._followed.leave(subscription.topics, now)
        self._buffered.leave(subscription.buffered, now)
        self.on_interest_changed()

    def check_interval(self, interval: str) -> None:
        """Check that there can be live bars of ``interval``.

        Raises:
            InvalidInterval: it is not an interval, or the aggregator has no live bars of it.
        """
        if self.intervals is None:
            if parse_interval(interval).is_long:
                raise not_live(interval, ["1d"])
        elif interval not in self.intervals:
            raise not_live(parse_interval(interval).name, self.intervals)

    def latest(self, topic: Topic) -> Update | None:
        """Return the newest state of a followed topic, if any is known in this epoch."""
        return self._bars.last(topic) if isinstance(topic, BarTopic) else self._latest.get(topic)

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
            subscription.offer_present(latest, now)

    def _begin_bars(self, subscription: Subscription, wanted: Topic, now: float) -> None:
        assert isinstance(wanted, BarTopic)  # noqa: S101  all topics of bars are
        for topic, still_open in self._bars.known(wanted):
            resume = subscription.resumes_from(topic.symbol)
            missed = None if resume is None else self._history.since(topic, *resume)
            if missed:
                subscription.recover(missed, now)
            elif not self._bars.await_open(topic, subscription):
                for update in still_open:
                    subscription.offer(update, now)
                position = self._bars.position(topic)
                if subscription.backfill is not None and position is not None:
                    subscription.backfill.begin_at(topic.symbol, *position)

    # Upstream

    def followed_topics(self) -> list[Carried]:
        """Return what the upstream has to carry."""
        return [*self._followed, *self._buffered]

    def take_interest_changes(self) -> tuple[set[Carried], set[Carried]]:
        """Return what to add to the upstream and to remove from it since the last call."""
        added, removed = self._followed.take_changes()
        buffered, unbuffered = self._buffered.take_changes()
        return {*added, *buffered}, {*removed, *unbuffered}

    def next_timer(self) -> float | None:
        """Return when :meth:`expire` has something to do, on the hub's clock."""
        times = (self._followed.next_timer(), self._buffered.next_timer())
        return min((time for time in times if time is not None), default=None)

    def expire(self, now: float) -> None:
        """Stop following topics without a subscription in the last ``linger_s``."""
        self._history.expire(now)
        self._buffered.expire(now)
        for topic in self._followed.expire(now):
            self._forget_unfollowed(topic)
        self.on_interest_changed()

    def begin_stream(self, intervals: Iterable[str] | None) -> None:
        """Take note that a new stream begins, and of the intervals of its bars."""
        self.intervals = None if intervals is None else tuple(intervals)
        # Between two streams anything may be missing.
        self._interrupted.update(self._latest)
        self._bars.begin_stream()

    def begin_epoch(self, epoch: int) -> None:
        """Forget the states of an earlier epoch: they may be gone for good."""
        self.epoch = epoch
        for symbol in [s for s, update in self._latest.items() if update.epoch != epoch]:
            self._forget(symbol)
            self._interrupted.add(symbol)
        for topic in self._bars.begin_epoch(epoch):
            self._history.forget(topic)

    def set_status(self, status: FeedStatus) -> None:
        """Tell every subscriber when the status changes."""
        if status is not self.status:
            self.status = status
            for subscriber in {**self._watchers, **self._counts}:
                subscriber.on_status(status)

    def publish(self, records: Iterable[bytes]) -> None:
        """Send states, each an encoded Aggregate, to their subscriptions, without waiting."""
        now = self._clock()
        by_symbol: dict[str, list[AggregateUpdate]] = {}
        updates: list[AggregateUpdate] = []
        for record in records:
            update = self._admit(record, now)
            if update is not None:
                updates.append(update)
                own = by_symbol.get(update.symbol)
                if own is None:
                    by_symbol[update.symbol] = [update]
                else:
                    own.append(update)
        woken: Woken = {}
        for symbol, own in by_symbol.items():
            subscriptions = self._by_topic.get(symbol)
            if subscriptions:
                self._hand_out(Batch(own, [newest_of(own)], now), subscriptions, woken)
        wildcards = self._by_topic.get(ALL)
        if wildcards and updates:
            newest = [newest_of(own) for own in by_symbol.values()]
            self._hand_out(Batch(updates, newest, now), wildcards, woken)
        if woken:
            self._wake(woken)

    def publish_bars(self, bars: Iterable[Bar], completed: Iterable[IntervalComplete] = ()) -> None:
        """Send states of bars, and then that intervals are complete, without waiting.

        Each bar is a message of its own: one of a list would keep the whole list in memory.
        """
        now = self._clock()
        by_topic: dict[BarTopic, list[BarUpdate]] = {}
        by_interval: dict[str, list[BarUpdate]] = {}
        woken: Woken = {}
        for bar in bars:
            update, is_new = self._bars.admit(bar)
            update.number = self._next_number()
            if is_new:
                topic = update.topic
                self._history.add(topic, update, now)
                by_topic.setdefault(topic, []).append(update)
                by_interval.setdefault(topic.interval, []).append(update)
                continue
            # A new stream begins with the open bars, which may be known.
            for subscription in self._bars.take_awaiting(update):
                subscriber = self._subscribers.get(subscription)
                if subscriber is not None:
                    subscription.offer(update, now)
                    woken.setdefault(subscriber, {})[subscription] = None
        for topic, own in by_topic.items():
            subscriptions = self._by_topic.get(topic)
            if subscriptions:
                self._hand_out(batch_of_bars(own, now), subscriptions, woken)
        for interval, own in by_interval.items():
            wildcards = self._by_topic.get(BarTopic(interval, ALL))
            if wildcards:
                self._hand_out(batch_of_bars(own, now), wildcards, woken)
        for completion in completed:
            subscriptions = self._by_interval.get(completion.interval)
            if subscriptions:
                marker = CompletionUpdate(completion)
                marker.number = self._next_number()
                self._hand_out(Batch([marker], [(marker, 0)], now), subscriptions, woken)
        self._wake(woken)

    def _hand_out(self, batch: Batch, subscriptions: Iterable[Subscription], woken: Woken) -> None:
        # A copy: a session that turns out to be broken leaves at once.
        for subscription in tuple(subscriptions):
            if subscription.put(batch):
                subscriber = subscription.subscriber
                if subscriber is not None:
                    woken.setdefault(subscriber, {})[subscription] = None

    def _wake(self, woken: Woken) -> None:
        for subscriber, subscriptions in woken.items():
            subscriber.flush(subscriptions)

    def _next_number(self) -> int:
        self._admitted += 1
        return self._admitted

    def _admit(self, record: bytes, now: float) -> AggregateUpdate | None:
        update = AggregateUpdate(record)
        symbol = update.symbol
        latest = self._latest.get(symbol)
        if latest is None:
            update.continuous = symbol not in self._interrupted
        else:
            ahead = update.sequence - latest.sequence
            if latest.epoch != update.epoch:
                update.continuous = False
            elif ahead <= 0:
                # A new stream begins with the present state, which may be known.
                self._interrupted.discard(symbol)
                return None
            elif ahead != 1:
                # Within one stream the aggregator left states out because this process was busy.
                if symbol in self._interrupted:
                    update.continuous = False
                else:
                    update.skipped = ahead - 1
            # Clients that keep up have it, and in the history it would be most of the memory.
            latest.shed_forms()
        if self._interrupted:
            self._interrupted.discard(symbol)
        update.number = self._next_number()
        self._latest[symbol] = update
        self._history.add(symbol, update, now)
        return update

    # Forget the states of a topic that ended, unless another topic covers them.
    def _forget_unfollowed(self, topic: Topic) -> None:
        if isinstance(topic, BarTopic):
            interval, symbol = topic
            wildcard = BarTopic(interval, ALL)
            if symbol != ALL:
                bars = [] if wildcard in self._followed else [topic]
            else:
                known = (BarTopic(interval, each) for each in self._bars.symbols(interval))
                bars = [each for each in known if each not in self._followed]
            for each in bars:
                self._bars.forget(each)
                self._history.forget(each)
        elif topic == ALL:
            for symbol in [each for each in self._latest if each not in self._followed]:
                self._forget(symbol)
        elif ALL not in self._followed:
            self._forget(topic)

    def _forget(self, symbol: str) -> None:
        self._latest.pop(symbol, None)
        self._interrupted.discard(symbol)
        self._history.forget(symbol)

"""The updates that the hub sends, each encoded once per format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeVar

from gateway.encoding import aggregate_to_dict, bar_to_dict, completion_to_dict, encode_json
from gateway.kernel.encoder import StateEncoder
from marketdata.wire.market_data_pb2 import (
    BAR_STATE_EARLY,
    BAR_STATE_PARTIAL,
    Aggregate,
    Bar,
    IntervalComplete,
)

T = TypeVar("T")

# Everything here is of one event loop.
_ENCODER = StateEncoder()


class FeedStatus(StrEnum):
    """Whether what subscribers see is the present."""

    LIVE = "live"
    # The aggregator is away: the last states stand until it is back.
    STALE = "stale"


Policy = Literal["conflate", "buffer"]

# What one waiting or remembered update counts as: its JSON is at most 600 bytes, and the message
# and a second format come to about as much again.
UPDATE_BYTES = 1024
# Every symbol, present and future; no symbol is spelled so.
ALL = "*"


class BarTopic(NamedTuple):
    """The bars of one interval of one symbol, or of all of them."""

    interval: str
    symbol: str


class Buffered(NamedTuple):
    """Every state of one symbol, or of all of them, and not only the newest ones."""

    symbol: str


# A symbol means its aggregates: most topics are these, and text is hashed once.
Topic = str | BarTopic
# What the upstream can carry; without its topic, a Buffered brings nothing.
Carried = Topic | Buffered


class Update(ABC):
    """One state, or a marker between states.

    ``continuous``: the stream of its epoch went on since the state before it of its topic; False
    where a stream or an epoch begins and states may be missing. ``skipped``: how many states the
    aggregator left out before it because this process was busy. It continues for a reader that
    conflates if it is continuous, and for one that buffers if nothing was skipped either.
    ``number`` is one that no other update that the hub published has.
    """

    __slots__ = ("_forms", "continuous", "epoch", "number", "sequence", "skipped", "symbol")

    # The interval of its bars; None: it is about aggregates.
    interval: str | None = None
    # Whether it must reach a slow reader too, whatever comes after it.
    closed = False
    # Whether it is about bars without being one.
    is_marker = False

    def __init__(self, symbol: str, sequence: int, epoch: int, *, continuous: bool) -> None:
        self.symbol = symbol
        self.sequence = sequence
        self.epoch = epoch
        self.continuous = continuous
        self.skipped = 0
        self.number = 0
        # None: there are none.
        self._forms: dict[Callable[[Any], Any], Any] | None = None

    @property
    @abstractmethod
    def topic(self) -> Topic:
        """Where it is published."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return its JSON object."""

    def form(self, encode: Callable[[Update], T]) -> T:
        """Return ``encode(self)``, computed once for all."""
        forms = self._forms
        if forms is None:
            forms = self._forms = {}
        form = forms.get(encode)
        if form is None:
            form = forms[encode] = encode(self)
        result: T = form
        return result

    def shed_forms(self) -> None:
        """Forget the computed forms; a form that is needed later is computed again."""
        self._forms = None

    @property
    def json(self) -> bytes:
        """The JSON object that every endpoint sends."""
        return self.form(_encode_json)


class AggregateUpdate(Update):
    """The state of a symbol, of the bytes that the aggregator sent.

    It is kept as these bytes, a third of its JSON's size, since most are never looked at again:
    history holds 100,000 of them.
    """

    __slots__ = ("_data", "_json")

    # Not by way of Update's, which would be a third of the time.
    def __init__(self, data: bytes, *, continuous: bool = True) -> None:
        _, symbol, self.sequence, self.epoch, json = _ENCODER.encode_aggregate(data)
        self.symbol = symbol.decode()
        self.continuous = continuous
        self.skipped = 0
        self.number = 0
        self._forms = None
        self._json: bytes | None = json
        self._data = data

    @property
    def aggregate(self) -> Aggregate:
        """The state; not to be changed."""
        return Aggregate.FromString(self._data)

    @property
    def json(self) -> bytes:
        """The JSON object that every endpoint sends."""
        json = self._json
        if json is None:
            json = self._json = _ENCODER.aggregate_json(self._data)
        return json

    def shed_forms(self) -> None:
        """Forget the computed forms; a form that is needed later is computed again."""
        self._forms = self._json = None

    @property
    def topic(self) -> str:
        """Its symbol."""
        return self.symbol

    def to_dict(self) -> dict[str, Any]:
        """Return its JSON object."""
        return aggregate_to_dict(self.aggregate)


class BarUpdate(Update):
    """A state of a bar; ``key`` tells the bar from the others of its interval.

    ``is_history``: it was read, in the order of bars and not of sequences.
    ``sure``: the stream is past the open bars that it began with, so that of what comes between two
    states that continue only open states were skipped.
    """

    __slots__ = ("bar", "closed", "interval", "is_history", "key", "sure")

    def __init__(
        self, bar: Bar, *, continuous: bool = True, sure: bool = False, is_history: bool = False
    ) -> None:
        super().__init__(bar.symbol, bar.sequence, bar.epoch, continuous=continuous)
        self.bar = bar
        self.is_history = is_history
        self.sure = sure
        self.interval = bar.interval
        self.key = bar.symbol, bar.start, bar.number
        self.closed = bar.state not in {BAR_STATE_PARTIAL, BAR_STATE_EARLY}

    @property
    def topic(self) -> BarTopic:
        """Its interval and symbol."""
        return BarTopic(self.bar.interval, self.symbol)

    @property
    def json(self) -> bytes:
        """The JSON object that every endpoint sends."""
        return self.form(_encode_bar)

    def to_dict(self) -> dict[str, Any]:
        """Return its JSON object."""
        return bar_to_dict(self.bar)


class CompletionUpdate(Update):
    """The marker after all bars of an interval that end at one time."""

    __slots__ = ("completion", "interval")

    closed = True
    is_marker = True

    def __init__(self, completion: IntervalComplete) -> None:
        super().__init__("", 0, completion.epoch, continuous=True)
        self.completion = completion
        self.interval = completion.interval

    @property
    def topic(self) -> BarTopic:
        """Its interval, whatever the symbol."""
        return BarTopic(self.completion.interval, ALL)

    def to_dict(self) -> dict[str, Any]:
        """Return its JSON object."""
        return completion_to_dict(self.completion)


def _encode_json(update: Update) -> bytes:
    return encode_json(update.to_dict())


def _encode_bar(update: Update) -> bytes:
    assert isinstance(update, BarUpdate)  # noqa: S101  it is a form of nothing else
    # 1.2 us, with the encoding of the message; without the loop 2.5 us.
    return _ENCODER.bar_json(update.bar.SerializeToString())


class Delivery(NamedTuple):
    """An update on its way to one subscription."""

    update: Update
    # None, or how the subscription continues: True, all since the last sequence came; False, what
    # was missed is not known, and this is a fresh snapshot.
    recovered: bool | None
    # How many states of the symbol, or of the bar, were skipped before this one.
    conflated: int

"""One published state of one symbol, encoded once per format for all who get it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from gateway.encoding import aggregate_to_dict, encode_json
from marketdata.wire.market_data_pb2 import Aggregate

T = TypeVar("T")

# What one waiting or remembered update counts as: its JSON is at most 400 bytes, and the message
# and a second format come to about as much again.
UPDATE_BYTES = 1024


class Update:
    """One state of one symbol.

    ``continuous`` says that it is the successor of the one before it that the hub saw; False
    where the stream has a hole, or a new life of the aggregator begins.
    """

    __slots__ = ("_forms", "aggregate", "continuous", "epoch", "sequence", "symbol")

    def __init__(self, aggregate: Aggregate, *, continuous: bool = True) -> None:
        self.aggregate = aggregate
        self.symbol = aggregate.symbol
        self.sequence = aggregate.sequence
        self.epoch = aggregate.epoch
        self.continuous = continuous
        self._forms: dict[Callable[[Update], Any], Any] = {}

    def form(self, encode: Callable[[Update], T]) -> T:
        """Return ``encode(self)``, computed once for all."""
        form = self._forms.get(encode)
        if form is None:
            form = self._forms[encode] = encode(self)
        result: T = form
        return result

    def shed_forms(self) -> None:
        """Forget the computed forms: whoever still wants one computes it anew, for all again."""
        self._forms.clear()

    @property
    def json(self) -> bytes:
        """The JSON object that every door sends."""
        return self.form(_encode_json)


def _encode_json(update: Update) -> bytes:
    return encode_json(aggregate_to_dict(update.aggregate))


class Delivery(NamedTuple):
    """An update on its way to one subscription."""

    update: Update
    # None, or how the subscription continues: True, all since the last sequence came; False, what
    # was missed is not known, and this is a fresh snapshot.
    recovered: bool | None
    # How many states of the symbol were skipped before this one.
    conflated: int

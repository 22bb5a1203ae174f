"""What a stream can ask for about bars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from marketdata.symbols import normalize_symbol
from marketdata.wire.market_data_pb2 import BarTopic

# A topic of this symbol stands for every symbol.
ALL = "*"


class Topic(NamedTuple):
    """The bars of one interval, of one symbol or of all."""

    symbol: str
    interval: str


def read_topics(topics: Iterable[BarTopic]) -> list[Topic]:
    """Return the topics that messages name.

    Raises:
        InvalidSymbol: a symbol is invalid.
    """
    return [
        Topic(ALL if topic.symbol == ALL else normalize_symbol(topic.symbol), topic.interval)
        for topic in topics
    ]

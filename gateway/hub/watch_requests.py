"""Say in requests of a Watch stream what it is to carry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gateway.hub.updates import ALL, BarTopic, Buffered, Carried
from marketdata.wire import market_data_pb2 as wire

# A topic is at most 67 bytes on the wire, and a message 4 MiB.
MAX_TOPICS_PER_REQUEST = 10_000
_ALL_BUFFERED = Buffered(ALL)


def requests_for(
    added: Iterable[Carried], removed: Iterable[Carried], intervals: Collection[str]
) -> Iterator[wire.WatchRequest]:
    """Return the requests that change what a stream carries.

    Args:
        added: what it is to carry from now on.
        removed: what it is to carry no longer; what is also in ``added`` begins anew.
        intervals: those of the aggregator; bars of others are left out.
    """
    removed, added = set(removed), set(added)
    for symbols, bars, buffered in _chunks(removed, intervals):
        yield wire.WatchRequest(remove=symbols, remove_bars=bars, remove_buffered=buffered)
    # Before the topics, so that their first states wait as they should.
    if _ALL_BUFFERED in removed or _ALL_BUFFERED in added:
        yield wire.WatchRequest(buffer_all=_ALL_BUFFERED in added)
    for symbols, bars, buffered in _chunks(added, intervals):
        yield wire.WatchRequest(add=symbols, add_bars=bars, add_buffered=buffered)
    if ALL in removed:
        yield wire.WatchRequest(all=False)
    if ALL in added:
        yield wire.WatchRequest(all=True)


def _chunks(
    topics: Iterable[Carried], intervals: Collection[str]
) -> Iterator[tuple[list[str], list[wire.BarTopic], list[str]]]:
    listed = [
        topic
        for topic in topics
        if (
            topic.interval in intervals
            if isinstance(topic, BarTopic)
            else topic not in {ALL, _ALL_BUFFERED}
        )
    ]
    # A symbol is buffered in the request that adds it, or before.
    listed.sort(key=_is_not_buffered)
    for start in range(0, len(listed), MAX_TOPICS_PER_REQUEST):
        chunk = listed[start : start + MAX_TOPICS_PER_REQUEST]
        yield (
            [topic for topic in chunk if isinstance(topic, str)],
            [
                wire.BarTopic(symbol=topic.symbol, interval=topic.interval)
                for topic in chunk
                if isinstance(topic, BarTopic)
            ],
            [topic.symbol for topic in chunk if isinstance(topic, Buffered)],
        )


def _is_not_buffered(topic: Carried) -> bool:
    return not isinstance(topic, Buffered)

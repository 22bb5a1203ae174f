"""The requests that say what a Watch stream carries."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub import watch_requests
from gateway.hub.updates import ALL, BarTopic, Buffered, Carried
from gateway.hub.watch_requests import requests_for
from marketdata.wire import market_data_pb2 as wire

INTERVALS = ("1s", "1m")
symbols = st.sampled_from(["A", "B", "C", ALL])
topics = st.sets(
    st.one_of(
        symbols, symbols.map(Buffered), st.builds(BarTopic, st.sampled_from(INTERVALS), symbols)
    )
)


class Stream:
    """What an aggregator carries after requests."""

    def __init__(self) -> None:
        self.carried: set[Carried] = set()

    def apply(self, requests: Iterable[wire.WatchRequest]) -> None:
        for request in requests:
            self.carried -= set(request.remove)
            self.carried -= {Buffered(each) for each in request.remove_buffered}
            self.carried -= {BarTopic(each.interval, each.symbol) for each in request.remove_bars}
            for name, topic in (("all", ALL), ("buffer_all", Buffered(ALL))):
                if request.HasField(name):  # type: ignore[arg-type]
                    self.carried.discard(topic)
                    self.carried |= {topic} if getattr(request, name) else set()
            self.carried |= set(request.add)
            self.carried |= {Buffered(each) for each in request.add_buffered}
            self.carried |= {BarTopic(each.interval, each.symbol) for each in request.add_bars}


@given(topics, topics, topics)
def test_a_stream_carries_what_was_added_and_not_what_was_removed(
    before: set[Carried], added: set[Carried], removed: set[Carried]
) -> None:
    stream = Stream()
    stream.apply(requests_for(before, (), INTERVALS))
    assert stream.carried == before
    stream.apply(requests_for(added, removed, INTERVALS))
    assert stream.carried == (before - removed) | added


def test_bars_that_are_not_made_are_left_out() -> None:
    asked = [BarTopic("7s", "A"), BarTopic("1s", "A")]
    (request,) = requests_for(asked, (), INTERVALS)
    assert request == wire.WatchRequest(add_bars=[wire.BarTopic(symbol="A", interval="1s")])


def test_a_symbol_is_buffered_before_it_is_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_requests, "MAX_TOPICS_PER_REQUEST", 2)
    asked: list[Carried] = ["A", "B", "C", Buffered("A"), Buffered("B"), Buffered("C")]
    buffered: set[str] = set()
    for request in requests_for(asked, (), ()):
        assert len(request.add) + len(request.add_buffered) <= 2
        buffered.update(request.add_buffered)
        assert buffered >= set(request.add)
    assert buffered == {"A", "B", "C"}

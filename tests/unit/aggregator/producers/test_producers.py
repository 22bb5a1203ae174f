"""The last sequence of each producer."""

from __future__ import annotations

from aggregator.producers.producers import Producers


def test_a_gap_is_counted() -> None:
    producers = Producers(10)
    producers.advance("p", 1, 2)
    assert producers.advance("p", 5, 1) == 0
    assert producers.gaps == 1
    assert producers.last_sequence("p") == 5


def test_beyond_the_limit_the_longest_silent_producer_is_forgotten() -> None:
    producers = Producers(2)
    for name in ("a", "b", "a", "c"):
        producers.advance(name, producers.last_sequence(name) + 1, 1)
    assert [producers.last_sequence(name) for name in ("a", "b", "c")] == [2, 0, 1]
    assert producers.forgotten == 1

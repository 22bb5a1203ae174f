"""A set of times, kept as few spans."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from aggregator.coverage.spans import Span, Spans

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30)
times = st.integers(-2, 64)


def times_of(pairs: list[tuple[int, int]]) -> set[int]:
    return {time for start, end in pairs for time in range(start, end)}


@given(spans)
def test_spans_hold_the_times_that_were_added_and_no_others(pairs: list[tuple[int, int]]) -> None:
    kept = Spans(100)
    for pair in pairs:
        kept.add(*pair)
    assert times_of([(s.start, s.end) for s in kept.all()]) == times_of(pairs)
    # No fewer spans would hold the same times.
    assert all(before.end < after.start for before, after in pairwise(kept.all()))
    assert all(span.start < span.end for span in kept.all())
    assert kept.first() == kept.all()[:1]
    assert len(kept) == len(kept.all())


@given(spans, times, times)
def test_questions_are_answered_as_by_counting(
    pairs: list[tuple[int, int]], start: int, end: int
) -> None:
    held = times_of(pairs)
    kept = Spans(100, [Span(*pair) for pair in pairs])
    assert kept.touches(start, end) == any(time in held for time in range(start, end))
    reach = start
    while reach in held:
        reach += 1
    assert kept.reach(start) == reach


def test_beyond_the_limit_the_earliest_is_forgotten() -> None:
    kept = Spans(2, [Span(5, 6), Span(1, 2), Span(9, 10)])
    assert kept.all() == [Span(5, 6), Span(9, 10)]
    assert kept.forgotten == 1

"""Which times had a feed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.bars.bar import Coverage
from aggregator.coverage.feed import MAX_PLACES, MAX_REPORT_BYTES, Feed
from aggregator.coverage.feeds import MAX_SENDERS, Feeds, SenderMark
from aggregator.coverage.spans import Span, Spans
from aggregator.wire.batch import Batch
from aggregator.wire.ticks import make_ticks
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import FeedReport

NOW = 1_700_000_000 * NS_PER_S
OLD = 1_500_000_000 * NS_PER_S
SECOND = NS_PER_S
MINUTE = 60 * NS_PER_S
DAY = 86_400 * NS_PER_S

FULL, PARTIAL, NO_FEED = Coverage.FULL, Coverage.PARTIAL, Coverage.NO_FEED


def make_feeds(*spans: Span) -> Feeds:
    return Feeds(60.0, spans)


def report(producers: int, since: int = 0) -> FeedReport:
    return FeedReport(producers=producers, since=since)


def live_feed(feeds: Feeds, since: int = NOW) -> Feed:
    feed = feeds.open(since)
    feed.report("p", report(1, since), since)
    return feed


def test_before_the_first_feed_nothing_is_known() -> None:
    feeds = make_feeds()
    assert feeds.coverage(NOW, NOW + MINUTE) is PARTIAL
    live_feed(feeds)
    assert feeds.coverage(NOW - 2 * MINUTE, NOW - MINUTE) is PARTIAL
    assert feeds.coverage(NOW - SECOND, NOW + SECOND) is PARTIAL


def test_a_connected_producer_covers_the_present_whether_it_trades_or_not() -> None:
    feeds = make_feeds()
    live_feed(feeds)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    assert feeds.coverage(NOW + 500 * MINUTE, NOW + 501 * MINUTE) is FULL
    assert feeds.all_spans(NOW + MINUTE) == [Span(NOW, NOW + MINUTE)]


def test_a_minute_in_which_the_producers_leave_is_partial_and_the_next_has_no_feed() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.report("p", report(0, NOW + 90 * SECOND), NOW + 95 * SECOND)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    assert feeds.coverage(NOW + MINUTE, NOW + 2 * MINUTE) is PARTIAL
    assert feeds.coverage(NOW + 2 * MINUTE, NOW + 3 * MINUTE) is NO_FEED
    feed.report("p", report(2, NOW + 200 * SECOND), NOW + 200 * SECOND)
    assert feeds.coverage(NOW + 2 * MINUTE, NOW + 3 * MINUTE) is NO_FEED
    assert feeds.coverage(NOW + 3 * MINUTE, NOW + 4 * MINUTE) is PARTIAL
    assert feeds.coverage(NOW + 4 * MINUTE, NOW + 5 * MINUTE) is FULL


def test_one_of_two_producers_is_enough() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.report("p", report(2, NOW), NOW + SECOND)
    feed.report("p", report(1, NOW), NOW + 30 * SECOND)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL


def test_two_streams_cover_together_what_neither_does_alone() -> None:
    feeds = make_feeds()
    first = live_feed(feeds)
    second = feeds.open(NOW + 30 * SECOND)
    second.report("q", report(1, NOW + 30 * SECOND), NOW + 30 * SECOND)
    first.close(NOW + 40 * SECOND)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    second.close(NOW + 50 * SECOND)
    assert feeds.coverage(NOW, NOW + MINUTE) is PARTIAL
    assert feeds.all_spans(NOW + MINUTE) == [Span(NOW, NOW + 50 * SECOND)]


def test_a_stream_that_never_reports_is_one_producer_while_it_is_open() -> None:
    feeds = make_feeds()
    feed = feeds.open(NOW)
    feed.heard(NOW, NOW, NOW)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    feed.close(NOW + 2 * MINUTE)
    assert feeds.coverage(NOW, NOW + 2 * MINUTE) is FULL
    assert feeds.coverage(NOW + 2 * MINUTE, NOW + 3 * MINUTE) is NO_FEED


def test_an_ingest_without_producers_is_no_feed() -> None:
    feeds = make_feeds(Span(OLD, OLD + 1))
    feed = feeds.open(NOW)
    feed.report("p", report(0, NOW - MINUTE), NOW + SECOND)
    assert feeds.coverage(NOW, NOW + MINUTE) is NO_FEED
    assert feeds.all_spans(NOW + MINUTE) == [Span(OLD, OLD + 1)]


def test_a_broken_stream_leaves_no_hole_where_the_producers_stayed() -> None:
    feeds = make_feeds()
    live_feed(feeds).close(NOW + MINUTE)
    assert feeds.coverage(NOW + MINUTE, NOW + 2 * MINUTE) is NO_FEED
    again = feeds.open(NOW + 5 * MINUTE)
    again.report("p", report(1, NOW), NOW + 5 * MINUTE)
    # Ticks that ingest held meanwhile.
    again.heard(NOW + MINUTE, NOW + 2 * MINUTE, NOW + 5 * MINUTE)
    assert feeds.coverage(NOW + MINUTE, NOW + 2 * MINUTE) is FULL
    assert feeds.coverage(NOW, NOW + 10 * MINUTE) is FULL


def test_reports_that_come_again_after_a_break_end_where_the_last_one_says() -> None:
    feeds = make_feeds()
    live_feed(feeds).close(NOW + MINUTE)
    again, then = feeds.open(NOW + 9 * MINUTE), NOW + 9 * MINUTE
    again.report("p", report(1, NOW + 5 * MINUTE), then)
    # Sent again, since it was not acked: the producers left and came back.
    again.report("p", report(0, NOW + 2 * MINUTE), then)
    again.report("p", report(1, NOW + 5 * MINUTE), then)
    assert feeds.coverage(NOW + 3 * MINUTE, NOW + 4 * MINUTE) is NO_FEED
    assert feeds.coverage(NOW + 5 * MINUTE, NOW + 6 * MINUTE) is FULL


def test_producers_that_were_replaced_unnoticed_cover_only_from_then_on() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.report("p", report(1, NOW + 3 * MINUTE), NOW + 3 * MINUTE)
    assert feeds.coverage(NOW, NOW + MINUTE) is PARTIAL
    assert feeds.coverage(NOW + 3 * MINUTE, NOW + 4 * MINUTE) is FULL


def test_a_clock_that_is_ahead_promises_nothing() -> None:
    feeds = make_feeds()
    feed = feeds.open(NOW)
    feed.report("p", report(1, NOW + MINUTE), NOW)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    feed.report("p", report(0, NOW + 9 * MINUTE), NOW + 2 * MINUTE)
    assert feeds.coverage(NOW + 2 * MINUTE, NOW + 3 * MINUTE) is NO_FEED


# Replays.


def replay(feeds: Feeds, *batches: tuple[int, int]) -> Feed:
    feed = live_feed(feeds)
    for first, last in batches:
        feed.heard(first, last, NOW + SECOND)
    return feed


def test_a_replay_covers_what_lies_between_its_ticks_and_not_the_present() -> None:
    feeds = make_feeds(Span(OLD - DAY, OLD - DAY + 1))
    feed = replay(feeds, (OLD, OLD + SECOND), (OLD + 3 * MINUTE, OLD + 4 * MINUTE))
    assert feeds.coverage(OLD, OLD + MINUTE) is FULL
    assert feeds.coverage(OLD + MINUTE, OLD + 2 * MINUTE) is FULL
    assert feeds.coverage(OLD + 10 * MINUTE, OLD + 11 * MINUTE) is NO_FEED
    assert feeds.coverage(NOW, NOW + MINUTE) is NO_FEED
    feed.close(NOW + MINUTE)
    assert feeds.all_spans(NOW + MINUTE)[1:] == [Span(OLD, OLD + 4 * MINUTE + 1)]


def test_the_bar_that_a_replay_has_come_to_is_covered_so_far() -> None:
    feeds = make_feeds()
    feed = replay(feeds, (OLD - MINUTE, OLD + SECOND))
    assert feeds.coverage(OLD, OLD + MINUTE) is FULL
    assert feeds.coverage(OLD - 2 * MINUTE, OLD) is PARTIAL
    feed.close(NOW + MINUTE)
    assert feeds.coverage(OLD, OLD + MINUTE) is PARTIAL


def test_a_second_replay_does_not_cover_the_time_between() -> None:
    feeds = make_feeds()
    feed = replay(feeds, (OLD, OLD + MINUTE))
    feed.report("p", report(0, NOW + SECOND), NOW + SECOND)
    feed.report("p", report(1, NOW + MINUTE), NOW + MINUTE)
    feed.heard(OLD + 3 * MINUTE, OLD + 4 * MINUTE, NOW + MINUTE)
    assert feeds.coverage(OLD + 2 * MINUTE, OLD + 3 * MINUTE) is NO_FEED
    assert feeds.coverage(OLD + 3 * MINUTE, OLD + 4 * MINUTE) is FULL


def test_a_replay_whose_stream_broke_goes_on_without_a_hole() -> None:
    feeds = make_feeds()
    replay(feeds, (OLD, OLD + MINUTE)).close(NOW + MINUTE)
    again = feeds.open(NOW + 2 * MINUTE)
    again.report("p", report(1, NOW), NOW + 2 * MINUTE)
    again.heard(OLD + 90 * SECOND, OLD + 3 * MINUTE, NOW + 2 * MINUTE)
    assert feeds.coverage(OLD, OLD + 3 * MINUTE) is FULL


def test_a_replay_over_a_weekend_is_one_and_one_over_years_is_two() -> None:
    feeds = make_feeds()
    replay(feeds, (OLD, OLD + SECOND), (OLD + 3 * DAY, OLD + 3 * DAY), (OLD + 900 * DAY,) * 2)
    assert feeds.coverage(OLD + DAY, OLD + 2 * DAY) is FULL
    assert feeds.coverage(OLD + 400 * DAY, OLD + 401 * DAY) is NO_FEED


def test_two_replays_at_once_are_told_apart() -> None:
    feeds = make_feeds()
    feed = replay(feeds)
    for step in range(0, 50 * MINUTE, MINUTE):
        # Ticks of both in each batch.
        feed.heard(OLD + step, OLD + 900 * DAY + step, NOW + SECOND)
    assert feeds.coverage(OLD, OLD + 49 * MINUTE) is FULL
    assert feeds.coverage(OLD + 900 * DAY, OLD + 900 * DAY + 49 * MINUTE) is FULL
    assert feeds.coverage(OLD + 400 * DAY, OLD + 401 * DAY) is NO_FEED


def test_a_replay_that_catches_up_goes_on_live_without_a_hole() -> None:
    feeds = make_feeds()
    feed = replay(
        feeds, (NOW - 9 * MINUTE, NOW - 5 * MINUTE), (NOW - 5 * MINUTE, NOW - 70 * SECOND)
    )
    assert feeds.coverage(NOW, NOW + MINUTE) is NO_FEED
    feed.heard(NOW - 70 * SECOND, NOW - 40 * SECOND, NOW + SECOND)
    assert feeds.coverage(NOW - 9 * MINUTE, NOW + 9 * MINUTE) is FULL


def test_live_ticks_beside_a_replay_do_not_cover_the_time_between() -> None:
    feeds = make_feeds()
    feed = replay(feeds, (OLD, OLD + MINUTE))
    feed.heard(OLD + MINUTE, NOW, NOW + SECOND)
    assert feeds.coverage(OLD, OLD + MINUTE) is FULL
    assert feeds.coverage(OLD + 9 * MINUTE, OLD + 10 * MINUTE) is NO_FEED
    assert feeds.coverage(NOW + SECOND, NOW + MINUTE) is FULL


def test_stray_late_ticks_of_a_live_stream_cover_nothing_between_them() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.heard(NOW, NOW, NOW)
    feed.heard(NOW - 3 * DAY, NOW + SECOND, NOW + SECOND)
    feed.heard(NOW - DAY, NOW + 2 * SECOND, NOW + 2 * SECOND)
    feed.heard(NOW - 2 * DAY, NOW - DAY, NOW + 3 * SECOND)
    assert feeds.coverage(NOW - 3 * DAY, NOW - 3 * DAY + MINUTE) is PARTIAL
    assert feeds.coverage(NOW - 2 * DAY + MINUTE, NOW - 2 * DAY + 2 * MINUTE) is NO_FEED
    assert feeds.coverage(NOW - DAY + MINUTE, NOW - DAY + 2 * MINUTE) is NO_FEED
    assert feeds.coverage(NOW - SECOND, NOW) is NO_FEED
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL


def test_a_live_symbol_that_was_quiet_does_not_make_a_replay_of_its_stream() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.heard(NOW, NOW, NOW)
    feed.heard(NOW + MINUTE, NOW + MINUTE, NOW + 20 * MINUTE)
    assert feeds.coverage(NOW, NOW + 30 * MINUTE) is FULL


def test_more_places_than_are_told_apart_are_kept_as_they_are() -> None:
    feeds = make_feeds()
    places = [OLD + i * 100 * DAY for i in range(3 * MAX_PLACES)]
    replay(feeds, *((place, place + SECOND) for place in places))
    assert feeds.all_spans(NOW + SECOND) == [Span(p, p + SECOND + 1) for p in places]


# The spans and senders that are kept.


def test_spans_of_an_earlier_life_count() -> None:
    feeds = make_feeds(Span(NOW - 9 * MINUTE, NOW - MINUTE))
    live_feed(feeds)
    assert feeds.coverage(NOW - 9 * MINUTE, NOW - 2 * MINUTE) is FULL
    assert feeds.coverage(NOW - 2 * MINUTE, NOW + MINUTE) is PARTIAL
    assert feeds.coverage(NOW - 50 * SECOND, NOW) is NO_FEED


def test_a_status_says_what_each_sender_said_last() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    said = FeedReport(producers=2, accepted=5, rejected={"malformed": 1}, since=NOW)
    feed.report("p", said, NOW + SECOND)
    (status,) = feeds.statuses()
    assert (status.producer_id, status.connected) == ("p", True)
    assert (status.report, status.reported_at) == (said, NOW + SECOND)
    feed.close(NOW + MINUTE)
    (status,) = feeds.statuses()
    assert (status.connected, status.report) == (False, said)


def test_a_report_that_is_too_large_loses_its_reasons() -> None:
    feeds = make_feeds()
    feed = feeds.open(NOW)
    rejected = {f"reason-{i}": 1 for i in range(MAX_REPORT_BYTES // 8)}
    feed.report("p", FeedReport(producers=1, accepted=5, rejected=rejected), NOW)
    (status,) = feeds.statuses()
    assert status.report == FeedReport(producers=1, accepted=5)


def test_senders_are_bounded_and_one_that_is_gone_is_forgotten_first() -> None:
    feeds = make_feeds()
    stays = feeds.open(NOW)
    stays.report("stays", report(1), NOW)
    for i in range(MAX_SENDERS + 5):
        feed = feeds.open(NOW)
        feed.report(f"p{i}", report(1), NOW)
        feed.close(NOW)
    names = [status.producer_id for status in feeds.statuses()]
    assert len(names) == MAX_SENDERS
    assert "stays" in names


def test_a_sender_without_a_name_has_no_status() -> None:
    feeds = make_feeds()
    feed = feeds.open(NOW)
    feed.report("", report(1, NOW), NOW)
    assert feeds.statuses() == []
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    feed.close(NOW + MINUTE)
    assert feeds.coverage(NOW + MINUTE, NOW + 2 * MINUTE) is NO_FEED


steps = st.lists(
    st.tuples(
        st.sampled_from(["come", "leave", "close", "open"]),
        st.integers(0, 1),
        st.integers(1, 100),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(steps, st.integers(-5, 1500), st.integers(1, 300))
def test_live_coverage_is_that_of_counting_seconds(
    steps: list[tuple[str, int, int]], start: int, length: int
) -> None:
    """Two senders come, go, break and come back; producers outlive the stream."""
    feeds, now = make_feeds(Span(OLD, OLD + 1)), 0
    open_feeds: list[Feed | None] = [None, None]
    since: list[int | None] = [None, None]
    covered: set[int] = set()
    for step, who, wait in steps:
        feed, name, at = open_feeds[who], f"p{who}", NOW + now * SECOND
        if step == "open" and feed is None:
            feed = open_feeds[who] = feeds.open(at)
            begun = since[who]
            producers = 0 if begun is None else 1
            feed.report(name, report(producers, at if begun is None else begun), at)
            covered |= set() if begun is None else set(range((begun - NOW) // SECOND, now))
        elif step == "come" and since[who] is None and feed is not None:
            since[who] = at
            feed.report(name, report(1, at), at)
        elif step == "leave" and since[who] is not None:
            since[who] = None
            if feed is not None:
                feed.report(name, report(0, at), at)
        elif step == "close" and feed is not None:
            feed.close(at)
            open_feeds[who] = None
        for second in range(now, now + wait):
            if any(open_feeds[i] is not None and since[i] is not None for i in range(2)):
                covered.add(second)
        now += wait
    seconds = range(start, start + length)
    running = any(open_feeds[i] is not None and since[i] is not None for i in range(2))
    # An open feed covers the future too.
    inside = [second in covered or (running and second >= now) for second in seconds]
    expected = FULL if all(inside) else PARTIAL if any(inside) else NO_FEED
    assert feeds.coverage(NOW + start * SECOND, NOW + (start + length) * SECOND) is expected


seconds = st.integers(-200, 400)
# A stream of one of two producers sends ticks, maybe after a hole, or ends.
sent = st.tuples(st.integers(0, 1), st.sampled_from([1, 1, 1, 5, 0]), seconds, seconds)


@settings(deadline=None)
@given(
    st.lists(sent, max_size=12),
    st.lists(st.tuples(seconds, st.lists(st.integers(0, 300), max_size=5)), max_size=5),
)
def test_what_was_asked_before_changes_no_answer(
    sent: list[tuple[int, int, int, int]], asked: list[tuple[int, list[int]]]
) -> None:
    questions = [
        (NOW + start * SECOND, NOW + (start + length) * SECOND)
        for start, lengths in asked
        for length in lengths
    ]

    def answers(feeds: Feeds) -> list[Coverage]:
        return [feeds.coverage(*question) for question in questions]

    def play(feeds: Feeds, *, asks: bool) -> None:
        streams = [feeds.open(NOW), feeds.open(NOW)]
        last = [0, 0]
        for who, step, *times in sent:
            if asks:
                answers(feeds)
            if step == 0:
                streams[who].close(NOW + 400 * SECOND)
                streams[who] = feeds.open(NOW + 400 * SECOND)
                continue
            batch = ticks_at(
                last[who] + step, *(NOW + each * SECOND for each in times), producer=f"p{who}"
            )
            last[who] += step + 1
            streams[who].before_batch(batch, NOW + DAY, NOW + 400 * SECOND)

    asked_often = make_feeds(Span(NOW + 5 * SECOND, NOW + 30 * SECOND))
    play(asked_often, asks=True)
    for question in questions:
        fresh = make_feeds(Span(NOW + 5 * SECOND, NOW + 30 * SECOND))
        play(fresh, asks=False)
        assert asked_often.coverage(*question) is fresh.coverage(*question)


@pytest.mark.parametrize("count", [0, 3])
def test_closing_leaves_nothing_behind(count: int) -> None:
    feeds = make_feeds()
    for i in range(count):
        feed = feeds.open(NOW + i * MINUTE)
        feed.close(NOW + i * MINUTE + SECOND)
    assert feeds.all_spans(NOW + DAY) == [
        Span(NOW + i * MINUTE, NOW + i * MINUTE + SECOND) for i in range(count)
    ]


def batch(first_sequence: int, since: int) -> Batch:
    """Return what ingest sends first: its report, and the sequence of the next tick."""
    ticks = make_ticks(1)
    return Batch("p", first_sequence, 0, ticks, feed=report(1, since))


def test_a_feed_covers_nothing_before_the_start_of_the_process() -> None:
    feeds = Feeds(60.0, started_ns=NOW + 30 * SECOND)
    feed = feeds.open(NOW + 31 * SECOND)
    feed.before_batch(batch(1, NOW - DAY), NOW + DAY, NOW + 31 * SECOND)
    assert feeds.coverage(NOW, NOW + MINUTE) is PARTIAL
    assert feeds.coverage(NOW + MINUTE, NOW + 2 * MINUTE) is FULL


@pytest.mark.parametrize(("first_sequence", "want"), [(8, FULL), (10, FULL), (11, PARTIAL)])
def test_after_an_orderly_stop_a_sender_goes_on_if_no_tick_is_missing(
    first_sequence: int, want: Coverage
) -> None:
    feeds = Feeds(60.0, [Span(NOW, NOW + 20 * SECOND)], started_ns=NOW + 30 * SECOND)
    feeds.restore({"p": SenderMark(9, NOW, [])})
    assert feeds.awaits_senders
    feed = feeds.open(NOW + 31 * SECOND)
    feed.before_batch(batch(first_sequence, NOW), NOW + DAY, NOW + 31 * SECOND)
    assert not feeds.awaits_senders
    assert feeds.coverage(NOW, NOW + MINUTE) is want
    assert feeds.marks({"p": 20, "q": 3}) == {
        "p": SenderMark(20, NOW, []),
        "q": SenderMark(3, 0, []),
    }


times = st.tuples(st.integers(0, 30), st.integers(0, 30))


@given(st.lists(times, max_size=6), st.lists(times, max_size=4))
def test_what_is_removed_from_spans_is_not_in_them(
    added: list[tuple[int, int]], removed: list[tuple[int, int]]
) -> None:
    spans, want = Spans(100), set[int]()
    for start, end in added:
        spans.add(start, end)
        want |= set(range(start, end))
    for start, end in removed:
        spans.remove(start, end)
        want -= set(range(start, end))
    assert {time for span in spans.all() for time in range(*span)} == want
    assert all(a.end < b.start for a, b in itertools.pairwise(spans.all())) or removed


def ticks_at(first_sequence: int, *times: int, producer: str = "p") -> Batch:
    columns = make_ticks(len(times))
    columns.times[: len(times)] = times
    return Batch(producer, first_sequence, len(times), columns)


def test_skipped_sequences_leave_the_time_around_them_incomplete() -> None:
    feeds = make_feeds()
    feed, other = live_feed(feeds), live_feed(feeds)
    now = NOW + 10 * MINUTE
    feed.before_batch(ticks_at(1, NOW + 30 * SECOND, NOW + 70 * SECOND), now, now)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    # 3 is missing: it was between 70 s and 130 s.
    feed.before_batch(ticks_at(4, NOW + 130 * SECOND), now, now)
    minutes = [feeds.coverage(NOW + n * MINUTE, NOW + (n + 1) * MINUTE) for n in range(5)]
    assert minutes == [FULL, PARTIAL, PARTIAL, FULL, FULL]
    # Asked twice, and for a bar that is still open.
    assert feeds.coverage(NOW + 4 * MINUTE, NOW + 5 * MINUTE) is FULL
    assert feeds.coverage(NOW, NOW + DAY) is PARTIAL
    other.close(now)
    feed.close(now)
    assert feeds.all_spans(now) == [
        Span(NOW, NOW + 70 * SECOND),
        Span(NOW + 130 * SECOND + 1, now),
    ]


def test_batches_that_come_again_or_follow_are_no_gap() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    now = NOW + 10 * MINUTE
    feed.before_batch(ticks_at(5, NOW + SECOND, NOW + 2 * SECOND), now, now)
    feed.before_batch(ticks_at(5, NOW + SECOND, NOW + 2 * SECOND), now, now)
    feed.before_batch(ticks_at(7, NOW + 3 * SECOND), now, now)
    # Each producer counts for itself, and a report has no ticks.
    feed.before_batch(ticks_at(900, NOW + 4 * SECOND, producer="q"), now, now)
    feed.before_batch(batch(50, NOW), now, now)
    feed.before_batch(ticks_at(8, NOW + 5 * SECOND), now, now)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL


def test_a_gap_is_remembered_until_a_tick_with_a_time_ends_it() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    now = NOW + 10 * MINUTE
    feed.before_batch(ticks_at(1, NOW + SECOND), now, now)
    feed.before_batch(ticks_at(3, 0), now, now)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL
    feed.before_batch(ticks_at(4, NOW + 2 * SECOND), now, now)
    assert feeds.coverage(NOW, NOW + MINUTE) is PARTIAL
    assert feeds.coverage(NOW + MINUTE, NOW + 2 * MINUTE) is FULL


def restart_ingest(feeds: Feeds, feed: Feed, at: int) -> Feed:
    feed.close(at)
    feed = feeds.open(at + 2 * SECOND)
    feed.report("other", report(1, at + 3 * SECOND), at + 3 * SECOND)
    return feed


def test_a_session_that_goes_on_after_a_restart_of_ingest_leaves_no_hole() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.before_batch(ticks_at(1, NOW + SECOND, producer="s"), NOW + DAY, NOW + SECOND)
    feed = restart_ingest(feeds, feed, NOW + 20 * SECOND)
    assert feeds.coverage(NOW, NOW + MINUTE) is PARTIAL
    # What the producer kept meanwhile comes in several batches.
    now = NOW + 24 * SECOND
    for number, ts in enumerate([NOW + 19 * SECOND, NOW + 22 * SECOND, NOW + 24 * SECOND]):
        feed.before_batch(ticks_at(2 + 2 * number, ts - SECOND, ts, producer="s"), NOW + DAY, now)
    assert feeds.coverage(NOW, NOW + MINUTE) is FULL


@pytest.mark.parametrize(("next_sequence", "want"), [(3, FULL), (4, PARTIAL)])
def test_a_replaying_session_that_goes_on_after_a_restart_of_ingest_leaves_no_hole(
    next_sequence: int, want: Coverage
) -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.before_batch(ticks_at(1, OLD, OLD + SECOND, producer="s"), NOW + DAY, NOW + SECOND)
    feed = restart_ingest(feeds, feed, NOW + 20 * SECOND)
    later = ticks_at(next_sequence, OLD + 70 * SECOND, OLD + 3 * MINUTE, producer="s")
    feed.before_batch(later, NOW + DAY, NOW + 24 * SECOND)
    assert feeds.coverage(OLD, OLD + MINUTE) is want


def test_a_session_whose_connection_breaks_leaves_no_hole() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.before_batch(ticks_at(1, OLD, producer="s"), NOW + DAY, NOW + SECOND)
    feed.report("p", report(0, NOW + 2 * SECOND), NOW + 2 * SECOND)
    feed.report("p", report(1, NOW + 3 * SECOND), NOW + 3 * SECOND)
    feed.before_batch(ticks_at(2, OLD + 2 * MINUTE, producer="s"), NOW + DAY, NOW + 3 * SECOND)
    assert feeds.coverage(OLD, OLD + 2 * MINUTE) is FULL


def test_the_ticks_of_frames_leave_a_hole_when_their_producers_left() -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.before_batch(ticks_at(1, OLD, producer="p"), NOW + DAY, NOW + SECOND)
    feed.report("p", report(0, NOW + 2 * SECOND), NOW + 2 * SECOND)
    feed.report("p", report(1, NOW + 3 * SECOND), NOW + 3 * SECOND)
    feed.before_batch(ticks_at(2, OLD + 2 * MINUTE, producer="p"), NOW + DAY, NOW + 3 * SECOND)
    assert feeds.coverage(OLD, OLD + 2 * MINUTE) is PARTIAL


@pytest.mark.parametrize(("away", "want"), [(59 * MINUTE, FULL), (61 * MINUTE, PARTIAL)])
def test_a_live_session_that_was_silent_for_long_may_have_missed_trades(
    away: int, want: Coverage
) -> None:
    feeds = make_feeds()
    feed = live_feed(feeds)
    feed.before_batch(ticks_at(1, NOW, producer="s"), NOW + DAY, NOW)
    feed.report("p", report(0, NOW + SECOND), NOW + SECOND)
    feed.report("p", report(1, NOW + away), NOW + away)
    feed.before_batch(ticks_at(2, NOW + away, producer="s"), NOW + DAY, NOW + away)
    assert feeds.coverage(NOW, NOW + MINUTE) is want

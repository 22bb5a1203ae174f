"""What ingest says of its producers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.reports import FeedState
from marketdata.wire.market_data_pb2 import FeedReport


def test_at_first_there_is_nobody_since_the_start() -> None:
    assert FeedState(5).report() == FeedReport(since=5)


def test_only_the_first_to_come_and_the_last_to_leave_are_news_at_once() -> None:
    feed = FeedState(5)
    assert [feed.join(7), feed.join(8), feed.leave(9), feed.leave(10)] == [True, False, False, True]


def test_a_report_says_since_when_there_is_somebody_or_nobody() -> None:
    feed = FeedState(5)
    feed.join(7)
    feed.join(8)
    assert feed.report() == FeedReport(producers=2, since=7)
    feed.leave(9)
    assert feed.report() == FeedReport(producers=1, since=7)
    feed.leave(10)
    assert feed.report() == FeedReport(since=10)
    assert feed.report() == FeedReport(since=10)


def test_who_came_and_went_unreported_is_not_counted_as_a_feed() -> None:
    feed = FeedState(5)
    feed.join(7)
    feed.report()
    feed.leave(10)
    feed.join(11)
    feed.leave(12)
    assert feed.report() == FeedReport(since=10)
    feed.join(20)
    feed.leave(21)
    feed.join(22)
    assert feed.report() == FeedReport(producers=1, since=22)


def test_ticks_are_counted_and_are_news_until_they_are_reported() -> None:
    feed = FeedState(5)
    assert not feed.has_news
    feed.count(3, {"malformed": 1})
    feed.count(2, {"malformed": 1, "empty_symbol": 4})
    assert feed.has_news
    expected = FeedReport(accepted=5, rejected={"malformed": 2, "empty_symbol": 4}, since=5)
    assert feed.report() == expected
    assert not feed.has_news


@given(st.lists(st.sampled_from(["join", "leave", "report"]), max_size=40))
def test_what_is_reported_never_claims_more_feed_than_there_was(steps: list[str]) -> None:
    feed, there, claimed, since = FeedState(0), set[int](), set[int](), None
    for now, step in enumerate(steps, 1):
        if step == "join":
            feed.join(now)
        elif step == "leave" and feed.producers:
            feed.leave(now)
        elif step == "report":
            report = feed.report()
            # As the aggregator understands it: from coming to leaving, if it heard of both.
            if report.producers:
                since = report.since
            elif since is not None:
                claimed |= set(range(since, report.since))
                since = None
        if feed.producers:
            there.add(now)
    assert claimed <= there

"""Know which times one stream of ticks covers."""

from __future__ import annotations

from typing import Any, Protocol

from aggregator.coverage.gaps import Gaps
from aggregator.coverage.spans import Span, Spans
from aggregator.sessions.sessions import END_OF_TIME, NS_PER_DAY
from aggregator.wire.batch import Batch
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import FeedReport

# A counter for each reason of docs/behavior.md takes 500.
MAX_REPORT_BYTES = 4_096
# Two replays at once are at two places in time; beyond this limit they are merged.
MAX_PLACES = 4
# Trades have no weekends, and hardly any market rests longer. Whether the data has all trades of a
# longer gap is not known.
REPLAY_STEP_NS = 5 * NS_PER_DAY
# Between two live ticks of a producer that came back and left no sequence out. After a longer time
# it may have begun anew and have missed trades before it could number them.
LIVE_STEP_NS = 3_600 * NS_PER_S


class Registry(Protocol):
    """All feeds, as far as one of them needs it."""

    live_within_ns: int
    # What came before this time was not seen, unless the sender says otherwise.
    started_ns: int
    spans: Spans
    gaps: Gaps

    def sender(self, producer_id: str) -> Sender:
        """Return the state of a sender."""

    def is_sender(self, producer_id: str) -> bool:
        """Return whether it reports its producers."""

    def resume(self, producer_id: str, first_sequence: int) -> None:
        """Note a batch of a sender with a report; the first one counts."""

    def changed(self) -> None:
        """Note that a feed covers other times than before."""

    def remove(self, feed: Feed) -> None:
        """Remove a feed that has ended."""


class Feed:
    """One stream of ticks, from any number of producers.

    A live feed covers the time of the wall clock while a producer is connected. A replay covers the
    time between its earliest and its latest tick, whatever the wall clock says. A replay that has
    caught up becomes live.
    """

    def __init__(self, registry: Registry, now_ns: int, number: int) -> None:
        self._registry = registry
        # No two feeds have the same, also after one has ended.
        self.number = number
        self._sender = ""
        self._reported = False
        # A stream that never reports counts as one producer.
        self._producers = 1
        # Since when it covers the wall clock's time; None: it is a replay, or has no producer.
        self._live_since: int | None = now_ns
        # The latest exchange time since the producers came, 0 before the first.
        self._clock = 0
        # The times of old ticks that may still grow, the one that grew last at the end.
        self._places: list[Span] = []

    def before_batch(self, batch: Batch, latest_ns: int, now_ns: int) -> None:
        """Note the times and producers of a batch; call it before its ticks are applied.

        Exchange times after ``latest_ns`` do not count: such ticks are rejected.
        """
        if batch.feed is not None and batch.producer_id:
            # The sender itself. Batches of its producers' sessions have no report.
            self._registry.resume(batch.producer_id, batch.first_sequence)
        if batch.feed is not None and batch.feed.producers:
            # Producers connected before they sent these ticks.
            self.report(batch.producer_id, batch.feed, now_ns)
        times = batch.time_range(latest_ns)
        if batch.producer_id:
            if times is not None and not self._registry.is_sender(batch.producer_id):
                self._go_on(batch, times, now_ns)
            if self._registry.gaps.note(batch, times):
                self._registry.changed()
        if times is not None:
            self.heard(*times, now_ns)

    # Covers the time since the latest tick of a producer with a session, if none is missing since:
    # its connection broke, or ingest was restarted, and the producer kept its ticks meanwhile.
    def _go_on(self, batch: Batch, times: tuple[int, int], now_ns: int) -> None:
        latest = self._registry.gaps.latest_before(batch)
        first_ts, last_ts = times
        if not latest or self._holds(latest):
            return
        is_live = last_ts >= now_ns - self._registry.live_within_ns
        if first_ts - latest <= (LIVE_STEP_NS if is_live else REPLAY_STEP_NS):
            self._registry.spans.add(latest, last_ts + 1)
            self._registry.changed()

    # Returns whether the times of this stream go on from a time by themselves.
    def _holds(self, time: int) -> bool:
        if self._live_since is not None:
            return self._live_since <= time
        return any(place.start <= time < place.end for place in self._places)

    def after_batch(self, batch: Batch, now_ns: int) -> None:
        """Note that the last producer left, if a batch says so; call it after its ticks."""
        if batch.feed is not None and not batch.feed.producers:
            self.report(batch.producer_id, batch.feed, now_ns)

    def heard(self, first_ts: int, last_ts: int, now_ns: int) -> None:
        """Note the earliest and the latest exchange time of a batch, before it is applied."""
        before, self._clock = self._clock, max(self._clock, last_ts)
        live_within = self._registry.live_within_ns
        live = self._live_since
        if live is not None and not before and last_ts < live - live_within:
            # Its first ticks are older than the stream: a replay, which covers no present time.
            live = self._live_since = None
            self._registry.changed()
        elif live is None and self._producers and last_ts >= now_ns - live_within:
            # Caught up. After a jump in time these ticks are from another producer.
            near = 0 <= last_ts - before <= live_within
            live = self._live_since = before if near else now_ns
            self._registry.changed()
        if live is None:
            self._extend(first_ts, last_ts + 1, REPLAY_STEP_NS)
        elif last_ts < live:
            self._extend(first_ts, last_ts + 1, live_within)
        elif first_ts < live:
            # Which of the times between have ticks is not known.
            self._extend(first_ts, first_ts + 1, live_within)

    def report(self, producer_id: str, report: FeedReport, now_ns: int) -> None:
        """Note the report of a sender.

        A report without a producer comes after the ticks of its batch, any other before them.
        """
        sender = self._registry.sender(producer_id)
        sender.feed, sender.report, sender.reported_at = self.number, _small(report), now_ns
        producers = report.producers
        # Clocks differ, and a report says nothing about the future.
        since = min(report.since or now_ns, now_ns)
        if not sender.is_resumed:
            # Ticks of before our start went to a process that is gone.
            since = max(since, self._registry.started_ns)
        if not producers:
            if self._producers:
                # Before its first report a stream counts as a producer.
                self._leave(since if self._reported or self._clock else 0)
        elif not (self._reported and self._producers) or 0 < report.since != sender.since:
            # Producers that were there before left at an unknown time.
            self._settle()
            self._live_since, self._clock = since, 0
            if report.since and sender.since == report.since:
                # The same producers as before the stream broke, so no tick was missed in between.
                self._places += sender.places
        sender.since, sender.places = report.since, []
        self._sender, self._reported, self._producers = producer_id, True, producers
        self._registry.changed()

    def close(self, now_ns: int) -> None:
        """Note that the stream has ended."""
        sender = self._registry.sender(self._sender) if self._sender else None
        if sender is not None and sender.feed == self.number:
            sender.feed, sender.places = None, self._places if self._producers else []
        self._leave(now_ns)
        self._registry.remove(self)

    def spans(self, now_ns: int) -> list[Span]:
        """Return the times it covers up to now."""
        live = [] if self._live_since is None else [Span(self._live_since, now_ns)]
        return live + self._places

    def reach(self, time: int) -> int:
        """Return the end of the covered time that holds ``time``; ``time`` itself if none does."""
        if self._live_since is not None and self._live_since <= time:
            # Up to the present, whenever that is.
            return END_OF_TIME
        return max((end for start, end in self._places if start <= time <= end), default=time)

    def grows_at(self, time: int) -> bool:
        """Return whether a replay has come exactly to ``time``, and may go on."""
        replays = self._live_since is None and self._producers > 0
        return replays and any(place.end == time for place in self._places)

    def touches(self, start: int, end: int) -> bool:
        """Return whether it covers any part of start <= time < end."""
        if self._live_since is not None and self._live_since < end:
            return True
        return any(place.start < end and start < place.end for place in self._places)

    def _extend(self, start: int, end: int, step: int) -> None:
        if end - start > step:
            # One batch with the ticks of two places.
            self._extend(start, start + 1, step)
            start = end - 1
        for index in range(len(self._places) - 1, -1, -1):
            place = self._places[index]
            if start <= place.end + step and end >= place.start - step:
                if place.start <= start and end <= place.end:
                    return
                del self._places[index]
                start, end = min(start, place.start), max(end, place.end)
                break
        self._places.append(Span(start, end))
        if len(self._places) > MAX_PLACES:
            self._registry.spans.add(*self._places.pop(0))
        self._registry.changed()

    def _leave(self, now_ns: int) -> None:
        if self._live_since is not None:
            self._registry.spans.add(self._live_since, now_ns)
            self._live_since = None
        self._settle()
        self._producers = self._clock = 0

    def _settle(self) -> None:
        for place in self._places:
            self._registry.spans.add(*place)
        self._places = []
        self._registry.changed()

    def dump_state(self) -> dict[str, Any]:
        """Return what it covers, and of whom."""
        return {
            "number": self.number,
            "sender": self._sender,
            "reported": self._reported,
            "producers": self._producers,
            "live_since": self._live_since,
            "clock": self._clock,
            "places": list(self._places),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was."""
        self.number = state["number"]
        self._sender = state["sender"]
        self._reported = state["reported"]
        self._producers = state["producers"]
        self._live_since = state["live_since"]
        self._clock = state["clock"]
        self._places = [Span(*place) for place in state["places"]]


class Sender:
    """The last report of one ingest process."""

    __slots__ = ("feed", "is_resumed", "places", "report", "reported_at", "since")

    def __init__(self) -> None:
        # The number of its stream, None while it has none.
        self.feed: int | None = None
        self.report = FeedReport()
        self.reported_at = 0
        self.since = 0
        # What its last stream covered, if that broke while a producer was connected.
        self.places: list[Span] = []
        # Whether no tick was lost between the orderly stop of the run before and its first batch.
        self.is_resumed = False

    def dump_state(self) -> dict[str, Any]:
        """Return the report, and what goes with it."""
        return {
            "feed": self.feed,
            "report": self.report.SerializeToString(deterministic=True),
            "reported_at": self.reported_at,
            "since": self.since,
            "places": list(self.places),
            "is_resumed": self.is_resumed,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Be the sender that another one was."""
        self.feed = state["feed"]
        self.report = FeedReport.FromString(state["report"])
        self.reported_at = state["reported_at"]
        self.since = state["since"]
        self.places = [Span(*place) for place in state["places"]]
        self.is_resumed = state["is_resumed"]


def _small(report: FeedReport) -> FeedReport:
    if report.ByteSize() <= MAX_REPORT_BYTES:
        return report
    return FeedReport(producers=report.producers, accepted=report.accepted, since=report.since)

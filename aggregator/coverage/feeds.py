"""Know when there was a feed, so that an empty minute is not taken for a quiet one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from aggregator.bars.bar import Coverage
from aggregator.coverage.spans import Span, Spans
from aggregator.sessions.sessions import END_OF_TIME, NS_PER_DAY
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import FeedReport, FeedStatus

# 160 KB, and some years of a feed that breaks ten times a day.
MAX_SPANS = 10_000
# A sender that was restarted comes back under a new name.
MAX_SENDERS = 1_000
# A counter for each reason of docs/behavior.md takes 500.
MAX_REPORT_BYTES = 4_096
# Two replays at once are two places in time that move on; more are not told apart.
MAX_PLACES = 4
# Trades have no weekends, and hardly any market rests longer. Over a wider hole nobody can say that
# the data would have held what happened there.
REPLAY_STEP_NS = 5 * NS_PER_DAY
# A day's bars of a minute; with more the answers are found anew.
MAX_REMEMBERED = 2_000


class Feed:
    """One stream of ticks, with any number of producers behind it.

    Live, it covers the time of the wall clock while there is a producer. A replay covers what lies
    between its earliest and its latest tick, whatever the wall clock says meanwhile. A replay that
    has caught up goes on live.
    """

    def __init__(self, registry: Feeds, now_ns: int) -> None:
        self._registry = registry
        self._sender = ""
        self._reported = False
        # A stream that says nothing of producers is one.
        self._producers = 1
        # Since when it covers the wall clock's time; None: it does not.
        self._live_since: int | None = now_ns
        # The latest exchange time since the producers came, 0 before the first.
        self._clock = 0
        # The stretches of old ticks that may still grow, the one that did last at the end.
        self._places: list[Span] = []

    def heard(self, first_ts: int, last_ts: int, now_ns: int) -> None:
        """Take note of the earliest and latest exchange time of a batch, before it is applied."""
        before, self._clock = self._clock, max(self._clock, last_ts)
        live_within = self._registry.live_within_ns
        live = self._live_since
        if live is not None and not before and last_ts < live - live_within:
            # What comes first is from before it came: a replay, which says nothing of the present.
            live = self._live_since = None
            self._registry.changed()
        elif live is None and self._producers and last_ts >= now_ns - live_within:
            # Caught up, unless it leapt: then these ticks are another producer's.
            near = 0 <= last_ts - before <= live_within
            live = self._live_since = before if near else now_ns
            self._registry.changed()
        if live is None:
            self._extend(first_ts, last_ts + 1, REPLAY_STEP_NS)
        elif last_ts < live:
            self._extend(first_ts, last_ts + 1, live_within)
        elif first_ts < live:
            # How far back the rest of the batch goes is not known.
            self._extend(first_ts, first_ts + 1, live_within)

    def report(self, producer_id: str, report: FeedReport, now_ns: int) -> None:
        """Take note of what the sender says of those behind it.

        A report that ends with no producer comes after the ticks of its batch, another before them.
        """
        sender = self._registry.sender(producer_id)
        sender.feed, sender.report, sender.reported_at = self, _small(report), now_ns
        producers = report.producers
        # Clocks differ; nothing is known of what is to come.
        since = min(report.since or now_ns, now_ns)
        if not producers:
            if self._producers:
                # Until its first report a stream is taken for a producer.
                self._leave(since if self._reported or self._clock else 0)
        elif not (self._reported and self._producers) or 0 < report.since != sender.since:
            # If there were some before, they left unnoticed, nobody knows when.
            self._settle()
            self._live_since, self._clock = since, 0
            if report.since and sender.since == report.since:
                # The same ones as before the stream broke: none was missed in between.
                self._places += sender.places
        sender.since, sender.places = report.since, []
        self._sender, self._reported, self._producers = producer_id, True, producers
        self._registry.changed()

    def close(self, now_ns: int) -> None:
        """Take note that the stream has ended."""
        sender = self._registry.sender(self._sender) if self._sender else None
        if sender is not None and sender.feed is self:
            sender.feed, sender.places = None, self._places if self._producers else []
        self._leave(now_ns)
        self._registry.remove(self)

    def spans(self, now_ns: int) -> list[Span]:
        """Return what it covers up to now."""
        live = [] if self._live_since is None else [Span(self._live_since, now_ns)]
        return live + self._places

    def reach(self, time: int) -> int:
        """Return up to when it covers all from ``time`` on; ``time`` if it does not cover that."""
        if self._live_since is not None and self._live_since <= time:
            # Up to whatever time is the present.
            return END_OF_TIME
        return max((end for start, end in self._places if start <= time <= end), default=time)

    def grows_at(self, time: int) -> bool:
        """Return whether old ticks have come to just there, and more may come."""
        replays = self._live_since is None and self._producers > 0
        return replays and any(place.end == time for place in self._places)

    def touches(self, start: int, end: int) -> bool:
        """Return whether it covers any of start <= time < end."""
        if self._live_since is not None and self._live_since < end:
            return True
        return any(place.start < end and start < place.end for place in self._places)

    def _extend(self, start: int, end: int, step: int) -> None:
        if end - start > step:
            # Two places in one batch.
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


class Sender:
    """What one ingest process said last."""

    __slots__ = ("feed", "places", "report", "reported_at", "since")

    def __init__(self) -> None:
        # Its stream, None while it has none.
        self.feed: Feed | None = None
        self.report = FeedReport()
        self.reported_at = 0
        self.since = 0
        # What its former stream had covered, if it broke under a producer.
        self.places: list[Span] = []


class Feeds:
    """All streams of ticks, and when there was at least one."""

    def __init__(self, live_within_s: float, spans: Iterable[Span] = ()) -> None:
        self.live_within_ns = int(live_within_s * NS_PER_S)
        # What streams covered that are over; the time of the others comes from themselves.
        self.spans = Spans(MAX_SPANS, spans)
        self._feeds: set[Feed] = set()
        self._senders: OrderedDict[str, Sender] = OrderedDict()
        # Many symbols have bars of the same bounds.
        self._answers: dict[tuple[int, int], Coverage] = {}

    def open(self, now_ns: int) -> Feed:
        """Return the feed of a stream that begins; :meth:`Feed.close` it."""
        feed = Feed(self, now_ns)
        self._feeds.add(feed)
        self.changed()
        return feed

    def coverage(self, start: int, end: int) -> Coverage:
        """Return for how much of start <= time < end, as far as it has come, there was a feed."""
        answer = self._answers.get((start, end))
        if answer is None:
            if len(self._answers) >= MAX_REMEMBERED:
                self._answers.clear()
            answer = self._answers[start, end] = self._coverage(start, end)
        return answer

    def all_spans(self, now_ns: int) -> list[Span]:
        """Return when there was a feed, up to now, the earliest first: what a store keeps."""
        whole = Spans(MAX_SPANS, self.spans.all())
        for feed in self._feeds:
            for span in feed.spans(now_ns):
                whole.add(*span)
        return whole.all()

    def statuses(self) -> list[FeedStatus]:
        """Return what each sender said last, the one that began to speak last at the end."""
        return [
            FeedStatus(
                producer_id=name,
                connected=sender.feed is not None,
                report=sender.report,
                reported_at=sender.reported_at,
            )
            for name, sender in self._senders.items()
        ]

    def sender(self, producer_id: str) -> Sender:
        """Return what is known of a sender; for the feeds."""
        if not producer_id:
            # Nobody could tell it from another.
            return Sender()
        sender = self._senders.get(producer_id)
        if sender is None:
            if len(self._senders) >= MAX_SENDERS:
                gone = (name for name, known in self._senders.items() if known.feed is None)
                del self._senders[next(gone, next(iter(self._senders)))]
            sender = self._senders[producer_id] = Sender()
        return sender

    def changed(self) -> None:
        """Forget what was answered; for the feeds."""
        self._answers.clear()

    def remove(self, feed: Feed) -> None:
        """Forget a feed that is over; for the feeds."""
        self._feeds.discard(feed)
        self.changed()

    def _coverage(self, start: int, end: int) -> Coverage:
        reach = start
        while reach < end:
            further = max((feed.reach(reach) for feed in self._feeds), default=reach)
            further = max(further, self.spans.reach(reach))
            if further <= reach:
                break
            reach = further
        if reach >= end or (reach > start and any(f.grows_at(reach) for f in self._feeds)):
            return Coverage.FULL
        if self.spans.touches(start, end) or any(f.touches(start, end) for f in self._feeds):
            return Coverage.PARTIAL
        # Nothing is known of the time before the first feed.
        return Coverage.PARTIAL if start < self._first() else Coverage.NO_FEED

    def _first(self) -> int:
        firsts = [span.start for feed in self._feeds for span in feed.spans(END_OF_TIME)]
        firsts += (span.start for span in self.spans.first())
        return min(firsts, default=END_OF_TIME)


def _small(report: FeedReport) -> FeedReport:
    if report.ByteSize() <= MAX_REPORT_BYTES:
        return report
    return FeedReport(producers=report.producers, accepted=report.accepted, since=report.since)

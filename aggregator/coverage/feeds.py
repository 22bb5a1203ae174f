"""Know when there was a feed, so that an empty minute is not taken for a quiet one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aggregator.bars.bar import Coverage
from aggregator.coverage.feed import Feed, Sender
from aggregator.coverage.gaps import Gaps
from aggregator.coverage.spans import Span, Spans
from aggregator.sessions.sessions import END_OF_TIME
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import FeedStatus

# 160 KB, and some years of a feed that breaks ten times a day.
MAX_SPANS = 10_000
# A sender that was restarted comes back under a new name.
MAX_SENDERS = 1_000
# The bars of a minute of one day. When this many answers are remembered, all are dropped.
MAX_REMEMBERED = 2_000


class SenderMark(NamedTuple):
    """Where an orderly stop left a sender."""

    # The next sequence is one more.
    last_sequence: int
    since: int
    places: list[Span]


class Feeds:
    """All streams of ticks, and when there was at least one.

    Args:
        live_within_s: how old the ticks of a live feed may be.
        spans: the times that were covered before.
        started_ns: a feed covers nothing before this time, unless it goes on where an orderly stop
            left it; see :meth:`restore`.
    """

    def __init__(
        self, live_within_s: float, spans: Iterable[Span] = (), started_ns: int = 0
    ) -> None:
        self.live_within_ns = int(live_within_s * NS_PER_S)
        self.started_ns = started_ns
        # What ended streams covered; open streams are asked themselves.
        self.spans = Spans(MAX_SPANS, spans)
        # Times of ticks that were sent and did not arrive, whoever else was connected.
        self.gaps = Gaps()
        # By number, in the order in which they began.
        self._feeds: dict[int, Feed] = {}
        self._next_number = 0
        self._senders: OrderedDict[str, Sender] = OrderedDict()
        # Senders of the run before that have not come back yet.
        self._left: dict[str, SenderMark] = {}
        # Many symbols have bars of the same bounds.
        self._answers: dict[tuple[int, int], Coverage] = {}
        # Times from which on everything up to the present is covered.
        self._endless: set[int] = set()
        # By their start, the least known end of a time that is covered in part. So is the time up
        # to any later end: an open bar, whose trades come ever later, asks no more.
        self._partial_to: dict[int, int] = {}

    def open(self, now_ns: int, number: int | None = None) -> Feed:
        """Return the feed of a stream that begins; :meth:`Feed.close` it.

        Args:
            now_ns: when it begins.
            number: larger than that of every feed before; None: the next one.
        """
        feed = Feed(self, now_ns, self._next_number if number is None else number)
        self._next_number = feed.number + 1
        self._feeds[feed.number] = feed
        self.changed()
        return feed

    def open_feeds(self) -> list[Feed]:
        """Return the feeds of the streams that have not ended, in the order of their numbers."""
        return list(self._feeds.values())

    def restore(self, marks: Mapping[str, SenderMark]) -> None:
        """Take over the senders of a run that has ended; call it before the first batch."""
        self._senders.clear()
        self._left = dict(marks)

    def start(self, now_ns: int) -> None:
        """Know when this process began to listen."""
        self.started_ns = now_ns

    @property
    def awaits_senders(self) -> bool:
        """Whether a sender that had producers at the orderly stop has not come back."""
        return any(mark.since for mark in self._left.values())

    def marks(self, last_sequences: Mapping[str, int]) -> dict[str, SenderMark]:
        """Return where each producer stands, when all streams have ended."""
        found = {}
        for name, last_sequence in last_sequences.items():
            if name in self._left:
                # It has not come back since an earlier stop.
                found[name] = self._left[name]
                continue
            sender = self._senders.get(name) or Sender()
            since = sender.since if sender.report.producers else 0
            found[name] = SenderMark(last_sequence, since, sender.places)
        return found

    def resume(self, producer_id: str, first_sequence: int) -> None:
        """Note a batch of a sender with a report; the feeds call it, and the first one counts.

        If the sender goes on where an orderly stop left it, nothing was missed in between.
        """
        mark = self._left.pop(producer_id, None)
        if mark is not None and first_sequence <= mark.last_sequence + 1:
            sender = self.sender(producer_id)
            sender.is_resumed = True
            sender.since, sender.places = mark.since, mark.places

    def coverage(self, start: int, end: int) -> Coverage:
        """Return how much of start <= time < end, as far as it has passed, had a feed."""
        if start in self._endless:
            return Coverage.FULL
        least_end = self._partial_to.get(start)
        if least_end is not None and end >= least_end:
            return Coverage.PARTIAL
        answer = self._answers.get((start, end))
        if answer is None:
            if len(self._answers) >= MAX_REMEMBERED:
                self.changed()
            answer = self._answers[start, end] = self._coverage(start, end)
            if answer is Coverage.PARTIAL:
                self._partial_to[start] = end
        return answer

    def all_spans(self, now_ns: int) -> list[Span]:
        """Return when there was a feed, up to now, the earliest first; the store keeps it."""
        whole = Spans(MAX_SPANS, self.spans.all())
        for feed in self._feeds.values():
            for span in feed.spans(now_ns):
                whole.add(*span)
        for gap in self.gaps.all():
            whole.remove(*gap)
        return whole.all()

    def statuses(self) -> list[FeedStatus]:
        """Return the last report of each sender, in the order of their first reports."""
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
        """Return the state of a sender; the feeds call it."""
        if not producer_id:
            # Without a name it cannot be told from others, so nothing is kept.
            return Sender()
        sender = self._senders.get(producer_id)
        if sender is None:
            if len(self._senders) >= MAX_SENDERS:
                gone = (name for name, known in self._senders.items() if known.feed is None)
                del self._senders[next(gone, next(iter(self._senders)))]
            sender = self._senders[producer_id] = Sender()
        return sender

    def is_sender(self, producer_id: str) -> bool:
        """Return whether it reports its producers; the feeds call it."""
        return producer_id in self._senders

    def changed(self) -> None:
        """Drop the remembered answers; the feeds call it."""
        self._answers.clear()
        self._endless.clear()
        self._partial_to.clear()

    def remove(self, feed: Feed) -> None:
        """Remove a feed that has ended; the feeds call it."""
        self._feeds.pop(feed.number, None)
        self.changed()

    def _coverage(self, start: int, end: int) -> Coverage:
        reach = start
        while reach < end:
            further = max((feed.reach(reach) for feed in self._feeds.values()), default=reach)
            further = max(further, self.spans.reach(reach))
            if further <= reach:
                break
            reach = further
        if self.gaps.touch(start, end):
            return Coverage.PARTIAL
        if reach == END_OF_TIME and not self.gaps.touch(start, END_OF_TIME):
            self._endless.add(start)
        if reach >= end or (reach > start and any(f.grows_at(reach) for f in self._feeds.values())):
            return Coverage.FULL
        if self.spans.touches(start, end) or any(
            feed.touches(start, end) for feed in self._feeds.values()
        ):
            return Coverage.PARTIAL
        # Whether there was a feed before our first one is not known.
        return Coverage.PARTIAL if start < self._first() else Coverage.NO_FEED

    def _first(self) -> int:
        feeds = self._feeds.values()
        firsts = [span.start for feed in feeds for span in feed.spans(END_OF_TIME)]
        firsts += (span.start for span in self.spans.first())
        return min(firsts, default=END_OF_TIME)

    def dump_state(self) -> dict[str, Any]:
        """Return all streams, their senders, and what was covered."""
        return {
            "started_ns": self.started_ns,
            "spans": self.spans.dump_state(),
            "gaps": self.gaps.dump_state(),
            "next_number": self._next_number,
            "feeds": [feed.dump_state() for feed in self._feeds.values()],
            "senders": [[name, sender.dump_state()] for name, sender in self._senders.items()],
            "left": sorted(self._left.items()),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was; its streams are :meth:`open_feeds`."""
        self.started_ns = state["started_ns"]
        self.spans.load_state(state["spans"])
        self.gaps.load_state(state["gaps"])
        self._next_number = state["next_number"]
        self._feeds = {each["number"]: Feed(self, 0, each["number"]) for each in state["feeds"]}
        for feed, saved in zip(self._feeds.values(), state["feeds"], strict=True):
            feed.load_state(saved)
        self._senders = OrderedDict((name, Sender()) for name, _ in state["senders"])
        for name, saved in state["senders"]:
            self._senders[name].load_state(saved)
        self._left = {
            name: SenderMark(last_sequence, since, [Span(*place) for place in places])
            for name, (last_sequence, since, places) in state["left"]
        }
        self.changed()

"""What ``make run`` and ``make run-one`` start, in which order, and with which feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from marketdata.errors import StartError


class Processes(NamedTuple):
    """What is run.

    Args:
        command: of make; messages begin with it.
        needs: the processes. Each starts when those it needs are ready, so no log begins with a
            failed connection.
        stop_order: producers before consumers, so that each can hand over what it holds.
        ready: the text that a process logs when it is ready; the last one logs none.
        feed: the words after ``python -m`` of the last one.
    """

    command: str
    needs: Mapping[str, frozenset[str]]
    stop_order: tuple[str, ...]
    ready: bytes
    feed: tuple[str, ...]

    @property
    def services(self) -> frozenset[str]:
        """The processes that others need, or clients."""
        return frozenset(self.needs) - {FEED, LIVE_FEED}

    @property
    def symbol(self) -> str:
        """A symbol that the feed sends, for the examples of the banner."""
        return "AAPL" if self.feed[0] == FEED else self.feed[2].replace("/", "-")

    def with_feed(self, feed: str) -> Processes:
        """Return the same with a live source, such as ``binance:BTC/USDT,ETH/USDT``.

        Raises:
            StartError: it is not written so.
        """
        source, _, rest = feed.partition(":")
        words = tuple(filter(None, rest.split(",")))
        if not source or not words:
            problem = "must be SOURCE:NAME,NAME, such as binance:BTC/USDT,ETH/USDT"
            raise StartError(f"FEED={feed} {problem}")
        needs = {LIVE_FEED if name == FEED else name: each for name, each in self.needs.items()}
        order = (LIVE_FEED, *self.stop_order[1:])
        return self._replace(needs=needs, stop_order=order, feed=(LIVE_FEED, source, *words))


FEED = "fakeclient"
LIVE_FEED = "connect"
THREE = Processes(
    "make run",
    {
        "aggregator": frozenset(),
        "gateway": frozenset({"aggregator"}),
        "ingest": frozenset({"aggregator"}),
        FEED: frozenset({"ingest"}),
    },
    (FEED, "ingest", "gateway", "aggregator"),
    b"listening",
    (FEED,),
)
ONE = Processes(
    "make run-one",
    {"standalone": frozenset(), FEED: frozenset({"standalone"})},
    (FEED, "standalone"),
    b"standalone_ready",
    (FEED,),
)

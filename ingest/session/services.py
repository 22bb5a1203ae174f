"""What all producer sessions of an ingest share."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.reports import FeedState
from ingest.scheduler import BatchScheduler
from ingest.session.batches import BatchReader
from ingest.session.lookup import ProducerLookup
from ingest.session.producers import SessionProducers
from marketdata.summary import DropSummary


@dataclass(frozen=True, slots=True)
class SessionServices:
    """What all sessions of an ingest share.

    Attributes:
        reader: reads the ticks.
        window: where the bytes of any connection are read into.
        scheduler: sends the batches, and says when not to read.
        producers: the producers that have a session.
        lookup: asks the aggregator for their sequences.
        feed: counts the ticks.
        rejected: counts the rejected ticks.
        max_frame_size: bytes in one frame.
        hello_timeout_s: how long a hello may take to arrive.
        frame_timeout_s: how long any frame may take.
    """

    reader: BatchReader
    window: memoryview
    scheduler: BatchScheduler
    producers: SessionProducers
    lookup: ProducerLookup
    feed: FeedState
    rejected: DropSummary
    max_frame_size: int
    hello_timeout_s: float
    frame_timeout_s: float

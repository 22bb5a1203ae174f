"""Choose which faults happen when, by a seed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from random import Random


class Fault(enum.Enum):
    """What happens to a process, a link, a disk or a clock."""

    KILL_AGGREGATOR = "kill -9 the aggregator"
    TERM_AGGREGATOR = "SIGTERM the aggregator"
    STOP_AGGREGATOR = "SIGSTOP the aggregator, SIGCONT later"
    KILL_INGEST = "kill -9 ingest"
    TERM_INGEST = "SIGTERM ingest"
    STOP_INGEST = "SIGSTOP ingest, SIGCONT later"
    CUT_PRODUCER = "reset the connection of the producer"
    CUT_BATCHES = "reset the connection of ingest and aggregator"
    CUT_ACKS = "hold the answers of the aggregator, then reset the connection"
    CUT_WATCH = "reset the connection of gateway and aggregator"
    TORN_TAIL = "kill -9 the aggregator, and leave half a record at the end of its log"
    FULL_DISK = "fill the log's disk, free it later"
    SLOW_SYNC = "let each sync take half a second, for a while"
    CLOCK_STEP = "set the aggregator's clock forward or back, for a while"


#: Ingest must live on, and its producer too, if the producer has no acks.
WITHOUT_ACKS: list[Fault] = [
    fault
    for fault in Fault
    if fault not in (Fault.KILL_INGEST, Fault.TERM_INGEST, Fault.CUT_PRODUCER)
]


#: What concerns all services of one process is in it once; it has no connections inside.
IN_ONE_PROCESS: list[Fault] = [
    fault
    for fault in Fault
    if fault
    not in (
        Fault.KILL_INGEST,
        Fault.TERM_INGEST,
        Fault.STOP_INGEST,
        Fault.CUT_BATCHES,
        Fault.CUT_ACKS,
    )
]


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: after so many batches, and so many seconds into the next one."""

    after: int
    delay_s: float
    fault: Fault
    # How long a fault lasts that ends.
    lasts_s: float

    def __str__(self) -> str:
        delay, lasts = f"{1000 * self.delay_s:.1f} ms", f"{self.lasts_s:.2f} s"
        return f"after batch {self.after} and {delay}: {self.fault.value} (for {lasts})"


def make_schedule(seed: int, batches: int, faults: list[Fault]) -> list[Step]:
    """Return the faults of a run, in their order."""
    random = Random(seed)
    count = random.randint(2, 5)
    places = sorted(random.sample(range(1, batches), count))
    return [
        Step(
            after=place,
            delay_s=random.choice([0.0, 0.001, 0.005, 0.02]) * random.random(),
            fault=random.choice(faults),
            lasts_s=random.uniform(0.05, 1.0),
        )
        for place in places
    ]

"""Count the ticks that were sent, and report them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fakeclient.bad import BadKind
from fakeclient.packing import Parcel


@dataclass(slots=True)
class Counts:
    """The ticks that all connections have sent so far."""

    sent: int = 0
    bad: Counter[BadKind] = field(default_factory=Counter)
    # Frames of writes that the end of a connection cut short. Some may have arrived; none is sent
    # again, because without acks it could count twice.
    cut: int = 0
    # Of producer sessions: what the server answered.
    acked: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def unacked(self) -> int:
        """How many ticks of producer sessions have no answer."""
        return self.sent - self.acked - self.rejected.total()

    def add_sent(self, parcel: Parcel) -> None:
        """Count a parcel that the kernel has accepted completely."""
        self.sent += parcel.ticks
        self.bad.update(parcel.bad)

    def add_cut(self, parcel: Parcel) -> None:
        """Count a parcel that was being written when its connection died."""
        self.cut += parcel.ticks


def progress_line(counts: Counts, rate: float) -> str:
    """Return the progress of a run in one line; ``rate`` is that of the last second."""
    line = f"sent {counts.sent:,} ticks, {rate:,.0f} ticks/s"
    if counts.bad:
        line += f", {counts.bad.total():,} bad"
    return line


def ack_line(counts: Counts) -> str:
    """Return what became of the ticks of producer sessions."""
    rejected = counts.rejected.total()
    line = f"acked {counts.acked:,} + rejected {rejected:,} = sent {counts.sent - counts.unacked:,}"
    if counts.unacked:
        line += f"; {counts.unacked:,} more were sent and are not acked"
    if rejected:
        reasons = " ".join(f"{reason}={count}" for reason, count in sorted(counts.rejected.items()))
        line += f"; rejected: {reasons}"
    return line


def summary_lines(counts: Counts, seconds: float) -> list[str]:
    """Return the summary of a run; the time before the first tick is in neither seconds nor rate.

    The numbers of bad frames are plain, so that a program can read them.
    """
    rate = counts.sent / seconds if seconds else 0.0
    lines = [f"sent {counts.sent:,} ticks in {seconds:,.2f} s ({rate:,.0f} ticks/s)"]
    if counts.bad:
        kinds = " ".join(f"{kind}={counts.bad[kind]}" for kind in BadKind)
        lines.append(f"bad {counts.bad.total():,} of them: {kinds}")
    if counts.cut:
        lines.append(
            f"cut off {counts.cut:,} more when a connection died: they may be lost, and are not "
            "sent again"
        )
    return lines

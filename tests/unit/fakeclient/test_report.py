"""What a run says about itself."""

from __future__ import annotations

from collections import Counter

from fakeclient.bad import BadKind
from fakeclient.packing import Parcel
from fakeclient.report import Counts, progress_line, summary_lines


def test_the_summary_is_one_line() -> None:
    assert summary_lines(Counts(sent=5_000), 2.5) == ["sent 5,000 ticks in 2.50 s (2,000 ticks/s)"]


def test_a_run_that_never_began_has_no_rate() -> None:
    assert summary_lines(Counts(), 0.0) == ["sent 0 ticks in 0.00 s (0 ticks/s)"]


def test_bad_frames_are_counted_by_kind() -> None:
    counts = Counts()
    counts.add_sent(Parcel(b"", 20, Counter({BadKind.NAN_PRICE: 2, BadKind.UNPARSABLE: 1})))
    _, line = summary_lines(counts, 1.0)
    assert line.startswith("bad 3 of them: unparsable=1 nan_price=2 infinite_price=0 ")
    assert line.endswith(" empty_payload=0")
    assert progress_line(counts, 20.4) == "sent 20 ticks, 20 ticks/s, 3 bad"


def test_what_a_dying_connection_cut_short_is_said() -> None:
    counts = Counts(sent=10)
    counts.add_cut(Parcel(b"", 7))
    assert summary_lines(counts, 1.0)[1:] == [
        "cut off 7 more when a connection died: they may be lost, and are not sent again"
    ]

"""The numbers of lines are those that an editor shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from marketdata.files import engine
from tests.unit.files.test_formats import read


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example(["good", "short"], 2)
@given(
    st.lists(st.sampled_from(["good", "empty", "short", "long", "bad"]), max_size=300),
    st.integers(0, 310),
)
def test_every_line_is_a_trade_a_bad_row_or_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: list[str], after: int
) -> None:
    monkeypatch.setattr(engine, "BLOCK_BYTES", 512)
    lines = {
        "good": "A,1.5,{},1735914600000",
        "empty": "",
        "short": "A,1.5",
        "long": "A,1.5,2,1735914600000,{}",
        "bad": "A,x,{},1735914600000",
    }
    path = tmp_path / "a.csv"
    text = "\n".join(lines[kind].format(n) for n, kind in enumerate(kinds, 2))
    # The first rows say how the file is written.
    path.write_text(f"symbol,price,volume,exchange_timestamp\n{text}\n")
    trades, bad, _ = read(path, after)
    places = {
        kind: {n for n, k in enumerate(kinds, 2) if k == kind and n > after} for kind in lines
    }
    assert [trade[2] for trade in trades] == sorted(places["good"])
    assert [row.row for row in bad] == sorted(row.row for row in bad)
    assert {row.row for row in bad} == places["short"] | places["long"] | places["bad"]
    assert len(bad) == len({row.row for row in bad})

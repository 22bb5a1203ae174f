"""How results are shown and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.publish import PAGE, PLOT, fill_page, newest, promises_table, show
from benchmarks.report import Line, Outcome, markdown_table, number, rows_of, text_table
from benchmarks.results import HISTORY, Results, read_lines, write_json
from tests.doubles.trades import ROOT


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,230,000"), (999.6, "1,000"), (100, "100"), (12.34, "12.3"), (0.01234, "0.0123")],
)
def test_three_digits_of_a_number_count(value: float, text: str) -> None:
    assert number(value) == text


def test_a_line_says_its_share_of_the_limit_and_how_often_it_is_the_other_way() -> None:
    rate = Line("a", "ticks", 500.0, "per s", 1000.0, "loopback", 10.0)
    assert rate.cells() == ["ticks", "500 per s", "1,000 (loopback)", "50.0%", "50 x", ""]
    time = Line("b", "wait", 2.0, "ms", 0.5, "round trips", 4.0, peer="NATS")
    assert time.cells() == ["NATS: wait", "2 ms", "0.5 (round trips)", "4.0 x", "2 x", ""]
    assert Line("c", "alone", 3.0, "KB").cells() == ["alone", "3 KB", "", "", "", ""]


def test_a_table_has_its_numbers_below_each_other() -> None:
    assert text_table([["what", "n", ""], ["a", "1,000", "b"]]) == "what      n\na     1,000  b"
    assert markdown_table([["what", "n"], ["a", "1"]]) == "| what | n |\n|---|---|\n| a | 1 |"


def test_results_come_back_from_their_file_as_they_were() -> None:
    results = Results("quick")
    lines = [Line("a", "ticks", 5.0, "per s", note="so"), Line("b", "wait", 2.0, "ms", 0.5, "it")]
    results.add("one", Outcome(lines[:1], {"x": 1}))
    results.add("two", Outcome(lines[1:], {}, skipped="it is not installed"))
    kept = results.to_dict()
    assert read_lines(kept) == lines
    assert kept["skipped"] == {"two": "it is not installed"}
    assert kept["details"]["one"] == {"x": 1}
    assert kept["machine"]["cores"] >= 1


def line(key: str, value: float) -> tuple[str, Line]:
    return key, Line(key, key, value, "per s")


def test_what_was_promised_is_held_against_what_was_measured() -> None:
    lines = dict(
        [
            line("ingest/500/1/ordered/seconds", 4e6),
            line("message/ticks", 20_000),
            line("fanout/1000/per-core", 2e5),
            line("fanout/1000", 1e5),
            line("rabbitmq/1000/per-core", 3e5),
            line("fanout/idle", 12.0),
        ]
    )
    rows = promises_table(lines).splitlines()[2:]
    # 200 times one message per tick is not enough, and RabbitMQ is ahead.
    assert rows[0].endswith("| 4,000,000 ticks/s, 200 x | **no** |")
    assert rows[1].endswith("| not measured |  |")
    assert rows[3].endswith("RabbitMQ 300,000 per core | **no** |")
    assert rows[4].endswith("| 12.0 KB | yes |")


def test_parts_of_a_page_are_put_between_their_comments_again_and_again() -> None:
    page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    once = fill_page(page, {"x": "new"})
    assert once == "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
    assert fill_page(once, {"x": "new"}) == once
    with pytest.raises(ValueError, match="no place for y"):
        fill_page(page, {"y": ""})


def test_the_page_shows_the_newest_run_that_was_kept(tmp_path: Path) -> None:
    """So nobody copies a number by hand, or edits one."""
    if not list((ROOT / HISTORY).glob("*.json")):
        with pytest.raises(SystemExit, match="the history is empty"):
            newest()
        return
    (tmp_path / PAGE).parent.mkdir()
    (tmp_path / PAGE).write_text((ROOT / PAGE).read_text())
    page, plot = show(newest(), tmp_path)
    assert page.read_text() == (ROOT / PAGE).read_text()
    assert (ROOT / PLOT).exists()
    assert plot.stat().st_size > 10_000


def test_a_folder_is_made_for_the_first_file(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"b": 1})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n "b": 1\n}\n'
    assert rows_of([])[0][0] == "what"

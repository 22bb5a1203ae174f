"""What the sale conditions of the US tapes exclude."""

from __future__ import annotations

import pytest

from marketdata.conditions import CTA, UTP, ConditionRule, excludes
from marketdata.wire.market_data_pb2 import Exclude
from tests.doubles.trades import ROOT

TAPE, EXTENDED, NONE = ConditionRule.TAPE, ConditionRule.EXTENDED, ConditionRule.NONE
BITS = {
    "open": Exclude.EXCLUDE_OPEN,
    "high, low": Exclude.EXCLUDE_HIGH_LOW,
    "last": Exclude.EXCLUDE_LAST,
    "volume": Exclude.EXCLUDE_VOLUME,
}


def test_the_page_has_the_tables() -> None:
    page = (ROOT / "docs" / "files.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    shown = {row[0].strip(" `"): row[1:] for row in rows if len(row[0].strip(" `")) == 1}
    assert shown.keys() == CTA.keys() | UTP.keys()
    for condition, cells in shown.items():
        for plan, cell in zip((CTA, UTP), cells, strict=True):
            name, _, words = cell.strip().rpartition(": ")
            if condition not in plan:
                assert not words
                continue
            bits = sum(bit for word, bit in BITS.items() if word in words)
            assert plan[condition] == (bits, name)


@pytest.mark.parametrize(
    ("conditions", "rule", "bits"),
    [
        ("@   ", TAPE, 0),
        ("    ", TAPE, 0),
        ("@  I", TAPE, 7),
        ("@Z I", TAPE, 7),
        ("@ZT ", EXTENDED, 5),
        ("@ TI", EXTENDED, 7),
        ("@ T ", EXTENDED, 0),
        ("@  M", TAPE, 15),
        ("@  9", TAPE, 8),
        ("@ TI", NONE, 0),
    ],
)
def test_several_conditions_exclude_what_any_of_them_does(
    conditions: str, rule: ConditionRule, bits: int
) -> None:
    assert excludes(conditions, CTA, rule) == bits


def test_the_plans_differ_in_b() -> None:
    assert (excludes("B", CTA, TAPE), excludes("B", UTP, TAPE)) == (7, 0)


def test_a_condition_that_is_not_known_is_no_guess() -> None:
    with pytest.raises(ValueError, match="has the condition 'J', which the plan does not have"):
        excludes("@ J ", CTA, TAPE)

"""What a print of the US consolidated tapes does not move, by its sale conditions.

The tables are those of the two plans: "consolidated processing" of the CTS output specification
(CTA, tapes A and B) and of the UTDF specification (UTP, tape C). Of each condition they say whether
the print moves the last price, the high and low, and the volume. If one of several conditions says
no, it does not. docs/files.md shows the tables.

Two simplifications: a condition under which a print sets the last price only if it is the first one
of the day does not set it here, and what does not set the last price does not set the open.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from marketdata.wire.market_data_pb2 import (
    EXCLUDE_HIGH_LOW,
    EXCLUDE_LAST,
    EXCLUDE_OPEN,
    EXCLUDE_VOLUME,
)

_ORDER = int(EXCLUDE_OPEN) | int(EXCLUDE_LAST)
_PRICES = _ORDER | int(EXCLUDE_HIGH_LOW)
_ALL = _PRICES | int(EXCLUDE_VOLUME)

# What both plans have alike.
_BOTH: dict[str, tuple[int, str]] = {
    "@": (0, "regular"),
    "C": (_PRICES, "cash"),
    "E": (0, "automatic execution"),
    "F": (0, "intermarket sweep"),
    "H": (_PRICES, "price variation"),
    "I": (_PRICES, "odd lot"),
    "K": (0, "rule 127 or 155"),
    "L": (0, "sold last"),
    "M": (_ALL, "official close"),
    "N": (_PRICES, "next day"),
    "O": (0, "opening"),
    "P": (_ORDER, "prior reference price"),
    "Q": (_ALL, "official open"),
    "R": (_PRICES, "seller"),
    "T": (_PRICES, "extended hours"),
    "U": (_PRICES, "extended hours, out of sequence"),
    "V": (_PRICES, "contingent"),
    "X": (0, "cross"),
    "Z": (_ORDER, "out of sequence"),
    "4": (_ORDER, "derivatively priced"),
    "5": (0, "reopening"),
    "6": (0, "closing"),
    "7": (_PRICES, "qualified contingent"),
    # Says why a print may be outside of the best quotes.
    "8": (0, "exempt"),
    "9": (int(EXCLUDE_VOLUME), "corrected consolidated close"),
}
CTA: Mapping[str, tuple[int, str]] = {**_BOTH, "B": (_PRICES, "average price")}
UTP: Mapping[str, tuple[int, str]] = {
    **_BOTH,
    "A": (0, "acquisition"),
    "B": (0, "bunched"),
    "D": (0, "distribution"),
    "G": (_ORDER, "bunched sold"),
    "S": (0, "split"),
    "W": (_PRICES, "average price"),
    "Y": (0, "yellow flag"),
    "1": (0, "stopped stock"),
}
# In "extended", what comes before the opening and after the close moves the prices of its bars, if
# it is in sequence.
_EXTENDED = {"T": 0, "U": _ORDER}


class ConditionRule(StrEnum):
    """Which rules say what a print moves."""

    TAPE = "tape"
    EXTENDED = "extended"
    NONE = "none"


def excludes(conditions: str, plan: Mapping[str, tuple[int, str]], rule: ConditionRule) -> int:
    """Return the bits of ``Tick.excludes`` of a print.

    Args:
        conditions: one character each; blanks say nothing.
        plan: :data:`CTA` or :data:`UTP`.
        rule: which rules.

    Raises:
        ValueError: a condition is not in the plan; the message is the rest of a sentence.
    """
    bits = 0
    for character in conditions:
        if character == " " or rule is ConditionRule.NONE:
            continue
        if character not in plan:
            raise ValueError(f"has the condition {character!r}, which the plan does not have")
        found = plan[character][0]
        bits |= _EXTENDED.get(character, found) if rule is ConditionRule.EXTENDED else found
    return bits

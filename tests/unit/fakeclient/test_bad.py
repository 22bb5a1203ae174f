"""Bad frames: exact counts, and each has the one thing wrong that it should."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from fakeclient.bad import BadKind, BadMix, spoil
from marketdata.validation import RejectReason, TickRules
from marketdata.wire.market_data_pb2 import Tick

NOW_NS = 1_735_201_234_567_000_000
GOOD = ("AAPL", 150.25, 100, NOW_NS)


@given(st.integers(0, 1000), st.integers(0, 3000))
def test_exactly_the_fraction_is_bad(thousandths: int, frames: int) -> None:
    mix = BadMix(thousandths / 1000)
    bad = [kind for _ in range(frames) if (kind := mix.next_kind())]
    assert len(bad) == int(frames * Fraction(thousandths, 1000))


def test_every_kind_comes_in_turn() -> None:
    mix = BadMix(0.1)
    counts = Counter(mix.next_kind() for _ in range(1_100))
    assert counts == {None: 990} | dict.fromkeys(BadKind, 10)


REASONS = {
    BadKind.NAN_PRICE: RejectReason.PRICE_NOT_FINITE,
    BadKind.INFINITE_PRICE: RejectReason.PRICE_NOT_FINITE,
    BadKind.NEGATIVE_PRICE: RejectReason.PRICE_NOT_POSITIVE,
    BadKind.ZERO_VOLUME: RejectReason.VOLUME_NOT_POSITIVE,
    BadKind.EMPTY_SYMBOL: RejectReason.EMPTY_SYMBOL,
    BadKind.LONG_SYMBOL: RejectReason.SYMBOL_TOO_LONG,
    BadKind.FUTURE_TIMESTAMP: RejectReason.TIMESTAMP_IN_FUTURE,
    BadKind.ZERO_TIMESTAMP: RejectReason.TIMESTAMP_NOT_POSITIVE,
}


@pytest.mark.parametrize(("kind", "reason"), list(REASONS.items()))
def test_the_server_rejects_each_kind_for_its_own_reason(
    kind: BadKind, reason: RejectReason
) -> None:
    rules = TickRules(timestamp_unit="auto", max_future_skew_s=60)
    assert rules.normalize(Tick.FromString(spoil(kind, GOOD)), NOW_NS) is reason


@pytest.mark.parametrize("kind", [BadKind.UNPARSABLE, BadKind.INVALID_UTF8])
def test_what_cannot_be_decoded_fails_to_decode(kind: BadKind) -> None:
    payload = spoil(kind, GOOD)
    assert payload
    with pytest.raises(DecodeError):
        Tick.FromString(payload)


def test_an_empty_payload_is_empty() -> None:
    assert spoil(BadKind.EMPTY_PAYLOAD, GOOD) == b""

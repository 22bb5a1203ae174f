"""The bytes in docs/protocols/tcp.md are what the messages look like."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest.session.errors import SessionReason
from ingest.session.frames import encode_answer
from marketdata.framing import encode_frame
from marketdata.validation import RejectReason
from marketdata.wire.market_data_pb2 import Rejection, Tick
from marketdata.wire.producer_pb2 import ProducerAck, ProducerError, ProducerWelcome
from tests.doubles.session_client import MAGIC, batch, hello

PAGE = (Path(__file__).parents[4] / "docs/protocols/tcp.md").read_text()
AAPL = Tick(symbol="AAPL", price=150.25, volume=100, exchange_timestamp=1735201234567)
REJECTION = Rejection(sequence=2, reason=RejectReason.PRICE_NOT_POSITIVE)
GAP = ProducerError(reason="sequence_gap", detail="the batch begins with 7, expected is 6")


def blocks() -> list[str]:
    found = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [" ".join(block.split()) for block in found]


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(AAPL.SerializeToString()),
        MAGIC + hello("feed-1"),
        batch(1, [AAPL]),
        encode_answer(ProducerWelcome()) + encode_answer(ProducerWelcome(last_sequence=300)),
        encode_answer(ProducerAck(last_sequence=3, accepted=2, rejections=[REJECTION])),
        encode_answer(GAP),
    ],
)
def test_each_example_has_the_bytes_of_its_message(data: bytes) -> None:
    assert data.hex(" ") in blocks()


def test_the_page_has_every_reason() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [reason.value for reason in SessionReason if reason.value in rows]
    assert set(rows) == {reason.value for reason in SessionReason}

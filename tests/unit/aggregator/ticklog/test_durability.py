"""The setting of durability has these forms."""

from __future__ import annotations

import pytest

from aggregator.settings import AggregatorSettings
from aggregator.ticklog.durability import Durability, parse_durability
from marketdata.errors import SettingsError
from marketdata.settings import load_settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("batch", Durability("batch")),
        ("never", Durability("never")),
        ("interval:100ms", Durability("interval", 0.1)),
        ("interval:2s", Durability("interval", 2.0)),
    ],
)
def test_a_durability_is_read(text: str, found: Durability) -> None:
    assert parse_durability(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "always", "interval", "interval:", "interval:0ms", "interval:1", "interval:-1s", "Batch",
     "interval:1.5s", "interval:1m", "interval:\uff11s", "interval:10000000ms", " batch"],
)  # fmt: skip
def test_other_forms_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is not batch, never or an interval"):
        parse_durability(text)
    monkeypatch.setenv("AGGREGATOR_LOG_FSYNC", text)
    with pytest.raises(SettingsError, match="AGGREGATOR_LOG_FSYNC"):
        load_settings(AggregatorSettings)

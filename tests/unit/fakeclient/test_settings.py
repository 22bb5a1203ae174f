"""Settings from the environment."""

from __future__ import annotations

import os
from math import inf

import pytest

from fakeclient.settings import FakeclientSettings
from marketdata.addresses import split_address
from marketdata.errors import SettingsError
from marketdata.settings import load_settings


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> FakeclientSettings:
    for name in [name for name in os.environ if name.startswith("FAKECLIENT_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(f"FAKECLIENT_{name}", value)
    return load_settings(FakeclientSettings)


def test_defaults_are_a_live_looking_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.server == "localhost:50050"
    assert settings.rate == 1_000
    assert {"AAPL", "MSFT"} <= set(settings.symbols)


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch, SERVER="ingest:1", SYMBOLS=" AAPL,IBM", RETRY="false", BAD_FRACTION="0.1"
    )
    assert (settings.server, settings.symbols) == ("ingest:1", ("AAPL", "IBM"))
    assert (settings.retry, settings.bad_fraction) == (False, 0.1)


@pytest.mark.parametrize(("value", "rate"), [("max", inf), ("0", inf), ("2.5", 2.5), ("1e6", 1e6)])
def test_a_rate_is_a_number_or_max(
    monkeypatch: pytest.MonkeyPatch, value: str, rate: float
) -> None:
    assert load(monkeypatch, RATE=value).rate == rate


@pytest.mark.parametrize(("value", "speed"), [("max", inf), ("1", 1), ("10", 10), ("0.25", 0.25)])
def test_a_speed_is_a_positive_number_or_max(
    monkeypatch: pytest.MonkeyPatch, value: str, speed: float
) -> None:
    assert load(monkeypatch, SPEED=value).speed == speed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("RATE", value) for value in ("-1", "nan", "fast")),
        *(("SPEED", value) for value in ("0", "-1", "nan")),
        *(("SERVER", value) for value in ("localhost", ":1", "a:b", "a:0", "a:65536")),
        *(("BAD_FRACTION", value) for value in ("-0.1", "1.1", "nan")),
        ("SYMBOLS", "AAPL,,"),
        ("SYMBOLS", "0"),
        ("CONNECTIONS", "0"),
        ("DURATION", "0"),
        ("DURATION", "inf"),
        ("LIMIT", "0"),
        ("ENCODE_AHEAD", "20000001"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"FAKECLIENT_{name}"):
        load(monkeypatch, **{name: value})


def test_an_address_is_a_host_and_a_port() -> None:
    assert split_address("localhost:50050") == ("localhost", 50050)
    assert split_address("[::1]:50050") == ("::1", 50050)

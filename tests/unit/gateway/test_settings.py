"""What an operator may change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings

REFERENCE = Path(__file__).parents[3] / "docs" / "rest.md"


def test_the_defaults_are_the_designs() -> None:
    settings = GatewaySettings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.aggregator == "localhost:50051"
    assert (settings.rate_limit, settings.rate_limit_scope) == (10, "global")
    assert (settings.deadline_s, settings.attempt_timeout_s) == (2.5, 0.5)
    assert (settings.retry_attempts, settings.retry_wait_s) == (3, 0.5)
    assert (settings.breaker_window, settings.breaker_min_calls) == (10, 5)
    assert (settings.breaker_failure_rate, settings.breaker_open_s) == (0.5, 5)
    assert settings.breaker_probes == 3
    assert (settings.fallback, settings.max_symbols_per_request) == ("empty", 500)


def test_the_reference_lists_every_setting_with_its_default() -> None:
    documented = dict(re.findall(r"^\| `(GATEWAY_\w+)` \| (\S+) \|", REFERENCE.read_text(), re.M))
    assert documented == {
        f"GATEWAY_{name.upper()}": f"`{field.default}`" if field.default != "" else "(empty)"
        for name, field in GatewaySettings.model_fields.items()
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("aggregator", ""),
        ("rate_limit", "-1"),
        ("rate_limit", "nan"),
        ("rate_limit", "inf"),
        ("rate_limit_scope", "ip"),
        ("deadline_s", "0"),
        ("attempt_timeout_s", "0"),
        ("retry_attempts", "0"),
        ("breaker_window", "0"),
        ("breaker_failure_rate", "50"),
        ("breaker_probes", "0"),
        ("fallback", "none"),
        ("max_symbols_per_request", "0"),
        ("root_path", "market"),
        ("root_path", "//evil.example"),
        ("root_path", "/a/../b"),
        ("root_path", '/"><script>'),
        ("allowed_hosts", "https://a.example"),
        ("allowed_hosts", "a.example:8080"),
        ("keep_alive_s", "0"),
        ("signal_burst_bytes", "1000"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate({name: value})


def test_what_one_client_may_signal_at_once_is_a_part_of_what_may_wait_for_another() -> None:
    GatewaySettings(signal_burst_bytes=256 * 1024, client_buffer_bytes=1024 * 1024)
    with pytest.raises(ValidationError, match="GATEWAY_SIGNAL_BURST_BYTES=262145 is more than"):
        GatewaySettings(signal_burst_bytes=256 * 1024 + 1, client_buffer_bytes=1024 * 1024)

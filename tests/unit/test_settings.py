"""Settings come from the environment; what is not known is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aggregator.settings import AggregatorSettings
from aggregator.store.retention import read_retention
from fakeclient.settings import FakeclientSettings
from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from marketdata.errors import SettingsError
from marketdata.settings import ServiceSettings, load_settings

REFERENCE = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.mark.parametrize("cls", [IngestSettings, AggregatorSettings])
def test_the_reference_lists_every_setting_with_its_default(cls: type[ServiceSettings]) -> None:
    prefix = cls.model_config.get("env_prefix", "")
    row = rf"^\| `({prefix}\w+)` \| (?:`(\S+)`|\(empty\)) \|"
    documented = dict(re.findall(row, REFERENCE.read_text(), re.MULTILINE))
    assert documented == {
        f"{prefix}{name.upper()}": str(field.default) for name, field in cls.model_fields.items()
    }


def test_defaults_listen_on_loopback() -> None:
    assert (load_settings(IngestSettings).host, load_settings(IngestSettings).port) == (
        "127.0.0.1",
        50050,
    )
    assert load_settings(AggregatorSettings).port == 50051


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_PORT", "7")
    assert load_settings(IngestSettings).port == 7


def test_an_unknown_name_is_refused_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INGEST_AGREGATOR", "x:1")
    with pytest.raises(SettingsError, match=r"INGEST_AGREGATOR.*INGEST_AGGREGATOR$"):
        load_settings(IngestSettings)


def test_other_services_variables_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_NONSENSE", "1")
    load_settings(IngestSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INGEST_PORT", "70000"),
        ("INGEST_PORT", "http"),
        ("INGEST_PORT", "7_0"),
        ("INGEST_MAX_VOLUME", "9223372036854775807"),
        ("INGEST_MAX_PRICE", "inf"),
    ],
)
def test_a_bad_value_names_the_variable_and_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        load_settings(IngestSettings)


@pytest.mark.parametrize(
    "address",
    [
        "postgresq://u:sec@ret@h/db",
        "u:secret@h",
        "postgresql://u:secret@h:port/db",
        "mysql://h/db?password=secret",
    ],
)
def test_a_bad_value_does_not_tell_the_password_in_it(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("AGGREGATOR_STORE", address)
    with pytest.raises(SettingsError) as caught:
        load_settings(AggregatorSettings)
    assert "AGGREGATOR_STORE=" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "sec@" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_shown_of_the_settings_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_STORE", "postgresql://u:secret@h/db")
    assert "secret" not in repr(load_settings(AggregatorSettings))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1s", "'1s' is not INTERVAL=PERIOD"),
        ("1s=7", "not INTERVAL=PERIOD, such as 1s=7d; periods: h d w y"),
        ("7x=1d", "interval '7x' is not one of"),
    ],
)
def test_a_retention_that_says_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setenv("AGGREGATOR_RETENTION", text)
    with pytest.raises(SettingsError, match=problem):
        load_settings(AggregatorSettings)


def test_retention_is_read_by_interval() -> None:
    assert read_retention(" 1s=12h, 1m=2w ") == {"1s": 12 * 3600 * 10**9, "1m": 14 * 86_400 * 10**9}
    assert read_retention("none") == read_retention("") == {}


# As Kubernetes sets them for a service with one named port, in every pod of its namespace.
KUBERNETES = {
    "SERVICE_HOST": "10.96.0.17",
    "SERVICE_PORT": "9000",
    "SERVICE_PORT_HTTP_API": "9000",
    "PORT": "tcp://10.96.0.17:9000",
    "PORT_9000_TCP": "tcp://10.96.0.17:9000",
    "PORT_9000_TCP_PROTO": "tcp",
    "PORT_9000_TCP_PORT": "9000",
    "PORT_9000_TCP_ADDR": "10.96.0.17",
    "PORT_53_UDP": "udp://[fd00::17]:53",
    "PORT_53_UDP_PROTO": "udp",
    "PORT_53_UDP_PORT": "53",
    "PORT_53_UDP_ADDR": "fd00::17",
}
EVERY_SERVICE = pytest.mark.parametrize(
    "cls", [IngestSettings, AggregatorSettings, GatewaySettings, FakeclientSettings]
)


@EVERY_SERVICE
def test_variables_that_kubernetes_sets_for_services_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, cls: type[ServiceSettings]
) -> None:
    default = load_settings(cls)
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(f"{cls.model_config.get('env_prefix')}{name}", value)
    assert load_settings(cls) == default


@EVERY_SERVICE
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE", "x"),
        ("SERVICE_HOSTS", "10.96.0.17"),
        ("SERVICE_PORT", "tcp"),
        ("PORT", "http://10.96.0.17:9000"),
        ("PORT", "tcp://10.96.0.17"),
        ("PORT_HTTP", "9000"),
        ("PORT_9000", "9000"),
        ("PORT_9000_TCP", "9000"),
        ("PORT_9000_TCP_PROTO", "9000"),
        ("PORT_9000_TCP_HOST", "10.96.0.17"),
        ("OTHER_SERVICE_HOST", "10.96.0.17"),
    ],
)
def test_only_the_forms_of_kubernetes_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, cls: type[ServiceSettings], name: str, value: str
) -> None:
    monkeypatch.setenv(f"{cls.model_config.get('env_prefix')}{name}", value)
    with pytest.raises(SettingsError, match=name):
        load_settings(cls)

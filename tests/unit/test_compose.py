"""What docker-compose.yml says about the services, held against what the services say."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from marketdata.healthcheck import CHECKS, TIMEOUT_S
from marketdata.settings import ServiceSettings, load_settings

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["aggregator", "ingest", "gateway", "fakeclient"]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

each_service = pytest.mark.parametrize("name", NAMES)


def settings_class(name: str) -> type[ServiceSettings]:
    if find_spec(f"{name}.__main__") is None:
        pytest.skip(f"{name} is not there yet")
    found: type[ServiceSettings] = getattr(
        import_module(f"{name}.settings"), f"{name.capitalize()}Settings"
    )
    return found


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for variable, value in SERVICES[name]["environment"].items():
        # None: passed on from the shell that runs Compose, if it is there.
        if value is not None:
            monkeypatch.setenv(variable, interpolated(value))
    return load_settings(settings_class(name))


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def interpolated(value: str) -> str:
    """Return what an empty environment makes of ``${NAME:-default}``."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_services_are_the_four() -> None:
    assert sorted(SERVICES) == sorted(NAMES)


@each_service
def test_a_container_can_change_nothing_and_gain_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "user"} & set(service)
    assert ("volumes" in service) == (name == "aggregator")


def test_the_store_is_on_a_volume_that_the_numbered_user_may_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (volume,) = SERVICES["aggregator"]["volumes"]
    name, _, folder = volume.partition(":")
    assert name in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    assert load("aggregator", monkeypatch).store == f"sqlite:///{folder}/bars.db"
    (user,) = re.findall(r"(?m)^USER (\d+):\d+$", DOCKERFILE)
    assert f"install -d -o {user} -g {user} {folder}" in DOCKERFILE


@each_service
def test_the_service_takes_the_settings_it_is_given(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(name, monkeypatch)


@each_service
def test_every_setting_can_be_given_to_compose(name: str) -> None:
    given = SERVICES[name]["environment"]
    names = {f"{name.upper()}_{field.upper()}" for field in settings_class(name).model_fields}
    # Compose itself reads the ports: they are those of the host.
    assert set(given) == names - {f"{name.upper()}_PORT"}
    for variable, value in given.items():
        fixed = variable.endswith(("_HOST", "_AGGREGATOR", "_SERVER", "_CONTINUE_FROM"))
        assert fixed or value is None or value.startswith(f"${{{variable}:-")


def test_the_feed_prints_no_line_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("fakeclient", monkeypatch).log_level == "warning"


def test_prices_go_on_from_the_stored_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    address = load("fakeclient", monkeypatch).continue_from
    assert address == load("gateway", monkeypatch).aggregator


def test_the_gateway_says_where_the_dashboard_is() -> None:
    shell, option, line = SERVICES["gateway"]["command"]
    assert (shell, option) == ("sh", "-c")
    # The gateway takes the place of the shell, so that it gets the signals.
    assert interpolated(line) == (
        'echo "the market at work http://localhost:8080/" && exec python -m gateway'
    )


@each_service
def test_ports_are_published_on_loopback_and_lead_to_the_service(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(name, monkeypatch)
    if name == "fakeclient":
        assert "ports" not in SERVICES[name]
    else:
        assert settings.host == "0.0.0.0"
        published = [interpolated(port) for port in SERVICES[name]["ports"]]
        assert published == [f"127.0.0.1:{settings.port}:{settings.port}"]


@each_service
def test_a_service_starts_when_the_one_it_connects_to_is_healthy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(name, monkeypatch)
    needed = getattr(settings, "aggregator", None) or getattr(settings, "server", None)
    if needed is None:
        assert "depends_on" not in SERVICES[name]
        return
    other, port = needed.split(":")
    assert SERVICES[name]["depends_on"] == {other: {"condition": "service_healthy"}}
    assert int(port) == load(other, monkeypatch).port


@each_service
def test_the_health_check_looks_where_the_service_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(name, monkeypatch)
    *command, kind, address = SERVICES[name]["healthcheck"]["test"]
    assert command == ["CMD", "python", "-m", "marketdata.healthcheck"]
    assert kind in CHECKS
    if kind == "connected":
        assert address == settings.server
    else:
        assert address.partition("/")[0] == f"127.0.0.1:{settings.port}"


@each_service
def test_a_health_check_has_time_to_say_why_it_failed(name: str) -> None:
    assert seconds(SERVICES[name]["healthcheck"]["timeout"]) > TIMEOUT_S + 1


@each_service
def test_a_service_is_not_killed_while_it_drains(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(name, monkeypatch)
    # The engine's own default is 10 s.
    deadline_s = getattr(settings, "shutdown_deadline_s", 5.0)
    assert seconds(SERVICES[name]["stop_grace_period"]) >= deadline_s + 5


def test_every_stage_stands_on_the_one_base() -> None:
    stages = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    assert len(stages) >= 2
    assert set(stages) == {"${BASE}"}


def test_the_compose_file_and_the_dockerfile_name_the_same_base() -> None:
    (base,) = re.findall(r"(?m)^ARG BASE=(\S+)", DOCKERFILE)
    assert interpolated(SERVICES["aggregator"]["build"]["args"]["BASE"]) == base


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    last_stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    (user,) = re.findall(r"(?m)^USER (\d+):\d+$", last_stage)
    assert int(user) > 0


def test_the_build_needs_no_buildkit() -> None:
    # Compose v1 and engines without buildx have the classic builder only.
    assert not re.search(
        r"(?m)^# *syntax=|^(RUN|COPY|ADD) --(mount|link|chmod|exclude)|<<", DOCKERFILE
    )


def test_one_service_builds_the_image_all_run() -> None:
    assert [name for name in NAMES if "build" in SERVICES[name]] == ["aggregator"]
    assert len({SERVICES[name]["image"] for name in NAMES}) == 1

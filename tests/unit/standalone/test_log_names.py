"""Each line of the log of one process names the service that writes it."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

import pytest
import structlog

from aggregator.settings import AggregatorSettings
from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from standalone.log_names import LogNames, present
from standalone.settings import StandaloneSettings


def settings(**levels: Any) -> StandaloneSettings:
    return StandaloneSettings(
        ingest=IngestSettings(log_level=levels.get("ingest", "info")),
        aggregator=AggregatorSettings(log_level=levels.get("aggregator", "info")),
        gateway=GatewaySettings(log_level=levels.get("gateway", "info")),
    )


def say(names: LogNames, module: str, method: str = "info") -> Any:
    """Log from code of a module, that the present function calls."""
    scope: dict[str, Any] = {"__name__": module, "names": names, "method": method}
    exec("def log(): return names(None, method, {})['service']", scope)
    return scope["log"]()


def test_the_nearest_caller_of_a_service_names_a_line() -> None:
    names = LogNames()
    assert say(names, "gateway.hub.hub") == "gateway"
    assert say(names, "aggregator") == "aggregator"


def test_code_that_services_share_is_named_by_the_service_that_began_its_task() -> None:
    names = LogNames()
    assert say(names, "marketdata.summary") == "standalone"

    def in_ingest() -> Any:
        present.set("ingest")
        return say(names, "marketdata.summary")

    assert copy_context().run(in_ingest) == "ingest"


def test_a_line_below_the_level_of_its_service_is_dropped() -> None:
    given = settings(gateway="error", ingest="debug")
    names = LogNames()
    assert names.configure(given) is given
    assert given.log_level == "debug"
    assert say(names, "ingest.app", "debug") == "ingest"
    assert say(names, "gateway.app", "error") == "gateway"
    for module, method in (("gateway.app", "warning"), ("aggregator.app", "debug")):
        with pytest.raises(structlog.DropEvent):
            say(names, module, method)


def test_the_deadline_is_the_time_of_all_services() -> None:
    assert settings().shutdown_deadline_s == 60.0

"""The settings of the three services: ``INGEST_*``, ``AGGREGATOR_*`` and ``GATEWAY_*``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.settings import AggregatorSettings
from gateway.settings import GatewaySettings
from ingest.settings import IngestSettings
from marketdata.errors import SettingsError
from marketdata.settings import ServerSettings, load_settings

# Stands where the address of the aggregator does.
HERE = "this process"


@dataclass(frozen=True, slots=True)
class StandaloneSettings:
    """What an operator may change: the settings of each service."""

    ingest: IngestSettings
    aggregator: AggregatorSettings
    gateway: GatewaySettings

    @property
    def services(self) -> Mapping[str, ServerSettings]:
        """The settings by service."""
        return {
            "ingest": self.ingest,
            "aggregator": self.aggregator,
            "gateway": self.gateway,
        }

    @property
    def log_level(self) -> str:
        """The lowest level of a service."""
        levels = (each.log_level for each in self.services.values())
        return min(levels, key=lambda level: logging.getLevelNamesMapping()[level.upper()])

    @property
    def log_format(self) -> str:
        """The format of all lines."""
        given = _given_formats(self.services)
        return next(iter(given.values()), self.ingest.log_format)

    @property
    def shutdown_deadline_s(self) -> float:
        """The time for the end of all services, which end one after the other."""
        return sum(each.shutdown_deadline_s for each in self.services.values())


def load_all() -> StandaloneSettings:
    """Return the settings as the environment gives them.

    Raises:
        SettingsError: a variable with the prefix of a service is unknown, a value cannot be used,
            or services have different log formats.
    """
    settings = StandaloneSettings(
        ingest=load_settings(IngestSettings).model_copy(update={"aggregator": HERE}),
        aggregator=load_settings(AggregatorSettings),
        gateway=load_settings(GatewaySettings).model_copy(update={"aggregator": HERE}),
    )
    given = _given_formats(settings.services)
    if len(set(given.values())) > 1:
        names = ", ".join(f"{name.upper()}_LOG_FORMAT={value}" for name, value in given.items())
        raise SettingsError(f"one process has one log format, these are several: {names}")
    return settings


def _given_formats(services: Mapping[str, ServerSettings]) -> dict[str, str]:
    # Those that the environment sets.
    return {
        name: each.log_format
        for name, each in services.items()
        if "log_format" in each.model_fields_set
    }

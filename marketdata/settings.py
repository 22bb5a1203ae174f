"""Read a service's settings from the environment, once, at start."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from marketdata.errors import SettingsError
from marketdata.numbers import check_digits

_NUMBERS = (int, float, int | None, float | None)


class ServiceSettings(BaseSettings):
    """The settings of every service; subclasses add theirs and set ``env_prefix``."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console", "brief"] = Field(
        default="auto",
        description="auto: console on a terminal, else json; brief: without time and service, "
        "for a program that shows both itself",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: object, info: ValidationInfo) -> object:
        # pydantic takes 1_000 for a number, as Python does.
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, str) and kind in _NUMBERS:
            check_digits(value)
        return value


class ServerSettings(ServiceSettings):
    """The settings of every service that serves others."""

    shutdown_deadline_s: float = Field(
        default=20.0,
        gt=0,
        le=3600,
        description="time from SIGTERM to the end of the process: to hand over what it holds and "
        "to tell its clients",
    )


# Kubernetes describes each service of a namespace in the environment of every pod there. For a
# service called gateway it sets GATEWAY_SERVICE_HOST, GATEWAY_PORT=tcp://ADDRESS:PORT and others.
_URL = r"(?:tcp|udp|sctp)://\S+:\d+"
_KUBERNETES = re.compile(
    r"SERVICE_HOST=\S+"
    r"|SERVICE_PORT(?:_[A-Z0-9_]+)?=\d+"
    rf"|PORT={_URL}"
    rf"|PORT_\d+_(?:TCP|UDP|SCTP)={_URL}"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)_PROTO=(?:tcp|udp|sctp)"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)_PORT=\d+"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)_ADDR=\S+"
)
# The password of an address: before the last @, or a parameter of this name.
_PASSWORD = re.compile(r"(:).*(@)|(?<=password=)[^&]*()")

S = TypeVar("S", bound=ServiceSettings)


def load_settings(cls: type[S]) -> S:
    """Return the settings of one service as the environment gives them.

    Variables that Kubernetes sets for a service of the same name are passed over.

    Raises:
        SettingsError: a variable with the service's prefix is unknown, or a value cannot be used.
    """
    prefix = cls.model_config.get("env_prefix", "")
    known = {f"{prefix}{name.upper()}" for name in cls.model_fields}
    # Settings whose names Kubernetes takes; they keep their defaults.
    defaults: dict[str, Any] = {}
    for name, value in sorted(os.environ.items()):
        if not name.upper().startswith(prefix):
            continue
        if _KUBERNETES.fullmatch(f"{name[len(prefix) :]}={value}"):
            field = cls.model_fields.get(name[len(prefix) :].lower())
            if field is not None:
                defaults[name[len(prefix) :].lower()] = field.default
        elif name.upper() not in known:
            raise SettingsError(_unknown_name(name, known))
    try:
        return cls(**defaults)
    except ValidationError as exc:
        error = exc.errors()[0]
        name = f"{prefix}{error['loc'][0]}".upper() if error["loc"] else prefix
        # Without the cause, which shows the value with its password.
        value = _PASSWORD.sub(r"\1***\2", repr(error["input"]))
        raise SettingsError(f"{name}={value}: {error['msg']}") from None


def _unknown_name(name: str, known: set[str]) -> str:
    nearest = get_close_matches(name.upper(), known, n=1, cutoff=0.0)
    return f"unknown setting {name}, the nearest known name is {nearest[0]}"

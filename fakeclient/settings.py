"""The settings of the fakeclient, by option or by environment."""

from __future__ import annotations

from math import inf
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from fakeclient.walk import KNOWN_SYMBOLS, USUAL_RATE, choose_symbols
from marketdata.addresses import split_address
from marketdata.producer.options import check_producer_id
from marketdata.settings import ServiceSettings
from marketdata.validation import MAX_VOLUME_DECIMALS


def _read_symbols(value: object) -> object:
    return choose_symbols(value) if isinstance(value, str) else value


def _read_rate(value: object) -> object:
    return inf if value in ("max", "0", 0) else value


def _read_speed(value: object) -> object:
    return inf if value == "max" else value


def _check_address(value: str) -> str:
    split_address(value)
    return value


def _check_optional_address(value: str) -> str:
    return _check_address(value) if value else value


def _check_producer_id(value: str) -> str:
    # The connections are numbered: feed-1, feed-2, ...
    check_producer_id(value)
    check_producer_id(f"{value}-1000")
    return value


class FakeclientSettings(ServiceSettings):
    """Every option of the command line has its variable; the option wins."""

    model_config = SettingsConfigDict(env_prefix="FAKECLIENT_")

    server: Annotated[str, AfterValidator(_check_address)] = "localhost:50050"
    connections: int = Field(default=1, ge=1, le=1000)
    retry: bool = True
    # Send in producer sessions, whose ticks are acked.
    acks: bool = False
    producer_id: Annotated[str, AfterValidator(_check_producer_id)] = "fakeclient"
    limit: int | None = Field(default=None, ge=1)
    # An encoded tick takes about 40 bytes, so this is 800 MB at most.
    encode_ahead: int = Field(default=0, ge=0, le=20_000_000)

    # The random walk.
    symbols: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_read_symbols)] = KNOWN_SYMBOLS
    rate: Annotated[float, BeforeValidator(_read_rate)] = Field(default=USUAL_RATE, gt=0)
    seed: int = 1
    duration: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    messy: bool = False
    # What a crypto exchange sends: volumes that count 10^-decimals, and trades with ids.
    decimals: int = Field(default=0, ge=0, le=MAX_VOLUME_DECIMALS)
    trade_ids: bool = False
    bad_fraction: float = Field(default=0.0, ge=0, le=1)
    # An aggregator. Prices begin at the last ones that it knows; without an answer, at the seed's.
    continue_from: Annotated[str, AfterValidator(_check_optional_address)] = ""

    # The replay.
    speed: Annotated[float, BeforeValidator(_read_speed)] = Field(default=1.0, gt=0)
    loop: bool = False

"""What an operator may change about the aggregator: the ``AGGREGATOR_*`` variables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from marketdata.channel import KEEPALIVE_S
from marketdata.settings import ServiceSettings
from marketdata.timestamps import TimestampUnit


class AggregatorSettings(ServiceSettings):
    """The settings of one aggregator process."""

    model_config = SettingsConfigDict(env_prefix="AGGREGATOR_")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=50051, ge=0, le=65535, description="port to listen on, 0: any free")
    session: str = Field(
        default="utc-day",
        description="what one Aggregate covers: utc-day, none, day:<time zone>, or a calendar such "
        "as XNYS or XNYS:regular",
    )
    calendars: str = Field(
        default="",
        description="other sessions by symbol, such as *.N=XNYS,BTC-*=utc-day; the first match "
        "counts",
    )
    bar_anchor: Literal["utc", "session"] = Field(
        default="utc", description="where intraday bars start: at full hours of UTC or of the open"
    )
    live_within_s: float = Field(
        default=60.0, ge=0, description="how old a tick may be at arrival to count as live"
    )
    max_symbols: int = Field(
        default=100_000, ge=1, description="live symbols; ticks of further ones are rejected"
    )
    max_producers: int = Field(
        default=10_000,
        ge=1,
        description="producers remembered; beyond, the longest silent is forgotten",
    )
    max_streams: int = Field(
        default=10_000, ge=1, description="concurrent calls; further ones get RESOURCE_EXHAUSTED"
    )
    max_future_skew_s: float = Field(
        default=60.0, ge=0, description="how far ahead of the clock a tick's exchange time may be"
    )
    timestamp_unit: TimestampUnit = Field(
        default="auto", description="unit of exchange times that arrive over StreamTicks"
    )
    keepalive_s: float = Field(
        default=KEEPALIVE_S, gt=0, description="silence on a connection before a keepalive ping"
    )
    drain_s: float = Field(
        default=3.0, ge=0, description="how long producers may finish when the aggregator stops"
    )

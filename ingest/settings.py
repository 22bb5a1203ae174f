"""What an operator may change about ingest: the ``INGEST_*`` variables."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from ingest.ring import MAX_BYTES
from marketdata.channel import KEEPALIVE_S, KEEPALIVE_TIMEOUT_S, MIN_KEEPALIVE_S
from marketdata.framing import MAX_FRAME_SIZE
from marketdata.price_rules import DEFAULT_PRICE_RULES, PriceRules, check_price_rules
from marketdata.settings import ServerSettings
from marketdata.symbols import SymbolCase
from marketdata.timestamps import TimestampUnit
from marketdata.validation import MAX_MAX_VOLUME, MAX_PRICE, MAX_VOLUME, TickRules, ValueLimits


class IngestSettings(ServerSettings):
    """The settings of one ingest process."""

    model_config = SettingsConfigDict(env_prefix="INGEST_")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=50050, ge=0, le=65535, description="port to listen on, 0: any free")
    aggregator: str = Field(default="localhost:50051", description="where the aggregator listens")
    timestamp_unit: TimestampUnit = Field(
        default="auto",
        description="unit of the exchange times producers send; auto: by magnitude",
    )
    max_future_skew_s: float = Field(
        default=60.0, ge=0, description="how far ahead of the clock a tick's exchange time may be"
    )
    symbol_case: SymbolCase = Field(
        default="preserve",
        description="preserve: symbols stay as they are; upper: they get upper case",
    )
    price_rule: Annotated[str, AfterValidator(check_price_rules)] = Field(
        default=DEFAULT_PRICE_RULES,
        description="which prices are valid, by patterns of symbols, such as *=positive,CL*=any: "
        "positive, nonnegative or any; the longest pattern that matches counts",
    )
    max_price: float = Field(
        default=MAX_PRICE, gt=0, allow_inf_nan=False, description="the largest price of a tick"
    )
    max_volume: int = Field(
        default=MAX_VOLUME, ge=1, le=MAX_MAX_VOLUME, description="the largest volume of a tick"
    )
    max_frame_size: int = Field(
        default=MAX_FRAME_SIZE, ge=1, le=MAX_FRAME_SIZE, description="bytes in one frame"
    )
    max_session_frame_size: int = Field(
        default=4_000_000,
        ge=1_000,
        le=16_000_000,
        description="bytes in one frame of a producer session",
    )
    first_tick_timeout_s: float = Field(
        default=10.0, gt=0, description="how long a new connection may take to send its first tick"
    )
    frame_timeout_s: float = Field(
        default=30.0, gt=0, description="how long a frame may take to arrive, from its first byte"
    )
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="connections of producers at the same time; further ones are closed at once",
    )
    batch_ticks: int = Field(default=10_000, ge=1, le=20_000, description="ticks in a full batch")
    latency_target: float = Field(
        default=2.0,
        ge=0,
        le=1000,
        description="ms; longest pause between two batches, it grows with the load; 0: no pause",
    )
    ring_batches: int = Field(
        default=128, ge=1, description="unacknowledged batches held; when full, reading stops"
    )
    ring_bytes: int = Field(
        default=MAX_BYTES,
        ge=1_000_000,
        description="bytes of unacknowledged batches held; when full, reading stops",
    )
    keepalive_s: float = Field(
        default=KEEPALIVE_S,
        ge=MIN_KEEPALIVE_S,
        description="silence on a connection before a keepalive ping",
    )
    keepalive_timeout_s: float = Field(
        default=KEEPALIVE_TIMEOUT_S, gt=0, description="how long the answer to a ping may take"
    )

    def tick_rules(self) -> TickRules:
        """Return the rules of ticks."""
        return TickRules(
            timestamp_unit=self.timestamp_unit,
            max_future_skew_s=self.max_future_skew_s,
            symbol_case=self.symbol_case,
            limits=ValueLimits(self.max_price, self.max_volume),
            prices=PriceRules(self.price_rule),
        )

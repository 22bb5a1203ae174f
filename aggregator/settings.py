"""What an operator may change about the aggregator: the ``AGGREGATOR_*`` variables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from aggregator.bars.plan import BarPlan, InvalidPlan, parse_intervals
from aggregator.store.address import InvalidStore, parse_store
from aggregator.store.retention import read_retention
from marketdata.channel import KEEPALIVE_S
from marketdata.intervals import InvalidInterval
from marketdata.settings import ServiceSettings
from marketdata.timestamps import NS_PER_S, TimestampUnit


def _check_store(value: str) -> str:
    try:
        parse_store(value)
    except InvalidStore as exc:
        raise ValueError(str(exc)) from exc
    return value


def _check_retention(value: str) -> str:
    read_retention(value)
    return value


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
    bars: str = Field(
        default="1s,1m,5m,15m,1h,1d",
        description="intervals of the bars, also 100t 10000v 1000000n; empty: none",
    )
    bar_grace_s: float = Field(
        default=2.0, ge=0, description="how long after its end a bar waits for late ticks"
    )
    bar_revise_s: float = Field(
        default=900.0,
        ge=1,
        description="how late a tick may be to revise bars; at least the grace",
    )
    live_within_s: float = Field(
        default=60.0,
        ge=0,
        description="the wall clock closes bars of symbols whose latest tick is at most so old",
    )
    max_closed_bars: int = Field(
        default=500_000,
        ge=1,
        description="closed bars held while late ticks can revise them, 600 bytes each",
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
    store: Annotated[str, AfterValidator(_check_store)] = Field(
        default="sqlite:///data/bars.db",
        # It may have a password.
        repr=False,
        description="database of closed bars: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME "
        "or off",
    )
    store_max_waiting: int = Field(
        default=200_000,
        ge=1,
        description="bars that wait while the store takes none; beyond, the oldest is lost",
    )
    store_drain_s: float = Field(
        default=3.0, ge=0, description="how long the last bars may take when the aggregator stops"
    )
    retention: Annotated[str, AfterValidator(_check_retention)] = Field(
        default="none",
        description="how long stored bars are kept, such as 1s=7d,1m=90d; others for ever",
    )

    @field_validator("bars")
    @classmethod
    def _check_bars(cls, names: str) -> str:
        try:
            parse_intervals(names)
        except (InvalidInterval, InvalidPlan) as exc:
            # What pydantic understands.
            raise ValueError(str(exc)) from exc
        return names

    @field_validator("bar_revise_s")
    @classmethod
    def _check_revise(cls, revise_s: float, info: ValidationInfo) -> float:
        grace_s = info.data.get("bar_grace_s", 0.0)
        if revise_s < grace_s:
            raise ValueError(f"less than the grace of {grace_s} s")
        return revise_s

    def bar_plan(self) -> BarPlan:
        """Return what bars are made, and when they close."""
        return BarPlan(
            intervals=parse_intervals(self.bars),
            grace_ns=int(self.bar_grace_s * NS_PER_S),
            revise_ns=int(self.bar_revise_s * NS_PER_S),
            live_within_ns=int(self.live_within_s * NS_PER_S),
            max_closed=self.max_closed_bars,
        )

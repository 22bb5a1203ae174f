"""The settings of the aggregator: the ``AGGREGATOR_*`` variables."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from aggregator.bars.plan import BarPlan, InvalidPlan, parse_intervals
from aggregator.market import Limits
from aggregator.sessions.periods import WEEKDAYS, PeriodPlan
from aggregator.store.address import InvalidStore, parse_store
from aggregator.store.retention import read_retention
from aggregator.ticklog.durability import parse_durability
from aggregator.ticklog.file_log import LogOptions
from aggregator.views.views import VIEW_NAMES, parse_views
from aggregator.watch.holding import DEFAULT_HOLD_S
from aggregator.watch.recent import DEFAULT_MAX_BYTES
from marketdata.channel import CONNECT_TIMEOUT_S, MIN_KEEPALIVE_S, SERVER_KEEPALIVE_S
from marketdata.intervals import InvalidInterval
from marketdata.price_rules import DEFAULT_PRICE_RULES, PriceRules, check_price_rules
from marketdata.settings import ServerSettings
from marketdata.symbols import SymbolCase
from marketdata.timestamps import NS_PER_S, TimestampUnit
from marketdata.validation import (
    MAX_MAX_VOLUME,
    MAX_PRICE,
    MAX_VOLUME,
    TickRules,
    ValueLimits,
)

# What a stop needs besides its drains: streams of updates, calls in progress, the last log lines.
OTHER_STOP_S = 4.0


def _check_store(value: str) -> str:
    try:
        parse_store(value)
    except InvalidStore as exc:
        raise ValueError(str(exc)) from exc
    return value


def _check_retention(value: str) -> str:
    read_retention(value)
    return value


def _check_fsync(value: str) -> str:
    parse_durability(value)
    return value


def _check_views(value: str) -> str:
    for name in parse_views(value):
        if name not in VIEW_NAMES:
            raise ValueError(f"there is no view {name!r}; there are {', '.join(VIEW_NAMES)}")
    return value


class AggregatorSettings(ServerSettings):
    """The settings of one aggregator process."""

    model_config = SettingsConfigDict(env_prefix="AGGREGATOR_")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=50051, ge=0, le=65535, description="port to listen on, 0: any free")
    views: Annotated[str, AfterValidator(_check_views)] = Field(
        default="",
        description=f"views to keep, comma-separated: {', '.join(VIEW_NAMES)}; empty: none",
    )
    session: str = Field(
        default="utc-day",
        description="the session that one Aggregate covers: utc-day, none, day:<time zone>, "
        "day:<time zone>@HH:MM, or a "
        "calendar such as XNYS, XNYS:regular or XNYS:regular-noauctions",
    )
    calendars: str = Field(
        default="",
        description="sessions of symbols that match a pattern, such as *.N=XNYS,BTC-*=utc-day; the "
        "first match counts",
    )
    bar_anchor: Literal["utc", "session"] = Field(
        default="utc", description="where intraday bars start: at full hours of UTC or of the open"
    )
    bars: str = Field(
        default="1s,1m,5m,15m,1h,1d",
        description="intervals of bars, by time or by trades, volume and notional (100t, 10000v, "
        "1000000n); empty: no bars",
    )
    week_start: Literal[
        "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"
    ] = Field(default="monday", description="the day with which bars of weeks begin")
    days_anchor: date = Field(
        default=date(1970, 1, 1),
        description="the date from which bars of several days or weeks are counted",
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
        description="how old a tick may be on arrival to count as live; the wall clock closes bars "
        "only of symbols whose latest tick was live",
    )
    max_closed_bars: int = Field(
        default=500_000,
        ge=1,
        description="closed bars kept in memory while late ticks can revise them, 600 bytes each",
    )
    max_symbols: int = Field(
        default=100_000, ge=1, description="symbols in memory; ticks of further ones are rejected"
    )
    max_producers: int = Field(
        default=10_000,
        ge=1,
        description="producers remembered; beyond, the one silent for longest is forgotten",
    )
    max_trade_ids: int = Field(
        default=5_000_000,
        ge=0,
        le=100_000_000,
        description="trades with an id that are remembered, so that each counts once and can be "
        "cancelled or corrected; beyond, the one that came first is forgotten; 70 bytes each",
    )
    max_streams: int = Field(
        default=10_000,
        ge=1,
        description="concurrent calls; further ones end with RESOURCE_EXHAUSTED",
    )
    max_future_skew_s: float = Field(
        default=60.0, ge=0, description="how far ahead of the clock a tick's exchange time may be"
    )
    timestamp_unit: TimestampUnit = Field(
        default="auto",
        description="unit of the exchange times in StreamTicks and import; auto: by magnitude",
    )
    symbol_case: SymbolCase = Field(
        default="preserve",
        description="preserve: symbols in StreamTicks and import stay as they are; upper: they get "
        "upper case",
    )
    price_rule: Annotated[str, AfterValidator(check_price_rules)] = Field(
        default=DEFAULT_PRICE_RULES,
        description="which prices in StreamTicks and import are valid, by patterns of symbols: "
        "positive, nonnegative or any, such as *=positive,CL*=any; the longest matching pattern "
        "counts",
    )
    max_price: float = Field(
        default=MAX_PRICE, gt=0, allow_inf_nan=False, description="the largest price of a tick"
    )
    max_volume: int = Field(
        default=MAX_VOLUME, ge=1, le=MAX_MAX_VOLUME, description="the largest volume of a tick"
    )
    watch_hold_s: float = Field(
        default=DEFAULT_HOLD_S,
        ge=0,
        description="how long a gateway whose Watch stream was lost can come back without a hole",
    )
    watch_recent_bytes: int = Field(
        default=DEFAULT_MAX_BYTES,
        ge=0,
        description="memory for the updates of that time; beyond, the oldest are dropped",
    )
    keepalive_s: float = Field(
        default=SERVER_KEEPALIVE_S,
        ge=MIN_KEEPALIVE_S,
        description="silence on a connection before a keepalive ping; clients may ping more often",
    )
    connect_timeout_s: float = Field(
        default=CONNECT_TIMEOUT_S,
        gt=0,
        description="how long a new connection may take to begin with HTTP/2",
    )
    drain_s: float = Field(
        default=3.0, ge=0, description="how long producers may go on when the aggregator stops"
    )
    store: Annotated[str, AfterValidator(_check_store)] = Field(
        default="sqlite:///data/bars.db",
        # It may contain a password.
        repr=False,
        description="database of closed bars: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME "
        "or off",
    )
    store_max_waiting: int = Field(
        default=200_000,
        ge=1,
        description="bars that may wait while the store fails; beyond, the oldest is lost",
    )
    store_drain_s: float = Field(
        default=3.0, ge=0, description="how long to write the last bars when the aggregator stops"
    )
    retention: Annotated[str, AfterValidator(_check_retention)] = Field(
        default="none",
        description="how long stored bars are kept, such as 1s=7d,1m=90d; others are kept for ever",
    )

    log: str = Field(default="off", min_length=1, description="directory of the tick log, or off")
    log_fsync: Annotated[str, AfterValidator(_check_fsync)] = Field(
        default="interval:100ms",
        description="when the tick log is synced to the disk: batch (before each ack), "
        "interval:<n>ms or interval:<n>s, never",
    )
    log_segment_bytes: int = Field(
        default=128 * 1024 * 1024, ge=64 * 1024, description="bytes of one file of the tick log"
    )
    log_max_bytes: int = Field(
        default=10_000_000_000,
        ge=0,
        description="bytes of the tick log that are kept although they are not needed any more, "
        "0: no limit",
    )
    log_max_age_s: float = Field(
        default=604_800.0,
        ge=0,
        description="how long records are kept that are not needed any more, 0: no limit",
    )
    log_max_waiting_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1,
        description="bytes that may wait in memory to be written; beyond, producers wait",
    )
    log_max_unsynced_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1,
        description="bytes that may be written and not synced; beyond, producers wait",
    )
    log_max_sync_s: float = Field(
        default=1.0, gt=0, description="how long a sync may take before producers wait"
    )

    checkpoint_replay_s: float = Field(
        default=1.5,
        gt=0,
        description="the state is saved when a restart would take so long to apply the records "
        "since then, by estimate",
    )
    checkpoint_s: float = Field(
        default=300.0,
        gt=0,
        description="after this time the state is saved, if a record was logged meanwhile",
    )

    @field_validator("bars")
    @classmethod
    def _check_bars(cls, names: str) -> str:
        try:
            parse_intervals(names)
        except (InvalidInterval, InvalidPlan) as exc:
            # pydantic reports only ValueErrors.
            raise ValueError(str(exc)) from exc
        return names

    @field_validator("store_drain_s")
    @classmethod
    def _check_drain(cls, store_drain_s: float, info: ValidationInfo) -> float:
        drain_s = info.data.get("drain_s", 0.0)
        deadline_s = info.data.get("shutdown_deadline_s", 0.0)
        if drain_s + store_drain_s > deadline_s - OTHER_STOP_S:
            raise ValueError(
                f"AGGREGATOR_DRAIN_S and AGGREGATOR_STORE_DRAIN_S together leave less than "
                f"{OTHER_STOP_S:g} s of AGGREGATOR_SHUTDOWN_DEADLINE_S={deadline_s:g}"
            )
        return store_drain_s

    @field_validator("bar_revise_s")
    @classmethod
    def _check_revise(cls, revise_s: float, info: ValidationInfo) -> float:
        grace_s = info.data.get("bar_grace_s", 0.0)
        if revise_s < grace_s:
            raise ValueError(f"less than the grace of {grace_s} s")
        return revise_s

    @property
    def value_limits(self) -> ValueLimits:
        """The largest values of a tick."""
        return ValueLimits(self.max_price, self.max_volume)

    def to_env(self) -> dict[str, str]:
        """Return the variables that give another process these settings."""
        prefix = self.model_config["env_prefix"]
        return {f"{prefix}{name.upper()}": str(value) for name, value in self.model_dump().items()}

    def limits(self) -> Limits:
        """Return the limits of what is applied."""
        return Limits(
            max_symbols=self.max_symbols,
            max_producers=self.max_producers,
            max_trade_ids=self.max_trade_ids,
            max_future_skew_s=self.max_future_skew_s,
            max_price=self.max_price,
            max_volume=self.max_volume,
        )

    @property
    def log_directory(self) -> Path | None:
        """The directory of the tick log; None: there is no log."""
        return None if self.log == "off" else Path(self.log)

    def log_options(self) -> LogOptions:
        """Return how the tick log is kept."""
        return LogOptions(
            durability=parse_durability(self.log_fsync),
            segment_bytes=self.log_segment_bytes,
            max_bytes=self.log_max_bytes or None,
            max_age_s=self.log_max_age_s or None,
            max_waiting_bytes=self.log_max_waiting_bytes,
            max_unsynced_bytes=self.log_max_unsynced_bytes,
            max_sync_s=self.log_max_sync_s,
        )

    def tick_rules(
        self, *, one_unit: bool = False, timestamp_unit: TimestampUnit | None = None
    ) -> TickRules:
        """Return the rules of ticks that ingest has not checked."""
        return TickRules(
            timestamp_unit=timestamp_unit or self.timestamp_unit,
            max_future_skew_s=self.max_future_skew_s,
            symbol_case=self.symbol_case,
            limits=self.value_limits,
            one_unit=one_unit,
            prices=PriceRules(self.price_rule),
        )

    def period_plan(self) -> PeriodPlan:
        """Return where weeks, and periods of several days, begin."""
        return PeriodPlan(WEEKDAYS.index(self.week_start), self.days_anchor)

    def bar_plan(self) -> BarPlan:
        """Return the settings of bars."""
        return BarPlan(
            intervals=parse_intervals(self.bars),
            grace_ns=int(self.bar_grace_s * NS_PER_S),
            revise_ns=int(self.bar_revise_s * NS_PER_S),
            live_within_ns=int(self.live_within_s * NS_PER_S),
            max_closed=self.max_closed_bars,
        )

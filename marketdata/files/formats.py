"""The formats of files that people download, as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# What a column can be. A file needs price, size and time; the symbol may come from elsewhere.
Role = Literal["symbol", "price", "size", "time", "date", "id", "conditions", "tape"]
ROLES: tuple[Role, ...] = (
    "symbol", "price", "size", "time", "date", "id", "conditions", "tape",
)  # fmt: skip

# A value of each kind of column, to know a file without a header.
KINDS = {
    "int": re.compile(r"\d+"),
    "number": re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?"),
    "s": re.compile(r"\d{9,10}(\.\d+)?"),
    "ms": re.compile(r"\d{13}|\d{16}"),
    "flag": re.compile(r"true|false", re.IGNORECASE),
    "pair": re.compile(r"[A-Z]{3}/[A-Z]{3}"),
    "stamp": re.compile(r"\d{8} \d\d:\d\d:\d\d\.\d+"),
    "of_day": re.compile(r"\d{4,5}(\.\d+)?"),
    "type": re.compile(r"[1-7]"),
    "whole": re.compile(r"-?\d+"),
    "side": re.compile(r"-?1"),
}


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write trades.

    ``names`` are those of the header in lower case; where a file may come without one,
    ``kinds`` says how its columns look.
    """

    name: str
    title: str
    names: Sequence[str]
    columns: Mapping[Role, str]
    kinds: Sequence[str] = ()
    delimiter: str = ","
    # Where the name of the file has the symbol, and the day.
    symbol_in_name: str = ""
    day_in_name: str = ""
    # Without a header, also the name of the file must say that it is this format.
    needs_name: bool = False
    # The zone of times without one.
    zone: str = ""
    # Prices without a point count 10^-price_decimals.
    price_decimals: int = 0
    # A row is a trade if this column has one of these values.
    trades: tuple[str, frozenset[str]] | None = None
    # The columns that together identify a trade of a symbol, besides the day if it is in the name.
    id_parts: Sequence[str] = ()
    id_prefix: str = ""
    # Lines that begin so are no rows.
    footer: str = ""
    note: str = ""
    optional: frozenset[str] = field(default_factory=frozenset)


_SPOT = ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"]
_SPOT_AGG = [
    "agg_trade_id",
    "price",
    "quantity",
    "first_trade_id",
    "last_trade_id",
    "transact_time",
    "is_buyer_maker",
    "is_best_match",
]
_BINANCE_NAME = r"^(?P<symbol>[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?:aggTrades|trades)-\d{4}"
_TRADE_COLUMNS: Mapping[Role, str] = {"id": "id", "price": "price", "size": "qty", "time": "time"}
_AGG_COLUMNS: Mapping[Role, str] = {
    "id": "agg_trade_id",
    "price": "price",
    "size": "quantity",
    "time": "transact_time",
}
_TRADE_KINDS = ("int", "number", "number", "number", "ms", "flag", "flag")
_AGG_KINDS = ("int", "number", "number", "int", "int", "ms", "flag", "flag")
_QUOTE_NOTE = "quotes; the price is the bid"
_TAQ_TRADES = frozenset({"00", "01", "0", "1"})

FORMATS: tuple[Format, ...] = (
    Format("binance", "binance trades", _SPOT, _TRADE_COLUMNS, _TRADE_KINDS,
           symbol_in_name=_BINANCE_NAME),
    Format("binance", "binance aggregated trades", _SPOT_AGG, _AGG_COLUMNS, _AGG_KINDS,
           symbol_in_name=_BINANCE_NAME, id_prefix="a"),
    Format("binance-futures", "binance futures trades", _SPOT[:6], _TRADE_COLUMNS,
           _TRADE_KINDS[:6], symbol_in_name=_BINANCE_NAME),
    Format("binance-futures", "binance coin futures trades",
           ["id", "price", "qty", "base_qty", "time", "is_buyer_maker"], _TRADE_COLUMNS,
           symbol_in_name=_BINANCE_NAME),
    Format("binance-futures", "binance futures aggregated trades", _SPOT_AGG[:7], _AGG_COLUMNS,
           _AGG_KINDS[:7], symbol_in_name=_BINANCE_NAME, id_prefix="a"),
    Format("kraken", "kraken trades", ["timestamp", "price", "volume"],
           {"time": "timestamp", "price": "price", "size": "volume"}, ("s", "number", "number"),
           symbol_in_name=r"^(?P<symbol>[A-Z0-9]{5,15})$", needs_name=True),
    Format("bitstamp", "bitstamp trades", ["unixtime", "price", "amount"],
           {"time": "unixtime", "price": "price", "size": "amount"}, ("s", "number", "number"),
           symbol_in_name=r"^\.?bitstamp(?P<symbol>[A-Z]{3,4})$", needs_name=True,
           note="the name has the currency, so the symbol is BTC and that"),
    Format("bitstamp", "bitstamp transactions", ["date", "tid", "price", "type", "amount"],
           {"time": "date", "id": "tid", "price": "price", "size": "amount"}),
    Format("dukascopy", "dukascopy quotes (JForex)",
           ["time", "ask", "bid", "askvolume", "bidvolume"],
           {"time": "time", "price": "bid", "size": "bidvolume"},
           symbol_in_name=r"^(?P<symbol>[A-Za-z]{6,})[_-][Tt]icks?[_-]", note=_QUOTE_NOTE),
    Format("dukascopy", "dukascopy quotes (dukascopy-node)",
           ["timestamp", "askprice", "bidprice", "askvolume", "bidvolume"],
           {"time": "timestamp", "price": "bidprice", "size": "bidvolume"},
           symbol_in_name=r"^(?P<symbol>[A-Za-z]{6,})[_-][Tt]icks?[_-]", note=_QUOTE_NOTE),
    Format("truefx", "truefx quotes", ["pair", "time", "bid", "ask"],
           {"symbol": "pair", "time": "time", "price": "bid"},
           ("pair", "stamp", "number", "number"), zone="UTC",
           note=f"{_QUOTE_NOTE}, without a size"),
    Format("lobster", "lobster messages",
           ["time", "type", "order_id", "size", "price", "direction"],
           {"time": "time", "size": "size", "price": "price"},
           ("of_day", "type", "int", "int", "whole", "side"),
           symbol_in_name=r"^(?P<symbol>[A-Za-z.]+)_\d{4}-\d\d-\d\d_\d+_\d+_message_\d+$",
           day_in_name=r"_(?P<day>\d{4}-\d\d-\d\d)_", needs_name=True, zone="America/New_York",
           price_decimals=4, trades=("type", frozenset({"4", "5", "6"})),
           note="executions, also hidden ones and those of auctions"),
    Format("taq", "taq trades",
           ("time", "exchange", "symbol", "sale condition", "trade volume", "trade price",
            "trade stop stock indicator", "trade correction indicator", "sequence number",
            "trade id", "source of trade"),
           {"time": "time", "symbol": "symbol", "size": "trade volume", "price": "trade price",
            "conditions": "sale condition", "tape": "source of trade"},
           delimiter="|", day_in_name=r"_(?P<day>\d{8})(?:$|[._])", zone="America/New_York",
           trades=("trade correction indicator", _TAQ_TRADES),
           id_parts=("exchange", "trade id"), footer="END|",
           note="without cancelled and wrong prints"),
    Format("databento", "databento trades",
           ("ts_recv", "ts_event", "publisher_id", "instrument_id", "action", "price", "size"),
           {"time": "ts_event", "price": "price", "size": "size", "symbol": "symbol"},
           price_decimals=9, trades=("action", frozenset({"T"})), optional=frozenset({"symbol"})),
)  # fmt: skip
NAMES = (*dict.fromkeys(each.name for each in FORMATS), "generic")

# The names of columns of other files. A file in which two columns may be the same is in doubt.
SYNONYMS: Mapping[Role, frozenset[str]] = {
    "symbol": frozenset({"symbol", "ticker", "sym", "instrument", "pair"}),
    "price": frozenset({"price", "trade_price", "px", "last_price"}),
    "size": frozenset({"volume", "size", "qty", "quantity", "amount", "trade_size"}),
    "time": frozenset(
        {
            "exchange_timestamp",
            "timestamp",
            "timestamp_ns",
            "time",
            "ts",
            "ts_event",
            "datetime",
            "date_time",
            "unixtime",
            "trade_time",
            "executed_at",
        }
    ),
    "date": frozenset({"date", "day", "trade_date"}),
    "id": frozenset({"id", "trade_id", "tradeid", "tid"}),
}

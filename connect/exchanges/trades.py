"""Turn ccxt's trades into ours: the exchange's own text, time and id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connect.errors import BadTrade
from connect.exchanges.continuity import Seen
from connect.trades import Trade, make_id, read_price, read_size, read_time

_NS_PER_MS = 10**6


def read_trade(trade: Mapping[str, Any], symbol: str, id_prefix: str) -> tuple[Seen, Trade]:
    """Return a trade of ccxt, whose numbers are text, as its place and as it is sent.

    Raises:
        BadTrade: a field other than the id is missing or no number.
    """
    # Some exchanges have no ids.
    trade_id = str(trade.get("id") or "")
    volume, decimals = read_size(trade.get("amount"))
    ts_ns = exact_time(trade)
    sent_id = make_id(f"{id_prefix}{trade_id}") if trade_id else b""
    return (
        Seen(trade_id, ts_ns),
        Trade(symbol, read_price(trade.get("price")), volume, decimals, ts_ns, sent_id),
    )


def exact_time(trade: Mapping[str, Any]) -> int:
    """Return the time of a trade of ccxt in nanoseconds.

    ccxt's own number has milliseconds. Some exchanges send more digits; those are taken where they
    agree with it.

    Raises:
        BadTrade: it has no time.
    """
    milliseconds = trade.get("timestamp")
    if milliseconds is None:
        raise BadTrade("time", f"is missing in {trade.get('info')!r:.200}")
    for text in (trade.get("datetime"), _time_text(trade.get("info"))):
        try:
            ts_ns = read_time(text)
        except BadTrade:
            continue
        # ccxt rounds or cuts.
        if abs(ts_ns - int(milliseconds) * _NS_PER_MS) <= _NS_PER_MS and ts_ns % _NS_PER_MS:
            return ts_ns
    return int(milliseconds) * _NS_PER_MS


def _time_text(info: object) -> object:
    if isinstance(info, Mapping):
        return info.get("microtimestamp")  # Bitstamp
    if isinstance(info, list) and len(info) > 2:
        return info[2]  # Kraken's REST
    return None

"""What is known of single exchanges: how their trades are numbered and how gaps are filled.

An exchange that is not listed works too, but its gaps are not filled: whether its REST trades have
the same ids as its live ones must be known first, else trades would count twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connect.exchanges.continuity import Gap, Seen

NS_PER_S = 10**9
NS_PER_MS = 10**6
PAGE = 1_000

# Calls ccxt's fetch_trades with (since in ms, limit, params); returns a page by time.
Fetch = Callable[[int | None, int | None, dict[str, Any]], Awaitable[list[Seen]]]
# Returns pages until they reach from one end of a gap to the other, or there are no more.
Pages = Callable[[Fetch, Gap], AsyncIterator[list[Seen]]]


async def _newest_then_by_id(fetch: Fetch, gap: Gap) -> AsyncIterator[list[Seen]]:
    # Binance's newest trades come in one cheap call; those of any time, by number, cost more.
    page = await fetch(None, PAGE, {"fetchTradesMethod": "publicGetTrades"})
    yield page
    following = int(gap.after.id)
    if page and int(page[0].id) <= following + 1:
        return
    while gap.before is None or following < int(gap.before.id):
        params = {"fetchTradesMethod": "publicGetHistoricalTrades", "fromId": str(following)}
        page = await fetch(None, PAGE, params)
        yield page
        if len(page) < PAGE:
            return
        following = int(page[-1].id) + 1


async def _forward(fetch: Fetch, gap: Gap) -> AsyncIterator[list[Seen]]:
    # Kraken returns the first trades after a time in nanoseconds.
    since_ns = gap.after.ts_ns - NS_PER_MS
    last_id = ""
    while True:
        page = await fetch(None, PAGE, {"since": str(since_ns)})
        yield page
        if len(page) < PAGE or page[-1].id == last_id:
            return
        if gap.before is not None and page[-1].ts_ns > gap.before.ts_ns:
            return
        # The last trade comes once more, so nothing between two pages is missed.
        last_id, since_ns = page[-1].id, page[-1].ts_ns - 1


async def _backward(fetch: Fetch, gap: Gap) -> AsyncIterator[list[Seen]]:
    # Coinbase returns the newest trades between two seconds.
    since_ms = gap.after.ts_ns // NS_PER_S * 1_000 - 1_000
    page = await fetch(None, PAGE, {})
    oldest_ns = 0
    while page:
        yield page
        if page[0].ts_ns < gap.after.ts_ns or page[0].ts_ns == oldest_ns:
            return
        oldest_ns = page[0].ts_ns
        until_ms = (oldest_ns // NS_PER_S + 1) * 1_000
        page = await fetch(since_ms, PAGE, {"until": until_ms})


async def _hour_then_day(fetch: Fetch, gap: Gap) -> AsyncIterator[list[Seen]]:
    # Bitstamp returns all trades of the last hour or day.
    for period in ("hour", "day"):
        page = await fetch(None, None, {"time": period})
        yield page
        if any(trade.id == gap.after.id for trade in page):
            return


@dataclass(frozen=True, slots=True)
class Profile:
    """One exchange."""

    # The trades of a market are numbered without gaps.
    consecutive: bool = False
    # How missed trades are fetched.
    pages: Pages | None = None
    # Options of ccxt.
    options: Mapping[str, object] = field(default_factory=dict)
    # Calls for which ccxt wants an API key and the exchange none, and calls that need none.
    keyless: Mapping[str, str] = field(default_factory=dict)


_BINANCE = Profile(
    consecutive=True,
    # ccxt's own choice, aggregate trades, has other ids than the live trades.
    pages=_newest_then_by_id,
    options={"fetchMarkets": {"types": ["spot"]}},
    keyless={"historicalTrades": "trades"},
)

PROFILES: Mapping[str, Profile] = {
    "binance": _BINANCE,
    "binanceus": _BINANCE,
    "bitstamp": Profile(pages=_hour_then_day),
    "coinbase": Profile(consecutive=True, pages=_backward),
    "kraken": Profile(consecutive=True, pages=_forward),
    "okx": Profile(options={"fetchMarkets": {"types": ["spot"]}}),
}

"""Keep the live trades of one exchange coming, and fill what a lost connection missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from connect.errors import BadTrade, SourceFailed, SourceLost
from connect.exchanges.client import Client, RawTrade
from connect.exchanges.continuity import Gap, Seen
from connect.exchanges.market import Market, symbol_of
from connect.exchanges.profiles import NS_PER_S, PROFILES, Profile
from connect.outlet import Outlet
from connect.positions import load_position, save_position
from connect.settings import ConnectSettings
from connect.states import States
from connect.trades import Trade

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
POSITION_EVERY_S = 5.0


class ExchangeSource:
    """The trades of some markets of one exchange.

    Args:
        name: of the exchange, as ccxt writes it.
        market_names: as the user wrote them.
        settings: the settings.
        outlet: takes the trades.
        states: says what happens.

    Raises:
        SourceFailed: there is no such exchange.
    """

    def __init__(
        self,
        name: str,
        market_names: Sequence[str],
        settings: ConnectSettings,
        outlet: Outlet,
        states: States,
    ) -> None:
        self._names = market_names
        self._settings = settings
        self._outlet = outlet
        self._states = states
        self._profile = PROFILES.get(name, Profile())
        self._client = Client(
            name,
            self._profile,
            self._take_live,
            self._note_connected,
            url=settings.url,
            api_key=settings.api_key,
        )
        self._markets: dict[str, Market] = {}
        self._stored = _load_newest(settings.position, name)
        self._gaps_found = asyncio.Event()
        self._random = Random()  # noqa: S311  jitter
        self._live_trades = 0
        self.dropped = 0

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            SourceFailed: the exchange cannot be used.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._stay_connected())
                tasks.create_task(self._fill_gaps())
                if self._settings.position:
                    tasks.create_task(self._keep_position(Path(self._settings.position)))
        finally:
            await self._client.close()

    async def _stay_connected(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            self._live_trades = 0
            try:
                self._states.enter("connecting", " ".join(self._names))
                await self._load_markets()
                await self._client.watch(list(self._markets))
            except SourceLost as exc:
                self._states.enter("lost", str(exc))
            for market in self._markets.values():
                market.cut()
            if self._live_trades:
                backoff_s = FIRST_BACKOFF_S
            # Trades that ingest does not take now would only be missed once more.
            if self._outlet.is_full:
                self._states.enter("waiting", "ingest takes no trades")
                await self._outlet.drained()
            await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _load_markets(self) -> None:
        found = await self._client.load(self._names)
        for raw in found:
            name = raw["symbol"]
            if name not in self._markets:
                self._markets[name] = Market(
                    name,
                    symbol_of(raw, self._settings.symbol_style, self._settings.symbol_prefix),
                    self._settings.trade_id_prefix,
                    consecutive=self._profile.consecutive,
                )
                if name in self._stored:
                    self._markets[name].resume(self._stored[name])

    def _note_connected(self) -> None:
        self._states.enter("live", " ".join(each.symbol for each in self._markets.values()))
        if any(market.gaps for market in self._markets.values()):
            self._gaps_found.set()

    # Called by ccxt for each trade. What it raises ends the connection, and the trade is fetched
    # again when the connection is back.
    def _take_live(self, name: str, raw: RawTrade) -> None:
        # One message of Coinbase may have trades of several markets.
        market = self._markets.get(raw.get("symbol") or name, self._markets[name])
        read = self._read(market, raw)
        if read is None:
            return
        place, trade = read
        self._live_trades += 1
        if not market.is_new(place):
            return
        self._outlet.put_nowait(trade)
        if market.add_live(place):
            self._gaps_found.set()

    def _read(self, market: Market, raw: RawTrade) -> tuple[Seen, Trade] | None:
        try:
            return market.read(raw)
        except BadTrade as exc:
            self.dropped += 1
            if self.dropped == 1:
                self._states.warn(f"dropped a trade of {market.name}: {exc} (said once, counted)")
            return None

    async def _fill_gaps(self) -> None:
        while True:
            await self._gaps_found.wait()
            self._gaps_found.clear()
            for market in self._markets.values():
                while market.gaps:
                    await self._fill(market, market.gaps[0])
                    market.gaps.popleft()

    async def _fill(self, market: Market, gap: Gap) -> None:
        pages = self._profile.pages
        where = f"{market.symbol} {gap.describe()}"
        if pages is None:
            self._states.warn(f"gap: {where} is not filled, see docs/live-sources.md")
            return
        filling = market.start_filling(gap)
        if filling.missing == 0:
            return
        self._states.say(f"filling: {where}")
        page: list[RawTrade] = []

        async def fetch(since: int | None, limit: int | None, params: dict[str, Any]) -> list[Seen]:
            page[:] = await self._fetch(market.name, since, limit, params)
            reads = (self._read(market, raw) for raw in page)
            fetched = sorted((read for read in reads if read is not None), key=_time_and_number)
            fetched = [_not_before(gap, *read) for read in fetched]
            await self._outlet.put([trade for place, trade in fetched if filling.add(place)])
            return [place for place, _ in fetched]

        try:
            async for _ in pages(fetch, gap):
                if gap.before is not None and filling.missing == 0:
                    break
        except SourceFailed as exc:
            # The live trades go on.
            self._states.warn(f"filling refused: {where}: {exc}")
        self._say_filled(market, filling.filled, filling.missing)

    async def _keep_position(self, path: Path) -> None:
        # An old one costs more REST calls after a crash, and nothing else: ids make trades count
        # once.
        while True:
            await asyncio.sleep(POSITION_EVERY_S)
            newest = {name: market.newest for name, market in self._markets.items()}
            markets = {name: list(place) for name, place in newest.items() if place is not None}
            await self._outlet.flush()
            position = {"exchange": self._client.name, "markets": markets}
            if markets:
                await asyncio.to_thread(save_position, path, position)

    def _say_filled(self, market: Market, filled: int, missing: int | None) -> None:
        text = f"filled: {market.symbol} {filled} trades"
        if missing is None:
            text += ", more may be missing: the exchange gives no older ones"
        elif missing:
            text += f", {missing} are missing: the exchange gives them no more"
        if missing == 0:
            self._states.say(text)
        else:
            self._states.warn(text)

    async def _fetch(
        self, name: str, since: int | None, limit: int | None, params: dict[str, Any]
    ) -> list[RawTrade]:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return await self._client.fetch_trades(name, since, limit, params)
            except SourceLost as exc:
                self._states.warn(f"filling waits: {exc}")
            await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)


def _load_newest(path: str, exchange: str) -> dict[str, Seen]:
    # The newest trade of each market that an earlier run has sent.
    stored = load_position(Path(path)) if path else None
    if stored is None or stored.get("exchange") != exchange:
        return {}
    try:
        return {
            str(market): Seen(str(trade_id), int(ts_ns))
            for market, (trade_id, ts_ns) in stored["markets"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise SourceFailed(f"cannot read the position {path}: {exc!r}") from exc


def _time_and_number(read: tuple[Seen, Trade]) -> tuple[int, int, str]:
    # ccxt compares ids as text.
    place = read[0]
    return place.ts_ns, len(place.id), place.id


def _not_before(gap: Gap, place: Seen, trade: Trade) -> tuple[Seen, Trade]:
    # Bitstamp's REST trades have times in seconds. One of the second in which the gap begins was
    # not before the trade that the gap begins with, so that it comes after it, as its id does.
    known_ns = gap.after.ts_ns
    is_second_only = place.ts_ns < known_ns and place.ts_ns == known_ns // NS_PER_S * NS_PER_S
    if is_second_only and (len(place.id), place.id) > (len(gap.after.id), gap.after.id):
        return place._replace(ts_ns=known_ns), trade._replace(ts_ns=known_ns)
    return place, trade

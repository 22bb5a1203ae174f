"""One exchange through ccxt: every trade that its websocket sends, and pages of its REST trades."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import ccxt.pro
from ccxt.async_support.base.ws.cache import ArrayCache
from ccxt.base.errors import BaseError, NetworkError, RateLimitExceeded

from connect.errors import SourceFailed, SourceLost
from connect.exchanges.profiles import Profile
from marketdata.errors import MarketDataError

RawTrade = Mapping[str, Any]
# Gets the name of the market and the trade.
OnTrade = Callable[[str, RawTrade], None]

# A link that is silent for two of them is dead. The exchanges' own limits are far above.
_KEEP_ALIVE_MS = 15_000
_ORIGIN = re.compile(r"^(https?|wss?)://[^/]*")
# Mistakes of ours and refusals: trying again would not help.
_FINAL = (
    ccxt.BadSymbol,
    ccxt.BadRequest,
    ccxt.ArgumentsRequired,
    ccxt.AuthenticationError,
    ccxt.NotSupported,
)


class Client:
    """The calls of one exchange.

    Args:
        name: as ccxt writes it, such as ``binance``.
        profile: what is known of it.
        on_trade: called with a market and each of its live trades; what it raises ends the
            connection.
        on_connected: called when the websocket is connected.
        url: in place of all addresses of the exchange, for a proxy or a test.
        api_key: of market data, where an exchange wants one.

    Raises:
        SourceFailed: there is no such exchange, or ccxt has no live trades of it.
    """

    def __init__(
        self,
        name: str,
        profile: Profile,
        on_trade: OnTrade,
        on_connected: Callable[[], None],
        *,
        url: str = "",
        api_key: str = "",
    ) -> None:
        self.name = name
        self._on_trade = on_trade
        self._exchange = make_exchange(name, profile, url, api_key)
        self._on_connected = on_connected
        # Gets the reason when a connection breaks.
        self._broken: asyncio.Future[str] | None = None
        self._hook()

    def _hook(self) -> None:
        exchange = self._exchange
        connected, failed, closed = exchange.on_connected, exchange.on_error, exchange.on_close

        def on_connected(client: Any, message: Any = None) -> None:
            connected(client, message)
            self._on_connected()

        def on_error(client: Any, error: BaseException) -> None:
            failed(client, error)
            self._break(describe(error))

        def on_close(client: Any, code: object) -> None:
            closed(client, code)
            self._break(f"the exchange closed the connection with code {code}")

        exchange.on_connected, exchange.on_error, exchange.on_close = (
            on_connected,
            on_error,
            on_close,
        )
        self._make_ws_client = exchange.client
        exchange.client = self._exact_client

    def _break(self, reason: str) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(reason)

    def _exact_client(self, url: str) -> Any:
        client = self._make_ws_client(url)
        client.handle_text_or_binary_message = partial(_handle_exactly, client)
        return client

    async def load(self, names: Sequence[str]) -> list[RawTrade]:
        """Load the markets of the exchange, and return those that are named.

        Raises:
            SourceFailed: a name is not a market.
            SourceLost: the exchange does not answer.
        """
        await self._call(self._exchange.load_markets())
        # From here on numbers stay text. Some exchanges compute with those of their markets.
        self._exchange.number = str
        return [self._find_market(name) for name in names]

    def _find_market(self, name: str) -> RawTrade:
        markets: dict[str, Any] = self._exchange.markets
        by_id: dict[str, list[Any]] = self._exchange.markets_by_id
        for spelling in (name, name.replace("-", "/"), name.upper().replace("-", "/")):
            if spelling in markets:
                found: RawTrade = markets[spelling]
                return found
        for spelling in (name, name.upper(), name.lower()):
            if spelling in by_id:
                spot = [each for each in by_id[spelling] if each.get("spot")]
                return (spot or by_id[spelling])[0]  # type: ignore[no-any-return]
        near = get_close_matches(name.upper().replace("-", "/"), markets, n=3, cutoff=0.5)
        hint = f", it has {', '.join(near)}" if near else ""
        raise SourceFailed(f"{self.name} has no market {name}{hint}")

    async def watch(self, symbols: Sequence[str]) -> None:
        """Receive live trades until the connection ends.

        Raises:
            SourceLost: the connection has ended.
            SourceFailed: the exchange refuses.
        """
        for symbol in symbols:
            self._exchange.trades[symbol] = _Tap(symbol, self._on_trade)
        # ccxt reports a broken connection only to a call that waits at that moment, and the next
        # call connects again as if nothing had happened.
        self._broken = asyncio.get_running_loop().create_future()
        calls = asyncio.create_task(self._watch_all(symbols))
        try:
            either: set[asyncio.Future[Any]] = {calls, self._broken}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                raise SourceLost(self._broken.result())
            calls.result()
        finally:
            calls.cancel()
            await asyncio.wait([calls])
            await self._exchange.close()

    async def _watch_all(self, symbols: Sequence[str]) -> None:
        exchange = self._exchange
        if exchange.has.get("watchTradesForSymbols"):
            while True:
                trades = await self._call(exchange.watch_trades_for_symbols(list(symbols)))
                self._check_symbols(trades, symbols)

        async def watch_one(symbol: str) -> None:
            while True:
                await self._call(exchange.watch_trades(symbol))

        # Bitstamp has one call per market. The first one that fails ends all.
        tasks = [asyncio.create_task(watch_one(symbol)) for symbol in symbols]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _check_symbols(self, trades: Sequence[RawTrade], symbols: Sequence[str]) -> None:
        # Coinbase sends the trades of BTC-USD for BTC-USDC: one order book with two names.
        if trades and (other := trades[-1].get("symbol")) not in symbols:
            raise SourceFailed(f"{self.name} sends the trades of {other}, so ask for {other}")

    async def fetch_trades(
        self, symbol: str, since: int | None, limit: int | None, params: Mapping[str, object]
    ) -> list[RawTrade]:
        """Return a page of old trades by REST, by time.

        Raises:
            SourceLost: the exchange does not answer, or asks to wait.
            SourceFailed: the exchange refuses.
        """
        call = self._exchange.fetch_trades(symbol, since, limit, dict(params))
        found: list[RawTrade] = await self._call(call)
        return found

    async def close(self) -> None:
        """Close every connection."""
        await self._exchange.close()

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except asyncio.CancelledError:
            # ccxt cancels its own futures when it closes a connection; that is no end of this task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise SourceLost("the connection was closed") from None
        except _FINAL as exc:
            raise SourceFailed(describe(exc)) from exc
        except RateLimitExceeded as exc:
            raise SourceLost(f"the exchange limits our requests: {describe(exc)}") from exc
        except Exception as exc:
            # Also the mistakes of ccxt's parsers in what an exchange sends now and then.
            raise SourceLost(describe(exc)) from exc


class _Tap(ArrayCache):  # type: ignore[misc]
    # ccxt puts each trade of a market into such a list. Its own way to read them may leave a trade
    # until the next one, and forgets those above 1,000 in a turn of the event loop.
    def __init__(self, market: str, on_trade: OnTrade) -> None:
        super().__init__(1)
        self._market = market
        self._on_trade = on_trade

    def append(self, item: dict[str, Any]) -> None:
        super().append(item)
        self._on_trade(self._market, item)


def _handle_exactly(client: Any, data: Any) -> None:
    # As ccxt does it, with two changes. Numbers with a point stay the text that the exchange sent,
    # as ccxt's REST calls have them. And an error, of which ccxt's parsers may raise any, ends the
    # connection at once, not only when pings fail.
    if client.error is not None:
        # Of a connection that has failed nothing more is taken: it would hide what was missed.
        return
    try:
        is_text = isinstance(data, str) or not client.decompressBinary
        text = data if is_text else data.decode()
        is_json = text[:1] in ("{", "[", b"{", b"[")
        client.on_message_callback(client, json.loads(text, parse_float=str) if is_json else text)
    except Exception as exc:
        ours = NetworkError(str(exc) if isinstance(exc, MarketDataError) else describe(exc))
        client.on_error(exc if isinstance(exc, BaseError) else ours)


def make_exchange(name: str, profile: Profile, url: str, api_key: str) -> Any:
    """Return the exchange object of ccxt.

    Raises:
        SourceFailed: there is no such exchange, or ccxt has no live trades of it.
    """
    if name not in ccxt.pro.exchanges:
        near = get_close_matches(name, ccxt.pro.exchanges, n=3, cutoff=0.5)
        hint = f" Is it {' or '.join(near)}?" if near else ""
        raise SourceFailed(f"ccxt has no live data of an exchange {name!r:.40}.{hint}")
    exchange = getattr(ccxt.pro, name)({"enableRateLimit": True, "apiKey": api_key})
    if not (exchange.has.get("watchTrades") or exchange.has.get("watchTradesForSymbols")):
        raise SourceFailed(f"ccxt has no live trades of {name}")
    exchange.options.update(profile.options)
    # What may be deposited and withdrawn is no matter of ours.
    exchange.has["fetchCurrencies"] = False
    if profile.keyless and not api_key:
        exchange.sign = _sign_keyless(exchange.sign, profile.keyless)
    keep_alive = exchange.streaming.get("keepAlive") or _KEEP_ALIVE_MS
    exchange.streaming = exchange.streaming | {"keepAlive": min(keep_alive, _KEEP_ALIVE_MS)}
    if url:
        exchange.urls["api"] = replace_origins(exchange.urls["api"], url)
    return exchange


def _sign_keyless(sign: Callable[..., Any], keyless: Mapping[str, str]) -> Callable[..., Any]:
    # ccxt refuses a call that it takes for one with a key. It is signed as another one is.
    def signed(path: str, *arguments: Any, **named: Any) -> Any:
        other = keyless.get(path, path)
        request = sign(other, *arguments, **named)
        request["url"] = request["url"].replace(f"/{other}?", f"/{path}?")
        return request

    return signed


def replace_origins(urls: Any, origin: str) -> Any:
    """Return nested addresses with another scheme, host and port; their paths stay."""
    if isinstance(urls, dict):
        return {key: replace_origins(value, origin) for key, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    base = origin.rstrip("/")

    def replaced(found: re.Match[str]) -> str:
        return re.sub("^http", "ws", base) if found[1].startswith("ws") else base

    return _ORIGIN.sub(replaced, urls)


def describe(error: BaseException) -> str:
    """Return an error of ccxt in one short line."""
    text = " ".join(str(error).split())
    if type(error) is NetworkError and text:
        return text[:200]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__

"""Exchanges on a local port, which speak the documented messages of their WebSocket and REST APIs.

``python -m tests.doubles.exchanges 8765`` runs all of them with a random walk, for ``make run``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from aiohttp import WSMsgType, web

NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class Print:
    """One trade, as the exchange has it."""

    number: int
    price: str
    size: str
    ts_ns: int

    @property
    def ms(self) -> int:
        return self.ts_ns // 10**6

    def iso(self, digits: int = 6) -> str:
        second, fraction = divmod(self.ts_ns, NS_PER_S)
        day = datetime.fromtimestamp(second, UTC)
        return f"{day:%Y-%m-%dT%H:%M:%S}.{f'{fraction:09}'[:digits]}Z"


class Exchange:
    """What all exchanges share: the tape of each market, and who listens.

    Args:
        markets: base and quote of each, such as ``BTC/USDT``.
        clock_offset_s: how far its clock is ahead of ours.
    """

    name = ""

    def __init__(
        self, markets: tuple[str, ...] = ("BTC/USDT", "ETH/USDT"), clock_offset_s: float = 0
    ) -> None:
        self.markets = markets
        self.clock_offset_ns = int(clock_offset_s * NS_PER_S)
        self.tape: dict[str, list[Print]] = {market: [] for market in markets}
        self.first_number = 4_000_000
        # REST requests and subscriptions so far, by path; and how many answers are refused next.
        self.requests: list[str] = []
        self.limited = 0
        # While set, trades go on the tape only, as if the link lost them.
        self.is_mute = False
        # How many trades of the tape are sent again to a new subscriber.
        self.resends = 0
        # How many trades REST still has, per market.
        self.kept = 1_000_000
        self.url = ""
        self._subscribers: dict[str, set[web.WebSocketResponse]] = defaultdict(set)
        self._sockets: set[web.WebSocketResponse] = set()
        self._changed = asyncio.Condition()

    # The verbs of a test.
    async def trade(
        self, market: str, price: str, size: str, ts_ns: int = 0, *, skip: int = 0
    ) -> Print:
        """Let a trade happen; its number follows the last one after ``skip`` others."""
        ts_ns = ts_ns or time.time_ns() + self.clock_offset_ns
        tape = self.tape[market]
        number = (tape[-1].number if tape else self.first_number) + 1 + skip
        made = Print(number, price, size, ts_ns)
        tape.append(made)
        if not self.is_mute:
            await self.send(market, [made])
        return made

    async def send(self, market: str, prints: list[Print]) -> None:
        """Send trades to the subscribers, again if they were sent before."""
        for socket in list(self._subscribers[market]):
            with suppress(ConnectionError):
                for message in self.messages(market, prints):
                    await socket.send_str(message)

    async def subscribed(self, market: str) -> None:
        """Wait for a subscriber."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._subscribers[market]))

    async def requested(self, text: str, times: int = 1) -> None:
        """Wait for a REST request whose path has a text."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: sum(text in each for each in self.requests) >= times
            )

    def cut(self) -> None:
        """Reset every WebSocket."""
        for socket in list(self._sockets):
            transport = None if socket._req is None else socket._req.transport
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        self._subscribers.clear()

    async def close_sockets(self, code: int = 1001) -> None:
        """Close every WebSocket as a server does that goes down for maintenance."""
        for socket in list(self._sockets):
            await socket.close(code=code)
        self._subscribers.clear()

    # What an exchange has of its own.
    def messages(self, market: str, prints: list[Print]) -> list[str]:
        raise NotImplementedError

    def subscription(self, request: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Return the markets that a message subscribes to, and the answers."""
        raise NotImplementedError

    def rest(self, request: web.Request) -> object:
        raise NotImplementedError

    def is_socket_path(self, path: str) -> bool:
        raise NotImplementedError

    # The server.
    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._serve_socket(request)
        self.requests.append(request.path_qs)
        async with self._changed:
            self._changed.notify_all()
        if self.limited:
            self.limited -= 1
            return web.json_response({"code": -1003, "msg": "Too many requests"}, status=429)
        answer = self.rest(request)
        if isinstance(answer, web.Response):
            return answer
        return web.Response(text=json.dumps(answer), content_type="application/json")

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        if not self.is_socket_path(request.path):
            raise web.HTTPNotFound
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                markets, answers = self.subscription(json.loads(message.data))
                for answer in answers:
                    await socket.send_str(answer)
                for market in markets:
                    if again := self.tape[market][-self.resends :] if self.resends else []:
                        for text in self.messages(market, again):
                            await socket.send_str(text)
                    self._subscribers[market].add(socket)
                async with self._changed:
                    self._changed.notify_all()
        except (ConnectionError, RuntimeError):
            pass
        finally:
            self._sockets.discard(socket)
            for sockets in self._subscribers.values():
                sockets.discard(socket)
        return socket

    def _stored(self, market: str) -> list[Print]:
        return self.tape[market][-self.kept :]


class Binance(Exchange):
    """Binance spot: https://developers.binance.com/docs/binance-spot-api-docs."""

    name = "binance"
    # Whether old trades need an API key; the documents once said so, and now do not.
    needs_key = False

    def _market(self, exchange_id: str) -> str:
        return next(m for m in self.markets if m.replace("/", "") == exchange_id.upper())

    def is_socket_path(self, path: str) -> bool:
        return path.startswith("/ws/")

    def subscription(self, request: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        assert request["method"] == "SUBSCRIBE"
        streams = [each.partition("@") for each in request["params"]]
        assert {kind for _, _, kind in streams} == {"trade"}
        answer = json.dumps({"result": None, "id": request["id"]})
        return [self._market(name) for name, _, _ in streams], [answer]

    def messages(self, market: str, prints: list[Print]) -> list[str]:
        return [
            json.dumps(
                {
                    "e": "trade",
                    "E": each.ms + 2,
                    "s": market.replace("/", ""),
                    "t": each.number,
                    "p": each.price,
                    "q": each.size,
                    "T": each.ms,
                    "m": True,
                    "M": True,
                }
            )
            for each in prints
        ]

    def rest(self, request: web.Request) -> object:
        if request.path == "/api/v3/exchangeInfo":
            return {"timezone": "UTC", "serverTime": 1, "symbols": self._symbols()}
        limit = int(request.query.get("limit", "500"))
        assert limit <= 1000
        prints = self._stored(self._market(request.query["symbol"]))
        if request.path == "/api/v3/historicalTrades":
            if self.needs_key and request.headers.get("X-MBX-APIKEY") != "a-key":
                return web.json_response(
                    {"code": -2014, "msg": "API-key format invalid."}, status=401
                )
            first = int(request.query["fromId"])
            prints = [each for each in prints if each.number >= first][:limit]
        else:
            assert request.path == "/api/v3/trades"
            prints = prints[-limit:]
        return [
            {
                "id": each.number,
                "price": each.price,
                "qty": each.size,
                "quoteQty": "1.00000000",
                "time": each.ms,
                "isBuyerMaker": True,
                "isBestMatch": True,
            }
            for each in prints
        ]

    def _symbols(self) -> list[object]:
        return [
            {
                "symbol": market.replace("/", ""),
                "status": "TRADING",
                "baseAsset": market.split("/")[0],
                "baseAssetPrecision": 8,
                "quoteAsset": market.split("/")[1],
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "orderTypes": ["LIMIT", "MARKET"],
                "icebergAllowed": True,
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": True,
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "tickSize": "0.01000000"},
                    {"filterType": "LOT_SIZE", "minQty": "0.00001", "stepSize": "0.00001000"},
                ],
                "permissions": [],
                "permissionSets": [["SPOT"]],
            }
            for market in self.markets
        ]


class Coinbase(Exchange):
    """Coinbase Advanced Trade: https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis."""

    name = "coinbase"

    def is_socket_path(self, path: str) -> bool:
        return path == "/"

    def subscription(self, request: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        assert request["type"] == "subscribe"
        assert request["channel"] == "market_trades"
        products = request["product_ids"]
        answer = {
            "channel": "subscriptions",
            "timestamp": "2023-02-09T20:33:57.609931463Z",
            "sequence_num": 1,
            "events": [{"subscriptions": {"market_trades": products}}],
        }
        return [each.replace("-", "/") for each in products], [json.dumps(answer)]

    def _trades(self, market: str, prints: list[Print]) -> list[dict[str, str]]:
        # The newest first.
        return [
            {
                "trade_id": str(each.number),
                "product_id": market.replace("/", "-"),
                "price": each.price,
                "size": each.size,
                "side": "BUY",
                "time": each.iso(),
            }
            for each in reversed(prints)
        ]

    def messages(self, market: str, prints: list[Print]) -> list[str]:
        message = {
            "channel": "market_trades",
            "client_id": "",
            "timestamp": prints[-1].iso(9),
            "sequence_num": 0,
            "events": [{"type": "update", "trades": self._trades(market, prints)}],
        }
        return [json.dumps(message)]

    def rest(self, request: web.Request) -> object:
        base = "/api/v3/brokerage/market/products"
        if request.path == base:
            if request.query.get("product_type") == "FUTURE":
                return {"products": [], "num_products": 0}
            return {"products": [self._product(market) for market in self.markets]}
        product, _, what = request.path.removeprefix(f"{base}/").partition("/")
        assert what == "ticker"
        market = product.replace("-", "/")
        start = int(request.query.get("start", "0")) * NS_PER_S
        end = int(request.query.get("end", "9000000000")) * NS_PER_S
        limit = int(request.query["limit"])
        prints = [each for each in self._stored(market) if start <= each.ts_ns < end]
        return {"trades": self._trades(market, prints[-limit:]), "best_bid": "1", "best_ask": "2"}

    def _product(self, market: str) -> object:
        base, quote = market.split("/")
        return {
            "product_id": f"{base}-{quote}",
            "price": "100",
            "base_increment": "0.00000001",
            "quote_increment": "0.01",
            "quote_min_size": "1",
            "quote_max_size": "50000000",
            "base_min_size": "0.00000001",
            "base_max_size": "2600",
            "base_name": base,
            "quote_name": quote,
            "status": "online",
            "product_type": "SPOT",
            "quote_currency_id": quote,
            "base_currency_id": base,
            "trading_disabled": False,
            "is_disabled": False,
            "price_increment": "0.01",
        }


class Kraken(Exchange):
    """Kraken: https://docs.kraken.com/api, WebSocket v2, whose numbers are JSON numbers."""

    name = "kraken"
    page = 1_000

    def is_socket_path(self, path: str) -> bool:
        return path == "/v2"

    def subscription(self, request: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        if request["method"] == "ping":
            return [], [json.dumps({"method": "pong", "req_id": request.get("req_id", 0)})]
        assert request["method"] == "subscribe"
        params = request["params"]
        assert params["channel"] == "trade"
        answers = [
            json.dumps(
                {
                    "method": "subscribe",
                    "result": {"channel": "trade", "snapshot": True, "symbol": market},
                    "success": True,
                    "time_in": "2023-09-25T09:21:10.428340Z",
                    "time_out": "2023-09-25T09:21:10.428375Z",
                    "req_id": request["req_id"],
                }
            )
            for market in params["symbol"]
        ]
        return list(params["symbol"]), answers

    def messages(self, market: str, prints: list[Print]) -> list[str]:
        # Written by hand: the digits of numbers must stay as they are.
        trades = ",".join(
            f'{{"symbol":"{market}","side":"sell","price":{each.price},"qty":{each.size},'
            f'"ord_type":"market","trade_id":{each.number},"timestamp":"{each.iso()}"}}'
            for each in prints
        )
        return [f'{{"channel":"trade","type":"update","data":[{trades}]}}']

    def rest(self, request: web.Request) -> object:
        if request.path == "/0/public/AssetPairs":
            return {"error": [], "result": {self._pair(m): self._details(m) for m in self.markets}}
        assert request.path == "/0/public/Trades"
        pair = request.query["pair"]
        market = next(each for each in self.markets if self._pair(each) == pair)
        text = request.query.get("since", "0")
        since = int(text) * (NS_PER_S if len(text) < 12 else 1)
        prints = [each for each in self._stored(market) if each.ts_ns > since][: self.page]
        rows = [
            [
                each.price,
                each.size,
                # A JSON number with seven decimals, as text here.
                float(f"{each.ts_ns // 100 / 10**7:.7f}"),
                "b",
                "l",
                "",
                each.number,
            ]
            for each in prints
        ]
        last = str(prints[-1].ts_ns if prints else since)
        return {"error": [], "result": {pair: rows, "last": last}}

    def _pair(self, market: str) -> str:
        base, quote = market.split("/")
        return f"X{base.replace('BTC', 'XBT')}{'ZUSD' if quote == 'USD' else quote}"

    def _details(self, market: str) -> object:
        base, quote = market.split("/")
        base = base.replace("BTC", "XBT")
        return {
            "altname": f"{base}{quote}",
            "wsname": f"{base}/{quote}",
            "aclass_base": "currency",
            "base": f"X{base}",
            "aclass_quote": "currency",
            "quote": "ZUSD" if quote == "USD" else quote,
            "lot": "unit",
            "cost_decimals": 5,
            "pair_decimals": 1,
            "lot_decimals": 8,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, 0.4]],
            "fees_maker": [[0, 0.25]],
            "fee_volume_currency": "ZUSD",
            "ordermin": "0.00005",
            "status": "online",
        }


class Bitstamp(Exchange):
    """Bitstamp: https://www.bitstamp.net/api and /websocket/v2; numbers of trades have gaps."""

    name = "bitstamp"

    def is_socket_path(self, path: str) -> bool:
        return path == "/"

    def _market(self, exchange_id: str) -> str:
        return next(m for m in self.markets if m.replace("/", "").lower() == exchange_id)

    def subscription(self, request: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        assert request["event"] == "bts:subscribe"
        channel = request["data"]["channel"]
        answer = {"event": "bts:subscription_succeeded", "channel": channel, "data": {}}
        return [self._market(channel.removeprefix("live_trades_"))], [json.dumps(answer)]

    def messages(self, market: str, prints: list[Print]) -> list[str]:
        # "amount" and "price" are JSON numbers, "_str" their text.
        return [
            f'{{"data":{{"id":{each.number},"timestamp":"{each.ts_ns // NS_PER_S}",'
            f'"amount":{each.size},"amount_str":"{each.size}","price":{each.price},'
            f'"price_str":"{each.price}","type":1,"microtimestamp":"{each.ts_ns // 1000}",'
            '"buy_order_id":1,"sell_order_id":2},'
            f'"channel":"live_trades_{market.replace("/", "").lower()}","event":"trade"}}'
            for each in prints
        ]

    def rest(self, request: web.Request) -> object:
        if request.path == "/api/v2/markets/":
            return [self._details(market) for market in self.markets]
        pair = request.path.removeprefix("/api/v2/transactions/").rstrip("/")
        assert request.query["time"] in ("minute", "hour", "day")
        return [
            {
                "date": str(each.ts_ns // NS_PER_S),
                "tid": str(each.number),
                "amount": each.size,
                "type": "0",
                "price": each.price,
            }
            for each in reversed(self._stored(self._market(pair)))
        ]

    def _details(self, market: str) -> object:
        base, quote = market.split("/")
        return {
            "name": market,
            "market_symbol": f"{base}{quote}".lower(),
            "base_currency": base,
            "base_decimals": 8,
            "counter_currency": quote,
            "counter_decimals": 2,
            "minimum_order_value": "10",
            "trading": "Enabled",
            "instant_order_counter_decimals": 2,
            "instant_and_market_orders": "Enabled",
            "description": market,
            "market_type": "SPOT",
        }


KINDS: Mapping[str, type[Exchange]] = {
    kind.name: kind for kind in (Binance, Coinbase, Kraken, Bitstamp)
}


@asynccontextmanager
async def run_exchange(exchange: Exchange, port: int = 0) -> AsyncIterator[Exchange]:
    """Run an exchange for the time of the context; its address is ``url``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound = runner.addresses[0][:2]
    exchange.url = f"http://{host}:{bound}"
    try:
        yield exchange
    finally:
        exchange.cut()
        await runner.cleanup()


async def _walk(name: str, port: int, seed: int) -> None:
    # A random walk until the end of the process.
    exchange = KINDS[name]()
    chance = Random(seed)
    prices = {"BTC/USDT": 97_000.0, "ETH/USDT": 3_600.0}
    async with run_exchange(exchange, port):
        print(f"{name} listens on {exchange.url}", flush=True)
        while True:
            market = chance.choice(exchange.markets)
            prices[market] *= 1 + chance.gauss(0, 2e-5)
            size = f"{chance.expovariate(20):.5f}"
            if float(size):
                await exchange.trade(market, f"{prices[market]:.2f}", size)
            await asyncio.sleep(chance.expovariate(40))


if __name__ == "__main__":
    asyncio.run(_walk(sys.argv[1], int(sys.argv[2]), 1))

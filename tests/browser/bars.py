"""Bars as a gateway gives them, for a page whose requests for them end here."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Page, Route, WebSocketRoute

MINUTE_MS = 60_000
# A Wednesday, 10:00 UTC.
START_MS = 1_767_175_200_000
EPOCH = "7"

Json = dict[str, Any]


class Bars:
    """The bars of every symbol are the same, one per minute.

    ::

        bars = Bars(count=300)
        await bars.serve(page)
        bars.publish(299, state="revised", revision=1, close=99.5)

    """

    def __init__(self, count: int) -> None:
        self.bars = [self._make(minute) for minute in range(count)]
        self.questions: list[dict[str, str]] = []
        self.status = make_status()
        self._sequence = count
        self._sockets: list[tuple[WebSocketRoute, str]] = []

    async def serve(self, page: Page) -> None:
        """Answer what ``page`` asks about bars and status; all else reaches the gateway."""
        await page.route("**/api/v1/status", lambda route: route.fulfill(json=self.status))
        await page.route("**/api/v1/bars?*", self._answer)
        await page.route_web_socket("**/api/v1/stream", self._join)

    def publish(self, minute: int, **fields: Any) -> Json:
        """Send a new state of a bar to who follows."""
        self._sequence += 1
        known = self.bars[minute] if minute < len(self.bars) else self._make(minute)
        bar = {**known, "sequence": str(self._sequence), **fields}
        self.bars[minute : minute + 1] = [bar]
        for socket, subscription in self._sockets:
            socket.send(_update(subscription, bar))
        return bar

    def _make(self, minute: int) -> Json:
        start = START_MS + minute * MINUTE_MS
        # A walk that goes up and down, and ends where it began.
        middle = 100 + (minute * 7919 % 400) / 100
        return {
            "interval": "1m",
            "start": str(start),
            "end": str(start + MINUTE_MS),
            "startNs": f"{start}000000",
            "endNs": f"{start + MINUTE_MS}000000",
            "open": middle,
            "high": middle + 0.75,
            "low": middle - 0.5,
            "close": middle + 0.25,
            "volume": str(9_007_199_254_740_993 + minute),
            "trades": "12",
            "vwap": middle + 0.125,
            "state": "final",
            "revision": 0,
            "complete": True,
            "coverage": "full",
            "refused": "0",
            "filler": None,
            "phase": None,
            "number": 0,
            "sequence": str(minute + 1),
            "epoch": EPOCH,
        }

    async def _answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        question = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.questions.append(question)
        symbol = question["symbol"]
        before = int(question.get("to", 2**63))
        found = [bar for bar in self.bars if int(bar["startNs"]) < before]
        page = [{**bar, "symbol": symbol} for bar in found[-int(question["limit"]) :]]
        body = {"symbol": symbol, "interval": "1m", "bars": page, "nextCursor": None}
        await route.fulfill(json=body)

    def _join(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def receive(text: str | bytes) -> None:
            message = json.loads(text)
            if message.get("interval") is None:
                server.send(text)
                return
            subscription = json.dumps([message["id"], message["symbols"][0]])
            self._sockets = [(socket, subscription)]
            for bar in self.bars:
                if int(bar["startNs"]) >= int(message["since"]):
                    socket.send(_update(subscription, bar))

        socket.on_message(receive)


def make_status() -> Json:
    """Return what ``/api/v1/status`` answers while all is well."""
    return {
        "status": "ok",
        "gateway": {"feed": "live", "breaker": "closed", "clients": 1, "conflated": "0"},
        "aggregator": {
            "status": "ok",
            "symbols": 1,
            "accepted": "9007199254740993",
            "rejected": {"too_many_symbols": "2"},
            "intervals": ["1s", "1m", "5m"],
            "feeds": [
                {
                    "producerId": "ingest-1",
                    "connected": True,
                    "producers": 2,
                    "accepted": "9007199254740993",
                    "rejected": {"bad_price": "9007199254740995"},
                }
            ],
            "store": {"state": "ok"},
        },
    }


def _update(subscription: str, bar: Json) -> str:
    subscription_id, symbol = json.loads(subscription)
    return json.dumps(
        {
            "type": "update",
            "id": subscription_id,
            "recovered": None,
            "conflated": 0,
            "sequence": bar["sequence"],
            "epoch": bar["epoch"],
            "data": {**bar, "symbol": symbol},
        }
    )

"""All services together, with what every client needs: what `make lowest` runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import time_ns
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from marketdata.framing import encode_frame
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.processes import MODES, TIMEOUT_S, Mode, run_pipeline

PRICES = (150.25, 152.1, 149.8, 151.5)


async def push(port: int) -> None:
    """Send one trade at each of the prices, as any producer does."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for price in PRICES:
        tick = Tick(symbol="AAPL", price=price, volume=10, exchange_timestamp=time_ns())
        writer.write(encode_frame(tick.SerializeToString()))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(http: httpx.AsyncClient, path: str, done: Callable[[Any], bool]) -> Any:
    """Ask until the answer is as wanted."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            answer = await http.get(path)
            if answer.status_code == 200 and done(body := answer.json()):
                return body
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("store", ["off", "sqlite"])
async def test_ticks_reach_every_kind_of_client(mode: Mode, store: str, tmp_path: Path) -> None:
    address = "off" if store == "off" else f"sqlite:///{tmp_path}/bars.db"
    async with run_pipeline(mode, AGGREGATOR_STORE=address) as pipeline:
        http, ingest_port = pipeline.http, pipeline.ingest_port
        gateway = http.base_url.netloc.decode()
        async with connect(f"ws://{gateway}/api/v1/stream", proxy=None) as websocket:
            subscribe = {"type": "subscribe", "id": "1", "symbols": ["AAPL"]}
            await websocket.send(orjson.dumps(subscribe).decode())
            await push(ingest_port)
            path = "/api/v1/marketdata/AAPL"
            state = await ask(http, path, lambda body: body["volume"] == "40")
            numbers = [state[field] for field in ("open", "high", "low", "close")]
            assert numbers == [150.25, 152.1, 149.8, 151.5]
            async with asyncio.timeout(TIMEOUT_S):
                volume = None
                while volume != "40":
                    message = orjson.loads(await websocket.recv())
                    volume = message.get("data", {}).get("volume")
        with pytest.raises(InvalidStatus, match="403"):
            await connect(f"ws://{gateway}/ws", origin=Origin("https://other.example"), proxy=None)
        bars = f"{path}/bars?interval=1m&include_partial=true"
        found = await ask(http, bars, lambda body: len(body["bars"]) > 0)
        assert found["bars"][-1]["close"] == 151.5

        query = {"query": '{ marketData(symbol: "AAPL") { close } }'}
        answer = (await http.post("/graphql", json=query)).json()
        assert answer["data"] == {"marketData": {"close": 151.5}}
        for page in ("/docs", "/openapi.json", "/api/v1/status", "/health/ready"):
            assert (await http.get(page)).status_code == 200, page

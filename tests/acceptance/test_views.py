"""Views of all trades, at REST, with real services."""

from __future__ import annotations

from pathlib import Path

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import make_tick, open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import run_gateway, run_service

VIEWS = "last-trade,volume-profile"
TS = 1_735_201_234_567_890_123


async def test_views_are_at_rest_and_survive_a_kill(tmp_path: Path) -> None:
    port = free_port()
    env = {
        "AGGREGATOR_PORT": str(port),
        "AGGREGATOR_VIEWS": VIEWS,
        "AGGREGATOR_LOG": str(tmp_path / "log"),
    }
    prices = [150.25, 150.25, 151.0]
    ticks = [make_tick(price=price, ts_ns=TS + number) for number, price in enumerate(prices)]
    # Refused, so in no view.
    ticks.append(make_tick(price=-1.0, ts_ns=TS + 9))
    async with run_gateway(port) as (_, http):
        last, profile = "/api/v1/views/last-trade", "/api/v1/views/volume-profile"
        async with run_service("aggregator", env) as aggregator:
            await aggregator.wait_for_port()
            async with open_stub(port) as stub:
                call = stub.PublishTicks()
                await call.write(wire.TickBatch(producer_id="p", first_sequence=1, ticks=ticks))
                ack = await call.read()
                assert isinstance(ack, wire.BatchAck)
                assert ack.accepted == 3
            before = [
                (await http.get(path, params={"symbol": "AAPL"})).json() for path in (last, profile)
            ]
            await aggregator.kill()
        async with run_service("aggregator", env) as aggregator:
            await aggregator.wait_for_port()
            async with open_stub(port) as stub:
                await stub.GetStatus(wire.StatusRequest(), wait_for_ready=True)
            after = [
                (await http.get(path, params={"symbol": "AAPL"})).json() for path in (last, profile)
            ]
            unknown = await http.get(last, params={"symbol": "MSFT"})
            refused = await http.get("/api/v1/views/vwap", params={"symbol": "AAPL"})
    volume = ticks[0].volume
    assert (before[0]["price"], before[0]["timeNs"]) == (151.0, str(TS + 2))
    assert before[1]["levels"] == {"150.2": str(2 * volume), "151": str(volume)}
    assert after == before
    assert unknown.status_code == 404
    assert (refused.status_code, refused.json()["title"]) == (404, "Unknown view")
    assert "AGGREGATOR_VIEWS has last-trade, volume-profile" in refused.json()["detail"]

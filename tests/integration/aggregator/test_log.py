"""The aggregator's log holds the aggregator's lines, whatever a client sends."""

from __future__ import annotations

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import connect, open_stub
from tests.doubles.processes import run_service

FORGED = b'\n{"event":"aggregator_stopped","level":"info"}\n\xff'
GOAWAY = (8 + len(FORGED)).to_bytes(3, "big") + b"\x07" + bytes(12) + b"\x02"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00" + bytes(4)


async def test_what_a_client_says_in_a_goaway_is_not_written_into_the_log() -> None:
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        port = await aggregator.wait_for_port()
        async with connect(port) as (reader, writer):
            writer.write(PREFACE + GOAWAY + FORGED)
            writer.write_eof()
            await reader.read()
        async with open_stub(port) as stub:
            await stub.ListSymbols(wire.ListSymbolsRequest())
        assert await aggregator.stop() == 0
    assert all(line.get("service") == "aggregator" for line in aggregator.logs), aggregator.logs

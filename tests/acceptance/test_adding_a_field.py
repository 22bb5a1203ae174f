"""A new field of a bar, added as docs/contributing-a-field.md says, is at every endpoint."""

from __future__ import annotations

import asyncio
import io
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow.ipc
import pytest
from websockets.asyncio.client import connect

from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.pipeline import frame
from tests.doubles.processes import TIMEOUT_S, open_http, run_service
from tests.doubles.trades import ROOT

# The four files that the page names, and what is written into each.
PROTO = "proto/marketdata/wire/market_data.proto"
FIELDS = "marketdata/fields.py"
CANDLE = "aggregator/bars/kernel/candle.py"
MIGRATION = "aggregator/store/migrations/versions/9999_largest.py"

DESCRIPTION = "size of the largest trade"
FIELD = f"""
    Field(
        name="largest",
        kind=Kind.COUNT,
        json="largest",
        candle=True,
        stored=True,
        nullable=True,
        description="{DESCRIPTION}",
    ),
"""
EDITS = [
    (PROTO, "string phase = 21;", "string phase = 21;\n  int64 largest = 1000;"),
    (PROTO, "uint64 epoch = 12;", "uint64 epoch = 12;\n  int64 largest = 1000;"),
    (FIELDS, "CANDLE_FIELDS = (", f"CANDLE_FIELDS = ({FIELD}"),
    (FIELDS, "AGGREGATE_FIELDS = (", f"AGGREGATE_FIELDS = ({FIELD}"),
    (CANDLE, "    last_sequence: int\n", "    last_sequence: int\n    largest: int\n"),
    (CANDLE, "    candle.trades = 0\n", "    candle.trades = candle.largest = 0\n"),
    (
        CANDLE,
        "    candle.volume += volume\n",
        "    candle.volume += volume\n    candle.largest = max(candle.largest, volume)\n",
    ),
    (
        CANDLE,
        "    candle.volume += other.volume\n",
        "    candle.volume += other.volume\n"
        "    candle.largest = max(candle.largest, other.largest)\n",
    ),
]
MIGRATED = '''"""Add the size of the largest trade."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    """Add the column."""
    for table in ("bars", "import_bars"):
        op.add_column(
            table, sa.Column("largest", sa.BigInteger, nullable=False, server_default="0")
        )
'''
# Three trades of one second of the past, so that its bars are final at once; the last one is a
# minute later, and closes them.
SIZES = (5, 40, 7)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a copy of the sources with the field added by hand, and generated code made anew."""
    copy = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("proto", "marketdata", "ingest", "aggregator", "gateway"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for path, old, new in EDITS:
        text = (copy / path).read_text()
        assert text.count(old) == 1, (path, old)
        (copy / path).write_text(text.replace(old, new))
    versions = (copy / MIGRATION).parent
    newest = max(path.name[:4] for path in versions.glob("0*.py"))
    (copy / MIGRATION).write_text(MIGRATED.format(newest=newest))
    protos = [str(path.relative_to(copy)) for path in (copy / "proto").rglob("*.proto")]
    arguments = ("-Iproto", "--python_out=.", "--grpc_python_out=.", *protos)
    subprocess.run((sys.executable, "-m", "grpc_tools.protoc", *arguments), cwd=copy, check=True)
    # Compiling the changed loops takes half a minute.
    subprocess.run(
        (sys.executable, "-m", "marketdata.warm", "ingest", "aggregator", "gateway"),
        cwd=copy,
        check=True,
    )
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
async def http(tree: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run the changed services with the trades applied; give a client of the gateway."""
    store = {"AGGREGATOR_PORT": "0", "AGGREGATOR_STORE": f"sqlite:///{tmp_path}/bars.db"}
    async with run_service("aggregator", store, cwd=tree) as aggregator:
        address = f"127.0.0.1:{await aggregator.wait_for_port()}"
        settings = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": address}
        gateway = {"GATEWAY_PORT": "0", "GATEWAY_AGGREGATOR": address, "GATEWAY_RATE_LIMIT": "0"}
        async with (
            run_service("ingest", settings, cwd=tree) as ingest,
            run_service("gateway", gateway, cwd=tree) as service,
            open_http(await service.wait_for_port()) as client,
        ):
            await _send(await ingest.wait_for_port())
            assert (await _wait_for_trades(client, len(SIZES) + 1))["largest"] == "40"
            yield client
        assert await aggregator.stop() == 0
    with closing(sqlite3.connect(tmp_path / "bars.db")) as database:
        stored = "SELECT largest FROM bars WHERE interval = '1s' ORDER BY start"
        assert database.execute(stored).fetchall() == [(40,), (1,)]


async def _send(port: int) -> None:
    start = (time.time_ns() // NS_PER_S - 3_600) * NS_PER_S
    times = [(start + n, size) for n, size in enumerate(SIZES)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for ts, size in [*times, (start + 60 * NS_PER_S, 1)]:
        tick = Tick(symbol="AAPL", price=10.0, volume=size, exchange_timestamp=ts)
        writer.write(frame(tick))
    writer.write_eof()
    await reader.read()
    writer.close()


async def _wait_for_trades(http: httpx.AsyncClient, trades: int) -> dict[str, Any]:
    url = f"ws://{http.base_url.netloc.decode()}/api/v1/stream"
    async with connect(url) as socket, asyncio.timeout(TIMEOUT_S):
        await socket.send('{"type":"subscribe","id":"1","symbols":["AAPL"]}')
        while True:
            message: dict[str, Any] = orjson.loads(await socket.recv())
            if message["type"] == "update" and message["data"]["trades"] == str(trades):
                return dict(message["data"])


async def _bars(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await http.get("/api/v1/marketdata/AAPL/bars", params={"interval": "1s"})
    return list(answer.json()["bars"]) if answer.status_code == 200 else []


async def test_a_field_added_in_four_files_is_at_every_endpoint(http: httpx.AsyncClient) -> None:
    assert len({path for path, _, _ in EDITS} | {MIGRATION}) == 4
    (bar,) = await _bars(http)
    assert bar["largest"] == "40"
    assert (await http.get("/api/v1/marketdata/AAPL")).json()["largest"] == "40"
    address = "/api/v1/marketdata/AAPL/bars?interval=1s"
    head, row = (await http.get(address, headers={"Accept": "text/csv"})).text.splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["largest"] == "40"
    arrow = {"Accept": "application/vnd.apache.arrow.stream"}
    table = pyarrow.ipc.open_stream(io.BytesIO((await http.get(address, headers=arrow)).content))
    assert table.read_all().column("largest").to_pylist() == [40]
    query = '{bars(symbol:"AAPL",interval:"1s"){edges{node{largest}}}}'
    answer = (await http.post("/graphql", json={"query": query})).json()
    assert answer == {"data": {"bars": {"edges": [{"node": {"largest": "40"}}]}}}
    assert DESCRIPTION in (await http.get("/openapi.json")).text

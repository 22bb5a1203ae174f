"""The files that the gateway's pages load, built by ``make assets``."""

from __future__ import annotations

from gateway.app import STATIC
from tests.integration.gateway.doubles import FakeAggregator, http_to_gateway


async def test_every_file_that_was_built_is_served(aggregator: FakeAggregator) -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file() and path.name != ".built"]
    assert files, "run make assets"
    async with http_to_gateway(aggregator) as http:
        for path in files:
            response = await http.get(f"/static/{path.relative_to(STATIC).as_posix()}")
            assert response.status_code == 200
            assert response.content == path.read_bytes()


async def test_nothing_beside_the_folder_is_served(aggregator: FakeAggregator) -> None:
    async with http_to_gateway(aggregator) as http:
        for path in ("../app.py", "%2e%2e/app.py", "..%2fapp.py"):
            assert (await http.get(f"/static/{path}")).status_code == 404

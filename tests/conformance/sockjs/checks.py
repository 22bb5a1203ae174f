"""What many of the protocol's tests ask of a response's headers."""

from __future__ import annotations

import re

from tests.conformance.sockjs.client import Client, Response


def check_cors(response: Response, origin: str | None = None) -> None:
    expected = origin or "*"
    assert response["access-control-allow-origin"] == expected
    assert response["access-control-allow-credentials"] == "true"


def check_not_cached(response: Response) -> None:
    assert response["cache-control"] == "no-store, no-cache, must-revalidate, max-age=0"
    assert response["expires"] is None
    assert response["last-modified"] is None


def check_cacheable(response: Response) -> None:
    cache_control = response["cache-control"] or ""
    assert "public" in cache_control
    assert re.search("max-age=[1-9][0-9]{6}", cache_control)
    assert response["expires"]


async def check_preflight(client: Client, path: str, methods: str) -> None:
    for origin in [None, "test", "null"]:
        headers = {"Origin": origin} if origin else {}
        response = await client.options(path, **headers)
        assert response.status == 204
        check_cacheable(response)
        assert int(response["access-control-max-age"] or 0) > 1_000_000
        assert response["access-control-allow-methods"] == methods
        check_cors(response, origin)
        assert await response.body() == ""

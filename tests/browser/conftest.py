"""What the tests in a browser stand on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.app import STATIC
from tests.browser.visits import running_browser


@pytest.fixture(autouse=True)
def _built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip where there is no dashboard; leave no settings of the shell that runs the tests."""
    if not (STATIC / "dashboard" / "index.html").exists():
        pytest.skip("the dashboard is not built: make assets")
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "AGGREGATOR_", "INGEST_")):
            monkeypatch.delenv(name)


# It takes a second to start. Each person has a profile of their own in it.
@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser

"""Ask the gateway over HTTP: retries, and one deadline for all attempts of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple

import orjson

from marketdata.addresses import describe_failure
from marketdata.client.errors import (
    CannotConnect,
    ClientClosed,
    ClientError,
    DeadlineExceeded,
    UnexpectedAnswer,
)
from marketdata.client.options import Checked
from marketdata.client.problems import error_of, retry_delay
from marketdata.client.tables import load


class Answer(NamedTuple):
    """An answer of the gateway, a JSON object."""

    json: Any
    headers: Mapping[str, str]


class Rest:
    """The requests of one client. Use it in one event loop.

    Raises:
        MissingExtra: httpx is not installed.
    """

    def __init__(self, options: Checked) -> None:
        self._httpx = load("httpx", "client")
        self._options = options
        self._is_closed = False
        # Made with the first request: it belongs to the event loop of that.
        self._client: Any = None

    async def get(self, path: str, key: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to a request, a JSON object that has ``key``.

        Raises:
            ClientError: there is none, or the gateway says what is wrong.
        """
        options = self._options
        url = options.url + path
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + options.deadline_s
        for attempt in count(1):
            try:
                async with asyncio.timeout_at(ends_at):
                    return await self._ask(url, key, parameters)
            except TimeoutError as exc:
                raise DeadlineExceeded(url, options.deadline_s) from exc
            except ClientError as exc:
                delay_s = retry_delay(exc, attempt)
                # A wait that the deadline would end helps nobody.
                if delay_s is None or loop.time() + delay_s >= ends_at:
                    raise
            await asyncio.sleep(delay_s)
        raise AssertionError

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, url: str, key: str, parameters: Mapping[str, str] | None) -> Answer:
        if self._is_closed:
            raise ClientClosed
        if self._client is None:
            # The deadline is ours.
            self._client = self._httpx.AsyncClient(
                headers=self._options.headers, timeout=None, follow_redirects=True
            )
        try:
            response = await self._client.get(url, params=parameters)
        except self._httpx.RequestError as exc:
            raise CannotConnect(self._options.url, _reason(exc)) from exc
        if response.status_code != 200:
            raise error_of(url, response.status_code, response.headers, response.content)
        try:
            found = orjson.loads(response.content)
        except orjson.JSONDecodeError as exc:
            raise UnexpectedAnswer(url, 200, "the body is not JSON") from exc
        if not isinstance(found, dict) or key not in found:
            raise UnexpectedAnswer(url, 200, f"the body has no {key!r}")
        return Answer(found, response.headers)


def _reason(error: BaseException) -> str:
    # The words of the operating system, where they are at the root of it.
    root: BaseException | None = error
    while root is not None:
        if isinstance(root, OSError) and root.errno is not None:
            return describe_failure(root, 0)
        if isinstance(root, BaseExceptionGroup):
            root = root.exceptions[0]
        else:
            root = root.__cause__ or root.__context__
    return str(error) or type(error).__name__

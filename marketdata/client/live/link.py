"""Keep a stream connected: a WebSocket, and another one after it ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from marketdata.addresses import describe_failure
from marketdata.client.errors import CannotConnect, GatewayError, UnexpectedAnswer
from marketdata.client.live.mailbox import Mailbox
from marketdata.client.live.session import LOOK_EVERY_S, LOST, StreamSession
from marketdata.client.live.wanted import Wanted
from marketdata.client.options import Checked
from marketdata.client.problems import error_of

# For one attempt to connect, and for the goodbye.
OPEN_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0


class Link:
    """Carry a stream until it is cancelled or fails for ever; then the mailbox ends.

    Args:
        options: the address and the limits.
        wanted: what to follow.
        mailbox: gets the events.
    """

    def __init__(self, options: Checked, wanted: Wanted, mailbox: Mailbox) -> None:
        self._options = options
        self._mailbox = mailbox
        # Chance that no secret depends on.
        self.session = StreamSession(options.url, wanted, Random())  # noqa: S311
        # Whether there was a connection.
        self._has_begun = False

    async def run(self) -> None:
        """Stay connected."""
        error: Exception | None = None
        try:
            await self._stay_connected()
            error = self.session.failure
        except Exception as exc:
            error = exc
        finally:
            self._mailbox.end(error)

    async def _stay_connected(self) -> None:
        session = self.session
        loop = asyncio.get_running_loop()
        begins_before = loop.time() + self._options.connect_timeout_s
        while session.failure is None:
            timeout_s = OPEN_TIMEOUT_S
            if not self._has_begun:
                timeout_s = min(timeout_s, begins_before - loop.time())
            problem = await self._hold_connection(timeout_s)
            if session.failure is None:
                if not self._has_begun and loop.time() + session.delay_s >= begins_before:
                    session.failure = CannotConnect(self._options.url, problem)
                    return
                await asyncio.sleep(session.delay_s)

    async def _hold_connection(self, timeout_s: float) -> str:
        # Returns why it ended.
        code, problem, retry_after_s = LOST, "", None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connect()
        except InvalidStatus as exc:
            refusal = self._refusal(exc)
            problem, retry_after_s = str(refusal), refusal.retry_after_s
        except OSError as exc:  # TimeoutError is one
            problem = describe_failure(exc, timeout_s)
        except WebSocketException as exc:
            problem = str(exc)
        else:
            self._has_begun = True
            code, problem = await self._read(connection)
        self._mailbox.put(self.session.close_connection(problem, code, retry_after_s))
        return problem

    async def _connect(self) -> ClientConnection:
        return await connect(
            self._options.stream_url,
            additional_headers=self._options.headers,
            # The timeout is ours, and so are the pings: they must not count while the program is
            # too slow to read.
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
            compression=None,
        )

    def _refusal(self, error: InvalidStatus) -> GatewayError | UnexpectedAnswer:
        response = error.response
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        refusal = error_of(
            self._options.stream_url, response.status_code, headers, bytes(response.body or b"")
        )
        # Before the first connection the address may be wrong; later a proxy may be confused.
        if not self._has_begun and 400 <= response.status_code < 500 and not refusal.retry_after_s:
            self.session.failure = refusal
        return refusal

    async def _read(self, connection: ClientConnection) -> tuple[int, str]:
        # Returns the code and the reason of its end.
        session, mailbox = self.session, self._mailbox
        looking = asyncio.create_task(self._look(connection))
        try:
            for message in session.open_connection():
                await connection.send(message)
            while session.failure is None:
                events = session.receive(await connection.recv(decode=False))
                if events:
                    mailbox.put(events)
                if mailbox.is_full:
                    await mailbox.room()
        except ConnectionClosed as exc:
            if session.is_dead:
                return LOST, "the gateway is silent"
            return (LOST, "") if exc.rcvd is None else (exc.rcvd.code, exc.rcvd.reason)
        finally:
            looking.cancel()
            try:
                await connection.close()
            finally:
                # The goodbye may be cancelled too.
                connection.transport.abort()
        return LOST, ""

    async def _look(self, connection: ClientConnection) -> None:
        session = self.session
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                if self._mailbox.is_full:
                    session.rest()
                elif session.is_dead:
                    await connection.close()
                elif (message := session.look()) is not None:
                    await connection.send(message)

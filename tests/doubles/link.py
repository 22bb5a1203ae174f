"""A TCP connection that misbehaves on command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

READ_SIZE = 64 * 1024


class Link:
    """A proxy on a port of its own, between a client and a server that does not know of it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delay_s = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._answers = asyncio.Event()
        self._answers.set()
        self._connected = asyncio.Condition()
        self.port = 0
        self.connections = 0

    @property
    def address(self) -> str:
        """Where clients connect to."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def delay(self, seconds: float) -> None:
        """Hold every piece of data for a while, both ways."""
        self._delay_s = seconds

    def drop(self) -> None:
        """Reset every connection, without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self, on: bool = True) -> None:
        """Reset new connections at once, or take them again."""
        self._refusing = on

    def half_close(self) -> None:
        """End every stream in both directions, after what was written before."""
        for writer in self._writers:
            with contextlib.suppress(OSError):
                writer.write_eof()

    def partition(self) -> None:
        """Let nothing through, and keep the connections open."""
        self._open.clear()

    def heal(self) -> None:
        """Let everything through again, what was held first."""
        self._open.set()

    def hold_answers(self, on: bool = True) -> None:
        """Let nothing through from the server to the client, or let it through again."""
        if on:
            self._answers.clear()
        else:
            self._answers.set()

    def lead_to(self, host: str, port: int) -> None:
        """Connect new clients to another server."""
        self._target = (host, port)

    async def next_connection(self) -> None:
        """Wait until one more client has connected."""
        async with self._connected:
            await self._connected.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.connections += 1
        async with self._connected:
            self._connected.notify_all()
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            to_reader, to_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, to_writer}
        try:  # a cancelled pump is how stop() ends it
            await asyncio.gather(
                self._pump(reader, to_writer, [self._open]),
                self._pump(to_reader, writer, [self._open, self._answers]),
            )
        except asyncio.CancelledError:
            pass
        finally:
            self._writers -= {writer, to_writer}
            writer.transport.abort()
            to_writer.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gates: list[asyncio.Event],
    ) -> None:
        try:
            while data := await reader.read(READ_SIZE):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                for gate in gates:
                    await gate.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            # A reset goes on, so that the other end hears of it.
            writer.transport.abort()


@contextlib.asynccontextmanager
async def open_link(host: str, port: int) -> AsyncIterator[Link]:
    """Put a link before a server for the time of the context."""
    link = Link(host, port)
    await link.start()
    try:
        yield link
    finally:
        await link.stop()

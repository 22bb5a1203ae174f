"""The link between two services, as a network behaves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from tests.doubles.link import open_link


async def test_a_reset_by_the_server_reaches_the_client() -> None:
    connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: connected.put(writer), "127.0.0.1", 0)
    async with server, open_link("127.0.0.1", server.sockets[0].getsockname()[1]) as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        theirs = await connected.get()
        # As when a process is killed that has not read everything.
        connection = theirs.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.transport.abort()
        # The end, with or without an error.
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                assert await reader.read(1) == b""
        writer.close()

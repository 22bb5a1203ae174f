"""Read addresses, listen on them, and say why one cannot be reached."""

from __future__ import annotations

import errno
import os
import re
import socket

from marketdata.errors import AddressInUse, StartError


def check_address(host: str, port: int) -> None:
    """Check that a server could listen on ``host:port`` now.

    Raises:
        AddressInUse: another program listens there.
        StartError: the address is not one of this machine, or the port is not ours to use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose connections linger in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as exc:
        raise listen_error(host, port, exc) from exc


def open_listeners(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Return a listening socket for each address of ``host``; "" has every address.

    Raises:
        AddressInUse: another program listens there.
        StartError: the address is not one of this machine, or the port is not ours to use.
    """
    listeners: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            # The protocol is named because asyncio turns Nagle's algorithm off only where it is.
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(backlog)
    except OSError as exc:
        for listener in listeners:
            listener.close()
        raise listen_error(host, port, exc) from exc
    return listeners


def listen_error(host: str, port: int, error: OSError) -> StartError:
    """Return the error for the operator when listening failed."""
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{host}:{port}")
    return StartError(f"cannot listen on {host}:{port}: {error.strerror}")


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "localhost:50050" or "[::1]:50050".

    Raises:
        ValueError: there is no host, or no port from 1 to 65535.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= 65535:
        raise ValueError("must be HOST:PORT, such as localhost:50050")
    return host.removeprefix("[").removesuffix("]"), int(port)


def describe_failure(error: OSError, timeout_s: float) -> str:
    """Return in words why a connection failed; ``timeout_s`` is how long it was waited for."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {timeout_s:g} s"
    number = error.errno
    # asyncio joins the errors of several addresses (127.0.0.1 and ::1) into one text.
    if number is None and (found := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(found[1])
    if number is not None and number > 0:
        return os.strerror(number)
    return error.strerror or str(error) or type(error).__name__

"""``python -m marketdata.healthcheck grpc|http|tcp|connected ADDRESS``: exit 0 if healthy, else 1.

For containers, whose image has no curl. A failed check prints one line with the reason. Checks run
every few seconds beside each service, so each imports only what it needs (grpc alone takes longer
than the rest together).
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from marketdata.errors import Unhealthy

# The container engine waits longer, so that our message reaches its log.
TIMEOUT_S = 3.0

# proc_net_tcp(5): the state column of a connection that is up.
_ESTABLISHED = "01"


def check_grpc(address: str, timeout_s: float) -> None:
    """Ask the gRPC health service about the server as a whole.

    Raises:
        Unhealthy: it does not answer in time, or not with SERVING.
    """
    import grpc  # noqa: PLC0415
    from grpc_health.v1.health_pb2 import (  # noqa: PLC0415
        HealthCheckRequest,
        HealthCheckResponse,
    )

    from marketdata.channel import client_options  # noqa: PLC0415

    with grpc.insecure_channel(address, options=client_options()) as channel:
        check: grpc.UnaryUnaryMultiCallable[HealthCheckRequest, HealthCheckResponse]
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            status = check(HealthCheckRequest(), timeout=timeout_s).status
        except grpc.RpcError as exc:
            raise Unhealthy(f"{address}: {exc.code().name}: {exc.details()}") from exc
    if status != HealthCheckResponse.SERVING:
        raise Unhealthy(f"{address}: {HealthCheckResponse.ServingStatus.Name(status)}")


def check_http(address: str, timeout_s: float) -> None:
    """GET ``host:port/path`` and expect 200.

    Raises:
        Unhealthy: it does not answer in time, or not with 200.
    """
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415

    authority, slash, path = address.partition("/")
    connection = HTTPConnection(*_host_and_port(authority), timeout=timeout_s)
    try:
        connection.request("GET", slash + path or "/")
        status = connection.getresponse().status
    except (OSError, HTTPException) as exc:
        raise Unhealthy(f"{address}: {exc!r}") from exc
    finally:
        connection.close()
    if status != 200:
        raise Unhealthy(f"{address}: status {status}, expected 200")


def check_tcp(address: str, timeout_s: float) -> None:
    """Connect, send nothing, end our side, and expect that the server then ends its own.

    The kernel accepts connections for a process that hangs; only a process that reads ends the
    stream.

    Raises:
        Unhealthy: nobody listens, or the server does not react in time.
    """
    try:
        with socket.create_connection(_host_and_port(address), timeout=timeout_s) as sock:
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    except OSError as exc:
        raise Unhealthy(f"{address}: {exc!r}") from exc


def check_connected(address: str, timeout_s: float) -> None:
    """Expect that this container has a connection to ``address``; for programs without a port.

    Raises:
        Unhealthy: the name is unknown, or the kernel has no such connection.
    """
    host, port = _host_and_port(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise Unhealthy(f"{address}: {exc!r}") from exc
    wanted = {_as_in_proc(family, str(sockaddr[0]), port) for family, _, _, _, sockaddr in found}
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        # Without IPv6 there is no second table.
        lines = table.read_text("ascii").splitlines()[1:] if table.exists() else []
        for _, _, remote, state, *_ in map(str.split, lines):
            if remote in wanted and state == _ESTABLISHED:
                return
    raise Unhealthy(f"{address}: not connected")


def _as_in_proc(family: int, host: str, port: int) -> str:
    # The kernel prints each four bytes as a number in the machine's own byte order.
    packed = socket.inet_pton(family, host.partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()):
        raise Unhealthy(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


CHECKS: dict[str, Callable[[str, float], None]] = {
    "grpc": check_grpc,
    "http": check_http,
    "tcp": check_tcp,
    "connected": check_connected,
}


def main(arguments: Sequence[str], timeout_s: float = TIMEOUT_S) -> int:
    """Run one check and return the exit code; an engine knows only 0 and 1."""
    match arguments:
        case [kind, address] if kind in CHECKS:
            try:
                CHECKS[kind](address, timeout_s)
            except Unhealthy as exc:
                print(f"{kind} {exc}")  # noqa: T201
                return 1
            return 0
        case _:
            print(f"expected {'|'.join(CHECKS)} ADDRESS, got {' '.join(arguments)!r}")  # noqa: T201
            return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

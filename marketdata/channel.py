"""The gRPC options both ends of the inner hops share."""

from __future__ import annotations

import os

import grpc

# A batch of 1,000 ticks is about 50 KB; 4 MiB is gRPC's own default, made explicit.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

# How our services notice that a server is gone.
KEEPALIVE_S = 10.0
KEEPALIVE_TIMEOUT_S = 5.0
# How our server notices that a client is gone. Clients may be other people's: one that waits for
# answers synchronously looks at its connection only every few seconds, so it answers late.
SERVER_KEEPALIVE_S = 60.0
SERVER_KEEPALIVE_TIMEOUT_S = 20.0
# gRPC's own are 120 s and no limit; it aborts the process at 2**31 - 1.
CONNECT_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 2**31 - 2
# gRPC cannot wait less before a ping.
MIN_KEEPALIVE_S = 1.0

Options = list[tuple[str, int]]

# By default threads of gRPC's own "event engine" read its sockets. They wake the thread that waits
# for messages, and that one wakes the event loop. Without the engine the waiting thread reads
# itself: a round trip over grpc.aio took 120 to 150 us instead of 210 to 260, and 130 to 190 us of
# CPU at both ends together instead of 240 to 290.
_EXPERIMENTS = "GRPC_EXPERIMENTS"
_NO_EVENT_ENGINE = "-event_engine_client,-event_engine_listener"
# Later versions may not have this choice; gRPC logs an error for names it does not know.
_LAST_MEASURED = (1, 85)


def tune_grpc() -> None:
    """Choose how gRPC waits in this process, unless the environment does; before it is used."""
    major, minor = grpc.__version__.split(".")[:2]
    if (int(major), int(minor)) <= _LAST_MEASURED:
        os.environ.setdefault(_EXPERIMENTS, _NO_EVENT_ENGINE)


def client_options(
    keepalive_s: float = KEEPALIVE_S,
    keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
    *,
    window_bytes: int = 0,
) -> Options:
    """Return the options of a channel.

    Args:
        keepalive_s: how long a connection may be silent before a ping, at least 1.
        keepalive_timeout_s: how long the answer may take before the peer counts as dead.
        window_bytes: how much of a stream may be on its way before it is read; 0: gRPC decides. A
            message that is larger takes one more round trip, and then comes as a whole.
    """
    return [
        *_window_options(window_bytes),
        *_common_options(keepalive_s, keepalive_timeout_s),
        # gRPC waits up to 120 s between attempts by default; a restarted peer is back sooner.
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 500),
        # A restarted container may have a new address; by default gRPC asks every 30 s.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # How long one attempt may take if packets are lost.
        ("grpc.min_reconnect_backoff_ms", 2_000),
        # Our services never use a proxy of the environment to talk to each other.
        ("grpc.enable_http_proxy", 0),
        # Channels of one process do not share a connection.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def server_options(
    keepalive_s: float = SERVER_KEEPALIVE_S,
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    max_connections: int = MAX_CONNECTIONS,
) -> Options:
    """Return the options of a server.

    Args:
        keepalive_s: how long a connection may be silent before a ping, at least 1. Clients may
            ping as often as they like, whatever this is.
        connect_timeout_s: how long a connection may take to begin with HTTP/2.
        max_connections: further ones are closed at once.
    """
    return [
        *_common_options(keepalive_s, SERVER_KEEPALIVE_TIMEOUT_S),
        ("grpc.server_handshake_timeout_ms", int(connect_timeout_s * 1000)),
        ("grpc.max_allowed_incoming_connections", max_connections),
        # By default a third ping within 5 min is "too many" and ends the connection.
        ("grpc.http2.max_ping_strikes", 0),
        # A second server on the port fails instead of sharing it.
        ("grpc.so_reuseport", 0),
    ]


def _window_options(window_bytes: int) -> Options:
    if not window_bytes:
        return []
    # Otherwise gRPC measures the connection and opens the window as far as it can be filled.
    return [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", window_bytes)]


def _common_options(keepalive_s: float, timeout_s: float) -> Options:
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(timeout_s * 1000)),
        # The time a ping may take; keepalive_timeout alone leaves it at 60 s.
        ("grpc.http2.ping_timeout_ms", int(timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]

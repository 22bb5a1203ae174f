"""The gRPC options both ends of the inner hops share."""

from __future__ import annotations

from collections.abc import Sequence

# A batch of 1,000 ticks is about 50 KB; 4 MiB is gRPC's own default, made explicit.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

# A dead peer is noticed after time + timeout, also on a connection without traffic.
KEEPALIVE_TIME_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000

Options = Sequence[tuple[str, int]]

_COMMON: Options = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

CLIENT_OPTIONS: Options = (
    *_COMMON,
    # gRPC waits up to 120 s between attempts by default; a restarted peer is back sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # How long one attempt may take where packets vanish.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # Each channel its own connection: no sharing with others in the process.
    ("grpc.use_local_subchannel_pool", 1),
)

SERVER_OPTIONS: Options = (
    *_COMMON,
    # Clients that ping at our rate are not "too many pings".
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_TIME_MS // 2),
    # A second server on the port fails instead of sharing it.
    ("grpc.so_reuseport", 0),
)

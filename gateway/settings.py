"""What an operator may change about the gateway."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from gateway.clients.hosts import parse_hosts
from gateway.clients.origins import parse_origins
from gateway.prefix import parse_prefix
from gateway.webrtc.servers import parse_ice_servers
from marketdata.settings import ServerSettings


class Fallback(StrEnum):
    """The response while the aggregator does not answer."""

    EMPTY = "empty"
    LAST = "last"
    ERROR = "error"


class GatewaySettings(ServerSettings):
    """The settings of the gateway, read from ``GATEWAY_*``."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=8080, ge=0, le=65535, description="port to listen on; 0: any free port"
    )
    aggregator: str = Field(
        default="localhost:50051", min_length=1, description="host:port of the aggregator"
    )
    aggregator_window_bytes: int = Field(
        default=4096,
        ge=0,
        le=16 * 1024 * 1024,
        description="bytes of one stream from the aggregator that may be on their way before they "
        "are read; newer states join what waits there. 0: gRPC decides, up to some MB",
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks, comma-separated, whose X-Forwarded-For names the "
        "client; empty: none",
    )
    allowed_origins: str = Field(
        default="",
        description="origins, comma-separated, whose pages may use this server besides its own; "
        "*: all",
    )

    allowed_hosts: str = Field(
        default="",
        description="names, comma-separated, under which browsers and proxies ask for this server "
        "(the Host header); *: any; empty: loopback names, names without a dot, and any IP address "
        "if GATEWAY_HOST is not loopback",
    )
    root_path: str = Field(
        default="",
        description="the path prefix under which a proxy serves this server, such as /market; "
        "X-Forwarded-Prefix of a trusted proxy takes precedence",
    )
    keep_alive_s: int = Field(
        default=5,
        ge=1,
        le=3600,
        description="time an idle HTTP connection stays open; more than that of a proxy in front",
    )

    rate_limit: float = Field(
        default=10,
        ge=0,
        allow_inf_nan=False,
        description="requests per second, one second's worth at once; 0: no limit",
    )
    rate_limit_scope: Literal["global", "client"] = Field(
        default="global",
        description="whether all clients share the rate or each client address has its own; of "
        "IPv6, each /64 network",
    )
    rate_limit_max_clients: int = Field(
        default=10_000,
        ge=1,
        description="client addresses remembered; beyond it the one silent longest is forgotten",
    )

    deadline_s: float = Field(
        default=2.5, gt=0, le=60, description="time for one request, all its attempts included"
    )
    attempt_timeout_s: float = Field(
        default=0.5, gt=0, le=60, description="time for one attempt, so that a hung one is retried"
    )
    retry_attempts: int = Field(default=3, ge=1, le=10, description="attempts, the first included")
    retry_wait_s: float = Field(default=0.5, ge=0, le=60, description="pause between attempts")

    breaker_window: int = Field(
        default=10, ge=1, le=10_000, description="attempts the breaker looks back on"
    )
    breaker_min_calls: int = Field(
        default=5,
        ge=1,
        description="attempts before the breaker judges; at most the window is waited for",
    )
    breaker_failure_rate: float = Field(
        default=0.5, gt=0, le=1, description="share of failures at which the breaker opens"
    )
    breaker_open_s: float = Field(
        default=5, gt=0, le=3600, description="time the breaker stays open before it probes"
    )
    breaker_probes: int = Field(
        default=3, ge=1, le=1000, description="attempts let through to judge whether to close"
    )

    fallback: Fallback = Field(
        default=Fallback.EMPTY,
        description="answer while the aggregator is away; empty: the empty aggregate, last: the "
        "last known value with its age, error: 503",
    )
    last_values_max: int = Field(
        default=100_000,
        ge=1,
        description="symbols whose value is kept for GATEWAY_FALLBACK=last; beyond it the one "
        "asked for longest ago is forgotten",
    )

    # 10,000 aggregates are about 1 MB, well inside gRPC's 4 MiB.
    max_symbols_per_request: int = Field(
        default=500, ge=1, le=10_000, description="symbols in one list request"
    )

    max_followed_symbols: int = Field(
        default=50_000, ge=1, description="symbols that live clients follow by name, all together"
    )
    resume_window_s: float = Field(
        default=60, ge=0, description="how long a client that left may come back and miss nothing"
    )
    resume_updates: int = Field(
        default=65_536,
        ge=1,
        description="updates kept for clients that come back, about 1 KiB each",
    )

    request_timeout_s: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="time in which a request has to arrive, from the connection or its first byte",
    )
    first_message_timeout_s: float = Field(
        default=10,
        gt=0,
        le=300,
        description="time for the first message of a WebSocket whose client must speak first: "
        "CONNECT of STOMP, connection_init of GraphQL, any message to /api/v1/stream without "
        "symbols in its address",
    )
    max_connections: int = Field(
        default=10_000, ge=1, description="live clients of all endpoints together; others get 503"
    )
    admission_rate: float = Field(
        default=1000,
        ge=0,
        allow_inf_nan=False,
        description="live clients admitted per second, all endpoints together; others get 503 and "
        "try again; 0: no limit",
    )
    admission_burst: int = Field(default=1000, ge=1, description="live clients admitted at once")
    max_subscriptions: int = Field(
        default=1000, ge=1, description="subscriptions of one live client"
    )
    buffer_bytes: int = Field(
        default=1024 * 1024,
        ge=1024,
        description="what may wait for one subscription with policy buffer; an update counts 1 KiB",
    )
    buffer_age_s: float = Field(
        default=30, gt=0, description="how long it may wait; then the client is disconnected"
    )
    message_rate: float = Field(
        default=100,
        gt=0,
        allow_inf_nan=False,
        description="messages per second that one live client may send",
    )
    message_burst: int = Field(
        default=2000,
        ge=1,
        description="messages it may send at once, such as one per subscription when it connects",
    )
    signal_rate: float = Field(
        default=20,
        gt=0,
        allow_inf_nan=False,
        description="signaling messages per second that one live client may send to all",
    )
    signal_burst: int = Field(
        default=100, ge=1, description="signaling messages it may send at once"
    )
    signal_byte_rate: float = Field(
        default=128 * 1024,
        gt=0,
        allow_inf_nan=False,
        description="bytes of signaling messages per second that one live client may send",
    )
    # A frame of STOMP has at most 128 KiB.
    signal_burst_bytes: int = Field(
        default=256 * 1024,
        ge=128 * 1024,
        description="bytes of signaling messages it may send at once; at most a quarter of "
        "GATEWAY_CLIENT_BUFFER_BYTES, so that several senders disconnect no reader",
    )
    client_buffer_bytes: int = Field(
        default=1024 * 1024,
        ge=512 * 1024,
        description="bytes that may wait for one live client; one that reads more slowly is "
        "disconnected",
    )
    max_message_bytes: int = Field(
        default=512 * 1024,
        ge=1024,
        description="bytes in one message of a WebSocket client; a 64 KiB SDP escaped throughout "
        "is 384 KiB",
    )

    webrtc_max_peers: int = Field(
        default=100, ge=0, description="WebRTC peers of the gateway; 0: offers to it are refused"
    )
    webrtc_peer_age_s: float = Field(
        default=86_400, gt=0, description="how long a peer may stay; then it has to come anew"
    )
    webrtc_setup_timeout_s: float = Field(
        default=15, gt=0, le=300, description="time from an offer to an open data channel"
    )
    webrtc_max_sdp_bytes: int = Field(
        default=16 * 1024,
        ge=1024,
        le=64 * 1024,
        description="bytes in an SDP offered to the gateway",
    )
    webrtc_offer_rate: float = Field(
        default=1,
        gt=0,
        allow_inf_nan=False,
        description="offers per second that one signaling client may make, 5 at once",
    )
    webrtc_message_rate: float = Field(
        default=500,
        gt=0,
        allow_inf_nan=False,
        description="messages per second over all data channels together, about 0.15 ms each; "
        "beyond it they conflate",
    )
    webrtc_hosts: str = Field(
        default="",
        description="addresses offered to WebRTC peers, comma-separated; 0.0.0.0: all of this "
        "machine; empty: GATEWAY_HOST",
    )
    webrtc_ice_servers: str = Field(
        default="",
        description="STUN and TURN servers, comma-separated, such as "
        "stun:host:3478,turn:host:3478?transport=udp; the gateway uses the first of each, "
        "browsers all",
    )
    webrtc_turn_username: str = Field(default="", description="the user of the TURN servers")
    webrtc_turn_password: str = Field(
        default="", description="the password of the TURN servers; every client gets it"
    )

    sse_keepalive_s: float = Field(
        default=15, gt=0, le=3600, description="silence after which an SSE client gets a comment"
    )
    graphql_max_depth: int = Field(
        default=10, ge=1, description="levels of fields in one GraphQL operation"
    )
    graphql_max_aliases: int = Field(
        default=100, ge=0, description="aliases in one GraphQL document"
    )
    graphql_max_tokens: int = Field(
        default=2000,
        ge=1,
        le=10_000,
        description="tokens in one GraphQL document; 50 aliases with every field are 1,100",
    )
    graphql_introspection: bool = Field(
        default=True, description="whether GraphQL clients may read the schema"
    )
    graphql_max_body_bytes: int = Field(
        default=64 * 1024, ge=1024, description="bytes in the body of one GraphQL request"
    )

    ready_timeout_s: float = Field(
        default=1, gt=0, le=60, description="time the aggregator has to answer /health/ready"
    )
    reconnect_spread_s: float = Field(
        default=5,
        ge=0,
        le=600,
        description="time over which clients come back after a restart or a refusal, from 1 s on",
    )

    @field_validator("webrtc_ice_servers")
    @classmethod
    def _check_ice_servers(cls, value: str) -> str:
        parse_ice_servers(value)
        return value

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        return parse_prefix(value)

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        parse_hosts(value)
        return value

    @model_validator(mode="after")
    def _check_signal_burst(self) -> Self:
        if self.signal_burst_bytes * 4 > self.client_buffer_bytes:
            raise ValueError(
                f"GATEWAY_SIGNAL_BURST_BYTES={self.signal_burst_bytes} is more than a quarter of "
                f"GATEWAY_CLIENT_BUFFER_BYTES={self.client_buffer_bytes}: the messages of a few "
                "clients would disconnect the readers"
            )
        return self

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        parse_origins(value)
        return value

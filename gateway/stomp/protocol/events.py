"""The requests that a session hands to its endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.stomp.protocol.destinations import SubscribeOptions, Topic
from gateway.stomp.protocol.messages import Message
from gateway.stomp.protocol.signaling import Signal
from gateway.stomp.protocol.versions import Version


class AckMode(StrEnum):
    """The ``ack`` header of a SUBSCRIBE."""

    AUTO = "auto"
    CLIENT = "client"
    CLIENT_INDIVIDUAL = "client-individual"


@dataclass(slots=True, eq=False)
class Subscription:
    """One active subscription; an edge may keep it as a key, two are never equal.

    ``id`` is None for a client of STOMP 1.0 that gave none. ``active`` turns False at its end, and
    then nothing more is sent for it.
    """

    id: str | None
    topic: Topic
    ack: AckMode
    # The frame up to the number that ends the message-id, encoded once.
    head: str = field(repr=False)
    active: bool = True


@dataclass(frozen=True, slots=True)
class Connected:
    """A client said CONNECT; ``headers`` has what it sent with it (login, host, ...)."""

    version: Version
    # Among them the passcode, so they stay out of logs.
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription begins: send the present state, then every later one."""

    subscription: Subscription
    options: SubscribeOptions


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A client ended a subscription."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class SignalSent:
    """A client sent a signaling message: relay ``message`` to its destination, sender included."""

    signal: Signal
    message: Message


Event = Connected | Subscribed | Unsubscribed | SignalSent

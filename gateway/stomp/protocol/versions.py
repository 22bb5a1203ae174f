"""Agree on a version of STOMP, in the WebSocket handshake and in CONNECT."""

from __future__ import annotations

from enum import StrEnum

from gateway.stomp.protocol.errors import UnsupportedVersion


class Version(StrEnum):
    """The versions of STOMP this server speaks; they compare in order."""

    V1_0 = "1.0"
    V1_1 = "1.1"
    V1_2 = "1.2"


SUPPORTED_VERSIONS = ",".join(Version)
# As registered with IANA for WebSocket, the one we prefer first.
SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


def negotiate_version(accept_version: str | None) -> Version:
    """Return the version that answers the ``accept-version`` header of a CONNECT.

    Raises:
        UnsupportedVersion: the header names none of our versions.
    """
    # STOMP 1.2, Connecting: without the header the client speaks 1.0.
    if accept_version is None:
        return Version.V1_0
    accepted = {item.strip(" \t") for item in accept_version.split(",")}
    # STOMP 1.2, Protocol Negotiation: the server answers with the highest common version.
    common = [version for version in Version if version in accepted]
    if not common:
        raise UnsupportedVersion(accept_version, SUPPORTED_VERSIONS)
    return common[-1]

"""Read a client's offer: an SDP with one data channel, and ICE candidates.

Only the parts that are understood here go on, written again, so the WebRTC library never reads a
client's own text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from gateway.webrtc.errors import InvalidOffer, OfferTooLarge

# Browsers have one per network interface and family; each costs us checks for some seconds.
MAX_CANDIDATES = 30
# What a peer takes that says nothing: RFC 8841, 6.1. One that takes less could not be told of a
# subscription to many symbols.
DEFAULT_MESSAGE_BYTES = 64 * 1024
# One digest, and one for each further algorithm.
MAX_FINGERPRINTS = 4

# RFC 8839, 5.4: ice-char.
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
# RFC 4566: token.
_MID = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}")
_DIGEST_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_DIGEST = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")
_SETUPS = ("actpass", "active", "passive")
_NUMBER = re.compile(r"[0-9]{1,10}")
_CANDIDATE = re.compile(
    r"(?:a=)?(?:candidate:)?(?P<foundation>[A-Za-z0-9+/]{1,32}) (?P<component>[0-9]{1,3}) "
    r"(?P<transport>[A-Za-z]{1,8}) (?P<priority>[0-9]{1,10}) (?P<host>\S{1,255}) "
    r"(?P<port>[0-9]{1,5}) typ (?P<type>[a-z]{1,8})(?: .*)?",
)


@dataclass(frozen=True, slots=True)
class Offer:
    """The offer of one data channel.

    ``candidates`` are those that can be used, in the form of :func:`parse_candidate`.
    """

    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: str
    mid: str
    sctp_port: int
    # The largest message that the peer takes; None: any.
    max_message_bytes: int | None
    candidates: tuple[str, ...] = ()

    def to_sdp(self) -> str:
        """Return the SDP of this offer."""
        lines = [
            "v=0",
            "o=- 0 0 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            f"a=group:BUNDLE {self.mid}",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{self.mid}",
            f"a=ice-ufrag:{self.ufrag}",
            f"a=ice-pwd:{self.password}",
            *(f"a=fingerprint:{name} {digest}" for name, digest in self.fingerprints),
            f"a=setup:{self.setup}",
            f"a=sctp-port:{self.sctp_port}",
            f"a=max-message-size:{self.max_message_bytes or 0}",
            *(f"a=candidate:{candidate}" for candidate in self.candidates),
        ]
        return "\r\n".join(lines) + "\r\n"


def parse_offer(sdp: str, max_bytes: int) -> Offer:
    """Return the offer in ``sdp``.

    Raises:
        OfferTooLarge: it is longer than ``max_bytes``.
        InvalidOffer: it is not the offer of one data channel; the message says why.
    """
    size = len(sdp.encode())
    if size > max_bytes:
        raise OfferTooLarge(size, max_bytes)
    lines = sdp.splitlines()
    if not lines or lines[0] != "v=0":
        raise InvalidOffer("the SDP does not begin with v=0")
    media = [line for line in lines if line.startswith("m=")]
    if len(media) != 1 or not re.fullmatch(
        r"m=application [0-9]{1,5} (?:UDP/|TCP/)?DTLS/SCTP webrtc-datachannel", media[0]
    ):
        raise InvalidOffer("offer one data channel and no audio or video")
    # What holds for the session holds for its only section.
    attributes: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            attributes.setdefault(name, []).append(value)
    candidates = dict.fromkeys(
        candidate
        for line in attributes.get("candidate", ())[:MAX_CANDIDATES]
        if (candidate := parse_candidate(line)) is not None
    )
    return Offer(
        ufrag=_matching(attributes, "ice-ufrag", _UFRAG),
        password=_matching(attributes, "ice-pwd", _PASSWORD),
        fingerprints=_parse_fingerprints(attributes.get("fingerprint", [])),
        setup=_parse_setup(attributes),
        mid=_matching(attributes, "mid", _MID, default="0"),
        sctp_port=_parse_port(_matching(attributes, "sctp-port", _NUMBER)),
        max_message_bytes=_parse_message_size(attributes),
        candidates=tuple(candidates),
    )


def parse_candidate(candidate: str | Mapping[str, Any] | None) -> str | None:
    """Return the line of a candidate, without ``candidate:``; None for one to be left out.

    Those are the end of the candidates, TCP, and names: a ``.local`` name would have to be asked
    for by multicast, while the client's own check tells the address anyway.

    Raises:
        InvalidOffer: it is no candidate.
    """
    line = candidate.get("candidate") if isinstance(candidate, Mapping) else candidate
    if line is None or line == "":
        return None
    match = _CANDIDATE.fullmatch(line.strip()) if isinstance(line, str) else None
    if match is None:
        raise InvalidOffer("an ICE candidate is not of the form of RFC 8839")
    if match["component"] != "1" or match["transport"].lower() != "udp":
        return None
    if match["host"].endswith(".local") or match["type"] not in ("host", "srflx", "relay"):
        return None
    try:
        host = ip_address(match["host"])
    except ValueError as exc:
        raise InvalidOffer("an ICE candidate has no IP address") from exc
    port = _parse_port(match["port"])
    head = f"{match['foundation']} 1 udp {match['priority']}"
    return f"{head} {host} {port} typ {match['type']}"


def _matching(
    attributes: dict[str, list[str]],
    name: str,
    pattern: re.Pattern[str],
    default: str | None = None,
) -> str:
    value = attributes.get(name, [default])[0]
    if value is None:
        raise InvalidOffer(f"the SDP has no a={name}")
    if not pattern.fullmatch(value):
        raise InvalidOffer(f"a={name} cannot be used")
    return value


def _parse_fingerprints(values: list[str]) -> tuple[tuple[str, str], ...]:
    fingerprints = []
    for value in values[:MAX_FINGERPRINTS]:
        algorithm, _, digest = value.partition(" ")
        name = algorithm.lower()
        # RFC 8122, 5: what is not known is passed over.
        if name in _DIGEST_BYTES:
            if len(digest) != _DIGEST_BYTES[name] * 3 - 1 or not _DIGEST.fullmatch(digest):
                raise InvalidOffer("a=fingerprint cannot be used")
            fingerprints.append((name, digest.upper()))
    if not fingerprints:
        raise InvalidOffer(f"the SDP has no a=fingerprint of {', '.join(_DIGEST_BYTES)}")
    return tuple(fingerprints)


def _parse_setup(attributes: dict[str, list[str]]) -> str:
    setup = attributes.get("setup", [""])[0]
    if setup not in _SETUPS:
        raise InvalidOffer(f"a=setup is not one of {', '.join(_SETUPS)}")
    return setup


def _parse_port(text: str) -> int:
    if not 0 < int(text) <= 65535:
        raise InvalidOffer(f"{text} is not a port")
    return int(text)


def _parse_message_size(attributes: dict[str, list[str]]) -> int | None:
    default = str(DEFAULT_MESSAGE_BYTES)
    # RFC 8841, 6.1: 0 is any size.
    size = int(_matching(attributes, "max-message-size", _NUMBER, default=default))
    if 0 < size < DEFAULT_MESSAGE_BYTES:
        raise InvalidOffer(f"a=max-message-size is below {DEFAULT_MESSAGE_BYTES}")
    return size or None

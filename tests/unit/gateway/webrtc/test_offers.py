"""What a client offers: only what is understood goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.webrtc.errors import InvalidOffer, OfferTooLarge
from gateway.webrtc.offers import MAX_CANDIDATES, parse_candidate, parse_offer

DIGEST = ":".join(["AB"] * 32)
# As Chromium writes it, but for the candidates.
LINES = [
    "v=0",
    "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "a=group:BUNDLE 0",
    "a=extmap-allow-mixed",
    "a=msid-semantic: WMS",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    "a=candidate:1 1 udp 2113937151 192.0.2.7 51000 typ host generation 0 network-cost 999",
    "a=candidate:2 1 tcp 1518149375 192.0.2.7 9 typ host tcptype active",
    "a=candidate:3 1 udp 2113937151 0c8f-11.local 51001 typ host",
    "a=end-of-candidates",
    "a=ice-ufrag:f+Xy",
    "a=ice-pwd:0123456789abcdefABCDEF+/",
    "a=ice-options:trickle",
    f"a=fingerprint:sha-256 {DIGEST}",
    "a=setup:actpass",
    "a=mid:0",
    "a=sctp-port:5000",
    "a=max-message-size:262144",
]
MAX_BYTES = 16_384


def sdp(*, without: str = "\0", replace: str = "", plus: str = "") -> str:
    """Return the offer without the lines that begin so, with others in their place."""
    lines = [line for line in LINES if not line.startswith(without)]
    return "\r\n".join([*lines, *filter(None, [replace, plus])]) + "\r\n"


def test_an_offer_of_a_browser_is_understood() -> None:
    offer = parse_offer(sdp(), MAX_BYTES)
    assert (offer.ufrag, offer.password) == ("f+Xy", "0123456789abcdefABCDEF+/")
    assert offer.fingerprints == (("sha-256", DIGEST),)
    assert (offer.setup, offer.mid, offer.sctp_port) == ("actpass", "0", 5000)
    assert offer.max_message_bytes == 262_144
    assert offer.candidates == ("1 1 udp 2113937151 192.0.2.7 51000 typ host",)


def test_what_goes_on_is_written_anew_and_means_the_same() -> None:
    offer = parse_offer(sdp(plus="a=x-secret:1"), MAX_BYTES)
    assert "x-secret" not in offer.to_sdp()
    assert ".local" not in offer.to_sdp()
    assert "end-of-candidates" not in offer.to_sdp()
    assert parse_offer(offer.to_sdp(), MAX_BYTES) == offer


@pytest.mark.parametrize(
    ("without", "replace", "message"),
    [
        ("v=0", "", "does not begin with v=0"),
        ("m=", "", "one data channel"),
        ("m=", "m=audio 9 UDP/TLS/RTP/SAVPF 111", "one data channel"),
        ("\0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "one data channel"),
        ("\0", LINES[7], "one data channel"),
        ("a=ice-ufrag", "", "no a=ice-ufrag"),
        ("a=ice-ufrag", "a=ice-ufrag:abc", "a=ice-ufrag cannot"),
        ("a=ice-pwd", "", "no a=ice-pwd"),
        ("a=ice-pwd", "a=ice-pwd:short", "a=ice-pwd cannot"),
        ("a=fingerprint", "", "no a=fingerprint"),
        ("a=fingerprint", f"a=fingerprint:md5 {DIGEST}", "no a=fingerprint"),
        ("a=fingerprint", f"a=fingerprint:sha-256 {DIGEST}:AB", "a=fingerprint cannot"),
        ("a=fingerprint", f"a=fingerprint:sha-256 {'x' * 95}", "a=fingerprint cannot"),
        ("a=setup", "", "a=setup is not one of"),
        ("a=setup", "a=setup:holdconn", "a=setup is not one of"),
        ("a=mid", "a=mid:a b", "a=mid cannot"),
        ("a=sctp-port", "", "no a=sctp-port"),
        ("a=sctp-port", "a=sctp-port:65536", "65536 is not a port"),
        ("a=sctp-port", "a=sctp-port:0", "0 is not a port"),
        ("a=max-message-size", "a=max-message-size:65535", "below 65536"),
        ("a=max-message-size", "a=max-message-size:x", "a=max-message-size cannot"),
        ("a=candidate", "a=candidate:nonsense", "not of the form"),
        ("a=candidate", "a=candidate:1 1 udp 1 somewhere 9 typ host", "no IP address"),
        ("a=candidate", "a=candidate:1 1 udp 1 192.0.2.1 99999 typ host", "not a port"),
    ],
)
def test_another_offer_is_refused_with_the_reason(without: str, replace: str, message: str) -> None:
    with pytest.raises(InvalidOffer, match=message):
        parse_offer(sdp(without=without, replace=replace), MAX_BYTES)


@pytest.mark.parametrize(
    ("line", "limit"),
    [("", 65_536), ("a=max-message-size:65536", 65_536), ("a=max-message-size:0", None)],
)
def test_the_largest_message_of_a_peer_is_known(line: str, limit: int | None) -> None:
    offer = parse_offer(sdp(without="a=max-message-size", replace=line), MAX_BYTES)
    assert offer.max_message_bytes == limit
    assert parse_offer(offer.to_sdp(), MAX_BYTES) == offer


def test_the_limit_of_an_sdp_is_its_size_in_bytes() -> None:
    text = sdp(plus="a=x:é")
    size = len(text.encode())
    parse_offer(text, size)
    with pytest.raises(OfferTooLarge, match=f"{size} bytes, the limit is {size - 1}"):
        parse_offer(text, size - 1)


def test_candidates_beyond_the_limit_are_passed_over() -> None:
    lines = [f"a=candidate:{i} 1 udp 1 192.0.2.1 {9000 + i} typ host" for i in range(40)]
    offer = parse_offer(sdp(without="a=candidate", replace="\r\n".join(lines)), MAX_BYTES)
    assert len(offer.candidates) == MAX_CANDIDATES


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("", None),
        ({"candidate": ""}, None),
        ({}, None),
        ({"candidate": "candidate:1 1 UDP 7 ::1 9 typ host ufrag x"}, "1 1 udp 7 ::1 9 typ host"),
        (
            "candidate:1 1 udp 7 192.0.2.1 9 typ srflx raddr 0.0.0.0 rport 0",
            "1 1 udp 7 192.0.2.1 9 typ srflx",
        ),
        ("a=candidate:1 1 udp 7 192.0.2.1 9 typ relay", "1 1 udp 7 192.0.2.1 9 typ relay"),
        ("candidate:1 2 udp 7 192.0.2.1 9 typ host", None),
        ("candidate:1 1 tcp 7 192.0.2.1 9 typ host tcptype active", None),
        ("candidate:1 1 udp 7 1234-5.local 9 typ host", None),
        ("candidate:1 1 udp 7 192.0.2.1 9 typ prflx", None),
    ],
)
def test_a_candidate_is_its_line_or_nothing_to_use(
    given: str | dict[str, str] | None, expected: str | None
) -> None:
    assert parse_candidate(given) == expected


@given(st.text(max_size=2000) | st.lists(st.sampled_from(LINES), max_size=30).map("\r\n".join))
def test_any_text_is_an_offer_or_refused(text: str) -> None:
    try:
        offer = parse_offer(text, MAX_BYTES)
    except InvalidOffer:
        return
    assert parse_offer(offer.to_sdp(), MAX_BYTES) == offer


@given(st.text(max_size=200), st.sampled_from(LINES), st.integers(0, 80))
def test_any_change_of_a_line_is_an_offer_or_refused(text: str, line: str, at: int) -> None:
    try:
        offer = parse_offer(sdp(without=line, replace=line[:at] + text + line[at:]), MAX_BYTES)
    except InvalidOffer:
        return
    assert parse_offer(offer.to_sdp(), MAX_BYTES) == offer


@given(st.text(max_size=200) | st.dictionaries(st.text(max_size=10), st.text(max_size=99)))
def test_any_candidate_is_one_or_refused(candidate: str | dict[str, str]) -> None:
    try:
        line = parse_candidate(candidate)
    except InvalidOffer:
        return
    if line is not None:
        assert parse_candidate(line) == line

"""The STOMP frame codec: golden bytes, both sides of each limit, any chunking, garbage."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.stomp.protocol.errors import (
    BodyNotAllowed,
    FrameError,
    FrameSizeExceeded,
    InvalidContentLength,
    InvalidEscape,
    MalformedFrame,
    MissingNul,
    UnencodableHeader,
    UnknownCommand,
)
from gateway.stomp.protocol.frames import (
    BODY_COMMANDS,
    COMMANDS,
    UNESCAPED_COMMANDS,
    Frame,
    FrameDecoder,
    FrameLimits,
    encode_frame,
)
from gateway.stomp.protocol.versions import Version
from tests.unit.gateway.stomp.chunks import chunked

V1_0, V1_1, V1_2 = Version


def decode_chunks(
    chunks: list[bytes], version: Version = V1_2, limits: FrameLimits | None = None
) -> tuple[list[Frame], FrameError | None]:
    decoder = FrameDecoder(limits)
    decoder.version = version
    frames: list[Frame] = []
    for chunk in chunks:
        decoder.feed(chunk)
        try:
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        except FrameError as exc:
            return frames, exc
    return frames, None


def decode(data: bytes, version: Version = V1_2, limits: FrameLimits | None = None) -> list[Frame]:
    frames, failure = decode_chunks([data], version, limits)
    assert failure is None
    return frames


def decode_error(
    data: bytes, version: Version = V1_2, limits: FrameLimits | None = None
) -> FrameError:
    _, failure = decode_chunks([data], version, limits)
    assert failure is not None
    return failure


def test_a_frame_is_command_headers_blank_line_body_and_nul() -> None:
    data = b"SEND\ndestination:/queue/a\ncontent-type:text/plain\n\nhello queue a\0"
    headers = {"destination": "/queue/a", "content-type": "text/plain"}
    assert decode(data) == [Frame("SEND", headers, b"hello queue a")]


def test_an_encoded_frame_says_the_true_content_length_where_it_may_have_a_body() -> None:
    sent = Frame("SEND", {"destination": "/queue/a", "content-length": "999"}, "né".encode())
    assert encode_frame(sent, V1_2) == (
        b"SEND\ndestination:/queue/a\ncontent-length:3\n\nn\xc3\xa9\0"
    )
    assert encode_frame(Frame("RECEIPT", {"receipt-id": "77"}), V1_2) == (
        b"RECEIPT\nreceipt-id:77\n\n\0"
    )


@pytest.mark.parametrize("command", sorted(UNESCAPED_COMMANDS))
def test_connect_and_connected_headers_are_neither_escaped_nor_unescaped(command: str) -> None:
    sent = Frame(command, {"login": r"a\nb:c\q\ "})
    data = (
        command.encode()
        + rb"""
login:a\nb:c\q\ """
    )
    for version in Version:
        assert encode_frame(sent, version) == data + b"\n\n\0"
        assert decode(data + b"\n\n\0", version) == [sent]


@pytest.mark.parametrize("version", Version)
def test_lf_and_cr_lf_line_ends_are_both_accepted(version: Version) -> None:
    expected = [Frame("SEND", {"destination": "/app/x", "a": ""}, b"one\r\ntwo")]
    assert decode(b"SEND\ndestination:/app/x\na:\n\none\r\ntwo\0", version) == expected
    assert decode(b"SEND\r\ndestination:/app/x\r\na:\r\n\r\none\r\ntwo\0", version) == expected


@pytest.mark.parametrize(
    "data",
    [b"SE\rND\n", b"SEND\nna\rme:x\n", b"SEND\nname:a\rb\n", b"SEND\nx:y\r\r\n", b"\rSEND\n"],
)
def test_a_lone_cr_is_an_error(data: bytes) -> None:
    assert isinstance(decode_error(data), MalformedFrame)


def test_eols_before_between_and_after_frames_are_heart_beats() -> None:
    data = b"\n\r\n\nBEGIN\ntransaction:1\n\n\0\n\r\n\nCOMMIT\ntransaction:1\n\n\0\n"
    assert [frame.command for frame in decode(data)] == ["BEGIN", "COMMIT"]
    assert decode(b"\n" * 100_000, limits=FrameLimits(max_frame_size=100)) == []


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_frame_cut_at_any_byte_is_put_together(line_end: bytes) -> None:
    data = "SEND\nna\\cme:é\\n€\\\\\ncontent-length:7\n\n\0é\0€\0".encode()
    data = data.replace(b"\n", line_end)
    expected = [Frame("SEND", {"na:me": "é\n€\\", "content-length": "7"}, "\0é\0€".encode())]
    assert decode_chunks([bytes([octet]) for octet in data])[0] == expected
    for cut in range(len(data)):
        assert decode_chunks([data[:cut], data[cut:]])[0] == expected


def test_several_frames_in_one_chunk_come_out_in_order() -> None:
    data = b"BEGIN\ntransaction:1\n\n\0COMMIT\ntransaction:1\n\n\0SEND\n\nx\0BEGIN\n"
    assert [frame.command for frame in decode(data)] == ["BEGIN", "COMMIT", "SEND"]


def test_content_length_counts_octets_and_lets_the_body_contain_nul() -> None:
    body = "\0é\n\0".encode()
    data = b"SEND\ncontent-length:5\n\n" + body + b"\0"
    assert decode(data) == [Frame("SEND", {"content-length": "5"}, body)]


def test_a_body_without_content_length_ends_at_the_first_nul() -> None:
    assert [frame.body for frame in decode(b"SEND\n\nab\0\nSEND\n\n\0")] == [b"ab", b""]


def test_content_length_without_nul_right_after_the_body_is_an_error() -> None:
    error = decode_error(b"SEND\nreceipt:7\ncontent-length:2\n\nabc\0")
    assert isinstance(error, MissingNul)
    assert error.receipt_id == "7"


@pytest.mark.parametrize(
    "value", ["-1", "+1", "", " 1", "1 ", "one", "1.0", "0x1", "1_0", "٣", "9" * 13, "9" * 5000]
)
def test_a_content_length_that_is_not_a_number_is_rejected(value: str) -> None:
    error = decode_error(f"SEND\ncontent-length:{value}\n\n".encode())
    assert isinstance(error, InvalidContentLength)
    assert error.value == value


@pytest.mark.parametrize(
    ("version", "value", "line"),
    [
        (V1_1, "a:b\nc\\d", r"v:a\cb\nc\\d"),
        (V1_2, "a:b\nc\\d\re", r"v:a\cb\nc\\d\re"),
        # Decoded once: an escaped backslash and an n are not a line feed.
        (V1_2, r"\n", r"v:\\n"),
        (V1_2, r"\\c", r"v:\\\\c"),
        (V1_0, r"a:b\n", r"v:a:b\n"),
    ],
)
def test_escapes_follow_the_version_once_and_not_nested(
    version: Version, value: str, line: str
) -> None:
    data = f"BEGIN\n{line}\n\n\0".encode()
    assert decode(data, version) == [Frame("BEGIN", {"v": value})]
    assert encode_frame(Frame("BEGIN", {"v": value}), version) == data


def test_escapes_stand_in_header_names_too() -> None:
    frame = Frame("BEGIN", {"a:b\n\\\r": "x"})
    data = b"BEGIN\n" + rb"a\cb\n\\\r:x" + b"\n\n\0"
    assert decode(data) == [frame]
    assert encode_frame(frame, V1_2) == data


@pytest.mark.parametrize(
    ("version", "header"),
    [
        (V1_2, rb"v:\t"),
        (V1_2, b"v:a\\"),
        (V1_2, b"a\\:v"),
        (V1_2, rb"\x:v"),
        (V1_2, b"v:\\\xc3\xa9"),
        (V1_1, rb"v:\r"),
        (V1_1, rb"v:\t"),
    ],
)
def test_any_other_escape_is_fatal(version: Version, header: bytes) -> None:
    error = decode_error(b"BEGIN\nreceipt:7\n" + header + b"\n\n\0", version)
    assert isinstance(error, InvalidEscape)
    assert error.receipt_id == "7"


def test_header_values_are_not_trimmed_from_1_1_on() -> None:
    data = b"BEGIN\na: x \n b :\t\n\n\0"
    for version in (V1_1, V1_2):
        assert decode(data, version)[0].headers == {"a": " x ", " b ": "\t"}
    assert decode(data, V1_0)[0].headers == {"a": "x", "b": ""}


def test_of_a_repeated_header_the_first_value_wins() -> None:
    assert decode(b"BEGIN\nfoo:World\nfoo:Hello\nfo\\\\o:x\n\n\0")[0].headers == {
        "foo": "World",
        "fo\\o": "x",
    }
    assert decode(b"SEND\ncontent-length:1\ncontent-length:3\n\na\0")[0].body == b"a"


@pytest.mark.parametrize("line", [b"no colon", b":no name", b"\xff\xfe:not UTF-8", b"a:\xc3"])
def test_a_header_line_without_colon_name_or_utf_8_is_an_error(line: bytes) -> None:
    assert isinstance(decode_error(b"BEGIN\n" + line + b"\n\n\0"), MalformedFrame)


def test_an_empty_header_value_and_colons_in_a_value_are_allowed() -> None:
    assert decode(b"BEGIN\na:\nb:c:d\n\n\0")[0].headers == {"a": "", "b": "c:d"}


@pytest.mark.parametrize("command", ["send", "Send", "SEND ", " SEND", "GET / HTTP/1.1", "ÄCK"])
def test_commands_are_case_sensitive_and_an_unknown_one_is_an_error(command: str) -> None:
    assert isinstance(decode_error(f"{command}\n".encode()), UnknownCommand)


@pytest.mark.parametrize("command", sorted(COMMANDS - BODY_COMMANDS))
@pytest.mark.parametrize("rest", [b"\n\nbody\0", b"\ncontent-length:4\n\nbody\0", b"\n\n\n\0"])
def test_a_body_on_other_frames_than_send_message_and_error_is_an_error(
    command: str, rest: bytes
) -> None:
    assert isinstance(decode_error(command.encode() + rest), BodyNotAllowed)
    assert decode(command.encode() + b"\ncontent-length:0\n\n\0")[0].body == b""
    with pytest.raises(BodyNotAllowed):
        encode_frame(Frame(command, {}, b"body"), V1_2)


@pytest.mark.parametrize("length", [b"", b"content-length:70\n"])
def test_a_frame_of_exactly_the_limit_passes_and_one_octet_more_does_not(length: bytes) -> None:
    data = b"SEND\n" + length + b"\n" + b"x" * 70 + b"\0"
    limits = FrameLimits(max_frame_size=len(data))
    assert len(decode(b"\n" + data + b"\n" + data, limits=limits)) == 2
    limits = FrameLimits(max_frame_size=len(data) - 1)
    assert isinstance(decode_error(data, limits=limits), FrameSizeExceeded)


def test_a_content_length_over_the_limit_fails_before_its_body_is_buffered() -> None:
    error = decode_error(b"SEND\ncontent-length:99999999\n\n")
    assert isinstance(error, FrameSizeExceeded)
    assert str(error) == "frame has more than 131072 octets"


def test_headers_of_exactly_the_limit_pass_and_one_more_does_not() -> None:
    limits = FrameLimits(max_headers=3)
    assert len(decode(b"BEGIN\n" + b"a:b\n" * 3 + b"\n\0", limits=limits)) == 1
    error = decode_error(b"BEGIN\n" + b"a:b\n" * 4, limits=limits)
    assert str(error) == "frame has more than 3 headers"


def test_a_header_line_of_exactly_the_limit_passes_and_one_octet_more_does_not() -> None:
    limits = FrameLimits(max_header_line=10)
    assert len(decode(b"BEGIN\na:345678\r\n\n\0", limits=limits)) == 1
    error = decode_error(b"BEGIN\na:34567890", limits=limits)
    assert str(error) == "header line has more than 10 octets"


def test_nul_inside_the_headers_is_an_error_at_once() -> None:
    assert isinstance(decode_error(b"CONNECT\0"), MalformedFrame)
    assert isinstance(decode_error(b"CONNECT\na:b\0\n"), MalformedFrame)


def test_after_an_error_nothing_is_held_and_every_call_says_it_again() -> None:
    decoder = FrameDecoder()
    decoder.feed(b"BOGUS\n" + b"x" * 1000)
    for _ in range(2):
        with pytest.raises(UnknownCommand):
            decoder.next_frame()
        assert decoder.buffered == 0
        decoder.feed(b"BEGIN\n\n\0")


@pytest.mark.parametrize(
    ("version", "name", "value"),
    [
        (V1_0, "a", "line\nfeed"),
        (V1_0, "a:b", "x"),
        (V1_1, "a", "carriage\rreturn"),
        (V1_2, "a", "nul\0"),
        (V1_2, "", "no name"),
        (V1_2, "a", "half a pair \ud800"),
    ],
)
def test_a_header_that_a_version_cannot_write_is_refused(
    version: Version, name: str, value: str
) -> None:
    with pytest.raises(UnencodableHeader):
        encode_frame(Frame("SEND", {name: value}), version)


def test_encoding_refuses_an_unknown_command() -> None:
    with pytest.raises(UnknownCommand):
        encode_frame(Frame("BOGUS"), V1_2)


# What each version cannot write; 1.0 trims blanks, and only 1.2 has a CR.
UNWRITABLE = {V1_0: "\0\r\n:", V1_1: "\0\r", V1_2: "\0"}


def texts(version: Version) -> st.SearchStrategy[str]:
    special = "".join(c for c in "\n\r:\\cnrt " if c not in UNWRITABLE[version])
    usual = st.characters(codec="utf-8", exclude_characters=UNWRITABLE[version])
    text = st.text(st.sampled_from(special) | usual, max_size=12)
    return text.map(lambda value: value.strip(" \t")) if version == V1_0 else text


def frames_of(version: Version) -> st.SearchStrategy[tuple[Version, list[Frame]]]:
    text = texts(version)
    headers = st.dictionaries(
        text.filter(lambda name: name not in ("", "content-length")), text, max_size=5
    )
    with_body = st.builds(
        Frame, st.sampled_from(sorted(BODY_COMMANDS)), headers, st.binary(max_size=60)
    )
    without = st.builds(
        Frame, st.sampled_from(sorted(COMMANDS - BODY_COMMANDS - UNESCAPED_COMMANDS)), headers
    )
    return st.tuples(st.just(version), st.lists(with_body | without, max_size=5))


versions_and_frames = st.one_of(*map(frames_of, Version))


def with_content_length(frame: Frame) -> Frame:
    if frame.command not in BODY_COMMANDS:
        return frame
    headers = {**frame.headers, "content-length": str(len(frame.body))}
    return Frame(frame.command, headers, frame.body)


@given(versions_and_frames, st.lists(st.integers(min_value=0), max_size=20))
def test_what_is_encoded_is_decoded_in_all_versions_and_any_chunking(
    sent: tuple[Version, list[Frame]], cuts: list[int]
) -> None:
    version, frames = sent
    data = b"".join(encode_frame(frame, version) for frame in frames)
    received, failure = decode_chunks(chunked(data, cuts), version)
    assert failure is None
    assert received == [with_content_length(frame) for frame in frames]


# Bytes that come close to frames, so that every check is reached.
nearly_frames = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(command.encode() + b"\n" for command in sorted(COMMANDS)),
                b"\n\n",
                b"\r\n",
                b"\r",
                b"\0",
                b"a:b\n",
                b"receipt:7\n",
                b"content-length:3\n",
                b"content-length:30000\n",
                b"content-length:-1\n",
                b"abc\0",
                b"\\",
                b"\\c\\n\n",
                b":",
                b"x" * 40,
                b"\xff",
            ]
        ),
        st.binary(max_size=20),
    ),
    max_size=15,
).map(b"".join)

small_limits = FrameLimits(max_frame_size=100, max_headers=3, max_header_line=30)


@given(nearly_frames, st.lists(st.integers(min_value=0), max_size=20), st.sampled_from(Version))
@example(b"SEND\n" + b"x" * 28 + b"\0\n", [32, 33], V1_2)
@example(b"BEGIN\n\r", [7], V1_2)
def test_garbage_gives_frames_or_a_documented_error_whatever_the_chunking(
    garbage: bytes, cuts: list[int], version: Version
) -> None:
    frames, failure = decode_chunks([garbage], version, small_limits)
    cut_frames, cut_failure = decode_chunks(chunked(garbage, cuts), version, small_limits)
    assert cut_frames == frames
    assert type(cut_failure) is type(failure)
    assert str(cut_failure) == str(failure)


@given(nearly_frames, st.lists(st.integers(min_value=0), max_size=20))
def test_no_more_is_held_than_one_frame_of_the_limit(garbage: bytes, cuts: list[int]) -> None:
    decoder = FrameDecoder(small_limits)
    for chunk in chunked(garbage * 3, cuts):
        decoder.feed(chunk)
        try:
            while decoder.next_frame() is not None:
                pass
        except FrameError:
            pass
        assert decoder.buffered <= small_limits.max_frame_size


@given(st.binary(max_size=300))
def test_decoded_frames_encode_to_the_same_frames(garbage: bytes) -> None:
    for frame in decode_chunks([b"SEND\n" + garbage + b"\n\n\0"])[0]:
        (again,) = decode(encode_frame(frame, V1_2))
        assert again == with_content_length(frame)

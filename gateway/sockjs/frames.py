"""The frames of SockJS 0.3.3, and how each transport wraps them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Literal

from gateway.sockjs.errors import (
    BrokenJsonEncoding,
    CallbackRequired,
    InvalidCallback,
    PayloadExpected,
)

OPEN_FRAME = "o"
HEARTBEAT_FRAME = "h"

# "Various \u2xxxx chars get mangled": sockjs-protocol, JSON Unicode Encoding. Surrogates cannot
# be sent in UTF-8 at all. Control characters are escaped by JSON itself.
_GARBLED = re.compile("[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def encode_message(message: str) -> str:
    """Return ``message`` as JSON, with the characters that browsers garble escaped."""
    encoded: str = encode_basestring(message)
    if encoded.isascii():
        return encoded
    return _GARBLED.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded)


def encode_each(messages: Iterable[bytes]) -> list[str]:
    """Return each of ``messages``, which are UTF-8, as :func:`encode_message` returns it."""
    return [encode_message(message.decode()) for message in messages]


def encode_messages(encoded: Iterable[str]) -> str:
    """Return the message frame of messages that :func:`encode_message` returned."""
    return f"a[{','.join(encoded)}]"


def encode_close(code: int, reason: str) -> str:
    """Return the close frame."""
    return f"c[{code},{encode_message(reason)}]"


def is_close(frame: str) -> bool:
    """Return whether ``frame`` is the last one of its receiver."""
    return frame.startswith("c")


def decode_messages(payload: bytes | str, *, single_allowed: bool = False) -> list[str]:
    """Return the messages of a client's ``payload``, a JSON array of strings.

    Args:
        payload: The body of a request, or a WebSocket message.
        single_allowed: Whether one JSON string, without an array, is a message too.

    Raises:
        PayloadExpected: There is no payload, or it is JSON of another shape.
        BrokenJsonEncoding: It is not JSON, or not UTF-8.
    """
    if not payload:
        raise PayloadExpected
    try:
        decoded = json.loads(payload if isinstance(payload, str) else str(payload, "utf-8"))
    # Bad UTF-8 and a number of too many digits are ValueErrors too; deep nesting is the other.
    except (ValueError, RecursionError) as exc:
        raise BrokenJsonEncoding from exc
    if single_allowed and isinstance(decoded, str):
        decoded = [decoded]
    if not isinstance(decoded, list) or not all(isinstance(item, str) for item in decoded):
        raise PayloadExpected
    return decoded


def replace_surrogates(message: str) -> str:
    """Return ``message`` with each lone surrogate replaced, so that it can be encoded.

    Browsers do the same to what is sent on a native WebSocket (Web IDL, USVString).
    """
    return message if message.isascii() else _SURROGATE.sub("\ufffd", message)


# sockjs-protocol allows [a-zA-Z0-9-_.]; sockjs-client uses about 12 characters.
_CALLBACK = re.compile(r"[a-zA-Z0-9\-_.]{1,128}")


def check_callback(callback: str | None) -> str:
    """Return ``callback`` if it is safe to be written into a script.

    Raises:
        CallbackRequired: There is none.
        InvalidCallback: It has a character that it must not have, or is too long.
    """
    if not callback:
        raise CallbackRequired
    if _CALLBACK.fullmatch(callback) is None:
        raise InvalidCallback
    return callback


# The head is given by the protocol to the letter.
_HTMLFILE_HEAD = """\
<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.{callback};
    c.start();
    function p(d) {{c.message(d);}};
    window.onload = function() {{c.stop();}};
  </script>"""
# Browsers show nothing of a page before they have this much of it.
_HTMLFILE_PRELUDE_SIZE = 1024
# "The transport must first send 2KiB of `h` bytes as prelude."
_XHR_STREAMING_PRELUDE = "h" * 2048 + "\n"


@dataclass(frozen=True, slots=True)
class Framing:
    """How a receiving transport writes frames into its response."""

    method: Literal["GET", "POST"]
    content_type: str
    # A streaming response carries frames up to a limit, a polling one exactly one.
    streaming: bool
    needs_callback: bool
    prelude: str
    # ``{frame}`` is the frame, ``{callback}`` the callback.
    template: str
    # Whether the frame stands inside a script, as a string.
    quoted: bool = False

    def encode_prelude(self, callback: str = "") -> bytes:
        """Return what goes before the first frame."""
        if not self.needs_callback or not self.prelude:
            return self.prelude.encode()
        head = self.prelude.format(callback=callback)
        return f"{head:<{_HTMLFILE_PRELUDE_SIZE}}\r\n\r\n".encode()

    def encode_frame(self, frame: str, callback: str = "") -> bytes:
        """Return ``frame`` in the form of this transport."""
        if self.quoted:
            # Neither "</script" nor "<!--" may appear inside the script of a page.
            frame = encode_message(frame).replace("<", "\\u003c")
        return self.template.format(frame=frame, callback=callback).encode()


_JAVASCRIPT = "application/javascript; charset=UTF-8"

FRAMINGS = {
    "xhr": Framing("POST", _JAVASCRIPT, False, False, "", "{frame}\n"),
    "xhr_streaming": Framing("POST", _JAVASCRIPT, True, False, _XHR_STREAMING_PRELUDE, "{frame}\n"),
    # The empty line is for a bug in Opera.
    "eventsource": Framing(
        "GET", "text/event-stream; charset=UTF-8", True, False, "\r\n", "data: {frame}\r\n\r\n"
    ),
    "htmlfile": Framing(
        "GET",
        "text/html; charset=UTF-8",
        True,
        True,
        _HTMLFILE_HEAD,
        "<script>\np({frame});\n</script>\r\n",
        quoted=True,
    ),
    "jsonp": Framing("GET", _JAVASCRIPT, False, True, "", "{callback}({frame});\r\n", quoted=True),
}

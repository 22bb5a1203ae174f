"""Ways to break a valid message; the same seed breaks it the same way."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

import orjson

# Each is invalid for a reason of its own: a lone continuation, a cut sequence, an overlong form, a
# surrogate, a byte that never occurs, a code point beyond the last.
INVALID_UTF8 = (b"\x80", b"\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80", b"\xff", b"\xf4\x90\x80\x80")
NUMBERS = (
    *(b"-1", b"0", b"1e400", b"-1e-400", b"NaN", b"Infinity", b"0x10", b"1_000", b"00", b"1.5"),
    *(str(2**bits).encode() for bits in (31, 32, 53, 63, 64, 128)),
    b"9" * 5000,
)
WORDS = (
    *(b"*", b",", b"/", b"..", b"%00", b"%2F", b"%", b"\r\n", b"\n\n", b"\r", b":", b'"', b"\\"),
    *(b"\x00", b"\\u0000", b"\\ud800", b"{{", b"$", b"#", b"@", b"[]", b"{}", b"null", b"true"),
    *("é\u2028\U0001f4a9\u0130ß".encode(), b"__proto__", b"constructor"),
)
LENGTHS = (65, 128, 257, 5_000, 70_000, 140_000, 600_000)


def garbage(random: Random, most: int = 400) -> bytes:
    """Return bytes without a meaning."""
    size = random.randrange(most)
    if random.random() < 0.5:
        return random.randbytes(size)
    return bytes(random.choices(b'{}[]":,\\\n\r\x00\xff 019aZ/%&=', k=size))


def mutate(random: Random, data: bytes) -> bytes:
    """Return ``data`` with one to four things wrong, or one time in ten as it is."""
    if random.random() < 0.1:
        return data
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        data = random.choice(_MUTATIONS)(random, data)
    return data


def mutate_json(random: Random, value: Any) -> bytes:
    """Return JSON like ``value``, with other types, missing and further fields, or broken text."""
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        value = _other_value(random, value)
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return mutate(random, text) if random.random() < 0.4 else text


def split(random: Random, data: bytes) -> list[bytes]:
    """Return ``data`` in one to three pieces."""
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.choice((0, 0, 1, 2))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def strange_value(random: Random) -> Any:
    """Return a JSON value of any type, most of them wrong wherever they stand."""
    return random.choice(
        [
            *(
                None,
                True,
                False,
                0,
                -1,
                1.5,
                2**53,
                2**63 - 1,
                -(2**63),
                1e308,
                "",
                "*",
                "A*",
                "AAPL",
            ),
            *("\x00", "\u2028", "A" * random.choice(LENGTHS), "9" * 30, "é", " aapl ", [], {}),
            *([None], ["*"], ["AAPL"] * 1001, [[]], {"": ""}, {"AAPL": -1}, _nested(random)),
        ]
    )


def _nested(random: Random) -> Any:
    value: Any = []
    for _ in range(random.choice((5, 50, 200))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def _other_value(random: Random, value: Any) -> Any:
    if random.random() < 0.25:
        return strange_value(random)
    if isinstance(value, dict) and value:
        changed = dict(value)
        key = random.choice(list(changed))
        match random.randrange(6):
            case 0:
                del changed[key]
            case 1:
                changed[random.choice(("x", "", "id", "type", "A" * 300))] = strange_value(random)
            case _:
                changed[key] = _other_value(random, changed[key])
        return changed
    if isinstance(value, list) and value:
        place = random.randrange(len(value))
        return [*value[:place], _other_value(random, value[place]), *value[place + 1 :]]
    return strange_value(random)


def _place(random: Random, data: bytes) -> int:
    return random.randint(0, len(data))


def _insert(random: Random, data: bytes, what: bytes) -> bytes:
    place = _place(random, data)
    return data[:place] + what + data[place:]


def _piece(random: Random, data: bytes) -> tuple[int, int]:
    a, b = sorted((_place(random, data), _place(random, data)))
    return a, b


def _truncate(random: Random, data: bytes) -> bytes:
    return data[: _place(random, data)]


def _behead(random: Random, data: bytes) -> bytes:
    return data[_place(random, data) :]


def _flip(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _repeat(random: Random, data: bytes) -> bytes:
    a, b = _piece(random, data)
    return data[:b] + data[a:b] * random.choice((1, 2, 20)) + data[b:]


def _remove(random: Random, data: bytes) -> bytes:
    a, b = _piece(random, data)
    return data[:a] + data[b:]


def _swap(random: Random, data: bytes) -> bytes:
    a, b = _piece(random, data)
    return data[b:] + data[a:b] + data[:a]


def _invalid_utf8(random: Random, data: bytes) -> bytes:
    return _insert(random, data, random.choice(INVALID_UTF8))


def _nul(random: Random, data: bytes) -> bytes:
    return _insert(random, data, b"\x00" * random.choice((1, 3)))


def _word(random: Random, data: bytes) -> bytes:
    return _insert(random, data, random.choice(WORDS))


def _number(random: Random, data: bytes) -> bytes:
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return _insert(random, data, random.choice(NUMBERS))
    a, b = random.choice(found).span()
    return data[:a] + random.choice(NUMBERS) + data[b:]


def _over_long(random: Random, data: bytes) -> bytes:
    return _insert(
        random, data, random.choice((b"A", b" ", b"%41", b"\\n")) * random.choice(LENGTHS)
    )


def _deep(random: Random, data: bytes) -> bytes:
    return _insert(
        random, data, random.choice((b"[", b"{", b'{"a":', b"(")) * random.choice((50, 3000))
    )


def _garbage(random: Random, data: bytes) -> bytes:
    return _insert(random, data, garbage(random, 40))


_MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(_truncate, _behead, _flip, _flip, _repeat, _remove, _swap, _invalid_utf8, _nul, _word, _word),
    *(_number, _over_long, _deep, _garbage),
)

"""Make ticks as no library writes them: every order, repetition, width and kind of field.

They depend on ``random`` alone, and cost microseconds, so that millions can be tried by hand:
``python -m tests.doubles.hostile_ticks 1000000`` compares the compiled parser with the plain one.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Callable
from math import inf, nan
from random import Random
from typing import Any

from marketdata.framing import encode_frame
from marketdata.price_rules import PriceRules
from marketdata.symbols import SymbolCase
from marketdata.timestamps import TimestampUnit
from marketdata.validation import TickRules
from marketdata.wire.market_data_pb2 import Tick, TickBatch
from tests.doubles.compiled_parser import CompiledParser
from tests.doubles.plain_parser import PlainParser

NOW = 1_735_201_234_567_000_000
MAX_FRAME_SIZE = 100_000
UNITS: tuple[TimestampUnit, ...] = ("auto", "s", "ms", "us", "ns")
_MASK = 2**64 - 1
_LONGEST_NS = 60 * 10**9

_SYMBOLS = (
    *("AAPL", "BRK.B", "^GSPC", "S00021", "A" * 64, "ES=F", "/ES", "ES 12-25", "A", "~"),
    *("AAPL  251219C00150000", " aApL ", "aapl", "\tMSFT\n", "A" * 65, " " + "b" * 64 + "\v"),
    *("M&M.NS", "CL1!", "#VIX", "a,B", "*", "", " ", 'A"', "A\\", "A" * 8, "b" * 33, "AAPL "),
    *(
        "Äpfel",
        "\u017f",
        "\u0131",
        "A\x00",
        "\x85A",
        "A\x1c",
        " " * 31 + "A" + " " * 31,
        " " * 200 + "A",
    ),
)
_LETTERS = "AZaz09 .-^_/:=+@$~!#&'%<>?\t\v\f\x1c\x85\x00[`{,*\"\\\x7fé€"
_PRICES = (150.25, 1e308, 1e12, 1.1e12, 2**63 / 1e9, 1e10, 5e-324, 0.0, -0.0, -1.0, inf, -inf, nan)
_INTEGERS = (
    1,
    100,
    127,
    128,
    0,
    -1,
    2**31,
    10**15,
    10**15 + 1,
    2**56 - 1,
    2**56,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_TIMES = (
    *(NOW, NOW // 10**3, NOW // 10**6, NOW // 10**9, NOW + _LONGEST_NS, NOW + _LONGEST_NS + 1),
    *(NOW // 10**9 + 60, NOW // 10**9 + 61, NOW // 10**6 + 60_000, NOW // 10**6 + 60_001),
    *(edge + by for edge in (0, 10**8, 10**11, 10**14, 10**17) for by in (-1, 0, 1)),
)
# A server may get one that it does not know.
_ACTIONS: tuple[Any, ...] = (0, 0, 0, 1, 2, 3)
# What ends a connection, or looks as if.
_BAD_FRAMES = (b"\0\0\0\0", b"\0\x01\x86\xa1", b"\0\0\0\x01", b"GET /", b"\0\0\4\0", b"\xff" * 9)


def varint(value: int, width: int = 0) -> bytes:
    """Return ``value`` as a varint, in more bytes than it needs if ``width`` says so."""
    value &= _MASK
    out = bytearray()
    while value > 0x7F or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, kind: int, width: int = 0) -> bytes:
    """Return the tag of a field, in ``width`` bytes at least."""
    return varint(number << 3 | kind, width)


def _width(random: Random) -> int:
    return 0 if random.random() < 0.9 else random.choice((2, 3, 5, 8, 9, 10, 11))


def _symbol(random: Random) -> bytes:
    if random.random() < 0.7:
        return random.choice(_SYMBOLS).encode()
    return "".join(random.choices(_LETTERS, k=random.choice((1, 2, 5, 33, 64, 65, 100)))).encode()


def _price(random: Random) -> bytes:
    dice = random.random()
    if dice < 0.6:
        return struct.pack("<d", random.uniform(0.01, 1000))
    return struct.pack("<d", random.choice(_PRICES)) if dice < 0.9 else random.randbytes(8)


def _integer(random: Random) -> int:
    return random.choice(_INTEGERS) if random.random() < 0.6 else random.getrandbits(64)


def _time(random: Random) -> int:
    return random.choice(_TIMES) if random.random() < 0.9 else _integer(random)


def _trade_id(random: Random) -> bytes:
    return random.randbytes(random.choice((0, 1, 8, 15, 16, 20, 36, 63, 64, 65, 127, 128, 300)))


def _decimals(random: Random) -> int:
    return random.choice((0, 1, 2, 3, 8, 8, 17, 18, 19, 127, 128, 2**32 + 3, 2**64 - 1))


def _excludes(random: Random) -> int:
    return random.choice((0, 1, 2, 4, 8, 8, 15, 16, 128, 2**32 + 8))


def _action(random: Random) -> int:
    return random.choice((0, 0, 1, 2, 3, 128, 2**32 + 1, 2**64 - 1))


_ADDED: dict[int, Callable[[Random], int]] = {6: _decimals, 8: _excludes, 9: _action}


def _field(random: Random, number: int, kind: int) -> bytes:
    head = tag(number, kind, _width(random))
    if kind == 0:
        value = _ADDED.get(number, _integer)(random) if number != 4 else _time(random)
        return head + varint(value, _width(random))
    if kind == 1:
        return head + _price(random)
    if kind == 2:
        content = _symbol(random) if number == 1 else _trade_id(random)
        return head + varint(len(content), _width(random)) + content
    return head + random.randbytes(random.randrange(6))


_KINDS = {1: 2, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0, 7: 2, 8: 0, 9: 0}


def _ordered(random: Random) -> bytes:
    numbers = [1, 2, 3, 4, 5] if random.random() < 0.3 else [1, 2, 3, 4]
    numbers += [number for number in (6, 7, 8, 9) if random.random() < 0.3]
    return b"".join(_field(random, number, _KINDS[number]) for number in numbers)


def _mixed(random: Random) -> bytes:
    numbers = random.choices(
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 2**29 - 1, 0), k=random.randrange(1, 9)
    )
    return b"".join(
        _field(
            random,
            number,
            _KINDS.get(number, 0) if random.random() < 0.9 else random.randrange(8),
        )
        for number in numbers
    )


def _shuffled(random: Random) -> bytes:
    numbers = [1, 2, 3, 4, *random.choices(range(1, 10), k=random.randrange(4))]
    random.shuffle(numbers)
    return b"".join(_field(random, number, _KINDS.get(number, 0)) for number in numbers)


def _written(random: Random) -> bytes:
    # By the library; the values that it cannot hold are left out.
    tick = Tick(price=struct.unpack("<d", _price(random))[0], volume=random.choice(_INTEGERS[:13]))
    tick.symbol = _symbol(random).decode()
    tick.exchange_timestamp = random.choice(_TIMES)
    if random.random() < 0.5:
        tick.volume_decimals = random.choice((0, 1, 3, 8, 18, 19))
        tick.trade_id = _trade_id(random)
        tick.excludes = random.choice((0, 1, 8, 15, 16))
        tick.action = random.choice(_ACTIONS)
    return tick.SerializeToString()


def _sound(random: Random) -> bytes:
    tick = Tick(
        symbol=random.choice(_SYMBOLS[:12]),
        price=random.uniform(0.01, 1000),
        volume=random.randrange(1, 100_000),
        exchange_timestamp=random.choice(_TIMES[:5]),
    )
    if random.random() < 0.5:
        tick.volume_decimals = random.randrange(19)
        tick.trade_id = random.randbytes(random.choice((0, 8, 20, 36, 64)))
        tick.excludes = random.randrange(16)
    return tick.SerializeToString()


_MAKERS: tuple[Callable[[Random], bytes], ...] = (_ordered, _mixed, _shuffled, _written, _sound)


def make_payload(random: Random) -> bytes:
    """Return the payload of a frame, at least one byte."""
    payload = random.choice(_MAKERS)(random)
    if random.random() < 0.3:
        at = random.randrange(len(payload) + 1)
        byte = random.randbytes(1)
        payload = random.choice(
            (
                payload[:at] + byte + payload[at + 1 :],
                payload[:at] + byte + payload[at:],
                payload[:at] + payload[at + 1 :],
                payload[:at],
                payload + byte,
            )
        )
    return payload or b"\0"


def make_stream(random: Random, frames: int) -> bytes:
    """Return frames, and rarely what is none."""
    parts = [encode_frame(make_payload(random)) for _ in range(random.randrange(frames + 1))]
    if random.random() < 0.2:
        parts.insert(random.randrange(len(parts) + 1), random.choice(_BAD_FRAMES))
    return b"".join(parts)


def cut(random: Random, data: bytes, most: int) -> list[bytes]:
    """Return ``data`` in records, at most ``most + 1``."""
    cuts = [random.randrange(len(data) + 1) for _ in range(random.randrange(most + 1))]
    edges = sorted({0, len(data), *cuts})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def compare(
    chunks: list[bytes],
    unit: TimestampUnit = "auto",
    skew_s: float = 60.0,
    read_size: int = 4096,
    now_ns: int = NOW,
    *,
    case: SymbolCase = "preserve",
    prices: str = "*=positive",
) -> CompiledParser:
    """Give the same bytes to the plain and the compiled parser, and compare all results."""
    plain_rules, rules = (
        TickRules(
            timestamp_unit=unit,
            max_future_skew_s=skew_s,
            symbol_case=case,
            prices=PriceRules(prices),
        )
        for _ in range(2)
    )
    plain = PlainParser(plain_rules, MAX_FRAME_SIZE)
    compiled = CompiledParser(rules, MAX_FRAME_SIZE, read_size)
    for chunk in chunks:
        expected, expected_rejected = plain.receive_data(chunk, now_ns)
        records, rejected = compiled.receive_data(chunk, now_ns)
        assert decode(records) == decode(expected)
        assert rejected == expected_rejected
        assert compiled.has_partial_frame == plain.has_partial_frame
        assert type(compiled.failure) is type(plain.failure)
        assert str(compiled.failure) == str(plain.failure)
    assert (compiled.accepted, compiled.rejected) == (plain.accepted, plain.rejected)
    assert rules.conversions == plain_rules.conversions
    assert compiled.units.unit_ns == plain.units.unit_ns
    assert compiled.units.changes == plain.units.changes
    return compiled


def compare_random(seed: int, frames: int = 12) -> CompiledParser:
    """Compare both parsers on the stream that ``seed`` gives."""
    random = Random(seed)
    chunks = cut(random, make_stream(random, frames), 6)
    return compare(
        chunks,
        random.choice(UNITS),
        random.choice((0.0, 60.0, 60.0, 1e30)),
        random.choice((1, 7, 64, 4096, 65536)),
        case=random.choice(("preserve", "upper")),
        prices=random.choice(("*=positive", "*=positive,A*=any,AA*=nonnegative", "*=any")),
    )


def decode(records: list[bytes]) -> list[Tick]:
    """Return the ticks of a batch of ``records``."""
    return list(TickBatch.FromString(b"".join(records)).ticks)


def main(frames: int, seed: int) -> None:
    """Compare until so many frames have been seen."""
    seen = accepted = 0
    while seen < frames:
        parser = compare_random(seed, 200)
        accepted += parser.accepted
        seen += parser.accepted + parser.rejected.total()
        seed += 1
    print(f"{seen:,} frames, {accepted:,} accepted, up to seed {seed}")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

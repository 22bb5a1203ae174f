"""Plain values and numpy arrays as bytes, and back, exactly.

::

    content = head, tree, arrays
    head    = "MDCP", version (u32), size of the tree (u64), release (16 bytes of ASCII)
    tree    = JSON; {"$": [kind, ...]} stands for what JSON does not have
    arrays  = the bytes of each array, each from a multiple of 64 on

Numbers are little-endian. The same values give the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from aggregator.checkpoint.errors import DamagedCheckpoint, UnknownVersion

# Grows with every change of the format or of the meaning of a saved value.
VERSION = 3

_MAGIC = b"MDCP"
_HEAD = struct.Struct("<4sIQ16s")
_ALIGNMENT = 64
# The key of a value that JSON does not have.
_MARK = "$"
_LEAST_INT, _MOST_INT = -(2**63), 2**64 - 1

Buffer = bytes | bytearray | memoryview


def encode(value: Any, release: str) -> Iterator[Buffer]:
    """Give the content of a checkpoint, in parts.

    The arrays are not copied, so they must not change before the last part is used.

    Args:
        value: None, bools, ints of any size, floats, strings, bytes, numpy arrays, and lists and
            dicts of them; the keys of dicts are strings. Tuples become lists.
        release: the release that writes it.
    """
    packer = _Packer()
    tree = orjson.dumps(packer.pack(value))
    yield _HEAD.pack(_MAGIC, VERSION, len(tree), release.encode()[:16])
    yield tree
    at = _HEAD.size + len(tree)
    for array in packer.arrays:
        yield bytes(-at % _ALIGNMENT)
        yield array.reshape(-1).view(np.uint8).data
        at += -at % _ALIGNMENT + array.nbytes


def decode(content: bytes) -> Any:
    """Return the value; its arrays are views of the content.

    Raises:
        DamagedCheckpoint: it is not a checkpoint, or not all of one.
        UnknownVersion: another release wrote it.
    """
    if len(content) < _HEAD.size or not content.startswith(_MAGIC):
        raise DamagedCheckpoint("it does not begin like a checkpoint")
    _, version, size, release = _HEAD.unpack_from(content)
    if version != VERSION:
        raise UnknownVersion(version, release.rstrip(b"\0").decode("ascii", "replace"), VERSION)
    tree = content[_HEAD.size : _HEAD.size + size]
    if len(tree) < size:
        raise DamagedCheckpoint(f"its tree has {len(tree)} bytes, it says {size}")
    unpacker = _Unpacker(content, _HEAD.size + size)
    try:
        value = unpacker.unpack(orjson.loads(tree))
    except (TypeError, ValueError, KeyError, OverflowError) as exc:
        raise DamagedCheckpoint(str(exc)) from exc
    if unpacker.at != len(content):
        raise DamagedCheckpoint(f"it has {len(content)} bytes, its arrays end at {unpacker.at}")
    return value


def describe(dtype: np.dtype[Any]) -> Any:
    """Return the layout of a type as plain values."""
    if dtype.names is None:
        return dtype.str
    fields: Any = dtype.fields
    columns = [[name, describe(fields[name][0]), fields[name][1]] for name in dtype.names]
    return {"size": dtype.itemsize, "fields": columns}


def _make_dtype(layout: Any) -> np.dtype[Any]:
    if isinstance(layout, str):
        return np.dtype(layout)
    names, formats, offsets = zip(*layout["fields"], strict=True)
    parts: dict[str, Any] = {
        "names": names,
        "formats": [_make_dtype(each) for each in formats],
        "offsets": offsets,
        "itemsize": layout["size"],
    }
    dtype: np.dtype[Any] = np.dtype(parts)  # type: ignore[call-overload]
    return dtype


class _Packer:
    # Replaces what JSON does not have.
    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []

    def pack(self, value: Any) -> Any:
        packed = value
        match value:
            case None | bool() | str():
                pass
            case int():
                # A number of an enum has a form of its own.
                is_usual = _LEAST_INT <= value <= _MOST_INT
                packed = int(value) if is_usual else _marked("int", hex(value))
            case float():
                packed = value if isfinite(value) else _marked("float", repr(value))
            case list() | tuple():
                packed = [self.pack(each) for each in value]
            case dict() if _MARK in value:
                packed = _marked("dict", [[key, self.pack(each)] for key, each in value.items()])
            case dict():
                packed = {key: self.pack(each) for key, each in value.items()}
            case bytes():
                packed = self._put("bytes", np.frombuffer(value, np.uint8))
            case np.ndarray():
                packed = self._put("array", value)
            case _:
                raise TypeError(f"a checkpoint cannot have a {type(value).__name__}")
        return packed

    def _put(self, kind: str, array: NDArray[Any]) -> Any:
        if not array.flags.c_contiguous:
            # numpy leaves the bytes between the fields of a copy to chance, not those of zeros.
            copy = np.zeros(array.shape, array.dtype)
            copy[...] = array
            array = copy
        self.arrays.append(array)
        return _marked(kind, describe(array.dtype), list(array.shape))


def _marked(kind: str, *values: Any) -> Any:
    return {_MARK: [kind, *values]}


class _Unpacker:
    # The arrays come in the order in which the tree names them.
    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self.at = at

    def unpack(self, packed: Any) -> Any:
        value = packed
        match packed:
            case list():
                value = [self.unpack(each) for each in packed]
            case {"$": ["int", digits]}:
                value = int(digits, 16)
            case {"$": ["float", text]}:
                value = float(text)
            case {"$": ["dict", pairs]}:
                value = {key: self.unpack(each) for key, each in pairs}
            case {"$": ["bytes", layout, shape]}:
                value = self._take(layout, shape).tobytes()
            case {"$": ["array", layout, shape]}:
                value = self._take(layout, shape)
            case {"$": other}:
                raise DamagedCheckpoint(f"it has a value of an unknown kind: {other}")
            case dict():
                value = {key: self.unpack(each) for key, each in packed.items()}
        return value

    def _take(self, layout: Any, shape: list[int]) -> NDArray[Any]:
        dtype = _make_dtype(layout)
        count = 1
        for size in shape:
            count *= size
        start = self.at + -self.at % _ALIGNMENT
        self.at = start + count * dtype.itemsize
        if count < 0 or self.at > len(self._content):
            raise DamagedCheckpoint(
                f"it has {len(self._content)} bytes, an array ends at {self.at}"
            )
        return np.frombuffer(self._content, dtype, count, start).reshape(shape)


def differences(saved: Any, present: Any, path: str = "") -> list[str]:
    """Say where two trees of plain values differ, one line for each place."""
    if isinstance(saved, dict) and isinstance(present, dict):
        found = []
        for key in [*saved, *(key for key in present if key not in saved)]:
            name = f"{path}.{key}" if path else str(key)
            if key not in saved:
                found.append(f"{name}: only here")
            elif key not in present:
                found.append(f"{name}: only in the checkpoint")
            else:
                found += differences(saved[key], present[key], name)
        return found
    return [] if saved == present else [f"{path}: {saved}, here {present}"]

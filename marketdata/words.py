"""Let kernels read and write bytes eight or sixteen at a time, at any address.

numba's own arrays move single bytes, which is several times slower. Addresses are trusted: the
caller must own the bytes that are read or written. A word is an int64 whose first byte is the
lowest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from marketdata.kernels import intrinsic, ir, types

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_BLOCK = ir.VectorType(_WORD, 2)


def _pointer(builder: Any, address: Any, to: Any) -> Any:
    return builder.inttoptr(address, to.as_pointer())


def _load_byte(_context: Any, address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte = builder.load(_pointer(builder, arguments[0], _BYTE))
        return builder.zext(byte, _WORD)

    return types.int64(types.int64), generate


def _load_word(_context: Any, address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], _WORD), align=1)

    return types.int64(types.int64), generate


def _load_double(_context: Any, address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], ir.DoubleType()), align=1)

    return types.float64(types.int64), generate


def _store_byte(_context: Any, address: Any, byte: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte = builder.trunc(arguments[1], _BYTE)
        builder.store(byte, _pointer(builder, arguments[0], _BYTE))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _store_word(_context: Any, address: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], _pointer(builder, arguments[0], _WORD), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _store_double(_context: Any, address: Any, double: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], _pointer(builder, arguments[0], ir.DoubleType()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), generate


def _copy_block(_context: Any, target: Any, source: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        block = builder.load(_pointer(builder, arguments[1], _BLOCK), align=1)
        builder.store(block, _pointer(builder, arguments[0], _BLOCK), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _prefetch(_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), number, number, number])
        name = "llvm.prefetch.p0i8"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, kind, name)
        # To be written, to be kept in all caches, data.
        how = (ir.Constant(number, each) for each in (1, 3, 1))
        builder.call(function, [_pointer(builder, arguments[0], _BYTE), *how])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _trailing_zeros(_context: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


def _leading_zeros(_context: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


def _big_endian_half(_context: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        half = builder.trunc(arguments[0], ir.IntType(32))
        return builder.zext(builder.bswap(half), _WORD)

    return types.int64(types.int64), generate


def _high_product(_context: Any, one: Any, other: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(each, wide) for each in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _WORD)

    return types.int64(types.int64, types.int64), generate


load_byte = cast(Callable[[int], int], intrinsic(_load_byte))
load_word = cast(Callable[[int], int], intrinsic(_load_word))
load_double = cast(Callable[[int], float], intrinsic(_load_double))
# The address comes first.
store_byte = cast(Callable[[int, int], None], intrinsic(_store_byte))
store_word = cast(Callable[[int, int], None], intrinsic(_store_word))
store_double = cast(Callable[[int, float], None], intrinsic(_store_double))
# Copy sixteen bytes to the first address from the second.
copy_block = cast(Callable[[int, int], None], intrinsic(_copy_block))
# Load the 64 bytes around an address into the cache; the address may be anything.
prefetch = cast(Callable[[int], None], intrinsic(_prefetch))
# 64 if no bit is set.
trailing_zeros = cast(Callable[[int], int], intrinsic(_trailing_zeros))
# The same, from the highest bit.
leading_zeros = cast(Callable[[int], int], intrinsic(_leading_zeros))
# The first four bytes of a word as a big-endian number.
big_endian_half = cast(Callable[[int], int], intrinsic(_big_endian_half))
# The upper 64 bits of the product of two words, which are taken for unsigned.
high_product = cast(Callable[[int, int], int], intrinsic(_high_product))

"""Vector loads, stores and prefetches for trilinear interpolation, which LLVM does not find.

The two neighbours along x lie side by side in memory: 4 floats of a complex volume are
loaded at once, 8 floats of an accumulator of 4 channels are read or updated at once. With numba's
JIT switched off, plain Python versions of the same names are used.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

_F32 = ir.FloatType()
_FLAGS = ("contract", "nsz")
_NO_JIT = bool(getattr(config, "DISABLE_JIT", False))


def _splat(builder: Any, scalar: Any, n: int) -> Any:
    lane = ir.Constant(ir.IntType(32), 0)
    vector = builder.insert_element(ir.Constant(ir.VectorType(_F32, n), ir.Undefined),
                                    scalar, lane)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), n), [0] * n)
    return builder.shuffle_vector(vector, vector, mask)


def _pick(builder: Any, vector: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(vector, vector, mask)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, n: int) -> Any:
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), ir.VectorType(_F32, n).as_pointer())


_OFFSETS = (types.int64,) * 4
_WEIGHTS = (types.float32,) * 4


def _gather_of(n: int) -> Any:
    """Code that mixes four rows of two neighbours of n floats by weights, then the neighbours."""
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, offsets, fx, weights = args[0], args[1:5], args[5], args[6:10]
        total = None
        for offset, weight in zip(offsets, weights, strict=True):
            row = builder.load(
                _pointer(context, builder, signature.args[0], array, offset, 2 * n), align=4)
            part = builder.fmul(row, _splat(builder, weight, 2 * n), flags=_FLAGS)
            total = part if total is None else builder.fadd(total, part, flags=_FLAGS)
        low, high = (_pick(builder, total, list(range(first, first + n))) for first in (0, n))
        step = builder.fmul(builder.fsub(high, low, flags=_FLAGS), _splat(builder, fx, n),
                            flags=_FLAGS)
        value = builder.fadd(low, step, flags=_FLAGS)
        lanes = [builder.extract_element(value, ir.Constant(ir.IntType(32), i)) for i in range(n)]
        return context.make_tuple(builder, signature.return_type, lanes)

    return codegen


@intrinsic
def _gather_pairs(typingctx, volume, o00, o01, o10, o11, fx, w00, w01, w10, w11):
    signature = types.UniTuple(types.float32, 2)(
        volume, *_OFFSETS, types.float32, *_WEIGHTS)
    return signature, _gather_of(2)


@intrinsic
def _gather_channels(typingctx, sums, o00, o01, o10, o11, fx, w00, w01, w10, w11):
    signature = types.UniTuple(types.float32, 4)(sums, *_OFFSETS, types.float32, *_WEIGHTS)
    return signature, _gather_of(4)


@intrinsic
def _prefetch(typingctx, array, o00, o01, o10, o11):
    signature = types.void(array, *_OFFSETS)

    def codegen(context, builder, signature, args):
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]),
            "llvm.prefetch.p0i8")
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0]).data
        for offset in args[1:]:
            address = builder.bitcast(builder.gep(data, [offset]), byte)
            builder.call(function, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _spread_pairs(typingctx, sums, o00, o01, o10, o11, re, im, weight, count, fx,
                  w00, w01, w10, w11):
    signature = types.void(sums, *_OFFSETS, *(types.float32,) * 5, *_WEIGHTS)

    def codegen(context, builder, signature, args):
        array, offsets, channels, fx, weights = args[0], args[1:5], args[5:9], args[9], args[10:14]
        sample = ir.Constant(ir.VectorType(_F32, 4), ir.Undefined)
        for i, channel in enumerate(channels):
            sample = builder.insert_element(sample, channel, ir.Constant(ir.IntType(32), i))
        far = builder.fmul(sample, _splat(builder, fx, 4), flags=_FLAGS)
        near = builder.fsub(sample, far, flags=_FLAGS)
        both = ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(8)))
        pair = builder.shuffle_vector(near, far, both)
        for offset, weight in zip(offsets, weights, strict=True):
            pointer = _pointer(context, builder, signature.args[0], array, offset, 8)
            part = builder.fmul(pair, _splat(builder, weight, 8), flags=_FLAGS)
            total = builder.fadd(builder.load(pointer, align=4), part, flags=_FLAGS)
            builder.store(total, pointer, align=4)
        return context.get_dummy_value()

    return signature, codegen


def _gather_pairs_python(volume, o00, o01, o10, o11, fx, w00, w01, w10, w11):
    corners = ((o00, w00), (o01, w01), (o10, w10), (o11, w11))
    a, b, c, d = sum(w * volume[o : o + 4] for o, w in corners)
    return a + fx * (c - a), b + fx * (d - b)


def _gather_channels_python(sums, o00, o01, o10, o11, fx, w00, w01, w10, w11):
    corners = ((o00, w00), (o01, w01), (o10, w10), (o11, w11))
    both = sum(w * sums[o : o + 8] for o, w in corners)
    return tuple(both[:4] + fx * (both[4:] - both[:4]))


def _spread_pairs_python(sums, o00, o01, o10, o11, re, im, weight, count, fx,
                         w00, w01, w10, w11):
    for offset, w in ((o00, w00), (o01, w01), (o10, w10), (o11, w11)):
        for i, value in enumerate((re, im, weight, count)):
            sums[offset + i] += w * (1 - fx) * value
            sums[offset + 4 + i] += w * fx * value


def _prefetch_python(array, o00, o01, o10, o11):
    """Nothing: it changes when memory arrives, not what is computed."""


AHEAD = 8
"""How many samples ahead of its use a cell is fetched from memory."""

# prefetch(array, 4 offsets): ask for memory that is needed soon.
prefetch: Any = _prefetch_python if _NO_JIT else _prefetch
# gather_pairs(volume, 4 offsets, fx, 4 weights) -> (re, im): four loads of two neighbours each.
gather_pairs: Any = _gather_pairs_python if _NO_JIT else _gather_pairs
# gather_channels(sums, 4 offsets, fx, 4 weights) -> 4 channels: as gather_pairs, of accumulators.
gather_channels: Any = _gather_channels_python if _NO_JIT else _gather_channels
# spread_pairs(sums, 4 offsets, re, im, weight, count, fx, 4 weights): the transpose of it.
spread_pairs: Any = _spread_pairs_python if _NO_JIT else _spread_pairs

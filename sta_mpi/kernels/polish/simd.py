"""Vector code of the pose polish that LLVM does not find: value with gradient, half floats, lanes.

With numba's JIT switched off, plain Python versions of the same names are used.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from sta_mpi.kernels.options import cpu_inline

_F32, _I32 = ir.FloatType(), ir.IntType(32)
_FLAGS = ("contract", "nsz")
_NO_JIT = bool(getattr(config, "DISABLE_JIT", False))


def _pick(builder: Any, first: Any, second: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return builder.shuffle_vector(first, second, mask)


def _splat(builder: Any, scalar: Any, n: int) -> Any:
    vector = builder.insert_element(
        ir.Constant(ir.VectorType(_F32, n), ir.Undefined), scalar, ir.Constant(_I32, 0))
    return _pick(builder, vector, vector, [0] * n)


def _lerp(builder: Any, low: Any, step: Any, fraction: Any) -> Any:
    return builder.fadd(low, builder.fmul(step, fraction, flags=_FLAGS), flags=_FLAGS)


@intrinsic
def _gather_gradient(typingctx, volume, o00, o01, o10, o11, fx, fy, fz):
    signature = types.UniTuple(types.float32, 8)(
        volume, *(types.int64,) * 4, *(types.float32,) * 3)

    def codegen(context, builder, signature, args):
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0]).data
        pointer = ir.VectorType(_F32, 4).as_pointer()
        r00, r01, r10, r11 = (
            builder.load(builder.bitcast(builder.gep(data, [o]), pointer), align=4)
            for o in args[1:5])
        fx, fy, fz = (_splat(builder, f, 4) for f in args[5:8])
        dy0 = builder.fsub(r01, r00, flags=_FLAGS)
        dy1 = builder.fsub(r11, r10, flags=_FLAGS)
        low = _lerp(builder, r00, dy0, fy)
        dz = builder.fsub(_lerp(builder, r10, dy1, fy), low, flags=_FLAGS)
        value = _lerp(builder, low, dz, fz)
        dy = _lerp(builder, dy0, builder.fsub(dy1, dy0, flags=_FLAGS), fz)
        near = _pick(builder, value, dy, [0, 1, 4, 5])
        step = builder.fsub(_pick(builder, value, dy, [2, 3, 6, 7]), near, flags=_FLAGS)
        value_dy = _lerp(builder, near, step, fx)
        far_z = _pick(builder, dz, dz, [2, 3, 2, 3])
        out_z = _lerp(builder, dz, builder.fsub(far_z, dz, flags=_FLAGS), fx)
        picked = ((value_dy, 0), (value_dy, 1), (step, 0), (step, 1),
                  (value_dy, 2), (value_dy, 3), (out_z, 0), (out_z, 1))
        lanes = [builder.extract_element(v, ir.Constant(_I32, i)) for v, i in picked]
        return context.make_tuple(builder, signature.return_type, lanes)

    return signature, codegen


@intrinsic
def _widen(typingctx, stored):
    signature = types.float32(stored)

    def codegen(context, builder, signature, args):
        if signature.args[0] == types.float32:
            return args[0]
        bits = builder.zext(args[0], _I32)
        sign = builder.shl(builder.and_(bits, ir.Constant(_I32, 0x8000)), ir.Constant(_I32, 16))
        size = builder.shl(builder.and_(bits, ir.Constant(_I32, 0x7FFF)), ir.Constant(_I32, 13))
        # the exponent's offset is 15 in half and 127 in single precision
        scaled = builder.fmul(builder.bitcast(size, _F32), ir.Constant(_F32, 2.0**112))
        return builder.bitcast(builder.or_(builder.bitcast(scaled, _I32), sign), _F32)

    return signature, codegen


def _gather_gradient_python(volume, o00, o01, o10, o11, fx, fy, fz):
    r00, r01, r10, r11 = (volume[o : o + 4] for o in (o00, o01, o10, o11))
    low, high = r00 + fy * (r01 - r00), r10 + fy * (r11 - r10)
    value = low + fz * (high - low)
    dy = (r01 - r00) + fz * ((r11 - r10) - (r01 - r00))
    dx = value[2:] - value[:2]
    value, dy, dz = (v[:2] + fx * (v[2:] - v[:2]) for v in (value, dy, high - low))
    return (*value, *dx, *dy, *dz)


def _widen_python(stored):
    return stored if stored.dtype == "float32" else stored.view("float16").astype("float32")


# gather_gradient(volume, 4 offsets, fx, fy, fz) -> (re, im) of the value and d/dx, d/dy, d/dz.
gather_gradient: Any = _gather_gradient_python if _NO_JIT else _gather_gradient
# widen(stored): a float32, or the bits of a finite half float in a uint16, as float32.
widen: Any = _widen_python if _NO_JIT else _widen


@cpu_inline
def flush(sums, total):
    """Move the lanes of a chunk (k,) float32 to those of a whole list (k,) float64."""
    for i in range(len(total)):
        total[i] += np.float64(sums[i])
        sums[i] = np.float32(0.0)

"""Pose polish on the CPU, in chunks of 256 samples of one tilt.

Three passes over a chunk: cells, fractions and turned data of all samples, in a loop that
LLVM vectorises; value and gradient from the volume, with cells asked for ahead of time;
the sums, in 16 lanes of single precision, which are moved to 16 lanes of double precision
after each chunk and added in a fixed order at the end. Chunks are the outer loop and tilts
the inner one, because neighbouring tilts read neighbouring cells.

Scratch of the passes is one array with constant offsets and the sums are another, which
LLVM can tell apart: without that the sums are not vectorised.
"""

import numpy as np

from sta_mpi.kernels import inline as shared
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.polish import inline
from sta_mpi.kernels.polish.simd import flush, gather_gradient, widen
from sta_mpi.kernels.simd import gather_pairs, prefetch

split = cpu_inline(shared.split)
corner_weights = cpu_inline(shared.corner_weights)
point = cpu_inline(inline.point)
sine = cpu_inline(inline.sine)
cosine = cpu_inline(inline.cosine)
add_score = cpu_inline(inline.add_score)
add_terms = cpu_inline(inline.add_terms)

N_SCORE, N_SUMS = inline.N_SCORE, inline.N_SUMS
CHUNK, LANES, AHEAD = 256, 16, 24

# rows of the scratch array
KX, KY, X, Y, Z = 0, CHUNK, 2 * CHUNK, 3 * CHUNK, 4 * CHUNK
FX, FY, FZ = 5 * CHUNK, 6 * CHUNK, 7 * CHUNK
DR, DI, W = 8 * CHUNK, 9 * CHUNK, 10 * CHUNK
VR, VI, GXR, GXI = 11 * CHUNK, 12 * CHUNK, 13 * CHUNK, 14 * CHUNK
GYR, GYI, GZR, GZI = 15 * CHUNK, 16 * CHUNK, 17 * CHUNK, 18 * CHUNK
SCRATCH = 19 * CHUNK


@cpu_inline
def _place(s, cells, axes, tx, ty, dre, dim, w, kx, ky, row, plane, reach):
    """First pass: cells, fractions, folded data of the samples given; zeros to the end."""
    ux, uy, uz = np.float32(axes[0, 0]), np.float32(axes[0, 1]), np.float32(axes[0, 2])
    vx, vy, vz = np.float32(axes[1, 0]), np.float32(axes[1, 1]), np.float32(axes[1, 2])
    used = len(kx)
    for i in range(used):
        s[DR + i] = widen(dre[i])
    for i in range(used):
        s[DI + i] = widen(dim[i])
    for i in range(used):
        s[W + i] = widen(w[i])
    for i in range(used):
        fx, fy = np.float32(kx[i]), np.float32(ky[i])
        sign, x, y, z = point(fx, fy, ux, uy, uz, vx, vy, vz)
        jx, s[FX + i] = split(x, 0)
        jy, s[FY + i] = split(y, reach)
        jz, s[FZ + i] = split(z, reach)
        cells[i] = jz * plane + jy * row + 2 * jx
        s[KX + i], s[KY + i] = sign * fx, sign * fy
        s[X + i], s[Y + i], s[Z + i] = x, y, z
        cycles = fx * tx + fy * ty
        c, e = cosine(cycles), sine(cycles)
        re, im = s[DR + i], s[DI + i]
        s[DR + i] = re * c - im * e
        s[DI + i] = sign * (re * e + im * c)
    for i in range(used, -(-used // LANES) * LANES):
        cells[i] = cells[0]
        for a in range(KX, VR, CHUNK):
            s[a + i] = np.float32(0.0)


@cpu_inline
def _reduce(total, out):
    """Add lanes (m, n_sums * LANES) to out (m, n_sums), always in the same order."""
    for f in range(out.shape[0]):
        for j in range(out.shape[1]):
            for i in range(LANES):
                out[f, j] += total[f, j * LANES + i]


@cpu_inline
def _add_values(s, cells, sums, n_blocks, volume, row, plane):
    """Second and third pass, for cross and power alone."""
    for i in range(n_blocks * LANES):
        # past the end, cells of earlier chunks are asked for, which does no harm
        o = cells[i + AHEAD]
        prefetch(volume, o, o + row, o + plane, o + plane + row)
        w00, w01, w10, w11 = corner_weights(s[FY + i], s[FZ + i])
        o = cells[i]
        s[VR + i], s[VI + i] = gather_pairs(
            volume, o, o + row, o + plane, o + plane + row, s[FX + i], w00, w01, w10, w11)
    for b in range(n_blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            add_score(sums, lane, LANES, s[DR + i], s[DI + i], s[W + i], s[VR + i], s[VI + i])


@cpu_inline
def _add_derivatives(s, cells, sums, n_blocks, volume, row, plane):
    """Second and third pass, for all sums."""
    for i in range(n_blocks * LANES):
        o = cells[i + AHEAD]
        prefetch(volume, o, o + row, o + plane, o + plane + row)
        o = cells[i]
        (s[VR + i], s[VI + i], s[GXR + i], s[GXI + i],
         s[GYR + i], s[GYI + i], s[GZR + i], s[GZI + i]) = gather_gradient(
            volume, o, o + row, o + plane, o + plane + row, s[FX + i], s[FY + i], s[FZ + i])
    for b in range(n_blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            add_terms(sums, lane, LANES, s[KX + i], s[KY + i], s[X + i], s[Y + i], s[Z + i],
                      s[DR + i], s[DI + i], s[W + i], s[VR + i], s[VI + i], s[GXR + i],
                      s[GXI + i], s[GYR + i], s[GYI + i], s[GZR + i], s[GZI + i])


@cpu_kernel
def pose_sums(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, out):
    """Add the sums of `reference.normal_equations` to out, shift factors apart.

    out (m, 25) takes all of them, out (m, 2) cross and power alone.
    """
    n_sums = out.shape[1]
    s = np.zeros(SCRATCH, np.float32)
    cells = np.zeros(CHUNK + AHEAD, np.int64)
    sums = np.zeros(n_sums * LANES, np.float32)
    total = np.zeros((len(axes), n_sums * LANES))
    most = 0
    for f in range(len(axes)):
        most = max(most, count[f])
    for start in range(0, most, CHUNK):
        for f in range(len(axes)):
            stop = min(start + CHUNK, count[f])
            if stop <= start:
                continue
            _place(s, cells, axes[f], np.float32(cycles[f, 0]), np.float32(cycles[f, 1]),
                   dre[f, start:stop], dim[f, start:stop], w[f, start:stop],
                   kx[start:stop], ky[start:stop], row, plane, reach)
            n_blocks = -(-(stop - start) // LANES)
            if n_sums == N_SUMS:
                _add_derivatives(s, cells, sums, n_blocks, volume, row, plane)
            else:
                _add_values(s, cells, sums, n_blocks, volume, row, plane)
            flush(sums, total[f])
    _reduce(total, out)

"""Polish of a box on the CPU, in chunks of 256 voxels; see `kernels.polish.cpu` for the passes."""

import numpy as np

from sta_mpi.kernels import inline as shared
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.polish import inline as polish_inline
from sta_mpi.kernels.polish.simd import flush, gather_gradient, widen
from sta_mpi.kernels.simd import gather_pairs, prefetch
from sta_mpi.kernels.voxels import inline

split = cpu_inline(shared.split)
corner_weights = cpu_inline(shared.corner_weights)
sine = cpu_inline(polish_inline.sine)
cosine = cpu_inline(polish_inline.cosine)
add_score = cpu_inline(polish_inline.add_score)
place = cpu_inline(inline.place)
add_voxel = cpu_inline(inline.add_voxel)

N_SCORE, N_SUMS = inline.N_SCORE, inline.N_SUMS
CHUNK, LANES, AHEAD = 256, 16, 24

# rows of the scratch array
KX, KY, KZ, X, Y, Z = 0, CHUNK, 2 * CHUNK, 3 * CHUNK, 4 * CHUNK, 5 * CHUNK
FX, FY, FZ = 6 * CHUNK, 7 * CHUNK, 8 * CHUNK
DR, DI, W = 9 * CHUNK, 10 * CHUNK, 11 * CHUNK
VR, VI, GXR, GXI = 12 * CHUNK, 13 * CHUNK, 14 * CHUNK, 15 * CHUNK
GYR, GYI, GZR, GZI = 16 * CHUNK, 17 * CHUNK, 18 * CHUNK, 19 * CHUNK
SCRATCH = 20 * CHUNK


@cpu_inline
def _place_all(s, cells, axes, cycles, dre, dim, w, kx, ky, kz, row, plane, reach):
    """First pass: cells, fractions, folded data of the voxels given; zeros to the end."""
    ax, ay, az = np.float32(axes[0, 0]), np.float32(axes[0, 1]), np.float32(axes[0, 2])
    bx, by, bz = np.float32(axes[1, 0]), np.float32(axes[1, 1]), np.float32(axes[1, 2])
    cx, cy, cz = np.float32(axes[2, 0]), np.float32(axes[2, 1]), np.float32(axes[2, 2])
    tx, ty, tz = np.float32(cycles[0]), np.float32(cycles[1]), np.float32(cycles[2])
    used = len(kx)
    for i in range(used):
        s[DR + i] = widen(dre[i])
    for i in range(used):
        s[DI + i] = widen(dim[i])
    for i in range(used):
        s[W + i] = widen(w[i])
    for i in range(used):
        fx, fy, fz = np.float32(kx[i]), np.float32(ky[i]), np.float32(kz[i])
        sign, x, y, z = place(fx, fy, fz, ax, ay, az, bx, by, bz, cx, cy, cz)
        jx, s[FX + i] = split(x, 0)
        jy, s[FY + i] = split(y, reach)
        jz, s[FZ + i] = split(z, reach)
        cells[i] = jz * plane + jy * row + 2 * jx
        s[KX + i], s[KY + i], s[KZ + i] = sign * fx, sign * fy, sign * fz
        s[X + i], s[Y + i], s[Z + i] = x, y, z
        turn = fx * tx + fy * ty + fz * tz
        c, e = cosine(turn), sine(turn)
        re, im = s[DR + i], s[DI + i]
        s[DR + i] = re * c - im * e
        s[DI + i] = sign * (re * e + im * c)
    for i in range(used, -(-used // LANES) * LANES):
        cells[i] = cells[0]
        for a in range(KX, VR, CHUNK):
            s[a + i] = np.float32(0.0)


@cpu_inline
def _reduce(total, out):
    """Add lanes (n_sums * LANES,) to out (n_sums,), always in the same order."""
    for j in range(len(out)):
        for i in range(LANES):
            out[j] += total[j * LANES + i]


@cpu_kernel
def normal_equations(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count, out):
    """Add the sums of `reference.normal_equations` to out (32,), shift factors apart."""
    s = np.zeros(SCRATCH, np.float32)
    cells = np.zeros(CHUNK + AHEAD, np.int64)
    sums = np.zeros(N_SUMS * LANES, np.float32)
    total = np.zeros(N_SUMS * LANES)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        _place_all(s, cells, axes, cycles, dre[start:stop], dim[start:stop], w[start:stop],
                   kx[start:stop], ky[start:stop], kz[start:stop], row, plane, reach)
        n_blocks = -(-(stop - start) // LANES)
        for i in range(n_blocks * LANES):
            # past the end, cells of earlier chunks are asked for, which does no harm
            o = cells[i + AHEAD]
            prefetch(volume, o, o + row, o + plane, o + plane + row)
            o = cells[i]
            (s[VR + i], s[VI + i], s[GXR + i], s[GXI + i],
             s[GYR + i], s[GYI + i], s[GZR + i], s[GZI + i]) = gather_gradient(
                volume, o, o + row, o + plane, o + plane + row, s[FX + i], s[FY + i], s[FZ + i])
        for b in range(n_blocks):
            for lane in range(LANES):
                i = b * LANES + lane
                add_voxel(sums, lane, LANES, s[KX + i], s[KY + i], s[KZ + i], s[X + i],
                          s[Y + i], s[Z + i], s[DR + i], s[DI + i], s[W + i], s[VR + i],
                          s[VI + i], s[GXR + i], s[GXI + i], s[GYR + i], s[GYI + i],
                          s[GZR + i], s[GZI + i])
        flush(sums, total)
    _reduce(total, out)


@cpu_kernel
def score(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count, out):
    """Add cross and power to out (2,)."""
    s = np.zeros(SCRATCH, np.float32)
    cells = np.zeros(CHUNK + AHEAD, np.int64)
    sums = np.zeros(N_SCORE * LANES, np.float32)
    total = np.zeros(N_SCORE * LANES)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        _place_all(s, cells, axes, cycles, dre[start:stop], dim[start:stop], w[start:stop],
                   kx[start:stop], ky[start:stop], kz[start:stop], row, plane, reach)
        n_blocks = -(-(stop - start) // LANES)
        for i in range(n_blocks * LANES):
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
        flush(sums, total)
    _reduce(total, out)

"""CTF images on the CPU: each step of a row is a loop that LLVM vectorises."""

import numpy as np

from sta_mpi.kernels import inline as shared
from sta_mpi.kernels.ctf import inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel

signed_frequency = cpu_inline(shared.signed_frequency)
row_end = cpu_inline(shared.row_end)
phase_cycles = cpu_inline(inline.phase_cycles)
minus_sine = cpu_inline(inline.minus_sine)
keep_from_zero = cpu_inline(inline.keep_from_zero)


@cpu_kernel
def ctf_images(coefficients, extra_cycles, damping, out):
    """Fill out (m, n, n//2+1); extra_cycles and damping are empty where not wanted."""
    m, n, n_half = out.shape
    cycles = np.empty(n_half, np.float64)
    for p in range(m):
        cxx, cxy, cyy, c4, c0 = coefficients[p]
        for iy in range(n):
            ky = np.float64(signed_frequency(iy, n))
            row = out[p, iy]
            for ix in range(n_half):
                cycles[ix] = phase_cycles(np.float64(ix), ky, cxx, cxy, cyy, c4, c0)
            if extra_cycles.size > 0:
                for ix in range(n_half):
                    cycles[ix] += extra_cycles[iy, ix]
            for ix in range(n_half):
                row[ix] = minus_sine(cycles[ix])
            if damping.size > 0:
                for ix in range(n_half):
                    row[ix] *= damping[p, iy, ix]
            for ix in range(n_half):
                row[ix] = keep_from_zero(row[ix])


@cpu_kernel
def phases_at(coefficients, per_A, tilts, xyz_A):
    """Coefficients (m, 5) of `tilts` (m,) at a position; see `TiltPhases`."""
    out = np.empty((len(tilts), 5))
    for p in range(len(tilts)):
        t = tilts[p]
        for i in range(5):
            out[p, i] = coefficients[t, i]
        more = per_A[t, 0] * xyz_A[0] + per_A[t, 1] * xyz_A[1] + per_A[t, 2] * xyz_A[2]
        out[p, 0] += more
        out[p, 2] += more
    return out


@cpu_kernel
def weigh_masked(coefficients, per_A, extra_cycles, static, noise, particle, xyz_A, tilts, share,
                 data_scale, limits_px, reach_px, masked, samples, weight):
    """Fill samples, masked (m, n, 2 (n//2+1)) times its factors, and weight; share may be empty.

    Beyond reach_px, and a tilt's limit unless there are none, both are filled with zeros. False,
    with nothing filled, for a tilt that does not exist.
    """
    m, n, n_half = weight.shape
    data = samples.view(np.float32)
    for p in range(m):
        if not 0 <= tilts[p] < len(static):
            return False
    phases = phases_at(coefficients, per_A, tilts, xyz_A)
    half = np.float32(0.5)
    cycles = np.empty(n_half, np.float64)
    wave = np.empty(n_half, np.float32)
    factor = np.empty(n_half, np.float32)
    for p in range(m):
        cxx, cxy, cyy, c4, c0 = phases[p]
        tilt = tilts[p]
        reach = min(limits_px[tilt], reach_px) if limits_px.size > 0 else reach_px
        for iy in range(n):
            ky = np.float64(signed_frequency(iy, n))
            end = row_end(reach, ky, n_half)
            for ix in range(end):
                cycles[ix] = phase_cycles(np.float64(ix), ky, cxx, cxy, cyy, c4, c0)
            if extra_cycles.size > 0:
                for ix in range(end):
                    cycles[ix] += extra_cycles[iy, ix]
            for ix in range(end):
                sine = minus_sine(cycles[ix])
                wave[ix] = sine * sine - half
            for ix in range(end):
                signal = wave[ix] * particle[tilt, iy, ix] + half
                factor[ix] = signal / (wave[ix] * noise[tilt, iy, ix] + half)
                weight[p, iy, ix] = signal * factor[ix] * static[tilt, iy, ix]
            if share.size > 0:
                for ix in range(end):
                    weight[p, iy, ix] *= share[iy, ix]
                    factor[ix] *= share[iy, ix] * data_scale
            for ix in range(end):
                data[p, iy, 2 * ix] = masked[p, iy, 2 * ix] * factor[ix]
                data[p, iy, 2 * ix + 1] = masked[p, iy, 2 * ix + 1] * factor[ix]
            data[p, iy, 2 * end :] = 0.0
            weight[p, iy, end:] = 0.0
    return True

"""What the kernels of template matching mean, in plain numpy."""

import numpy as np


def is_inside(rows, n_half):
    """(nz, ny, n_half) which samples lie inside the band."""
    return np.arange(n_half) < rows[:, :, None]


def turn_band(volume, R_p2t, steps_zyx, rows, out):
    """See `match.turn_band`; one sample at a time."""
    nz, ny, _ = out.shape
    kz, ky = np.fft.fftfreq(nz, 1 / nz), np.fft.fftfreq(ny, 1 / ny)
    for iz, iy in np.ndindex(nz, ny):
        for kx in range(rows[iz, iy]):
            k = np.array([kx * steps_zyx[2], ky[iy] * steps_zyx[1], kz[iz] * steps_zyx[0]])
            at = R_p2t.T @ k
            is_mate = at[0] < 0
            at = -at if is_mate else at
            low = np.floor(at).astype(int)
            value = 0j
            for corner in np.ndindex(2, 2, 2):
                x, y, z = low + corner
                weight = np.prod(1 - np.abs(at - (low + corner)))
                value += weight * complex(volume.data[z + volume.reach, y + volume.reach, x])
            out[iz, iy, kx] = np.conj(value) if is_mate else value


def multiply_band(template_rft, tile_rft, rows, out, is_half_turned):
    """See `match.multiply_band`."""
    turned = template_rft
    if is_half_turned:
        turned = np.conj(template_rft[-np.arange(len(template_rft))])
    inside = is_inside(rows, out.shape[2])
    out[...] = 0
    out[inside] = (np.conj(turned) * tile_rft)[inside]


def keep_best(scores, first, scale, index, best, best_index, worst):
    """See `match.keep_best`."""
    core = tuple(slice(f, f + m) for f, m in zip(first, best.shape, strict=True))
    values = scores[core] * scale
    better = (values > best) | ((values == best) & (index < best_index))
    best[better] = values[better]
    best_index[better] = index
    np.minimum(worst, values, out=worst)

"""What the kernels of template matching mean, in plain numpy."""

import numpy as np


def multiply_band(template_rft, tile_rft, r2, out):
    """See `match.multiply_band`."""
    n = template_rft.shape[0]
    k = np.fft.fftfreq(n, 1 / n)
    kx = np.arange(n // 2 + 1)
    inside = k[:, None, None] ** 2 + k[None, :, None] ** 2 + kx**2 <= r2
    out[...] = np.where(inside, np.conj(template_rft) * tile_rft, 0)


def keep_best(scores, margin, scale, index, best, best_index, worst):
    """See `match.keep_best`."""
    core = slice(margin, scores.shape[0] - margin)
    values = scores[core, core, core] * scale
    better = values > best
    best[better] = values[better]
    best_index[better] = index
    np.minimum(worst, values, out=worst)

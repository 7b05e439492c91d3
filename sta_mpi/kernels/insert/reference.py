"""What insertion means, one sample and one corner at a time."""

import numpy as np

from sta_mpi.kernels.gather.reference import is_inside


def insert(n_sums, data, weights, scale, axes, kz, r_max_px):
    """New sums (n, n, n//2+1, 4) of planes of samples, as `insert_slices` and `insert_box`.

    Every stored sample and its mate (conjugate, at minus the frequency) are spread over a
    full (n, n, n) transform. Samples of the column kx = 0 are stored with their mates, so
    each of these counts half. The half kx >= 0 of the full sum is returned.
    """
    full = np.zeros((n_sums, n_sums, n_sums, 4))
    n = data.shape[1]
    radius = np.broadcast_to(r_max_px, len(data))
    for p in range(len(data)):
        for iy, ky in enumerate(np.fft.fftfreq(n, 1 / n)):
            for kx in range(n // 2 + 1):
                if not is_inside(kx, ky, kz[p], n, radius[p]):
                    continue
                xyz = (np.array([kx, ky, kz[p]]) @ axes[p]) * scale
                value = data[p, iy, kx]
                sample = np.array([value.real, value.imag, weights[p, iy, kx], 1.0])
                sample *= 0.5 if kx == 0 else 1.0
                _spread(full, xyz, sample)
                _spread(full, -xyz, sample * [1, -1, 1, 1])
    return full[:, :, : n_sums // 2 + 1]


def _spread(full, xyz, sample):
    low = np.floor(xyz).astype(int)
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (low + corner) % len(full)
        full[z, y, x] += sample * np.prod(1 - np.abs(xyz - (low + corner)))

"""What gathering means, one sample at a time."""

import numpy as np


def full_transform(rft):
    """(n, n, n) transform of a half transform (n, n, n//2+1), by Hermitian symmetry."""
    n = rft.shape[0]
    full = np.empty((n, n, n), rft.dtype)
    full[:, :, : n // 2 + 1] = rft
    for z in range(n):
        for y in range(n):
            for x in range(n // 2 + 1, n):
                full[z, y, x] = np.conj(rft[-z % n, -y % n, n - x])
    return full


def is_inside(kx, ky, kz, n, r_max_px):
    """Whether a sample is used: within the radius, and not at the Nyquist of an even n."""
    nyquist = any(2 * abs(k) == n for k in (kx, ky, kz))
    return kx**2 + ky**2 + kz**2 <= r_max_px**2 and not nyquist


def gather(padded_rft, scale, axes, kz, n, r_max_px):
    """Planes (m, n, n//2+1) of a padded transform, as `gather_slices` and `gather_box`."""
    full = full_transform(padded_rft.astype(np.complex128))
    n_pad = len(full)
    out = np.zeros((len(axes), n, n // 2 + 1), np.complex128)
    for p in range(len(axes)):
        for iy, ky in enumerate(np.fft.fftfreq(n, 1 / n)):
            for kx in range(n // 2 + 1):
                if not is_inside(kx, ky, kz[p], n, r_max_px):
                    continue
                xyz = (np.array([kx, ky, kz[p]]) @ axes[p]) * scale
                low = np.floor(xyz).astype(int)
                for corner in np.ndindex(2, 2, 2):
                    x, y, z = (low + corner) % n_pad
                    weight = np.prod(1 - np.abs(xyz - (low + corner)))
                    out[p, iy, kx] += weight * full[z, y, x]
    return out

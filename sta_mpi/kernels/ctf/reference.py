"""The CTF of its phase polynomial, in plain numpy and double precision."""

import numpy as np


def ctf_images(coefficients, n, extra_cycles=None, damping=None):
    """-sin(gamma) * damping (m, n, n//2+1) float64, kept 1e-8 from zero; see `ctf_image_stack`."""
    stack = _waves(coefficients, n, extra_cycles)
    if damping is not None:
        stack = stack * damping
    return np.where(np.abs(stack) < 1e-8, np.where(stack < 0, -1e-8, 1e-8), stack)


def weigh_masked(phases, xyz_A, parts, tilts, data, share=1.0, data_scale=1.0, reach_px=np.inf,
                 limits_px=None):
    """Data times their factor and weights, (m, n, n//2+1); see `weigh_masked_samples`."""
    static, noise, particle = (part[tilts].astype(np.float64) for part in parts)
    n = data.shape[1]
    coefficients = phases.coefficients[tilts]
    coefficients[:, [0, 2]] += (phases.per_A[tilts] @ xyz_A)[:, None]
    squared = _waves(coefficients, n, phases.extra_cycles) ** 2
    radius = np.hypot(np.fft.fftfreq(n, 1 / n)[:, None], np.arange(n // 2 + 1))
    reach = np.full(len(data), reach_px)
    if limits_px is not None:
        reach = np.minimum(reach, limits_px[tilts])
    is_seen = radius <= reach[:, None, None]
    signal_power = 0.5 + particle * (squared - 0.5)
    noise_power = 0.5 + noise * (squared - 0.5)
    return (is_seen * share * data_scale * data * signal_power / noise_power,
            is_seen * share * static * signal_power**2 / noise_power)


def _waves(coefficients, n, extra_cycles):
    """-sin(gamma) (m, n, n//2+1)."""
    ky = np.fft.fftfreq(n, 1 / n)[:, None]
    kx = np.arange(n // 2 + 1)[None, :]
    images = []
    for cxx, cxy, cyy, c4, c0 in coefficients:
        cycles = cxx * kx**2 + cxy * kx * ky + cyy * ky**2 + c4 * (kx**2 + ky**2) ** 2 + c0
        if extra_cycles is not None:
            cycles = cycles + extra_cycles
        images.append(-np.sin(2 * np.pi * cycles))
    return np.array(images).reshape(-1, n, n // 2 + 1)

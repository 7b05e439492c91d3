"""Maps of Gaussian blobs: moved and symmetric ones are written down, not computed."""

import numpy as np


def blob_map(n, points_px, sigma_px=1.5):
    """Sum of Gaussians of height 1 at points (m, 3) xyz from the centre voxel."""
    grid = np.arange(n) - n // 2
    out = np.zeros((n, n, n))
    for x, y, z in points_px:
        out += (np.exp(-((grid - z) ** 2) / (2 * sigma_px**2))[:, None, None]
                * np.exp(-((grid - y) ** 2) / (2 * sigma_px**2))[:, None]
                * np.exp(-((grid - x) ** 2) / (2 * sigma_px**2)))
    return out.astype(np.float32)


def random_points(n, radius_px, seed):
    """Points evenly in a ball."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    return points * radius_px * rng.uniform(size=(n, 1)) ** (1 / 3)

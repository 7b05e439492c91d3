"""Motion of particles through a tilt series, and drift of the frames of a movie.

Particles near each other move alike. The velocity field between two exposures is a random
field with a Gaussian spatial correlation exp(-d^2 / 2 l^2), drawn as a sum of random plane
waves, whose cost is linear in the number of particles.
"""

import numpy as np

from sta_mpi.simulate.phantom import Floats

WAVES = 64
"""Plane waves a component; the correlation of the field is right to about 1 / sqrt(WAVES)."""


def particle_motion(xyz_A: Floats, pre_dose_e_per_A2: Floats, step_A: float,
                    correlation_A: float, rng: np.random.Generator) -> Floats:
    """Displacements (n, t, 3) [Å]: a random walk over the exposures, correlated in space.

    Parameters
    ----------
    xyz_A : (n, 3) float64               particle positions
    pre_dose_e_per_A2 : (t,) float64     its order is the order of the exposures; the motion is
                                         zero at the lowest dose
    step_A : float                       standard deviation per coordinate between exposures
    correlation_A : float                length l over which particles move together
    """
    order = np.argsort(pre_dose_e_per_A2, kind="stable")
    motion = np.zeros((len(xyz_A), len(order), 3))
    now = np.zeros((len(xyz_A), 3))
    for i_tilt in order[1:]:
        wave = rng.standard_normal((WAVES, 3)) / correlation_A
        phase = rng.uniform(0, 2 * np.pi, WAVES)
        strength = rng.standard_normal((WAVES, 3)) * np.sqrt(2.0 / WAVES)
        now = now + step_A * np.cos(xyz_A @ wave.T + phase) @ strength
        motion[:, i_tilt] = now
    return motion


def frame_drift(n_frames: int, total_px: float, rng: np.random.Generator) -> Floats:
    """Drift (f, 2) [px] of the frames of a movie: fast at first, about `total_px` long, mean 0."""
    direction = rng.uniform(0, 2 * np.pi)
    progress = 1.0 - np.exp(-3.0 * np.arange(n_frames) / max(1, n_frames - 1))
    path = progress[:, None] * np.array([np.cos(direction), np.sin(direction)])
    path = path + 0.03 * rng.standard_normal((n_frames, 2))
    path = total_px * path / (1.0 - np.exp(-3.0))
    return path - path.mean(axis=0)

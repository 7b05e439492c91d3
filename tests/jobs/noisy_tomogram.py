"""Tomograms with planted particles, by numpy and scipy alone: nothing of the program's own."""

from pathlib import Path

import mrcfile
import numpy as np
from scipy.spatial.transform import Rotation

BLOBS_A = np.array([[0, 0, 0], [45, 0, 0], [0, 50, 0], [-20, -20, 45], [30, 25, 30], [-45, 20, -20],
                    [10, -48, -15], [15, 5, -50]], float)
WEIGHTS = np.array([1.5, 1.0, 1.2, 1.0, 0.8, 1.0, 1.3, 0.7])
SIGMA_A = 14.0


def density(shape_zyx, voxel_A, centres_A, rotations):
    """Sum of turned copies of the object at centres (m, 3) xyz from the middle of the volume."""
    volume = np.zeros(shape_zyx)
    axes = [(np.arange(n) - n / 2) * voxel_A for n in shape_zyx]
    for centre, R in zip(centres_A, rotations, strict=True):
        for blob, weight in zip(BLOBS_A @ R.T + centre, WEIGHTS, strict=True):
            z, y, x = (np.exp(-0.5 * ((a - b) / SIGMA_A) ** 2)
                       for a, b in zip(axes, blob[::-1], strict=True))
            volume += weight * z[:, None, None] * y[None, :, None] * x
    return volume


def wedge(shape_zyx, limit_deg=60.0):
    """What tilts about y up to a limit measure."""
    kz = np.fft.fftfreq(shape_zyx[0])[:, None, None]
    kx = np.fft.rfftfreq(shape_zyx[2])
    inside = np.abs(kz) <= np.abs(kx) * np.tan(np.radians(limit_deg)) + 1e-9
    return np.broadcast_to(inside, (shape_zyx[0], shape_zyx[1], len(kx)))


def scattered(n, extent_A, distance_A, rng):
    """Random points (n, 3) within a box about zero, none nearer than a distance."""
    points = []
    while len(points) < n:
        point = (rng.random(3) - 0.5) * extent_A
        if all(np.linalg.norm(point - other) > distance_A for other in points):
            points.append(point)
    return np.array(points)


def noisy_tomogram(n_particles, noise, seed, shape_zyx=(64, 96, 96), voxel_A=10.0, edge_A=100.0):
    """(volume with dark protein, centres xyz [Å], rotations (n, 3, 3))."""
    rng = np.random.default_rng(seed)
    extent = np.array(shape_zyx[::-1]) * voxel_A - 2 * edge_A
    centres = scattered(n_particles, extent, 150.0, rng) if n_particles else np.zeros((0, 3))
    rotations = Rotation.random(n_particles, random_state=seed).as_matrix() if n_particles else \
        np.zeros((0, 3, 3))
    clean = density(shape_zyx, voxel_A, centres, rotations)
    dirty = clean + noise * rng.standard_normal(shape_zyx)
    seen = np.fft.irfftn(np.fft.rfftn(dirty) * wedge(shape_zyx), s=shape_zyx, axes=(0, 1, 2))
    return -seen.astype(np.float32), centres, rotations


def template(n=24, voxel_A=10.0):
    """The object in the middle voxel of a cube, bright."""
    axes_shift = np.zeros((1, 3))    # density() counts from n / 2, which is voxel n // 2 of even n
    return density((n, n, n), voxel_A, axes_shift, np.eye(3)[None]).astype(np.float32)


def write_map(path: Path, data, voxel_A):
    """An MRC volume."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.asarray(data, np.float32))
        file.voxel_size = voxel_A
        file.set_volume()
    return path


def errors(found_A, found_R, true_A, true_R, within_A=40.0):
    """(recall, share of found that are false, distances, angles [degrees] of those found)."""
    distance = np.linalg.norm(found_A[:, None] - true_A[None], axis=2)
    nearest = distance.argmin(axis=1)
    hit = distance[np.arange(len(found_A)), nearest] < within_A
    turn = np.einsum("nij,nik->njk", found_R[hit], true_R[nearest[hit]])
    angle = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    return (len(set(nearest[hit].tolist())) / len(true_A), 1 - hit.mean(),
            distance[np.arange(len(found_A)), nearest][hit], angle)

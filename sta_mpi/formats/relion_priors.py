"""Priors on orientations in RELION's particle tables (rlnAngleTiltPrior, rlnAnglePsiPrior)."""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.errors import InputError
from sta_mpi.geometry.euler import matrix_from_relion_angles, relion_angles_from_matrix

Floats = NDArray[np.float64]

PRIOR_COLUMNS = {
    "rlnAngleRot": "0.000000", "rlnAngleTilt": "90.000000", "rlnAnglePsi": "0.000000",
    "rlnAngleTiltPrior": "90.000000", "rlnAnglePsiPrior": "0.000000"}
"""What RELION's pickers write: the box is turned so that the pose in it is 0, 90, 0, far from the
poles where rot and psi mix."""

BOX_OF_PRIORS: Floats = np.asarray(matrix_from_relion_angles([0.0, 90.0, 0.0]))
"""The pose in such a box, so that R_box2t = R_p2t BOX_OF_PRIORS^T."""


def prior_orientations(particles: Particles) -> Floats:
    """Orientations R_p2t (n, 3, 3) that priors are centred on.

    With both prior columns, the box orientation times rot of the pose and the priors' tilt and
    psi (RELION's rule: a prior says nothing of rot); the pose itself without them.

    Raises
    ------
    InputError    a prior that is no finite number
    """
    labels = ("rlnAngleTiltPrior", "rlnAnglePsiPrior")
    if not all(label in particles.columns for label in labels):
        return particles.R_p2t
    angles = relion_angles_from_matrix(
        np.swapaxes(particles.R_box2t, 1, 2) @ particles.R_p2t)
    for i, label in enumerate(labels, 1):
        angles[:, i] = _numbers(particles, label)
    return np.asarray(particles.R_box2t @ matrix_from_relion_angles(angles))


def _numbers(particles: Particles, label: str) -> Floats:
    values = np.full(len(particles), np.nan)
    for row, text in enumerate(particles.columns[label]):
        try:
            values[row] = float(text)
        except ValueError:
            values[row] = np.nan
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        row = int(bad[0])
        raise InputError(f"particle row {row + 1} ({particles.names[row]}): {label} is "
                         f"'{particles.columns[label][row]}', expected a number of degrees. "
                         "Correct it, or remove the column.")
    return values

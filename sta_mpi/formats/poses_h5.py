"""Poses and trajectories with full precision, beside the STAR files that RELION reads.

Arrays (see sta_mpi.data.Particles for conventions): names, tomo_names, i_tomo, xyz_A, offset_A,
R_p2t, R_box2t, half, optics_group, and optionally trajectories_A (n, max_tilts, 3).
"""

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.containers import Attribute, read_h5, write_h5
from sta_mpi.formats.relion_particle_table import AnyParticles

KIND = "sta_mpi poses 1"
_ARRAYS = ("names", "i_tomo", "xyz_A", "offset_A", "R_p2t", "R_box2t", "half", "optics_group")
_TYPES = {"i_tomo": np.int32, "half": np.int8, "optics_group": np.int32}


def write_poses(path: str | os.PathLike[str], particles: Particles,
                trajectories_A: NDArray[np.float64] | None = None,
                attributes: dict[str, Attribute] | None = None) -> None:
    """Write the poses of `particles`, and their trajectories where given (NaN beyond last tilts).

    `attributes` are kept as they are (job, version, fingerprints).
    """
    arrays = {name: getattr(particles, name) for name in _ARRAYS}
    arrays["tomo_names"] = np.array(particles.tomo_names, object)
    if trajectories_A is not None:
        arrays["trajectories_A"] = trajectories_A
    write_h5(path, arrays, {**(attributes or {}), "what": KIND})


def read_poses(path: str | os.PathLike[str]) -> tuple[Particles, NDArray[np.float64] | None]:
    """Particles (poses alone, no images and other columns) and trajectories or None.

    Raises
    ------
    InputError, FormatError     not such a file, missing or mis-shaped arrays
    """
    arrays = read_h5(path, KIND).arrays
    missing = [name for name in (*_ARRAYS, "tomo_names") if name not in arrays]
    if missing:
        raise FormatError(f"{os.fspath(path)}: {', '.join(missing)} missing. Repeat the job that "
                          "wrote it.")
    values: dict[str, Any] = {
        name: arrays[name].astype(_TYPES[name]) if name in _TYPES else arrays[name]
        for name in _ARRAYS}
    tomo_names = [str(name) for name in arrays["tomo_names"]]
    try:
        particles = Particles(tomo_names=tomo_names, **values)
    except ValueError as error:
        raise FormatError(f"{os.fspath(path)}: {error}. The file is damaged; repeat the job that "
                          "wrote it.") from error
    if len(particles) and not 0 <= particles.i_tomo.min() <= particles.i_tomo.max() < len(
            tomo_names):
        raise FormatError(f"{os.fspath(path)}: i_tomo points beyond {len(tomo_names)} tomograms. "
                          "The file is damaged; repeat the job that wrote it.")
    return particles, arrays.get("trajectories_A")


def apply_poses(particles: AnyParticles, poses: Particles) -> AnyParticles:
    """`particles` with orientations, offsets and half-sets of `poses`, matched by name.

    Raises
    ------
    InputError      a particle that is not in `poses`
    """
    index = {name: i for i, name in enumerate(poses.names.tolist())}
    rows = np.array([index.get(name, -1) for name in particles.names.tolist()], np.intp)
    if (rows < 0).any():
        lost = particles.names[int(np.argmax(rows < 0))]
        raise InputError(f"particle {lost} has no pose ({int((rows < 0).sum())} such particles). "
                         "Use the poses of these particles.")
    return replace(particles, R_p2t=poses.R_p2t[rows], half=poses.half[rows],
                   offset_A=poses.xyz_A[rows] + poses.offset_A[rows] - particles.xyz_A)

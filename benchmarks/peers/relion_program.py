"""Calling RELION's programs, and what they found: CPU time and pose errors."""

import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.formats.star import read_star, write_star
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.geometry.rotations import angular_distance_deg, nearest_rotation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PoseErrors:
    """Errors of poses against the truth: degrees and Å."""

    angle_deg: Floats
    shift_A: Floats

    def columns(self) -> list[str]:
        """Median and rms of both, for a table."""
        return [f"{np.median(x):.2f} / {np.sqrt(np.mean(x**2)):.2f}"
                for x in (self.angle_deg, self.shift_A)]


def find_program(name: str) -> str:
    """Path of a RELION program, or the end of the benchmark with the reason."""
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is not installed: this benchmark compares with it. "
                         "On Debian: apt-get install relion")
    return path


def version(program: str) -> str:
    """What a RELION program says of its version."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).strip().splitlines()[0]


def run(command: list[str], folder: Path, log: Path,
        variables: dict[str, str] | None = None) -> float:
    """Run a command in `folder`; the CPU seconds of it and of all its children.

    OMP_NUM_THREADS is taken from its environment (RELION may use its threads as it likes),
    `variables` are put there.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment |= variables or {}
    before = children_cpu_s()
    with open(log, "w") as stream:
        done = subprocess.run(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT,
                              env=environment, check=False)
    if done.returncode:
        last = log.read_text().replace("\r", "\n").splitlines()[-12:]
        raise SystemExit("\n".join([f"{' '.join(command)} failed:", *last]))
    return children_cpu_s() - before


def children_cpu_s() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_first(path: Path, n: int) -> Path:
    """A particle set of the first n particles of another, beside it."""
    star = read_star(path)
    out = path.with_name(f"{path.stem}_{n}.star")
    write_star(out, [star["optics"], star["particles"].select(np.arange(n))])
    return out


def relion_poses(path: Path) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Rows of the truth, R_p2t and offsets [Å] of RELION's data.star.

    rlnOrigin moves the image onto the reference, so the particle is at minus it.
    """
    table = read_star(path)["particles"]
    rows = np.array([int(Path(name).stem) - 1 for name in table.strings("rlnImageName")])
    angles = [table.floats(f"rlnAngle{axis}") for axis in ("Rot", "Tilt", "Psi")]
    origin = [table.floats(f"rlnOrigin{axis}Angst") for axis in "XYZ"]
    return rows, matrix_from_relion_angles(np.stack(angles, 1)), -np.stack(origin, 1)


def pose_errors(truth: dict[str, NDArray], rows: NDArray[np.intp], R_p2t: Floats,
                offset_A: Floats) -> PoseErrors:
    """Errors of the poses of particles `rows`."""
    return PoseErrors(angular_distance_deg(R_p2t, truth["R_p2t"][rows]),
                      np.linalg.norm(offset_A - truth["offset_A"][rows], axis=1))


def common_frame_removed(truth: dict[str, NDArray], rows: NDArray[np.intp], R_p2t: Floats,
                         offset_A: Floats) -> PoseErrors:
    """Errors after the best common turn and move of the reference, which refinement is free in.

    R = R_true T and x = x_true + R_true c: T from the mean of R_true^T R, c from least squares.
    """
    true = truth["R_p2t"][rows]
    T = nearest_rotation(np.mean(np.swapaxes(true, 1, 2) @ R_p2t, axis=0))
    away = offset_A - truth["offset_A"][rows]
    c = np.mean(np.einsum("nji,nj->ni", true, away), axis=0)
    return PoseErrors(angular_distance_deg(R_p2t, true @ T),
                      np.linalg.norm(away - true @ c, axis=1))

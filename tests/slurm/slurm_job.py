"""The small real job that the Slurm tests submit, and what counts as its result.

A simulated project is aligned by exhaustive search with the real command. `STEP_DEG` sets how long
that takes: the number of rotations goes with its inverse cube.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import mrcfile
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "slurm"

LONG_STEP_DEG = 0.8
"""More than a minute on two cores: long enough to meet its wall time."""
SHORT_STEP_DEG = 1.0
"""Some 40 s on two cores."""

# Options of sbatch that make a template small enough for the host: 4 ranks on 2 nodes.
SMALL = ("--nodes=2", "--ntasks-per-node=2")


@dataclass
class JobSpace:
    """A work folder with a simulated project and a `sta-mpi` for the batch jobs.

    Parameters
    ----------
    folder : Path   work folder, which batch jobs run in
    """

    folder: Path

    def prepare(self) -> "JobSpace":
        """Make the command and simulate the project; returns itself."""
        (self.folder / "bin").mkdir(parents=True)
        command = self.folder / "bin" / "sta-mpi"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sta_mpi "$@"\n')
        command.chmod(0o755)
        self.run("simulate", "--n-series", "2", "--n-particles", "24", "--pixel-A", "8",
                 "--image-width-px", "192", "--image-height-px", "192", "--tilt-step-deg", "10",
                 "--perturb-angle-deg", "5", "--truth-box-px", "32", "--snr", "1", "-o", "project")
        return self

    @property
    def environment(self) -> dict[str, str]:
        """What the batch jobs inherit: the command, its Python and the tree under test."""
        beside = Path(sys.executable).parent  # the folder of a virtual environment's mpirun
        return {"PATH": os.pathsep.join((str(self.folder / "bin"), str(beside),
                                         os.environ["PATH"])),
                "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def align(self, output: str, step_deg: float = SHORT_STEP_DEG) -> list[str]:
        """Arguments of the `sta-mpi align` job that writes to `output`."""
        return ["align", "--optimisation-set", "project/optimisation_set.star",
                "--reference", "project/truth.mrc", "--box-px", "32", "--lowpass-A", "24",
                "--angle-range-deg", "9", "--angle-step-deg", str(step_deg),
                "--shift-range-A", "16", "--shift-step-A", "8", "--unit-particles", "1",
                "--iterations", "3", "-o", output]

    def run(self, *args: str) -> None:
        """Run a command on one rank, without Slurm."""
        done = subprocess.run([sys.executable, "-m", "sta_mpi", *args], cwd=self.folder, text=True,
                              env={**os.environ, **self.environment}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(f"sta-mpi {args[0]} ended with {done.returncode}: {done.stdout}")

    def record(self, output: str) -> dict:
        """job.json of an output folder; empty before there is one."""
        path = self.folder / output / "job.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def wait_until_working(self, output: str, share: float = 0.2, timeout_s: float = 120) -> None:
        """Return once a round of alignment is done to this share."""
        progress = self.folder / output / "progress.json"
        end_s = time.monotonic() + timeout_s
        state: dict = {}
        while time.monotonic() < end_s:
            state = json.loads(progress.read_text()) if progress.exists() else {}
            if "round" in state.get("stage", "") and state["fraction"] >= share:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{progress}: no alignment after {timeout_s:.0f} s, last {state}")


def results(folder: Path) -> dict[str, bytes]:
    """All maps, poses and tables of a finished job as bytes: equal where every bit is equal."""
    found = {path.name: np.ascontiguousarray(mrcfile.read(path)).tobytes()
             for path in sorted(folder.glob("*.mrc"))}
    found.update({path.name: path.read_bytes() for path in sorted(folder.glob("*fsc.star"))})
    found["particles.star"] = (folder / "particles.star").read_bytes()
    with h5py.File(folder / "poses.h5") as file:
        def keep(name: str, item: h5py.HLObject) -> None:
            if isinstance(item, h5py.Dataset):
                values = np.asarray(item[()])
                is_text = values.dtype == object
                found[f"poses.h5:{name}"] = (repr(values.tolist()).encode() if is_text
                                             else values.tobytes())

        file.visititems(keep)
    return found


def differing(one: Path, other: Path) -> list[str]:
    """Names of the results that differ between two job folders, or are in one of them only."""
    a, b = results(one), results(other)
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))

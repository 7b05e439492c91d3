"""Files of a PEET run under PEET's names: motive lists, references, averages.

`<fn>_MOTL_Tom<k>_Iter<m>.csv` goes into iteration m, `<fn>_Ref<m>.mrc` (masked and filtered) and
`unMasked<fn>_Ref<m>.mrc` are its reference, `<fn>_AvgVol_<m>P<n>.mrc` are the averages of the n
best particles of the last list. Maps have PEET's axes (y is the symmetry axis), the size szVol and
the contrast of the tomograms; they are means of both half-sets.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.peet_frame import cropped, to_peet_map
from sta_mpi.align.reference import filtered_map
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.peet_motive_list import write_motive_list
from sta_mpi.jobs.peet_choice import Judged
from sta_mpi.jobs.peet_input import PeetProject, motives_after

Floats = NDArray[np.float64]
Map = NDArray[np.float32]


def motl_name(root: str, tomogram: int, iteration: int) -> str:
    """Motive list of a tomogram (from 1) that goes into an iteration (from 1)."""
    return f"{root}_MOTL_Tom{tomogram}_Iter{iteration}.csv"


def reference_name(root: str, iteration: int) -> str:
    """Reference of an iteration (from 1)."""
    return f"{root}_Ref{iteration}.mrc"


def average_name(root: str, iteration: int, n: int) -> str:
    """Average of the n best particles of the list that goes into an iteration (from 1)."""
    return f"{root}_AvgVol_{iteration}P{n:04d}.mrc"


class PeetWriter:
    """Writes the files of a run into the job's folder, on rank 0.

    Parameters
    ----------
    sign : float      of the tomograms' contrast: -1 where protein is dark
    """

    def __init__(self, project: PeetProject, folder: Path, voxel_A: float, sign: float) -> None:
        self.project, self.folder = project, folder
        self.voxel_A, self.sign = voxel_A, np.float32(sign)
        self.outputs: dict[str, str] = {}

    def motives(self, iteration: int, R_p2t: Floats, offset_A: Floats, judged: Judged | None
                ) -> None:
        """Motive lists that go into an iteration; `judged` None: the first ones."""
        n = len(R_p2t)
        score, adjusted, twice = (
            (np.concatenate([m.ccc for m in self.project.motives]),
             np.concatenate([m.adjusted_ccc for m in self.project.motives]), np.zeros(n, bool))
            if judged is None else (np.nan_to_num(judged.score),
                                    np.nan_to_num(judged.adjusted), judged.is_duplicate))
        for k in range(len(self.project.motives)):
            name = motl_name(self.project.run.root, k + 1, iteration)
            write_motive_list(self.folder / name, motives_after(
                self.project, k, R_p2t, offset_A, self.voxel_A, score, adjusted, twice))
            self.outputs[f"motl_tom{k + 1}"] = name

    def reference(self, iteration: int, references: Map, mask: Map | None, gain: Floats) -> None:
        """The reference of an iteration (2, 1, n, n, n), both halves' mean, raw and as used.

        `gain` (n//2+1,) are the filter's factors.
        """
        name = reference_name(self.project.run.root, iteration)
        mean = references[:, 0].mean(axis=0, dtype=np.float32)
        self.map(f"unMasked{name}", mean)
        self.map(name, filtered_map(mean, mask, gain))
        self.outputs["reference"] = name

    def average(self, iteration: int, n: int, data: Map) -> None:
        """A final average."""
        name = average_name(self.project.run.root, iteration, n)
        self.map(name, data)
        self.outputs[f"average_{n}"] = name

    def map(self, name: str, data: Map) -> None:
        """A map of ours in PEET's axes, size and contrast."""
        turned = cropped(to_peet_map(data), self.project.run.size_px) * self.sign
        write_mrc(self.folder / name, np.ascontiguousarray(turned), self.voxel_A)

"""What the grey scale of 2D stacks may be: the same particles multiplied by factors.

    OMP_NUM_THREADS=1 python benchmarks/chain/stack_scale.py FOLDER

FOLDER holds the set `particles_empiar10499_warp_70S`. Each factor is averaged from a copy;
half map 1 divided by the factor is compared with that of the original. The table is that of
docs/decisions/0012.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc

FACTORS = (1.0, 0.001, 0.03, 30.0, 1000.0)


def half_map(source: Path, factor: float, folder: Path) -> np.ndarray:
    """Half map 1 of the set with its stacks multiplied."""
    shutil.copytree(source, folder)
    for path in folder.glob("*/*/*.mrcs"):
        stack = read_mrc(path, permissive=True)
        path.chmod(0o644)
        write_mrc(path, stack.data * np.float32(factor), 12.0)
    [optimisation_set] = folder.glob("*_optimisation_set.star")
    subprocess.run(
        [sys.executable, "-m", "sta_mpi", "average", "--optimisation-set", optimisation_set.name,
         "--coordinate-pixel-A", "12", "--quiet", "--output", "average"],
        check=True, cwd=folder, stderr=subprocess.DEVNULL)
    return read_mrc(folder / "average" / "half1.mrc").data


def main(source: Path) -> None:
    """Print the table as Markdown."""
    print("| factor | worst voxel [sd] | correlation |\n| --- | --- | --- |")
    original = None
    for factor in FACTORS:
        with tempfile.TemporaryDirectory() as temporary:
            found = half_map(source, factor, Path(temporary) / "set") / factor
        if original is None:
            original = found
        worst = np.abs(found - original).max() / original.std()
        same = np.corrcoef(found.ravel(), original.ravel())[0, 1]
        print(f"| {factor:g} | {worst:.2g} | {same:.6f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Average 40 real ribosomes and compare the map with the reconstruction supplied with them.

    OMP_NUM_THREADS=1 python benchmarks/chain/ribosomes_40.py FOLDER

FOLDER holds the set `particles_empiar10499_warp_70S` (WarpTools 2D stacks, 12 Å a pixel,
RELION reconstruction of the same box). Printed a shell: FSC of the half maps F, what it
predicts for the correlation of the full map with a map whose noise is independent,
sqrt(2 F / (1 + F)), and the FSC found with the supplied map as it is and mirrored in z.
All under one soft sphere.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere


def main(folder: Path) -> None:
    """Run `average` and print the table as Markdown."""
    [optimisation_set] = folder.glob("*_optimisation_set.star")
    [reconstruction] = folder.glob("*_reconstruct.mrc")
    supplied = read_mrc(reconstruction).data
    with tempfile.TemporaryDirectory() as temporary:
        job = Path(temporary) / "average"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sta_mpi", "average", "--optimisation-set",
                        str(optimisation_set), "--coordinate-pixel-A", "12", "--quiet",
                        "--output", str(job)], check=True)
        elapsed_s = time.perf_counter() - start
        half1, half2 = (read_mrc(job / f"half{h}.mrc") for h in (1, 2))
    box, voxel_A = half1.box_px, half1.voxel_A
    mask = soft_sphere(box, 12, 3)
    both = (half1.data + half2.data) * mask
    mirrored = np.roll(supplied[::-1], 1, axis=0)
    half = fsc(half1.data * mask, half2.data * mask)
    known = np.clip(half, 0, 1)
    predicted = np.sqrt(2 * known / (1 + known))
    as_it_is, in_z = (fsc(both, map_ * mask) for map_ in (supplied, mirrored))
    print(f"sta-mpi average, start to end: {elapsed_s:.1f} s\n")
    print("| shell | Å | half maps | predicted | found, z-mirrored | found, as supplied |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shell in range(1, box // 2 + 1):
        curves = (half, predicted, in_z, as_it_is)
        values = " | ".join(f"{curve[shell]:.2f}" for curve in curves)
        print(f"| {shell} | {box * voxel_A / shell:.1f} | {values} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

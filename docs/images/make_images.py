"""Make the pictures of the documentation from real particles.

    python docs/images/make_images.py SET.star

SET.star is the optimisation set of the 40 ribosomes of EMPIAR-10499 exported by WarpTools
(set `particles_empiar10499_warp_70S` of the test data, from the tests of tomoDRGN). The
particles are averaged with default parameters in a temporary folder, which takes seconds;
the pictures are the ones of the job's own report.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_fsc import read_postprocess
from sta_mpi.report.figures import fsc_curves, map_slices

HERE = Path(__file__).resolve().parent


def main(optimisation_set: Path) -> None:
    """Average, draw, write beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "average"
        subprocess.run([sys.executable, "-m", "sta_mpi", "average", "--optimisation-set",
                        str(optimisation_set), "--coordinate-pixel-A", "12",
                        "--output", str(job), "--quiet"], check=True)
        merged = read_mrc(job / "merged.mrc")
        table = read_postprocess(job / "fsc.star")
    (HERE / "ribosomes_40.png").write_bytes(map_slices(
        merged.data, merged.voxel_A, "70S ribosome in situ: 40 particles, 4 tilt series"))
    (HERE / "ribosomes_40_fsc.png").write_bytes(fsc_curves(
        table.curves, merged.voxel_A, merged.box_px))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

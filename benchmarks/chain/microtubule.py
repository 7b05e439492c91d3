"""Protofilaments of a real microtubule, from a tomogram that comes as a volume alone.

    OMP_NUM_THREADS=1 python benchmarks/chain/microtubule.py FOLDER OUT

FOLDER holds the set `tomogram_microtubule` (13pf_MT.tif: uint8, 1.052 nm a voxel, protein bright).
Two ends of the axis are marked by hand. First with our commands: `seed` along the axis every 82 Å
(a tubulin dimer), `average`, `align`. Then the same as a PEET project: a model with one contour,
initMOTL 2, yaxisType 2, one particle as reference, an iteration without a search and two with one.
Printed: the share of each azimuthal order in the density of the wall; 13 has to win. Pictures of
the averages go to OUT.
"""

import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from sta_mpi.formats.imod_model import model_from_points, write_imod_model
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc

VOXEL_A, RISE_A, BOX = 10.52, 82.0, 40
ENDS_PX = ((83.1, 4.0, 18.0), (21.2, 201.0, 18.0))
"""Ends of the axis xyz, marked on the mean of the middle slices and in a cross-section."""
ORDERS = range(9, 18)
WALL_PX = (7.0, 14.0)
"""Radii of the wall."""

PRM = """fnVolume = {'mt.mrc'}
fnModParticle = {'mt.mod'}
initMOTL = 2
yaxisType = 2
tiltRange = {[-60, 60]}
dPhi = {0, -12:3:12, -6:2:6}
dTheta = {0, -4:2:4, -2:1:2}
dPsi = {0, -4:2:4, -2:1:2}
searchRadius = {0, 4, 2}
hiCutoff = {[0.25, 0.05], [0.25, 0.05], [0.3, 0.05]}
refThreshold = {1000, 1000, 1000}
reference = [1, 12]
fnOutput = 'mt'
szVol = [40, 40, 40]
CCMode = 1
flgWedgeWeight = 1
lstThresholds = 24
maskType = 'cylinder'
outsideMaskRadius = 15
insideMaskRadius = 6
maskBlurStdDev = 1.5
"""


def make_project(folder: Path, out: Path) -> None:
    """Write the volume, the marked axis and a PEET project of it."""
    image = Image.open(folder / "13pf_MT.tif")
    planes = []
    for i in range(image.n_frames):
        image.seek(i)
        planes.append(np.array(image, np.float32))
    volume = np.stack(planes)
    out.mkdir(parents=True, exist_ok=True)
    write_mrc(out / "mt.mrc", volume, VOXEL_A, is_volume=True)
    first, last = (np.array(end) for end in ENDS_PX)
    (out / "mt_axis.csv").write_text("x,y,z\n" + "".join(
        f"{x:.2f},{y:.2f},{z:.2f}\n" for x, y, z in first + np.linspace(0, 1, 4)[:, None]
        * (last - first)))
    length = float(np.linalg.norm(last - first))
    steps = np.arange(4.0, length, RISE_A / VOXEL_A)
    points = first + steps[:, None] / length * (last - first)
    write_imod_model(out / "mt.mod", model_from_points(points, volume.shape[::-1], VOXEL_A))
    (out / "mt.prm").write_text(PRM)


def order_shares(volume: np.ndarray) -> dict[int, float]:
    """Share of each azimuthal order about z in the power of the middle of the wall."""
    n = len(volume)
    c, angle = n // 2, np.radians(np.arange(360.0))
    power = np.zeros(40)
    for radius in np.arange(*WALL_PX, 0.5):
        x, y = c + radius * np.cos(angle), c + radius * np.sin(angle)
        ring = np.mean([map_coordinates(volume, [np.full(360, float(z)), y, x], order=1)
                        for z in range(c - 8, c + 9)], axis=0)
        power += radius * np.abs(np.fft.rfft(ring - ring.mean()))[:40] ** 2
    total = power[list(ORDERS)].sum()
    return {order: float(power[order] / total) for order in ORDERS}


def picture(path: Path, volume: np.ndarray) -> None:
    """Cross-section, section along the axis and wall, side by side."""
    c = len(volume) // 2
    parts = [volume[c - 8 : c + 8].mean(0), volume[:, c - 2 : c + 2].mean(1),
             volume[:, c - 12 : c - 8].mean(1)]
    shown = [(p - p.min()) / np.ptp(p) for p in parts]
    matplotlib.image.imsave(path, np.kron(np.hstack(shown), np.ones((6, 6))), cmap="gray")


def run(*words: object) -> float:
    """Run a command; seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sta_mpi", *map(str, words), "--quiet", "--restart"],
                   check=True)
    return time.perf_counter() - start


def averages(out: Path) -> dict[str, np.ndarray]:
    """Run both ways; name -> average with the axis along z."""
    volume = ["--tomogram", out / "mt.mrc", "--tomogram-contrast", "bright", "--box-px", BOX]
    particles = ["--particles", out / "seeds" / "particles.star", *volume]
    seconds = {
        "seed": run("seed", "--tomogram", out / "mt.mrc", "--points", out / "mt_axis.csv",
                    "--shape", "tube", "--tube-points", "axis", "--radius-A", 115, "--rise-A",
                    RISE_A, "--coordinate-pixel-A", VOXEL_A, "--twist", "zero", "-o",
                    out / "seeds"),
        "average": run("average", *particles, "-o", out / "average"),
        "align": run("align", *particles, "--search", "local", "--iterations", 2, "--lowpass-A",
                     40, "--band-schedule", "fixed", "--angle-range-deg", 8, "--shift-range-A",
                     30, "-o", out / "align"),
        "PEET project": run("align", out / "mt.prm", "--tomogram-contrast", "bright", "-o",
                            out / "peet")}
    print(", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()) + "\n")
    [last] = (out / "peet").glob("mt_AvgVol_4P*.mrc")
    return {"average of the seeds": read_mrc(out / "average" / "merged.mrc").data,
            "align": read_mrc(out / "align" / "merged.mrc").data,
            "PEET project": read_mrc(last).data.swapaxes(0, 1)}


def main(folder: Path, out: Path) -> None:
    """Print the table as Markdown and write the pictures."""
    make_project(folder, out)
    found = averages(out)
    print("| average | " + " | ".join(map(str, ORDERS)) + " |")
    print("| --- |" + " --- |" * len(ORDERS))
    for name, volume in found.items():
        shares = order_shares(volume)
        print(f"| {name} | " + " | ".join(f"{shares[o]:.3f}" for o in ORDERS) + " |")
        picture(out / f"{name.replace(' ', '_')}.png", volume)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Gold-standard refinement of the same 3D subtomograms by RELION's auto-refine and by ours.

    python benchmarks/peers/relion_autorefine_peer.py [--folder F] [--start local|global]

Both start from the phantom low-passed to 50 Å and from the same poses (`local`: 4 degrees an
axis off, up to 9 Å away; `global`: nothing known), with the same half-sets. RELION runs on a
leader and two followers, one a half-set; ours on two ranks. Compared are CPU seconds of all
processes, the resolution that each program states, the resolution of its half maps under one
sphere by one rule, that of their sum against the phantom, and pose errors as they are and
after the common turn and move that leaves the reference free.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from relion_program import (
    common_frame_removed,
    find_program,
    pose_errors,
    relion_poses,
    run,
    version,
)

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star
from sta_mpi.signal.fsc import fsc, resolution_A
from sta_mpi.signal.masks import soft_sphere

sys.path.insert(0, str(Path(__file__).parent.parent / "micro"))
from timing import print_table

LOWPASS_A, DIAMETER_A, RANKS = 50.0, 300, 2
Floats = NDArray[np.float64]


def main() -> None:
    """Make the particles, run both, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="keep the subtomograms and results here")
    parser.add_argument("--particles", type=int, default=48)
    parser.add_argument("--start", choices=["local", "global"], default="local")
    parser.add_argument("--only", choices=["relion", "ours"])
    arguments = parser.parse_args()
    program = find_program("relion_refine_mpi") if arguments.only != "ours" else ""
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "truth.npz").exists():
            make_particles(folder, arguments.particles)
        rows = []
        if arguments.only != "ours":
            rows.append(relion_row(program, folder, arguments.start))
        if arguments.only != "relion":
            rows.append(our_row(folder, arguments.start))
        print_table(f"auto-refine, start {arguments.start}, {RANKS} cores", [
            "program", "CPU, s", "iterations", "stated, Å", "half maps 0.143, Å",
            "phantom 0.5, Å", "error °, median / rms", "error Å", "° in its own frame",
            "Å in its own frame"], rows)


def make_particles(folder: Path, n: int) -> None:
    """Subtomograms of 48 px at 8 Å whose resolution is limited by noise, not by sampling."""
    subprocess.run([sys.executable, str(Path(__file__).with_name("make_subtomograms.py")),
                    str(folder), "--particles", str(n), "--box", "48", "--pixel-A", "8",
                    "--snr", "0.03", "--turn-deg", "4", "--reference-lowpass-A",
                    str(LOWPASS_A)], check=True)


def relion_command(program: str, start: str) -> list[str]:
    """Auto-refine with the settings of RELION's window; 1.8 degrees begin local searches."""
    order = "2" if start == "global" else "4"
    return ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS + 1),
            program, "--i", f"{start}.star", "--o", f"out/auto_{start}", "--auto_refine",
            "--split_random_halves", "--ref", "reference.mrc", "--ini_high", f"{LOWPASS_A:g}",
            "--sym", "C1", "--ctf", "--ctf_corrected_ref", "--pad", "2", "--particle_diameter",
            str(DIAMETER_A), "--flatten_solvent", "--zero_mask", "--norm", "--scale",
            "--dont_check_norm", "--healpix_order", order, "--auto_local_healpix_order", "4",
            "--oversampling", "1", "--offset_range", "3", "--offset_step", "2",
            "--low_resol_join_halves", "40", "--dont_combine_weights_via_disc", "--j", "1",
            "--random_seed", "1"]


def our_command(folder: Path, start: str, output: Path) -> list[str]:
    """Our refinement of the same particles on two ranks, with its checks."""
    ours = folder / "ours"
    mpirun = Path(sys.executable).with_name("mpirun")
    return [str(mpirun), "-n", str(RANKS), sys.executable, "-m", "sta_mpi", "refine",
            "--particles", str(ours / f"{start}.star"), "--tomograms",
            str(ours / "tomograms.star"), "--reference", str(ours / "reference.mrc"),
            "--lowpass-A", f"{LOWPASS_A:g}", "--mask-diameter-A", str(DIAMETER_A), "--halves",
            "keep", "--quiet", "-o", str(output)]


def relion_row(program: str, folder: Path, start: str) -> list[str]:
    """Run RELION's auto-refine; its row of the table."""
    work = folder / "relion"
    root = work / f"out/auto_{start}"
    cpu_s = run(relion_command(program, start), work, root.with_suffix(".log"))
    stated = read_star(root.with_name(root.name + "_model.star"))["model_general"]
    iterations = len(list(root.parent.glob(f"{root.name}_it*_half1_model.star"))) - 1
    halves = [read_mrc(root.with_name(f"{root.name}_half{h}_class001_unfil.mrc")).data
              for h in (1, 2)]
    rows, R, offset = relion_poses(root.with_name(root.name + "_data.star"))
    return [version(program), f"{cpu_s:.0f}", str(iterations),
            f"{stated.number('rlnCurrentResolution'):.1f}",
            *measures(folder, halves, rows, R, offset)]


def our_row(folder: Path, start: str) -> list[str]:
    """Run our refinement; its row of the table."""
    output = folder / f"refine_{start}"
    cpu_s = run([*our_command(folder, start, output), "--restart"], folder,
                folder / f"refine_{start}.log")
    results = json.loads((output / "job.json").read_text())["results"]
    halves = [read_mrc(output / f"run_half{h}_class001_unfil.mrc").data for h in (1, 2)]
    tomograms = read_tomograms(folder / "ours/tomograms.star", folder / "ours")
    found = read_particles(output / "run_data.star", tomograms)
    rows = np.array([int(str(name).split("/")[-1]) - 1 for name in found.names])
    return ["sta_mpi refine", f"{cpu_s:.0f}", str(results["rounds"]),
            f"{results['resolution_A']:.1f}",
            *measures(folder, halves, rows, found.R_p2t, found.offset_A)]


def measures(folder: Path, halves: list[NDArray], rows: NDArray[np.intp], R_p2t: Floats,
             offset_A: Floats) -> list[str]:
    """Resolutions under one sphere, and pose errors."""
    truth = dict(np.load(folder / "truth.npz"))
    phantom = read_mrc(folder / "truth.mrc")
    voxel_A, box = phantom.voxel_A, phantom.box_px
    mask = soft_sphere(box, DIAMETER_A / 2 / voxel_A, 4.0)
    first, second = (half * mask for half in halves)
    between = resolution_A(fsc(first, second), voxel_A, box, 0.143, "interpolated")
    to_truth = resolution_A(fsc(first + second, phantom.data * mask), voxel_A, box, 0.5,
                            "interpolated")
    raw = pose_errors(truth, rows, R_p2t, offset_A)
    own = common_frame_removed(truth, rows, R_p2t, offset_A)
    return [f"{between:.1f}", f"{to_truth:.1f}", *raw.columns(), *own.columns()]


if __name__ == "__main__":
    main()

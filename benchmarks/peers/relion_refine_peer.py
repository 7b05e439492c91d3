"""One alignment of the same 3D subtomograms by relion_refine and by this program, one core.

    OMP_NUM_THREADS=1 python benchmarks/peers/relion_refine_peer.py [--folder F] [--all]

Reference: the phantom itself, on the grey scale of each program's images. Both use Fourier
indices up to --r-max. CPU seconds a particle: for RELION from two runs of different numbers
of particles, which leaves out its start; for ours reading, transform and search, after the
reference is prepared. Local searches are also made five times, each from where the one before
ended, with particles kept in between as a job keeps them; RELION's iterations are alike, as it
reads and transforms each time (with --skip_maximize it ends after one). Beside them stands a
whole run of `sta-mpi align` on all particles, with its start, average and report. Pose errors
are those of the particles that RELION was given.

RELION's options: scale on (no --firstiter_cc), --pad 2, one oversampling, references and
images limited to the same band (--ini_high, --strict_highres_exp), no reconstruction
(--skip_maximize), the true spread of the starts (--sigma_ang). Its "7.5 degrees" means two
things: the coarse grid (--healpix_order 3, ends at 3.75) or what its window calls 7.5
(--healpix_order 2, ends at 7.5); likewise 1.8. Both are run; the coarse 7.5 takes ten
minutes of CPU and needs --all.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from our_search import BoxSearch, Found
from relion_program import find_program, pose_errors, relion_poses, run, version, write_first

from sta_mpi.formats.mrc import read_mrc

sys.path.insert(0, str(Path(__file__).parent.parent / "micro"))
from timing import print_table

DIAMETER_A, MANY = 300, 5


@dataclass(frozen=True)
class Case:
    """One way to search; RELION's CPU time comes from runs of `few` and `many` particles.

    `few` 0: one run, whose start is taken from the case before.
    """

    name: str
    is_global: bool
    order: int
    few: int
    many: int


CASES = [Case("global, 15° then 7.5° (order 2)", True, 2, 2, 4),
         Case("global, 7.5° then 3.75° (order 3)", True, 3, 0, 2),
         Case("local, 3.75° then 1.9° (order 4)", False, 4, 8, 40),
         Case("local, 1.9° then 0.9° (order 5)", False, 5, 8, 24)]


def main() -> None:
    """Make the particles, run both, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="keep the subtomograms here")
    parser.add_argument("--particles", type=int, default=40)
    parser.add_argument("--r-max", type=float, default=24.0)
    parser.add_argument("--sigma-deg", type=float, default=2.0)
    parser.add_argument("--all", action="store_true", help="the ten-minute case too")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of our search")
    arguments = parser.parse_args()
    program = find_program("relion_refine")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "truth.npz").exists():
            subprocess.run([sys.executable, str(Path(__file__).with_name("make_subtomograms.py")),
                            str(folder), "--particles", str(arguments.particles),
                            "--turn-deg", str(arguments.sigma_deg)], check=True)
        rows, start_s = [], 0.0
        for case in CASES:
            if case.few or arguments.all:
                row, start_s = compare(case, program, folder, arguments, start_s)
                rows.append(row)
        print_table(f"search of 3D subtomograms, {version(program)}, r = {arguments.r_max:g}", [
            "search", "particles", "RELION, s/particle", "ours, s/particle", "ratio",
            f"ours, each of {MANY} iterations", "ratio",
            f"whole `align` of {arguments.particles}, s",
            "RELION: °, median / rms", "Å", "ours: °, median / rms", "Å"], rows)


def compare(case: Case, program: str, folder: Path, arguments: argparse.Namespace,
            start_s: float) -> tuple[list[str], float]:
    """One row of the table, and the CPU seconds of RELION's start."""
    truth = dict(np.load(folder / "truth.npz"))
    many = min(case.many, len(truth["R_p2t"]))
    theirs_s = relion(case, many, program, folder, arguments)
    if case.few:
        few_s = relion(case, case.few, program, folder, arguments)
        start_s = theirs_s - many * (theirs_s - few_s) / (many - case.few)
    theirs_s = (theirs_s - start_s) / many
    rows, R, offset = relion_poses(output(case, many, folder).with_name(
        output(case, many, folder).name + "_it001_data.star"))
    ours, once_s = our_search(case, folder, truth, arguments)
    each_s = np.nan if case.is_global else our_search(case, folder, truth, arguments, MANY)[1]
    errors = pose_errors(truth, rows, R, offset)
    our_errors = pose_errors(truth, rows, ours.R_p2t[rows], ours.offset_A[rows])
    times = [f"{theirs_s:.2f}"]
    for ours_s in (once_s, each_s):
        times += [f"{ours_s:.4f}", f"{theirs_s / ours_s:.0f}"]
    return [case.name, str(many), *times, f"{whole_command(case, folder, arguments):.1f}",
            *errors.columns(), *our_errors.columns()], start_s


def output(case: Case, n: int, folder: Path) -> Path:
    """Root name of RELION's output files."""
    return folder / f"relion/out/{'global' if case.is_global else 'local'}_{case.order}_{n}"


def relion(case: Case, n: int, program: str, folder: Path, arguments: argparse.Namespace) -> float:
    """CPU seconds of one iteration of relion_refine on the first n particles."""
    truth = np.load(folder / "truth.npz")
    limit_A = float(truth["box"] * truth["pixel_A"]) / arguments.r_max
    name = "global" if case.is_global else "local"
    particles = write_first(folder / f"relion/{name}.star", n)
    root = output(case, n, folder)
    command = [program, "--i", particles.name, "--o", f"out/{root.name}", "--ref",
               "reference.mrc", "--iter", "1", "--skip_maximize", "--sym", "C1", "--ctf",
               "--ctf_corrected_ref", "--pad", "2", "--particle_diameter", str(DIAMETER_A),
               "--flatten_solvent", "--zero_mask", "--norm", "--scale", "--dont_check_norm",
               "--healpix_order", str(case.order), "--oversampling", "1", "--offset_range", "2",
               "--offset_step", "1", "--ini_high", f"{limit_A:g}", "--strict_highres_exp",
               f"{limit_A:g}", "--j", "1", "--random_seed", "1"]
    if not case.is_global:
        command += ["--sigma_ang", f"{arguments.sigma_deg:g}"]
    return run(command, folder / "relion", root.with_name(root.name + ".log"))


def our_search(case: Case, folder: Path, truth: dict[str, NDArray],
               arguments: argparse.Namespace, n_iterations: int = 1) -> tuple[Found, float]:
    """Our poses of all particles; median CPU seconds a particle and iteration of some rounds."""
    search = BoxSearch(folder / "ours", arguments.r_max, float(truth["noise_sd"]) ** 2 / 2)
    rows = np.arange(len(truth["R_p2t"]))

    def once(chosen: NDArray[np.intp]) -> Found:
        if case.is_global:
            return search.global_search(chosen)
        return search.local_search(chosen, truth["start_R_p2t"], arguments.sigma_deg, n_iterations)

    once(rows[:2])  # compiles, plans and warms
    rounds = [once(rows) for _ in range(arguments.rounds)]
    return rounds[0], float(np.median([x.cpu_s for x in rounds]))


def whole_command(case: Case, folder: Path, arguments: argparse.Namespace) -> float:
    """CPU seconds of `sta-mpi align` on all particles, from its start to its report."""
    name, ours = "global" if case.is_global else "local", folder / "ours"
    reference = read_mrc(ours / "reference.mrc")
    limit_A = reference.box_px * reference.voxel_A / arguments.r_max
    return run([sys.executable, "-m", "sta_mpi", "align", "--particles",
                str(ours / f"{name}.star"), "--tomograms", str(ours / "tomograms.star"),
                "--reference", str(ours / "reference.mrc"), "--search", name, "--iterations", "1",
                "--lowpass-A", f"{limit_A:g}", "--shift-range-A", "15", "--angle-range-deg",
                f"{5 * arguments.sigma_deg:g}", "--oracle-particles", "0", "--quiet", "--restart",
                "-o", str(folder / f"align_{name}")], folder, folder / f"align_{name}.log",
               {"OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()

"""The five-series tutorial at full size: a twin of EMPIAR-10164, from picks to a sharpened map.

    OMP_NUM_THREADS=1 python benchmarks/empiar10164_twin/twin.py --data DATA -o WORK [--ranks 2]

DATA is the RELION 5 project of EMPIAR-10164 of the test data. From it come the tilt geometry,
defocus and dose of the five series, the particle poses of its first bin-1 refinement, the spheres
that a person marked, and the atomic model that was built into its final map. WORK takes about
35 GB: tilt images of 4000 × 4000 px, and particles between rounds.

The chain starts from jittered places and the normals of the marked spheres (`picks.py`) and runs
`chain.toml`; the comparison averages the true poses, moved to the frame of the chain's map, and
is measured with the chain's mask. With `--series TS_43` a quarter of the particles is run. Each
part that is finished is not run again.
"""

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from picks import write_picks
from scipy.spatial.transform import Rotation

from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.formats.relion_tomograms import read_tomograms

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "chain"))
from chain_jobs import particles_of, record, run  # noqa: E402
from lattice_truth import compare, shared_frame, summary  # noqa: E402

SERIES = ("TS_01", "TS_03", "TS_43", "TS_45", "TS_54")
SNR = 0.0162
"""For 3.2-3.4 Å with the true poses of all: a quarter of them reaches 3.5 Å."""
MODEL_B_A2 = 80.0
"""The Guinier slope of the project's final map is -82.7 Å^2."""
PUBLISHED = (
    ("published, PEET: 64-128 cores, to 3.8 Å", "104 h", "about 11,000"),
    ("published, RELION 5: two GPUs, to 3.93 Å before tilt-series refinement", "17 h", "-"))


def simulate(data: Path, work: Path, ranks: int, series: list[str]) -> None:
    """The tilt series, and the places of the particles: real lists hold some units twice."""
    chosen = [word for name in series for word in ("--series", name)]
    centre = ["--model-centre-A", "129.6"] * 3
    run(ranks, data, "simulate", "--like", "Refine3D/job023/run_optimisation_set.star", "--model",
        "ModelAngelo/job080/job080.cif", "--model-b-factor-A2", MODEL_B_A2, *centre, *chosen,
        "--snr", SNR, "--truth-box-px", 192, "--image-type", "float16", "--quiet",
        "-o", work / "twin")
    run(1, work, "select", "--optimisation-set", "twin/optimisation_set.star",
        "--min-distance-A", 20, "--quiet", "-o", "places")


def write_oracle(work: Path) -> None:
    """The true poses in the frame of the chain's map."""
    tomogram_file = work / "twin/tomograms.star"
    turn_deg, height_A = shared_frame(work / "chain/bin1/run_data.star",
                                      work / "places/particles.star", tomogram_file, "C6")
    tomograms = read_tomograms(tomogram_file)
    true = read_particles(work / "places/particles.star", tomograms)
    turn = Rotation.from_euler("z", -turn_deg, degrees=True).as_matrix()
    moved = true.with_poses(true.R_p2t @ turn,
                            true.position_A - true.xyz_A - height_A * true.R_p2t[:, :, 2])
    moved = replace(moved, half=np.zeros(len(moved), np.int8))
    (work / "oracle_picks").mkdir(exist_ok=True)
    write_particles(work / "oracle_picks/particles.star", moved, tomograms)
    write_optimisation_set(
        work / "oracle_picks/optimisation_set.star",
        OptimisationSet(particles=work / "oracle_picks/particles.star",
                        tomograms=tomogram_file), project_dir=work)


def oracle(work: Path, ranks: int) -> None:
    """Average the true poses; FSC and sharpening with the chain's mask."""
    if not (work / "oracle_picks/optimisation_set.star").exists():
        write_oracle(work)
    run(ranks, work, "average", "--optimisation-set", "oracle_picks/optimisation_set.star",
        "--symmetry", "C6", "--binning", 1, "--box-px", 192, "--halves", "clusters", "--quiet",
        "-o", "oracle")
    for command in ("fsc", "postprocess"):
        run(1, work, command, "--half1", "oracle/half1.mrc", "--mask", "chain/mask/mask.mrc",
            "--quiet", "-o", f"oracle_{command}")


def row(work: Path, name: str, folder: Path) -> str:
    """A row of the table."""
    job = record(folder)
    cells = [name, clock(job["elapsed_s"]), f"{job['elapsed_s'] * job['ranks'] / 3600:.3f}",
             f"{job.get('cpu_s', 0) / 3600:.3f}", f"{job.get('peak_memory_GiB') or 0:.1f}",
             f"{job.get('read_GiB', 0):.1f}", f"{job.get('written_GiB', 0):.1f}"]
    particles = particles_of(folder)
    if particles is not None and name != "some":
        found = summary(compare(particles, work / "places/particles.star",
                                work / "twin/tomograms.star", "C6"))
        cells += [f"{found['picks']}", f"{100 * found['found']:.1f}",
                  f"{100 * found['false']:.1f}",
                  f"{found['angle_median_deg']:.2f}, {found['angle_rms_deg']:.2f}",
                  f"{found['shift_median_A']:.2f}, {found['shift_rms_A']:.2f}"]
    else:
        cells += [""] * 5
    resolution = job["results"].get("resolution_A")
    return "| " + " | ".join([*cells, f"{resolution:.2f}" if resolution else ""]) + " |"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds // 60)} min {round(seconds % 60):02d} s"


def print_table(work: Path) -> None:
    """Stages, sums, comparison and published times as Markdown."""
    head = ("stage", "wall", "core h", "CPU h", "peak GiB a rank", "read GiB", "written GiB",
            "picks", "found %", "false %", "angle ° (median, rms)", "place Å (median, rms)",
            "resolution Å")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    stages = sorted((work / "chain").glob("*/job.json"), key=lambda p: record(p.parent)["started"])
    for file in stages:
        print(row(work, file.parent.name, file.parent))
    jobs = [record(file.parent) for file in stages]
    total = {key: sum(j.get(key, 0) or 0 for j in jobs)
             for key in ("elapsed_s", "cpu_s", "read_GiB", "written_GiB")}
    hours = sum(j["elapsed_s"] * j["ranks"] for j in jobs) / 3600
    peak = max(j.get("peak_memory_GiB") or 0 for j in jobs)
    print(f"| all | {clock(total['elapsed_s'])} | {hours:.3f} | {total['cpu_s'] / 3600:.3f} | "
          f"{peak:.1f} | {total['read_GiB']:.1f} | {total['written_GiB']:.1f} | | | | | | |")
    if (work / "oracle_fsc/job.json").exists():
        print(row(work, "true poses, average", work / "oracle"))
        print(row(work, "true poses, chain's mask", work / "oracle_fsc"))
    for text, wall, core_hours in PUBLISHED:
        print(f"| {text} | {wall} | {core_hours} |" + " |" * 10)
    last = record(work / "chain/bin1")["results"]
    print(f"\nuncertainty of the bin-1 poses by the Fisher information (no neighbours): median "
          f"{last['median_sigma_angle_deg']:.3f} deg, {last['median_sigma_shift_A']:.3f} Å")


def main() -> None:
    """Simulate, pick, run the chain and its comparison, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--series", action="append", default=[], choices=SERIES)
    parser.add_argument("--max-memory-GiB", type=float, default=16.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    work, data = args.output.resolve(), args.data.resolve()
    work.mkdir(parents=True, exist_ok=True)
    simulate(data, work, args.ranks, args.series or list(SERIES))
    if not (work / "picks/optimisation_set.star").exists():
        write_picks(work / "places/particles.star", work / "twin/tomograms.star",
                    data / "Picks/job009/annotations", work / "picks", args.seed)
    shutil.copy(HERE / "chain.toml", work)
    run(args.ranks, work, "run", "chain.toml", "-o", "chain", "--max-memory-GiB",
        args.max_memory_GiB, "--scratch-dir", work)
    oracle(work, args.ranks)
    print_table(work)


if __name__ == "__main__":
    main()

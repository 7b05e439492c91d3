"""The staged chain against the truth: sphere models of real VLPs, a twin of their tilt series.

    OMP_NUM_THREADS=1 python benchmarks/chain/vlp_truth.py --data DATA -o WORK [--ranks 2]
        [--series TS_01 TS_54] [--seed 1]

DATA is the RELION 5 project of EMPIAR-10164 of the test data. Its tilt geometry, defocus, dose and
particle poses of two series, and its atomic model, make the twin (binning 2, 2.7 Å); the sphere
models are those that a person marked for this project. `run vlp_chain.toml` goes from them to a
sharpened map. `refine` from the true poses, by the settings of the last stage, is the comparison.
Printed as Markdown: units found and false picks by stage, pose errors, resolution, core hours.
"""

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from chain_jobs import particles_of, record, run
from lattice_truth import compare, summary

HERE = Path(__file__).parent
SERIES = ("TS_01", "TS_54")
STAGES = ("reference", "walked", "judged", "good", "good2", "good3", "bin4", "distinct4", "bin2")


def simulate(data: Path, work: Path, arguments: argparse.Namespace) -> None:
    """The twin of two series; finished before: nothing is done."""
    series = [word for name in arguments.series for word in ("--series", name)]
    centre = ["--model-centre-A", "129.6"] * 3
    run(arguments.ranks, data, "simulate", "--like", "Refine3D/job023/run_optimisation_set.star",
        "--model", "ModelAngelo/job080/job080.cif", "--model-b-factor-A2", 60, *centre, *series,
        "--binning", 2, "--snr", arguments.snr, "--truth-box-px", 96, "--truth-binnings", 2,
        "--seed", arguments.seed, "--image-type", "float16", "--quiet", "-o", work / "twin")
    (work / "spheres").mkdir(exist_ok=True)
    for name in arguments.series:
        shutil.copy(data / f"Picks/job009/annotations/{name}_spheres.star", work / "spheres")


def write_chain(work: Path, series: Sequence[str]) -> None:
    """The chain for these two series."""
    names = dict(zip(SERIES, series, strict=True))
    chain = (HERE / "vlp_chain.toml").read_text()
    (work / "vlp_chain.toml").write_text(
        re.sub("|".join(SERIES), lambda found: names[found.group()], chain))


def row(work: Path, name: str, folder: Path) -> str:
    """A row of the table."""
    job = record(folder)
    found = summary(compare(particles_of(folder), work / "twin/particles.star",
                            work / "twin/tomograms.star", "C6"))
    resolution = job["results"].get("resolution_A")
    core_hours = job["elapsed_s"] * job["ranks"] / 3600
    return (f"| {name} | {found['picks']} | {100 * found['found']:.1f} | "
            f"{100 * found['false']:.1f} | {found['angle_rms_deg']:.2f}, "
            f"{found['angle_median_deg']:.2f} | {found['shift_rms_A']:.2f}, "
            f"{found['shift_median_A']:.2f} | {resolution or '':.4} | {core_hours:.3f} |")


def main() -> None:
    """Simulate, run the chain and its comparison, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--snr", type=float, default=0.03)
    parser.add_argument("--series", nargs=2, default=SERIES)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    work = args.output.resolve()
    work.mkdir(parents=True, exist_ok=True)
    simulate(args.data.resolve(), work, args)
    write_chain(work, args.series)
    run(args.ranks, work, "run", "vlp_chain.toml", "-o", "chain")
    last = record(work / "chain/bin2")
    box_px = last["results"]["box_px"]
    run(args.ranks, work, "refine", "--optimisation-set", "twin/optimisation_set.star",
        "--symmetry", "C6", "--binning", 1, "--box-px", box_px, "--lowpass-A",
        record(work / "chain/bin4")["results"]["resolution_A"], "--halves", "clusters",
        "--mask-diameter-A", 110, "--oracle-particles", 0, "--shift-prior-A", 5, "--quiet",
        "-o", "from_truth")
    print("\n| stage | picks | units found, % | false, % | angle, ° (rms, median) | "
          "place, Å (rms, median) | resolution, Å | core hours |")
    print("|---|---|---|---|---|---|---|---|")
    for name in STAGES:
        print(row(work, name, work / "chain" / name))
    print(row(work, "refined from the true poses", work / "from_truth"))


if __name__ == "__main__":
    main()

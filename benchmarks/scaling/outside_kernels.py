"""Where the CPU time of a round goes: kernels, numpy arithmetic, copies, Python, the system.

    python benchmarks/scaling/outside_kernels.py [--boxes 64 192] [--searches local global]
        [--iterations 3]

Needs perf (Debian's linux-perf) and the right to use it. Samples are taken 500 times a second of
CPU time. A sample counts by the library, and in numpy by the function, that it was met in.

*Engine*: one particle and round with the particle in memory, many times over
(`benchmarks/micro/bench_iteration.py`), sampled once it runs. Then, for each box and search,
`align` on one rank, without its check, on all and on half of the particles of a simulated data set:
the difference of the two is what particles cost, their cutting and the noise of the search
included, without start, maps of a round, and figures.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import starfile

CASES = {
    64: (400, "C1", 7.2, ["--pixel-A", "2.7", "--image-width-px", "1024", "--image-height-px",
                          "1024"]),
    192: (120, "C6", 3.24, ["--pixel-A", "1.35", "--image-width-px", "1536", "--image-height-px",
                            "1536", "--phantom", "C6", "--phantom-radius-A", "90",
                            "--min-distance-A", "100"])}
"""Box: particles a series, symmetry (so many that half of them are inserted from their boxes),
resolution of the search [Å], how the data are simulated."""

KERNELS = ("[JIT]", "libfftw3f", "libfftw3", "libscipy_openblas64_", "pypocketfft", "libm",
           "libgcc_s")
ARITHMETIC = ("FLOAT_", "DOUBLE_", "CDOUBLE_", "INT_", "LONG_", "BOOL_", "bincount", "interp",
              "binary_search", "pairwise", "matmul", "simd_", "sort", "einsum", "nonzero",
              "npy_c", "npy_e", "log", "exp", "sum_of_products")
ARRAYS = "_multiarray_umath"
COPIES = ("mem", "alloc", "free")
HZ = 500

MICRO = Path(__file__).parent.parent / "micro"
ENGINE = {64: [(0, "box", 2000)], 192: [(2, "box", 400), (3, "padded", 200)]}
"""Box: cases of `bench_iteration`, what they insert, how often they are repeated."""


def kind_of(library: str, symbol: str) -> str:
    """What a sample counts as."""
    if library in KERNELS:
        return "kernels"
    if library == ARRAYS:
        return "numpy arithmetic" if any(a in symbol for a in ARITHMETIC) else "copies"
    if library == "libc":
        return "copies" if any(c in symbol for c in COPIES) else "Python"
    return "system" if library == "[kernel" else "Python"


def samples(record: Path) -> Counter[str]:
    """Samples of a recorded run by kind."""
    report = subprocess.run(
        ["perf", "report", "-i", str(record), "--sort", "dso,symbol", "--stdio", "-n",
         "--field-separator", "|"], check=True, capture_output=True, text=True).stdout
    found: Counter[str] = Counter()
    for line in report.splitlines():
        if line.strip() and not line.startswith("#"):
            _, count, library, symbol = line.split("|")[:4]
            # a file's name to its first dot: libc.so.6, [JIT] tid 12, [kernel.kallsyms]
            name = library.strip().split(".")[0].split("-")[0].split(" ")[0]
            found[kind_of(name, symbol)] += int(count)
    return found


def recorded(arguments: list[str], record: Path, *options: str, fds: tuple[int, ...] = ()
             ) -> Counter[str]:
    """Run Python with arguments under perf; its samples by kind."""
    subprocess.run(["perf", "record", "-F", str(HZ), "-e", "cpu-clock", "-o", str(record), *options,
                    sys.executable, *arguments], check=True, pass_fds=fds,
                   capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return samples(record)


def engine(case: int, rounds: int, record: Path) -> tuple[int, Counter[str]]:
    """Rounds of a particle and their samples, which begin when the engine says so."""
    reads, writes = os.pipe()
    code = ("import os, sys; sys.path.insert(0, sys.argv[1]); import bench_iteration; "
            f"bench_iteration.repeat({case}, {rounds}, lambda: os.write({writes}, b'enable\\n'))")
    try:
        return rounds, recorded(["-c", code, str(MICRO)], record, "--delay=-1",
                                f"--control=fd:{reads}", fds=(reads, writes))
    finally:
        os.close(reads)
        os.close(writes)


def half_of(particles: Path, output: Path) -> None:
    """The first half of the particles of every tomogram."""
    tables = starfile.read(particles, always_dict=True)
    rows = tables["particles"]
    number = rows.groupby("rlnTomoName").cumcount()
    total = rows.groupby("rlnTomoName")["rlnTomoName"].transform("size")
    tables["particles"] = rows[number < total // 2]
    starfile.write(tables, output)


def cost(folder: Path, box: int, search: str, iterations: int) -> tuple[int, Counter[str]]:
    """Particles and samples by which a run on all of them exceeds one on half of them."""
    n, symmetry, lowpass_A, simulated = CASES[box]
    data = folder / f"box{box}"
    if not data.exists():
        subprocess.run([sys.executable, "-m", "sta_mpi", "simulate", "--n-series", "2",
                        "--n-particles", str(n), "--perturb-angle-deg", "2", "--perturb-shift-A",
                        "3", "--truth-box-px", str(box), *simulated, "-o", str(data), "--quiet"],
                       check=True)
        half_of(data / "particles.star", data / "half.star")
    job = ["-m", "sta_mpi", "align", "--quiet", "--tomograms", str(data / "tomograms.star"),
           "--reference", str(data / "truth.mrc"), "--box-px", str(box), "--symmetry", symmetry,
           "--lowpass-A", str(lowpass_A), "--band-schedule", "fixed", "--search", search,
           "--global-rounds", str(iterations), "--no-early-stop", "--oracle-particles", "0",
           "--iterations", str(iterations)]
    # the first run compiles what a machine has not met before
    recorded([*job, "--particles", str(data / "half.star"), "-o", str(folder / search)],
             folder / "record")
    found = [recorded([*job, "--particles", str(data / name), "-o", str(folder / name / search)],
                      folder / "record") for name in ("particles.star", "half.star")]
    found[0].subtract(found[1])
    return 2 * n - 2 * (n // 2), found[0]


def main() -> None:
    """Simulate, run, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--boxes", type=int, nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--searches", nargs="*", default=["local", "global"])
    parser.add_argument("--iterations", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for box in options.boxes:
            for case, inserted, many in ENGINE[box]:
                show(f"engine, box {box}, {inserted}", *engine(case, many, Path(name) / "record"))
        for box in options.boxes:
            for search in options.searches:
                n, found = cost(Path(name) / str(box), box, search, options.iterations)
                show(f"align, box {box}, {search}", n * options.iterations, found)


def show(name: str, rounds: int, found: Counter[str]) -> None:
    """Print what the rounds of particles cost, and the shares of the kinds."""
    total = found.total()
    shares = ", ".join(f"{kind} {100 * count / total:.1f} %"
                       for kind, count in found.most_common())
    print(f"{name}: {1e3 * total / HZ / rounds:.1f} ms a particle and round, of it {shares}",
          flush=True)


if __name__ == "__main__":
    main()

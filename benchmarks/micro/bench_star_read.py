"""Time and peak memory of reading and writing a STAR table of many particles.

Run by hand: python benchmarks/micro/bench_star_read.py [rows, default 1000000]
The table has the 25 columns of a RELION 5 refinement, vectors of 40 visible tilts included.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import StarTable

NUMBERS = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi",
           "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnAngleTiltPrior", "rlnAnglePsiPrior",
           "rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst",
           "rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst",
           "rlnCenteredCoordinateZAngst", "rlnNormCorrection", "rlnLogLikeliContribution",
           "rlnMaxValueProbDistribution")
INTEGERS = ("rlnOpticsGroup", "rlnGroupNumber", "rlnClassNumber", "rlnRandomSubset")


def make_table(n: int) -> StarTable:
    """A table of n rows: 17 numbers, 4 integers, 3 texts and a vector."""
    rng = np.random.default_rng(1)
    visible = np.array(["[" + ",".join("01"[b] for b in row) + "]"
                        for row in rng.integers(0, 2, (64, 40))], "S")
    number = np.arange(n).astype("S")
    columns = {
        "rlnTomoName": np.array(["TS_01", "TS_43"], "S")[rng.integers(0, 2, n)],
        "rlnTomoParticleName": np.char.add(b"TS_01/", number),
        "rlnTomoVisibleFrames": visible[rng.integers(0, 64, n)],
        "rlnImageName": np.char.add(np.char.add(b"Extract/job020/Subtomograms/TS_01/", number),
                                    b"_stack2d.mrcs")}
    columns |= {label: rng.normal(0, 100, n) for label in NUMBERS}
    columns |= {label: rng.integers(1, 3, n) for label in INTEGERS}
    return StarTable("particles", columns)


def main() -> None:
    """Print one JSON row."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "particles.star"
        if len(sys.argv) > 2:
            path = Path(sys.argv[2])
        else:
            start = time.perf_counter()
            write_star(path, [make_table(n)])
            print(json.dumps({"write_numbers_s": round(time.perf_counter() - start, 2),
                              "includes": "making the table"}))
            # A process of its own, so that the peak is the reader's.
            subprocess.run([sys.executable, __file__, str(n), str(path)], check=True)
            return
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        start = time.perf_counter()
        table = read_star(path)["particles"]
        read_s = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        start = time.perf_counter()
        angles = [table.floats(label) for label in NUMBERS]
        parse_s = time.perf_counter() - start
        start = time.perf_counter()
        write_star(path.with_name("again.star"), [table])
        write_s = time.perf_counter() - start
        print(json.dumps({
            "rows": table.n_rows, "columns": len(table.labels),
            "file_MiB": round(path.stat().st_size / 2**20), "read_s": round(read_s, 2),
            "read_peak_GiB": round(peak, 2), "before_GiB": round(base, 2),
            "numbers_of_17_columns_s": round(parse_s, 2), "write_unchanged_s": round(write_s, 2),
            "same": path.read_bytes() == path.with_name("again.star").read_bytes(),
            "n_angles": len(angles)}))


if __name__ == "__main__":
    main()

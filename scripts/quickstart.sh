#!/usr/bin/env bash
# From a fresh clone to a first map: install, simulate a small data set, align and average it.
#
#   scripts/quickstart.sh [OUTPUT]      default: quickstart_out
#
# Needs Python 3.11 with venv, nothing else: no root, no system MPI. It takes about two minutes on
# two cores, downloads included. Run it again and it only says where the results are;
# remove the output folder to start over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out="${1:-quickstart_out}"
scripts/make_venv.sh mpich
export PATH="$PWD/.venv/bin:$PATH"
mkdir -p "$out"

echo
echo "1. Simulate 3 tilt series of 40 particles; the poses written are up to 6° and 8 Å wrong."
mpirun -n 2 sta-mpi simulate --n-series 3 --n-particles 40 --perturb-angle-deg 6 \
    --perturb-shift-A 8 --output "$out/simulated"

echo
echo "2. Average at the wrong poses."
mpirun -n 2 sta-mpi average --optimisation-set "$out/simulated/optimisation_set.star" \
    --box-px 48 --output "$out/average"

echo
echo "3. Refine: half-sets kept apart, from the average at 40 Å, until nothing improves."
mpirun -n 2 sta-mpi refine --optimisation-set "$out/simulated/optimisation_set.star" \
    --box-px 48 --lowpass-A 40 --angle-range-deg 10 --shift-range-A 12 --output "$out/refine"

python - "$out" << 'EOF_PYTHON'
import json, pathlib, sys

before, after = (
    json.loads((pathlib.Path(sys.argv[1]) / job / "job.json").read_text())["results"]["resolution_A"]
    for job in ("average", "refine"))
print(f"\nResolution (FSC 0.143 of the half maps): {before:.1f} Å before refinement, {after:.1f} Å after.")
EOF_PYTHON
echo "Open the report in a browser: $(realpath "$out/refine/report.html")"

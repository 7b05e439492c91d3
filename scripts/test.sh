#!/usr/bin/env bash
# Install sta_mpi for development into .venv and check it: lint, types, layers, tests.
#
#   scripts/test.sh [arguments of pytest]
#
# With no arguments all fast tests run. For others: -m slow, tests/signal, -k fsc, -m gpu ...
# The last line is pytest's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/make_venv.sh mpich,model,test
export PATH="$PWD/.venv/bin:$PATH"
# Ranks are the unit of parallel work here: more threads would only compete for cores.
export OMP_NUM_THREADS=1
# Tests start the program some hundred times, and without kept byte code it is compiled each time.
unset PYTHONDONTWRITEBYTECODE

# One line for a check that passes, all it said for one that fails.
check() {
    local name="$1" log=".venv/$1.log"
    shift
    if ! "$@" > "$log" 2>&1; then
        cat "$log"
        echo "test.sh: $name found faults" >&2
        exit 1
    fi
    printf '%-14s%s\n' "$name" "$(grep -v '^ *$' "$log" | tail -n 1)"
}

check ruff ruff check .
check mypy mypy
check lint-imports lint-imports

# Tests of one file share fixtures, so they stay in one process.
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not gpu" "$@"

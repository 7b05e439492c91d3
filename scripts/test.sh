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

echo "ruff:     $(ruff check . | tail -n 1)"
ruff check --quiet .
echo "mypy:     $(mypy | tail -n 1)"
lint-imports > .venv/lint-imports.txt || { cat .venv/lint-imports.txt; exit 1; }
echo "layers:   $(grep 'Contracts:' .venv/lint-imports.txt)"

exec python -m pytest -m "not slow and not gpu" "$@"

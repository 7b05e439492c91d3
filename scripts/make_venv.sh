#!/usr/bin/env bash
# Make .venv in the root of the repository and install sta_mpi into it, editable.
#
#   scripts/make_venv.sh EXTRAS     EXTRAS as in "mpich" or "mpich,model,test"
#
# Needs Python 3.11 or newer with its venv module; no root, no system MPI. A second call with
# the same extras and an unchanged setup.py does nothing. PYTHON chooses another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras="${1:?usage: scripts/make_venv.sh EXTRAS, for example mpich}"

is_usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python3.14}; do
        if command -v "$candidate" > /dev/null && is_usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "make_venv.sh: no Python 3.11 or newer with venv found (tried" \
        "${PYTHON:-python3.11, python3, ...}). Install python3 and python3-venv, or set PYTHON." >&2
    exit 1
}

if ! .venv/bin/python -c '' 2> /dev/null; then
    python="$(find_python)"
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

stamp=".venv/installed-${extras//,/-}"
if ! cmp --silent setup.py "$stamp"; then
    echo "installing sta_mpi[$extras] into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
    cp setup.py "$stamp"
fi

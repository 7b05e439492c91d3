"""Entry point of `sta-mpi` and `python -m sta_mpi`."""

import os
import sys


def main() -> None:
    """Run the command line; the exit code is one of sta_mpi.errors."""
    # One thread in every library: ranks are the unit of parallel work, and threaded
    # sums of a BLAS would depend on the number of threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from sta_mpi.cli.main import cli

    sys.exit(cli.main(standalone_mode=True))


if __name__ == "__main__":
    main()

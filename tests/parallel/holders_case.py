"""The toy job in rounds, for `mpirun -n N python tests/parallel/holders_case.py`.

Prints whether all rounds gave the same bits, and how many units went where they were to go.
"""

import sys
from types import SimpleNamespace

from toy_job import ToyJob

from sta_mpi.parallel import run_job, run_main, start_runtime

UNITS = 48


def main():
    runtime = start_runtime()
    options = SimpleNamespace(units=UNITS, edge=12, sleep=0.004, bad=[], fail_in="",
                              fail_rank=-1, fail_after=0)

    def run():
        results, holders, wanted = [], [None], None
        for _ in range(2):
            results.append(run_job(ToyJob(options), runtime, holders=holders[-1]))
            holders.append(results[-1].unit_rank)
        # all ranks are asked to take what their neighbour has
        wanted = {unit: (rank + 1) % runtime.size for unit, rank in holders[-1].items()}
        results.append(run_job(ToyJob(options), runtime, holders=wanted))
        if runtime.is_root:
            first = results[0].outputs
            equal = [all(first[k].tobytes() == r.outputs[k].tobytes() for k in first)
                     for r in results]
            print("equal bits:", *equal)
            print("units with a rank:", *(len(r.unit_rank) for r in results))
            print("went back:", agreeing(holders[1], results[1].unit_rank))
            print("went to the next rank:", agreeing(wanted, results[2].unit_rank))

    return run_main(runtime, run)


def agreeing(wanted, found):
    """How many units were done by the rank that was to do them."""
    return sum(found[unit] == rank for unit, rank in wanted.items())


if __name__ == "__main__":
    sys.exit(main())

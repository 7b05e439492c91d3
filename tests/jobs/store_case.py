"""Two averages in one run with kept particles, for `mpirun -n N python tests/jobs/store_case.py`.

    store_case.py OPTIMISATION_SET PRECISION MEMORY_BYTES SCRATCH_BYTES

The bytes are the room of a rank. Prints a digest of both rounds' maps, and hits and cuts of
all ranks after each round.
"""

import hashlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from sta_mpi.jobs.average import AverageJob
from sta_mpi.jobs.averaging import make_setup, memory_plan
from sta_mpi.jobs.inputs import assign_halves, load_set
from sta_mpi.jobs.parameters.average import AverageParameters
from sta_mpi.jobs.particle_store import ParticleStore
from sta_mpi.jobs.store_plan import StorePlan, make_store_plan
from sta_mpi.parallel import run_job, run_main, start_runtime


def main(optimisation_set, precision, memory_bytes, scratch_bytes):
    runtime = start_runtime()
    parameters = AverageParameters(
        optimisation_set=Path(optimisation_set), box_px=32, unit_particles=1, output=Path("none"))

    def run():
        inputs = load_set(parameters)
        setup = make_setup(inputs, parameters, assign_halves(inputs.particles, "keep", 1, 100.0))
        plan = StorePlan(precision, runtime.size, 1.0, 4e5, 0, 0, 0, float(memory_bytes),
                         float(scratch_bytes), tempfile.gettempdir())
        check_plan(runtime, setup)
        holders = None
        with ParticleStore(setup.source, plan) as store:
            kept = replace(setup, source=store)
            for i in range(2):
                result = run_job(AverageJob(kept, f"round {i}"), runtime, holders=holders)
                holders = result.unit_rank
                tell(runtime, result, store)
            rows = [u.payload[1] for u in AverageJob(kept, "").units()
                    if holders[u.id] == runtime.rank]
            store.keep_only(np.concatenate(rows).tolist())
            held = sum(runtime.allgather(store.counts.particles))
            if runtime.is_root:
                print("held", held)

    return run_main(runtime, run)


def check_plan(runtime, setup):
    """All ranks plan alike, with and without a scratch folder of their own."""
    for limit in (None, 1e-3):
        options = SimpleNamespace(precision="float32", scratch_dir=None, max_memory_GiB=limit,
                                  dedicated_master=runtime.size > 1)
        plan = make_store_plan(setup, runtime, options, memory_plan(setup))
        assert len(set(map(repr, runtime.allgather(plan)))) == 1
        assert plan.workers == max(1, runtime.size - 1)
        assert (plan.n_memory == 24) == (limit is None), plan.line()


def tell(runtime, result, store):
    """Print what must not depend on ranks, and what was cut."""
    counts = runtime.allgather(store.counts)
    if runtime.is_root:
        halves = result.outputs[0].halves
        bits = halves.half1.data.tobytes() + halves.half2.data.tobytes()
        print(hashlib.sha256(bits).hexdigest()[:16], sum(c.hits for c in counts),
              sum(c.cuts for c in counts))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""References of a round: prepared once a node, the same bits as prepared alone."""

import numpy as np
import pytest

from sta_mpi.align.reference import prepare_reference
from sta_mpi.jobs.reference_shelf import ReferenceShelf
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.signal.fft import FftPlans

N, R_MAX = 16, 5.0

ON_RANKS = """
import numpy as np
import sta_mpi.jobs.reference_shelf as module
from sta_mpi.align.reference import prepare_reference
from sta_mpi.parallel.runtime import start_runtime
from sta_mpi.signal.fft import FftPlans

made = []
def counted(*words, **names):
    made.append(1)
    return prepare_reference(*words, **names)
module.prepare_reference = counted

runtime, plans = start_runtime(), FftPlans(effort="estimate")
maps = np.random.default_rng(1).normal(size=(2, 2, 16, 16, 16)).astype(np.float32)
shelf, curves = module.ReferenceShelf(), [None, np.linspace(1, 0, 9)]
for r_max in (5.0, 6.0):
    for _ in range(3):
        found = shelf.take(maps, None, r_max, curves, plans, runtime)
    for half in range(2):
        for k in range(2):
            alone = prepare_reference(maps[half, k], None, r_max, plans, shell_filter=curves[k])
            assert np.array_equal(found[half][k].volume.data, alone.volume.data)
            assert np.array_equal(found[half][k].shell_power, alone.shell_power)
    runtime.barrier()
    del found
    shelf.release(runtime)
total = sum(runtime.allgather(len(made)))
if runtime.is_root:
    print("prepared", total)
"""


def test_references_are_those_prepared_alone_and_stay_until_released():
    maps = np.random.default_rng(0).normal(size=(2, 1, N, N, N)).astype(np.float32)
    plans, runtime, shelf = FftPlans(effort="estimate"), Runtime(), ReferenceShelf()
    found = shelf.take(maps, None, R_MAX, [None], plans, runtime)
    assert shelf.take(maps, None, R_MAX, [None], plans, runtime) is found
    for half in range(2):
        alone = prepare_reference(maps[half, 0], None, R_MAX, plans)
        volume = found[half][0].volume
        assert np.array_equal(volume.data, alone.volume.data)
        for name in ("n", "scale", "r_max_px", "reach", "row", "plane"):
            assert getattr(volume, name) == getattr(alone.volume, name)
    shelf.release(runtime)
    wider = shelf.take(maps, None, R_MAX + 1, [None], plans, runtime)
    assert wider[0][0].volume.reach > found[0][0].volume.reach


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_reference_is_prepared_by_one_rank_of_the_node(mpirun, ranks):
    run = mpirun(ranks, "-c", ON_RANKS)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["prepared", "8"]

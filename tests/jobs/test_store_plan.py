"""Where particles are to be kept: sizes in, a plan out; nothing here reads a file."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sta_mpi.jobs.parameters.particle_store import ParticleStoreParameters
from sta_mpi.jobs.store_plan import StoreSizes, free_scratch_bytes, plan_store
from sta_mpi.parallel.memory import GiB, MemoryPlan, room_GiB

SIZES = StoreSizes(n_particles=100, workers=4, mean_bytes=8.0, largest_bytes=10.0,
                   memory_bytes=0.0, scratch_bytes=0.0)


@pytest.mark.parametrize(("memory", "scratch", "precision", "level", "places"), [
    (200, 0, "float32", "memory", (100, 0, 0)),
    (100, 0, "float16", "memory16", (100, 0, 0)),
    (80, 150, "float32", "scratch", (40, 60, 0)),
    (80, 50, "float32", "recut", (40, 20, 40)),
    (-5, 0, "float32", "recut", (0, 0, 100))])
def test_level_is_the_costliest_place_that_is_used(memory, scratch, precision, level, places):
    plan = plan_store(replace(SIZES, memory_bytes=memory, scratch_bytes=scratch), precision, "d")
    assert plan.level == level
    assert (plan.n_memory, plan.n_scratch, plan.n_recut) == places
    assert plan.line().count("\n") == 0


@given(n=st.integers(0, 10_000), workers=st.integers(1, 300), memory=st.floats(-1e6, 1e6),
       scratch=st.floats(0, 1e6), half=st.booleans())
def test_all_particles_have_a_place_and_more_room_never_makes_it_worse(
        n, workers, memory, scratch, half):
    precision = "float16" if half else "float32"
    sizes = StoreSizes(n, workers, 900.0, 1000.0, memory, scratch)
    plan = plan_store(sizes, precision, "d")
    assert plan.n_memory + plan.n_scratch + plan.n_recut == n
    assert min(plan.n_memory, plan.n_scratch, plan.n_recut) >= 0
    assert plan.n_memory * plan.mean_bytes / workers <= max(0.0, memory) + 1e-6
    more = plan_store(replace(sizes, memory_bytes=2 * abs(memory) + 1e3, scratch_bytes=2 * scratch),
                      precision, "d")
    assert more.n_memory >= plan.n_memory
    assert more.n_recut <= plan.n_recut
    assert more.precision == precision, "the planner never changes bits"


@pytest.mark.parametrize(("memory", "scratch", "advice"), [
    (200, 0, ""), (100, 0, "keep all in memory"), (100, 1000, "keep all in memory"),
    (60, 100, "no cutting again"), (10, 10, "")])
def test_half_precision_is_recommended_where_it_helps(memory, scratch, advice):
    plan = plan_store(replace(SIZES, memory_bytes=memory, scratch_bytes=scratch), "float32", "d")
    assert plan.advice.endswith(advice + "." if advice else "")
    assert bool(plan.advice) == bool(advice)
    assert plan.advice in plan.line()


def test_room_is_the_limit_minus_the_peak():
    plan = MemoryPlan({"a": 2 * GiB}, {"b": GiB})
    assert room_GiB(plan, 3, 20.0, 0.5 * GiB, 100.0) == pytest.approx(20 - 3 * 2.5 - 1)
    assert room_GiB(plan, 3, None, 0.5 * GiB, 10.0) == pytest.approx(10 + 1.5 - 8.5)


def test_a_scratch_folder_in_memory_is_not_counted_as_disk():
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm here")
    assert free_scratch_bytes(Path("/dev/shm")) == 0


def test_scratch_folder_does_not_change_what_is_computed(tmp_path):
    plain, other = (ParticleStoreParameters(output=tmp_path, **more).scientific()
                    for more in ({}, {"scratch_dir": tmp_path}))
    assert plain == other
    half = ParticleStoreParameters(output=tmp_path, precision="float16").scientific()
    assert half != plain

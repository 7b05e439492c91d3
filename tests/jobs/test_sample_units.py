"""Units of a sample lie where the particles of a round lie."""

from types import SimpleNamespace

import numpy as np

from sta_mpi.jobs.averaging import make_units
from sta_mpi.jobs.sample_units import SampleUnits


def make_setup():
    """Three series of 20 particles, in halves at random, in units of 6."""
    rng = np.random.default_rng(1)
    series = [SimpleNamespace(name=f"TS_{i}", n_tilts=3) for i in range(3)]
    return SimpleNamespace(
        half=rng.integers(1, 3, 60).astype(np.int8), parameters=SimpleNamespace(unit_particles=6),
        inputs=SimpleNamespace(series=series, particles=SimpleNamespace(
            i_tomo=np.repeat(np.arange(3), 20))))


def test_units_of_a_sample_hold_each_particle_once_and_its_holder_holds_them_all():
    setup, rows = make_setup(), np.array([0, 1, 2, 3, 4, 25, 26, 44, 59])
    sample, whole = SampleUnits(setup, rows, 2), make_units(setup)
    found = np.concatenate([unit.payload[1] for unit in sample.units])
    assert sorted(found) == sorted(rows)
    assert max(len(unit.payload[1]) for unit in sample.units) == 2
    ranks = {unit.id: unit.id % 4 for unit in whole if unit.id != whole[-1].id}
    holders = sample.holders(ranks)
    for unit in sample.units:
        half, part = unit.payload
        assert (setup.half[part] == half).all()
        parent = next(u for u in whole if part[0] in u.payload[1])
        assert set(part) <= set(parent.payload[1])
        assert unit.group == parent.group
        assert holders.get(unit.id) == ranks.get(parent.id)
    assert len(holders) >= len(sample.units) - 1


def test_units_of_a_round_go_to_ranks_that_have_cut_a_part_of_them_for_the_sample():
    setup, rows = make_setup(), np.array([0, 1, 2, 3, 4, 25, 26, 44, 59])
    sample = SampleUnits(setup, rows, 2)
    done = {unit.id: unit.id % 3 for unit in sample.units}
    holders = sample.holders_of_round(done)
    parts = {unit.id: set(unit.payload[1]) for unit in make_units(setup)}
    assert set(holders) == {i for i, own in parts.items() if own & set(rows)}
    for i, rank in holders.items():
        assert rank in {done[u.id] for u in sample.units if set(u.payload[1]) <= parts[i]}
    assert sample.holders_of_round({}) == {}

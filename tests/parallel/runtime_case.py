"""Checks of the collective parts, for `mpirun -n N python tests/parallel/runtime_case.py NAME`.

Every case prints digests on rank 0 that must not depend on N, or raises.
"""

import hashlib
import sys
import time

import numpy as np

from sta_mpi.errors import DataError
from sta_mpi.parallel import (
    DistributedFft,
    SumSpec,
    fill_shared,
    ordered_plane_sum,
    run_main,
    slab_bounds,
    start_runtime,
)
from sta_mpi.parallel.exact import ExactSum
from sta_mpi.parallel.reduce import reduce_to_slab


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def case_fft(runtime):
    """Transforms of several sizes and precisions against scipy, and their bits."""
    found = []
    for n, kind, tolerance in ((16, np.float64, 1e-13), (15, np.float64, 1e-13),
                               (24, np.float32, 2e-6)):
        volume = np.random.default_rng(n).standard_normal((n, n, n)).astype(kind)
        truth_rft = np.fft.rfftn(np.fft.ifftshift(volume.astype(np.float64))) / n
        z0, z1 = slab_bounds(n, runtime.size)[runtime.rank]
        transform = DistributedFft(runtime, n)
        forward = transform.forward(volume[z0:z1])
        assert forward.dtype == np.result_type(kind, np.complex64)
        assert np.abs(forward - truth_rft[z0:z1]).max(initial=0) < tolerance * n
        back = transform.inverse(forward)
        assert back.dtype == kind
        assert np.abs(back - volume[z0:z1]).max(initial=0) < 20 * tolerance
        plain = transform.inverse(transform.forward(volume[z0:z1], centred=False), centred=False)
        assert np.abs(plain - volume[z0:z1]).max(initial=0) < 20 * tolerance
        for slab in (forward, back, plain):
            found.append(digest(runtime.allgather_rows(slab)))
        for kept in (n // 2, n // 2 + 1, 1):
            first = n // 2 - kept // 2
            middle = (slice(first, first + kept),) * 3
            cropped = runtime.allgather_rows(transform.inverse(forward, kept_px=kept))
            assert cropped.shape == (kept,) * 3
            assert np.abs(cropped - volume[middle]).max() < 20 * tolerance
            found.append(digest(cropped))
    return found


def case_sums(runtime):
    """Reduce-scatter in rounds of a few elements, shared arrays, ordered sums."""
    spec = SumSpec((7, 5, 3), 1e3)
    total = ExactSum("x", spec)
    for i in range(runtime.rank, 12, runtime.size):
        values = np.random.default_rng(i).standard_normal(spec.shape)
        total.add(values, total.check(values))
    found = []
    for round_bytes in (1 << 20, 64 * runtime.size):
        slab = reduce_to_slab(runtime, total, round_bytes=round_bytes)
        z0, z1 = slab_bounds(7, runtime.size)[runtime.rank]
        values = total.fixed.restore(slab).reshape(z1 - z0, 5, 3)
        full = fill_shared(runtime, runtime.shared_array(spec.shape, np.float64), values)
        found.append(digest(full))
        runtime.release_shared(full)
    assert len(set(found)) == 1
    planes = np.random.default_rng(9).standard_normal((7, 4)).astype(np.float32)
    z0, z1 = slab_bounds(7, runtime.size)[runtime.rank]
    found.append(digest(ordered_plane_sum(runtime, planes[z0:z1])))
    assert set(runtime.allgather(tuple(found))) == {tuple(found)}
    return found


def case_stages(runtime):
    """At the end of a stage all shared arrays go back, and new ones can be made."""
    for i in range(3):
        arrays = [runtime.shared_array((n,), np.float64) for n in (1000, 0, 50)]
        for array in arrays:
            if runtime.node_rank == 0:
                array[:] = i
        runtime.barrier()
        assert all((array == i).all() for array in arrays)
        runtime.barrier()
        runtime.release_shared(arrays[2])
        runtime.release_all_shared()
    return ["ok"]


def case_arrays(runtime):
    """What rank 0 sends arrives everywhere; rows come in rank order."""
    wisdom = bytes(range(256)) * 5 if runtime.is_root else None
    assert runtime.bcast_bytes(wisdom) == bytes(range(256)) * 5
    for array in (np.arange(6.0).reshape(2, 3), np.array(2.5), np.zeros((0, 3), np.float32)):
        got = runtime.bcast_array(array if runtime.is_root else None)
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)
    mine = np.full((runtime.rank, 2), runtime.rank, np.int16)
    expected = [rank for rank in range(runtime.size) for _ in range(rank)]
    assert runtime.allgather_rows(mine)[:, 0].tolist() == expected
    gathered = runtime.gather_rows(mine)
    assert (gathered is not None) == runtime.is_root
    assert runtime.allreduce_sum(np.ones(3)).tolist() == [runtime.size] * 3
    assert runtime.stop_requested() is False
    return ["ok"]


def case_slots(runtime):
    """Every key is loaded once where there is room; failures reach all ranks."""
    loads = runtime.shared_array((8,), np.int64)
    cache = runtime.slots(8, (1000,), np.float32)

    def load(key, array):
        loads[key] += 1
        time.sleep(0.01)
        if key == 5:
            raise DataError("planted: series 5 is damaged")
        array[:] = key

    failures = []
    for key in [*range(8), *reversed(range(8))]:
        try:
            with cache.load_once(key, lambda array, key=key: load(key, array)) as array:
                assert (array == key).all()
        except DataError as error:
            failures.append(str(error))
    assert failures == ["planted: series 5 is damaged"] * 2
    runtime.barrier()
    assert loads.tolist() == [1] * 8, loads
    few = runtime.slots(1, (10,), np.int64)
    counts = runtime.shared_array((40,), np.int64)

    def count(key, array):
        counts[key] += 1
        array.fill(key)

    for unit in range(4):
        key = 10 * runtime.node_rank + unit
        with runtime.unit():
            for _ in range(20):
                with few.load_once(key, lambda a, key=key: count(key, a), for_unit=True) as array:
                    time.sleep(0.0005)
                    assert (array == key).all()
    runtime.barrier()
    # with one slot for all: once a unit, not once for each of its twenty particles
    assert counts.max() == 1, counts
    assert counts.sum() == 4 * runtime.node_size
    small = runtime.slots(1, (10,), np.int32)
    for key in range(20):
        with small.load_once(key, lambda array, key=key: array.fill(key)) as array:
            time.sleep(0.0005)
            assert (array == key).all()
    return ["ok"]


def main(name):
    runtime = start_runtime()

    def run():
        result = globals()[f"case_{name}"](runtime)
        if runtime.is_root:
            print(" ".join(result))

    return run_main(runtime, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

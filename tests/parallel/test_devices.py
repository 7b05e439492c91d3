"""Ranks and GPUs: who computes on which, what is said where there is none, and memory."""

import threading

import numpy as np
import pytest

from sta_mpi.errors import ResourceError, UsageError
from sta_mpi.kernels import device as kernels_device
from sta_mpi.parallel.devices import (
    DeviceChoice,
    assign_device,
    check_device_memory,
    select_device,
)
from sta_mpi.parallel.memory import GiB
from sta_mpi.parallel.runtime import Runtime


class ThreadRuntime(Runtime):
    """A rank that is a thread: nodes of equal size, meeting through a barrier."""

    def __init__(self, rank, node_size, size, meeting, board):
        self.rank, self.size, self.node_size = rank, size, node_size
        self.node, self.node_rank = divmod(rank, node_size)
        self.host = f"node{self.node:02d}"
        self._meeting, self._board = meeting, board

    def barrier(self, limit_s=None):
        self._meeting.wait(30)
        return True

    def allgather(self, value):
        self._board[self.rank] = value
        self._meeting.wait(30)
        everyone = list(self._board)
        self._meeting.wait(30)
        return everyone


def on_ranks(n_nodes, node_size, work):
    """Results (or errors) of `work(runtime)` on every rank."""
    size = n_nodes * node_size
    meeting, board, found = threading.Barrier(size), [None] * size, [None] * size

    def run(rank):
        try:
            found[rank] = work(ThreadRuntime(rank, node_size, size, meeting, board))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.fixture
def gpus(monkeypatch):
    """Nodes with GPUs that do not exist: a function (n_devices, free bytes, problems by rank)."""

    def plug(n_devices=1, free=np.inf, problem=lambda: None):
        monkeypatch.setattr(kernels_device, "gpu_problem", problem)
        monkeypatch.setattr(kernels_device, "n_devices", lambda: n_devices)
        monkeypatch.setattr(kernels_device, "use_device", lambda index: f"GPU-{index}")
        monkeypatch.setattr(kernels_device, "device_memory_bytes", lambda: (free, 80 * GiB))

    return plug


@pytest.mark.parametrize("n_devices", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7, 8, 16])
def test_ranks_are_spread_evenly_over_gpus_in_blocks(ranks, n_devices):
    found = [assign_device(rank, ranks, n_devices) for rank in range(ranks)]
    load = np.bincount(found, minlength=n_devices)
    assert found == sorted(found)
    assert load.max() - load[load > 0].min() <= 1
    # no GPU has two ranks while another is idle
    assert (load > 0).sum() == min(ranks, n_devices)


@pytest.mark.parametrize(("rank", "ranks", "n"), [(2, 2, 1), (-1, 2, 1), (0, 1, 0)])
def test_impossible_assignments_are_refused(rank, ranks, n):
    with pytest.raises(ValueError):
        assign_device(rank, ranks, n)


def test_cpu_asks_nobody():
    assert select_device(Runtime(), "cpu") == DeviceChoice()
    assert check_device_memory(Runtime(), DeviceChoice(), {"sums": 1e15}) == 0.0


def test_every_rank_knows_how_many_share_its_gpu(gpus):
    gpus(n_devices=2)
    found = on_ranks(2, 3, lambda runtime: select_device(runtime, "gpu"))
    assert [c.index for c in found] == [0, 0, 1, 0, 0, 1]
    # GPU-0 of one node is not GPU-0 of the other
    assert [c.n_sharing for c in found] == [2, 2, 1, 2, 2, 1]


def test_ranks_that_see_one_gpu_each_take_it(gpus, monkeypatch):
    gpus(n_devices=1)
    name = threading.local()

    def select(runtime):
        name.is_mine = f"GPU-of-rank-{runtime.rank}"
        return select_device(runtime, "gpu")

    monkeypatch.setattr(kernels_device, "use_device", lambda index: name.is_mine)
    found = on_ranks(1, 4, select)
    assert [c.index for c in found] == [0] * 4
    assert [c.n_sharing for c in found] == [1] * 4


def test_all_ranks_name_the_first_one_without_a_gpu(gpus):
    here = threading.local()
    gpus(problem=lambda: "no CUDA GPU is visible" if here.rank in (3, 4) else None)

    def select(runtime):
        here.rank = runtime.rank
        return select_device(runtime, "gpu")

    found = on_ranks(3, 2, select)
    assert all(isinstance(error, UsageError) for error in found)
    assert {str(error) for error in found} == {str(found[0])}
    message = str(found[0])
    assert "no CUDA GPU is visible on rank 3@node01 (and 1 more ranks)" in message
    assert "pip install 'sta_mpi[gpu]'" in message
    assert "--device cpu" in message


def test_gpu_without_its_libraries_is_a_usage_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(kernels_device.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(kernels_device, "is_simulated", lambda: False)
    with pytest.raises(UsageError, match="numba-cuda and cupy are not installed on rank 0@"):
        select_device(Runtime(), "gpu")


@pytest.mark.parametrize(("visible", "fault", "expected"), [
    ("", "error 100", r"no CUDA GPU is visible \(CUDA_VISIBLE_DEVICES is ''\) on rank 0"),
    (None, "\nCUDA driver library\ncannot be found.\n",
     r"no CUDA GPU is visible \(CUDA driver library cannot be found\) on rank 0"),
    (None, None, "the CUDA compiler library NVVM is not found on rank 0")])
def test_gpu_that_cannot_be_used_is_blamed_on_its_cause(monkeypatch, visible, fault, expected):
    from numba import cuda

    monkeypatch.setattr(kernels_device.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(kernels_device, "is_simulated", lambda: False)
    monkeypatch.setattr(kernels_device, "n_devices", lambda: 0)
    monkeypatch.setattr(cuda, "cuda_error", lambda: fault)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UsageError, match=expected):
        select_device(Runtime(), "gpu")


def test_memory_of_a_shared_gpu_is_that_of_all_its_ranks(gpus):
    gpus(n_devices=1, free=40 * GiB)

    def check(runtime):
        return check_device_memory(
            runtime, select_device(runtime, "gpu"), {"sums": 2 * GiB, "reference": GiB})

    expected = 4 * (3 * GiB + kernels_device.RESERVE_BYTES) / GiB
    assert on_ranks(2, 4, check) == pytest.approx([expected] * 8)


def test_too_many_ranks_on_a_gpu_are_refused_with_the_number_that_fits(gpus):
    gpus(n_devices=1, free=8 * GiB)

    def check(runtime):
        return check_device_memory(
            runtime, select_device(runtime, "gpu"), {"samples": 2 * GiB, "reference": GiB})

    found = on_ranks(1, 4, check)
    assert all(isinstance(error, ResourceError) for error in found)
    # a rank takes 3 GiB and 0.59 GiB of reserve: two fit in 8 GiB
    assert "Use at most 2 ranks a GPU" in str(found[0])
    assert "most of it: samples" in str(found[0])


def test_two_ranks_of_mpi_share_the_simulated_gpu(mpirun):
    code = ("from sta_mpi.parallel import start_runtime; "
            "from sta_mpi.parallel.devices import *; r = start_runtime(); "
            "c = select_device(r, 'gpu'); check_device_memory(r, c, {'sums': 1e9}); "
            "everyone = r.gather((c.index, c.n_sharing)); "
            "print(everyone) if r.is_root else None")
    done = mpirun(2, "-c", code, env={"NUMBA_ENABLE_CUDASIM": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[(0, 2), (0, 2)]"

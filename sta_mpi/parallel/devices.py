"""Which GPU a rank computes on, and whether those that share one fit into its memory.

Ranks of a node are spread over the GPUs that they see in blocks: 8 ranks on 2 GPUs are four on
each, 2 ranks on 4 GPUs use the first and the third. Neighbouring ranks share a GPU because
launchers place them on neighbouring cores. A batch system that shows each rank a GPU of its own
(CUDA_VISIBLE_DEVICES) has decided already: a rank that sees one GPU takes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sta_mpi.errors import ResourceError, UsageError
from sta_mpi.parallel.memory import GiB
from sta_mpi.parallel.runtime import Runtime


@dataclass(frozen=True)
class DeviceChoice:
    """What a rank computes on.

    Parameters
    ----------
    device : "cpu" or "gpu"
    index : int        GPU among those that this rank sees; -1 for the CPU
    name : str         unique name of the GPU; empty for the CPU
    n_sharing : int    ranks that compute on the same GPU, this one included; 0 for the CPU
    """

    device: str = "cpu"
    index: int = -1
    name: str = ""
    n_sharing: int = 0


def assign_device(node_rank: int, ranks_on_node: int, n_devices: int) -> int:
    """Index of the GPU of a rank, of `n_devices` that it sees.

    Examples
    --------
    >>> [assign_device(rank, 8, 2) for rank in range(8)]
    [0, 0, 0, 0, 1, 1, 1, 1]
    >>> [assign_device(rank, 2, 4) for rank in range(2)]
    [0, 2]
    """
    if not (0 <= node_rank < ranks_on_node and n_devices > 0):
        raise ValueError(f"rank {node_rank} of {ranks_on_node} on a node, {n_devices} GPUs")
    return node_rank * n_devices // ranks_on_node


def select_device(runtime: Runtime, device: str) -> DeviceChoice:
    """Choose and take the GPU of this rank; UsageError where a rank has none. Collective.

    Every rank raises the same error, which names the first rank that cannot use a GPU.
    """
    if device == "cpu":
        return DeviceChoice()
    from sta_mpi.kernels.device import gpu_problem, n_devices, use_device

    problems = runtime.allgather((runtime.rank, runtime.host, gpu_problem()))
    failed = [(rank, host, problem) for rank, host, problem in problems if problem]
    if failed:
        rank, host, problem = failed[0]
        more = f" (and {len(failed) - 1} more ranks)" if len(failed) > 1 else ""
        raise UsageError(
            f"--device gpu: {problem} on rank {rank}@{host}{more}. Install the GPU libraries with "
            "pip install 'sta_mpi[gpu]', ask the batch system for a GPU on every node "
            "(srun --gpus-per-node=1), or use --device cpu.")
    index = assign_device(runtime.node_rank, runtime.node_size, n_devices())
    name = use_device(index)
    sharing = runtime.allgather((runtime.node, name)).count((runtime.node, name))
    return DeviceChoice("gpu", index, name, sharing)


def check_device_memory(runtime: Runtime, choice: DeviceChoice,
                        rank_bytes: Mapping[str, float]) -> float:
    """Memory that the arrays of this rank's GPU will take [GiB], those of all ranks on it.

    Parameters
    ----------
    rank_bytes : mapping of str to float   arrays that this rank will keep on its GPU [bytes]

    Notes
    -----
    Collective, to be called after `select_device` and before the arrays are made: what is free
    then does not hold the contexts of the ranks. Every rank raises the same ResourceError where
    a GPU is too small. 0 for the CPU.
    """
    if choice.device == "cpu":
        return 0.0
    from sta_mpi.kernels.device import RESERVE_BYTES, device_memory_bytes

    runtime.barrier()  # until all ranks have taken their share of the driver's memory
    free = device_memory_bytes()[0]
    own = sum(rank_bytes.values())
    ranks = runtime.allgather((runtime.node, choice.name, runtime.host, own, free))
    mine = 0.0
    for node, name in dict.fromkeys((r[0], r[1]) for r in ranks):
        here = [r for r in ranks if (r[0], r[1]) == (node, name)]
        needed = sum(r[3] + RESERVE_BYTES for r in here)
        smallest = min(r[4] for r in here)
        if needed > smallest:
            each = needed / len(here)
            fits = int(smallest // each)
            remedy = (f"Use at most {fits} ranks a GPU" if fits
                      else "Use a smaller box, more binning, or a GPU with more memory")
            largest = max(rank_bytes, key=lambda k: rank_bytes[k], default="nothing")
            raise ResourceError(
                f"GPU {name} of {here[0][2]} has {smallest / GiB:.2f} GiB free, its {len(here)} "
                f"rank(s) need {needed / GiB:.2f} GiB (most of it: {largest}). {remedy}, or "
                "--device cpu.")
        if (node, name) == (runtime.node, choice.name):
            mine = needed / GiB
    return mine

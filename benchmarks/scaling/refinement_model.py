"""Where a refinement stops scaling: measured unit times on modelled clusters.

    python benchmarks/scaling/refinement_model.py WORK/chain/bin1 [--particles 15000] [--also OTHER]

The units of every pass of a finished `refine` (its timing.json) are repeated to the number of
particles asked for and scheduled by the discrete-event model of `model.py`, which drives the
program's own scheduler. Around it stand what the machine lacks: images that come from a shared
filesystem, memory whose bandwidth the ranks of a node share, sums that cross the network, and
what lies between the passes (symmetry, inversion, FSC, files). With `--also`, the same refinement
on another number of ranks, that is taken apart into what ranks share and what they do not;
without, ranks share nothing of it. Parameters are those of a usual cluster; each is changed alone
in the last part of the table, which shows what would move the limit.
"""

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from model import Machine, simulate


@dataclass(frozen=True)
class Cluster:
    """What a pass meets on a cluster.

    Parameters
    ----------
    ranks_a_node : int
    filesystem_GBps : float      of the shared filesystem, all nodes together
    node_read_GBps : float       that one node can take
    memory_GBps : float          of a node
    demand_GBps : float          of one rank at full speed
    network_GBps : float         of a node, each way
    latency_s : float            of a message
    """

    ranks_a_node: int = 64
    filesystem_GBps: float = 10.0
    node_read_GBps: float = 2.0
    memory_GBps: float = 300.0
    demand_GBps: float = 4.0
    network_GBps: float = 12.0
    latency_s: float = 5e-6


@dataclass(frozen=True)
class Job:
    """A measured refinement, scaled to the particles asked for.

    Parameters
    ----------
    passes : list of float arrays    seconds of the units of each pass
    series_GB : float                images of a tilt series
    n_series : int
    sums_GB : float                  sums of both halves
    serial_s, shared_s : float       between the passes: on any number of ranks, and on one rank
    """

    passes: list[np.ndarray]
    series_GB: float
    n_series: int
    sums_GB: float
    serial_s: float
    shared_s: float


def between_s(folder: Path) -> tuple[int, float]:
    """Ranks of a `refine`, and seconds of its wall time outside of the passes' units."""
    record = json.loads((folder / "job.json").read_text())
    stages = json.loads((folder / "timing.json").read_text())["stages"]
    return record["ranks"], max(0.0, record["elapsed_s"] - sum(
        max(r["busy_s"] + r["wait_s"] for r in stage["ranks"]) for stage in stages))


def read_job(folder: Path, particles: int | None, series_GB: float, other: Path | None) -> Job:
    """Units of all passes of a `refine` folder, repeated."""
    record = json.loads((folder / "job.json").read_text())
    stages = json.loads((folder / "timing.json").read_text())["stages"]
    share = (particles or record["results"]["particles"]) / record["results"]["particles"]
    passes = []
    for stage in stages:
        seconds = np.array(stage["unit_seconds"])
        passes.append(np.resize(seconds, max(1, round(share * len(seconds)))))
    grid = 2 * record["results"]["box_px"]
    ranks, serial = between_s(folder)
    shared = 0.0
    if other is not None:
        n, more = between_s(other)
        shared = (more - serial) / (1 / n - 1 / ranks)
        serial -= shared / ranks
    return Job(passes, series_GB, max(1, round(5 * share)), 2 * 4 * 8 * grid**2 * (
        grid // 2 + 1) / 1e9, max(serial, 0.0), max(shared, 0.0))


def wall_s(job: Job, cluster: Cluster, ranks: int) -> dict[str, float]:
    """Seconds of each part of the refinement on so many ranks."""
    nodes = math.ceil(ranks / cluster.ranks_a_node)
    on_node = min(ranks, cluster.ranks_a_node)
    slow = max(1.0, on_node * cluster.demand_GBps / cluster.memory_GBps)
    read = min(cluster.node_read_GBps, cluster.filesystem_GBps / nodes)
    machine = Machine(latency_s=cluster.latency_s, load_s=job.series_GB / read,
                      ranks_a_node=cluster.ranks_a_node)
    units = waits = 0.0
    for i, seconds in enumerate(job.passes):
        groups = np.arange(len(seconds)) * job.n_series // len(seconds)
        # later passes find the particles on their rank: no images are read
        own = machine if i in (0, len(job.passes) - 1) else replace(machine, load_s=0.0)
        got = simulate(slow * seconds, groups, ranks, own, dedicated=ranks > 200)
        units += got.wall_s
        waits += got.wall_s * (1 - got.efficiency)
    # reduce and scatter slabs, then gather them: twice the sums through each node's link
    reduce_s = len(job.passes) * (2 * job.sums_GB / cluster.network_GBps * (nodes > 1)
                                  + math.log2(max(2, ranks)) * cluster.latency_s)
    between = job.serial_s + job.shared_s / ranks
    return {"wall": units + reduce_s + between, "units": units, "waiting": waits,
            "sums": reduce_s, "between": between}


def main() -> None:
    """Print efficiency by ranks, and what moves the limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of a finished refine")
    parser.add_argument("--particles", type=int)
    parser.add_argument("--also", type=Path, help="the same refine on another number of ranks")
    parser.add_argument("--series-GB", type=float, default=2.62, help="images as float32")
    parser.add_argument("--ranks", type=int, nargs="*", default=[1, 2, 64, 256, 1024, 10000])
    args = parser.parse_args()
    job = read_job(args.folder, args.particles, args.series_GB, args.also)
    work = sum(float(p.sum()) for p in job.passes)
    print(f"{len(job.passes)} passes, {sum(map(len, job.passes))} units, {work / 3600:.2f} core "
          f"hours of units, sums of {job.sums_GB:.2f} GB, between the passes "
          f"{job.serial_s:.0f} s and {job.shared_s:.0f} s that ranks share\n")
    print("| cluster | ranks | wall s | efficiency | in units s | of it waiting s | sums s | "
          "between s |\n|---|---|---|---|---|---|---|---|")
    usual = Cluster()
    changed = {"usual": usual, "10 x filesystem": replace(usual, filesystem_GBps=100.0,
                                                          node_read_GBps=20.0),
               "2 x memory bandwidth": replace(usual, memory_GBps=600.0),
               "4 x network": replace(usual, network_GBps=48.0)}
    for name, cluster in changed.items():
        for ranks in args.ranks if name == "usual" else args.ranks[-3:-1]:
            t = wall_s(job, cluster, ranks)
            efficiency = (work + job.serial_s + job.shared_s) / (ranks * t["wall"])
            print(f"| {name} | {ranks} | {t['wall']:.1f} | {efficiency:.3f} | {t['units']:.1f} | "
                  f"{t['waiting']:.1f} | {t['sums']:.1f} | {t['between']:.1f} |", flush=True)


if __name__ == "__main__":
    main()

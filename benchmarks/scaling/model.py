"""Discrete-event model of a run: how many ranks can the scheduler keep busy?

    python benchmarks/scaling/model.py [--timings job_timings.json] [--json out.json]

The model drives the same state machine as a real run (`parallel.scheduler`). Around it
stand the times that a real run has: units (drawn from measured ones, or lognormal), the
way of a message, the time rank 0 needs for one message, the read of a group's data once
a node. Efficiency is the sum of unit times over ranks x wall time; what is lost is split
into the wait for rank 0, for data, and the end of the run, where no unit is left.
"""

import argparse
import heapq
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sta_mpi.parallel.job import Unit
from sta_mpi.parallel.scheduler import Done, Lease, Pause, Ready, Scheduler


@dataclass(frozen=True)
class Machine:
    """Times of the machine [s] and its layout.

    Parameters
    ----------
    latency_s : float     way of a message between two ranks
    service_s : float     time of rank 0 for one message: receive, decide, answer
    poll_s : float        mean delay until rank 0 looks for messages (second thread)
    load_s : float        read of one group's data, once a node
    ranks_a_node : int
    """

    latency_s: float = 5e-6
    service_s: float = 30e-6
    poll_s: float = 1e-3
    load_s: float = 5.0
    ranks_a_node: int = 64


@dataclass
class Outcome:
    """What one simulated run gave."""

    ranks: int
    dedicated: bool
    look_ahead: int
    units: int
    wall_s: float
    efficiency: float
    lost_to_data: float
    lost_to_master: float
    lost_at_end: float
    master_busy: float
    loads: int


class Simulation:
    """One run. Events are (time, number, function, arguments) in a heap."""

    def __init__(self, seconds, groups, ranks, machine, dedicated, look_ahead):
        self.seconds = seconds
        self.units = [Unit(i, f"g{group:05d}", float(cost), None)
                      for i, (group, cost) in enumerate(zip(groups, seconds, strict=True))]
        self.machine = machine
        self.dedicated = dedicated
        self.node = {rank: rank // machine.ranks_a_node
                     for rank in range(1 if dedicated else 0, ranks)}
        self.scheduler = Scheduler(self.units, self.node, look_ahead=look_ahead)
        self.heap = []
        self.number = 0
        self.master_free = self.master_busy = 0.0
        self.queue = {worker: [] for worker in self.node}
        self.idle_since = dict.fromkeys(self.node, 0.0)
        self.waited = dict.fromkeys(self.node, 0.0)
        self.loaded = {}
        self.data_wait = 0.0
        self.end = 0.0

    def at(self, time, function, *arguments):
        self.number += 1
        heapq.heappush(self.heap, (time, self.number, function, arguments))

    def run(self):
        for worker in self.node:
            self.serve(0.0, Ready(worker))
        while self.heap:
            time, _, function, arguments = heapq.heappop(self.heap)
            function(time, *arguments)
        return self.end

    def serve(self, time, event):
        """Rank 0 takes one message; messages queue up where it is busy."""
        machine = self.machine
        look = time + (0.0 if self.dedicated else machine.poll_s)
        start = max(look, self.master_free)
        self.master_free = start + machine.service_s
        self.master_busy += machine.service_s
        for action in self.scheduler.handle(event):
            if isinstance(action, Lease):
                self.at(self.master_free + machine.latency_s, self.receive, action.worker,
                        action.unit)
            elif isinstance(action, Pause):
                self.end = max(self.end, self.master_free)

    def receive(self, time, worker, unit):
        self.queue[worker].append(unit)
        if self.idle_since[worker] is not None:
            self.waited[worker] += time - self.idle_since[worker]
            self.start(time, worker)

    def start(self, time, worker):
        self.idle_since[worker] = None
        unit = self.queue[worker].pop(0)
        key = (self.node[worker], self.units[unit].group)
        ready = self.loaded.setdefault(key, time + self.machine.load_s)
        begin = max(time, ready)
        self.data_wait += begin - time
        self.at(begin + self.seconds[unit], self.finish, worker, unit)

    def finish(self, time, worker, unit):
        self.serve(time + self.machine.latency_s, Done(worker, unit))
        if self.queue[worker]:
            self.start(time, worker)
        else:
            self.idle_since[worker] = time


def simulate(seconds, groups, ranks, machine, dedicated=False, look_ahead=1):
    """Return the outcome of one run of units with these times and groups."""
    run = Simulation(seconds, groups, ranks, machine, dedicated, look_ahead)
    wall = run.run()
    total = ranks * wall
    at_end = sum(wall - since for since in run.idle_since.values() if since is not None)
    waited = sum(run.waited.values()) + (wall if dedicated else 0.0)
    return Outcome(ranks, dedicated, look_ahead, len(seconds), wall, sum(seconds) / total,
                   run.data_wait / total, waited / total, at_end / total,
                   run.master_busy / wall, len(run.loaded))


def draw_seconds(measured, n, rng, median_s):
    """Draw unit times [s]: measured ones, or lognormal around the median, 30 % spread."""
    if measured is not None:
        return rng.choice(measured, n)
    return rng.lognormal(np.log(median_s), 0.3, n)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--timings", type=Path, help="JSON with a list 'unit_seconds'")
    parser.add_argument("--ranks", type=int, nargs="*", default=[64, 1024, 10000])
    parser.add_argument("--units", type=int, default=200_000)
    parser.add_argument("--unit-s", type=float, default=10.0,
                        help="median unit time where none are measured")
    parser.add_argument("--groups", type=int, default=500)
    parser.add_argument("--tail-share", type=float, default=0.15,
                        help="share of the work in units of a quarter of the size")
    parser.add_argument("--service-us", type=float, default=30.0)
    parser.add_argument("--load-s", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = (np.array(json.loads(options.timings.read_text())["unit_seconds"])
                if options.timings else None)
    machine = Machine(service_s=options.service_us * 1e-6, load_s=options.load_s)
    print(f"{machine}\nranks  master     look  wall_s  efficiency  lost: data  master  end   "
          "rank 0 busy  reads")
    outcomes = []
    for ranks in options.ranks:
        rng = np.random.default_rng(1)
        seconds = draw_seconds(measured, options.units, rng, options.unit_s)
        n_tail = int(options.tail_share * len(seconds))
        small = np.repeat(seconds[len(seconds) - n_tail:] / 4, 4)
        seconds = np.concatenate([seconds[:len(seconds) - n_tail], small])
        groups = np.arange(len(seconds)) * 7919 % options.groups
        for dedicated, look_ahead in ((False, 0), (False, 1), (True, 1)):
            got = simulate(seconds, groups, ranks, machine, dedicated, look_ahead)
            outcomes.append(asdict(got))
            print(f"{ranks:5d}  {'dedicated' if dedicated else 'works too':9s}  {look_ahead:4d} "
                  f"{got.wall_s:7.1f}  {got.efficiency:10.4f}  {got.lost_to_data:10.4f}  "
                  f"{got.lost_to_master:6.4f}  {got.lost_at_end:6.4f}  {got.master_busy:8.4f}  "
                  f"{got.loads:8d}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": asdict(machine), "runs": outcomes},
                                           indent=1))


if __name__ == "__main__":
    main()

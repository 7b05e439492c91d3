"""Show the CPU template on a real Slurm: wall time, requeue, resume, the same bits.

    python tests/slurm/run_slurm_cluster.py [--signal-by wall-time|scancel] [--keep]

Starts a virtual cluster (munged, slurmctld, two slurmd; needs root and the Debian packages
slurm-wlm and munge), runs a small alignment without and with an interruption, compares all
results, and takes the cluster down. Exit code 0: requeued, finished and equal.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from slurm_job import LONG_STEP_DEG, SHORT_STEP_DEG, SMALL, TEMPLATES, JobSpace, differing
from virtual_cluster import (
    ClusterError,
    VirtualCluster,
    missing_requirement,
    terminate_on,
)

WALL_TIME = ("--time=00:01:00", "--signal=USR1@5")
"""The shortest wall time. Slurm looks every 30 s: the signal comes 25 to 55 s after the start."""


def run_uninterrupted(cluster: VirtualCluster, space: JobSpace, output: str,
                      step_deg: float) -> None:
    """Run the job in one turn, on one node and two ranks."""
    job = cluster.submit("--nodes=1", "--ntasks-per-node=2", str(TEMPLATES / "cpu.sbatch"),
                         *space.align(output, step_deg), env=space.environment, cwd=space.folder)
    cluster.wait_for(job, {"COMPLETED"}, 600)


def run_to_wall_time(cluster: VirtualCluster, space: JobSpace, output: str) -> dict[str, str]:
    """Run the long job in turns of a minute; returns the finished job's fields."""
    job = cluster.submit(*SMALL, *WALL_TIME, str(TEMPLATES / "cpu.sbatch"),
                         *space.align(output, LONG_STEP_DEG), env=space.environment,
                         cwd=space.folder)
    return follow(cluster, job, 900)


def run_signalled(cluster: VirtualCluster, space: JobSpace, output: str,
                  how: tuple[str, ...] = ("--signal=USR1",)) -> dict[str, str]:
    """Run the short job and signal it once while it works; returns the finished job's fields."""
    job = cluster.submit(*SMALL, str(TEMPLATES / "cpu.sbatch"),
                         *space.align(output, SHORT_STEP_DEG), env=space.environment,
                         cwd=space.folder)
    cluster.wait_for(job, {"RUNNING"}, 60)
    space.wait_until_working(output)
    cluster.call("scancel", *how, job)
    cluster.wait_for(job, {"PENDING"}, 60)
    return follow(cluster, job, 300)


def follow(cluster: VirtualCluster, job: str, timeout_s: float) -> dict[str, str]:
    """Wait for the end of a job, printing its states; returns its last fields."""
    end_s, state = time.monotonic() + timeout_s, ""
    while True:
        fields = cluster.job(job)
        now = f"{fields['JobState']}, restarts {fields['Restarts']}"
        if now != state:
            print(f"  job {job}: {now}", flush=True)
            state = now
        if fields["JobState"] == "COMPLETED":
            return fields
        if fields["JobState"] not in {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}:
            raise ClusterError(f"job {job} ended as {fields['JobState']} {fields['ExitCode']}; "
                               f"its log:\n{cluster.job_log(job)}")
        if time.monotonic() > end_s:
            raise ClusterError(f"job {job} is {fields['JobState']} after {timeout_s:.0f} s")
        time.sleep(0.5)


def show(by: str, keep: bool) -> int:
    """Run the comparison and print it; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="sta-slurm-") as folder, \
            VirtualCluster(keep=keep) as cluster:
        print(cluster.call("sinfo", "-N", "-l").strip())
        space = JobSpace(Path(folder) / "work").prepare()
        is_long = by == "wall-time"
        print("uninterrupted run")
        run_uninterrupted(cluster, space, "plain", LONG_STEP_DEG if is_long else SHORT_STEP_DEG)
        print(f"run stopped by {by}")
        fields = (run_to_wall_time if is_long else run_signalled)(cluster, space, "stopped")
        print(cluster.job_log(fields["JobId"]))
        different = differing(space.folder / "plain", space.folder / "stopped")
        print(f"restarts {fields['Restarts']}, state {fields['JobState']}, "
              f"results that differ: {', '.join(different) or 'none'}")
        if keep:
            print(f"logs of the cluster: {cluster.folder}")
        return 1 if different or fields["Restarts"] == "0" else 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--signal-by", choices=("wall-time", "scancel"), default="wall-time")
    parser.add_argument("--keep", action="store_true", help="leave the cluster's logs behind")
    options = parser.parse_args()
    missing = missing_requirement()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    terminate_on(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    return show(options.signal_by, options.keep)


if __name__ == "__main__":
    sys.exit(main())

"""Fixtures of the Slurm tests: one virtual cluster and one simulated project for all of them."""

import signal
import sys
from pathlib import Path

import pytest

# The helpers beside this file are run by hand as well (run_slurm_cluster.py).
sys.path.insert(0, str(Path(__file__).parent))

from slurm_job import JobSpace
from virtual_cluster import VirtualCluster, missing_requirement, terminate_on


@pytest.fixture(scope="session")
def cluster():
    """A running Slurm cluster of two virtual nodes, or skip with what is missing."""
    missing = missing_requirement()
    if missing:
        pytest.skip(missing)
    terminate_on(signal.SIGTERM, signal.SIGHUP)  # no daemon may outlive a stopped test run
    with VirtualCluster() as running:
        yield running


@pytest.fixture(scope="session")
def space(cluster, tmp_path_factory) -> JobSpace:
    """A work folder with a simulated project."""
    return JobSpace(tmp_path_factory.mktemp("slurm") / "work").prepare()

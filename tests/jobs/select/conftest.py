"""Helper modules of this folder, made importable, and reports only where they are asked for."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(autouse=True)
def report(request, monkeypatch):
    """Pictures take most of the time: only tests that ask for the page draw it."""
    if "page" not in request.fixturenames:
        monkeypatch.setattr("sta_mpi.jobs.launch.write_job_page", lambda *_: None)
        monkeypatch.setattr("sta_mpi.jobs.select.select_sections", lambda *_: [])


@pytest.fixture
def page():
    """Asks for the report."""

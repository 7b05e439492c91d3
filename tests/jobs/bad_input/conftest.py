"""A small simulated project, copied for every case, and the helper module `bad_projects`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bad_projects import Project, make_average, make_project


@pytest.fixture(scope="session")
def good_folder(tmp_path_factory) -> Path:
    """A valid project of 2 tilt series and 12 particles, averaged once; never changed."""
    folder = tmp_path_factory.mktemp("good") / "project"
    make_project(folder)
    make_average(folder)
    return folder


@pytest.fixture
def project(good_folder, tmp_path, monkeypatch) -> Project:
    """A copy of the valid project to break; the current folder of the test."""
    made = Project.copy(good_folder, tmp_path / "project")
    monkeypatch.chdir(made.folder)
    return made

"""The examples in the docstrings of geometry and signal run and print what they say."""

import doctest
import importlib

import pytest

MODULES = [
    *(f"geometry.{name}" for name in
      ("euler", "projection", "rotations", "sampling", "symmetry")),
    *(f"signal.{name}" for name in ("filters", "fsc", "masks", "noise")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_module_run(name):
    result = doctest.testmod(importlib.import_module(f"sta_mpi.{name}"))
    assert result.attempted > 0
    assert result.failed == 0

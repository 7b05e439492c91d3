"""The examples in the docstrings of post run and print what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["mask_shapes", "particle_fsc", "reslog"])
def test_examples_of_post_module_run(name):
    result = doctest.testmod(importlib.import_module(f"sta_mpi.post.{name}"))
    assert result.attempted > 0
    assert result.failed == 0

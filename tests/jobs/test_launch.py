"""How a command is started."""

import gc

import pytest

from sta_mpi.jobs import launch


def test_modules_of_the_first_command_alone_are_left_out_of_later_collections():
    gc.unfreeze()
    try:
        launch._imported("fsc")
        frozen = gc.get_freeze_count()
        assert frozen > 10_000
        launch._imported("simulate")
        assert gc.isenabled()
        assert gc.get_freeze_count() <= frozen
    finally:
        gc.unfreeze()


def test_garbage_is_collected_after_an_import_that_failed():
    with pytest.raises(ModuleNotFoundError):
        launch._imported("no-such-command")
    assert gc.isenabled()

"""FFT plans are measured once a user and reused by every run."""

import numpy as np

from sta_mpi.jobs.wisdom import NAME, cache_file, shared_plans
from sta_mpi.parallel.runtime import Runtime


def test_second_run_reuses_the_plans_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shapes = [(22, 22), (30, 30)]
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    ours = shared_plans(Runtime(), shapes, first)
    kept = cache_file().read_bytes()
    again = shared_plans(Runtime(), shapes, second)
    assert cache_file().read_bytes() == kept
    assert (first / NAME).read_bytes() == (second / NAME).read_bytes()
    image = np.random.default_rng(1).normal(size=(1, 30, 30)).astype(np.float32)
    assert np.array_equal(ours.rfft2(image), again.rfft2(image))


def test_job_folder_keeps_its_plans_when_the_users_are_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared_plans(Runtime(), [(26, 26)], tmp_path)
    kept = (tmp_path / NAME).read_bytes()
    cache_file().unlink()
    shared_plans(Runtime(), [(26, 26)], tmp_path)
    assert (tmp_path / NAME).read_bytes() == kept
    assert not cache_file().exists()


def test_damaged_plans_are_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_file().parent.mkdir(parents=True, exist_ok=True)
    cache_file().write_bytes(b"garbage")
    plans = shared_plans(Runtime(), [(24, 24)], None)
    image = np.random.default_rng(2).normal(size=(1, 24, 24)).astype(np.float32)
    assert np.allclose(plans.irfft2(plans.rfft2(image)), image, atol=1e-5)
    assert cache_file().read_bytes().startswith(b"measure")


def test_later_stage_of_a_job_takes_and_leaves_its_plans_with_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        shared_plans(Runtime(), [(22, 22)], folder)
        shared_plans(Runtime(), [(22, 22), (18, 18, 18)], folder)
    kept = cache_file().read_bytes()
    assert (first / NAME).read_bytes() == (second / NAME).read_bytes() == kept


def test_lost_plans_of_the_user_do_not_change_those_of_a_job(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared_plans(Runtime(), [(22, 22)], tmp_path)
    before = set((tmp_path / NAME).read_bytes().splitlines())
    cache_file().unlink()
    shared_plans(Runtime(), [(28, 28)], None)
    shared_plans(Runtime(), [(22, 22), (30, 30)], tmp_path)
    assert before <= set((tmp_path / NAME).read_bytes().splitlines())


def test_stages_of_a_job_that_need_the_same_sizes_share_their_plans(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = shared_plans(Runtime(), [(28, 28)], tmp_path)
    assert shared_plans(Runtime(), [(28, 28)], tmp_path) is shared_plans(
        Runtime(), [(28, 28)], tmp_path)
    other = shared_plans(Runtime(), [(28, 28), (20, 20)], tmp_path)
    image = np.random.default_rng(3).normal(size=(1, 28, 28)).astype(np.float32)
    assert np.array_equal(first.rfft2(image), other.rfft2(image))

"""Checkpoint files: damage is seen, the one before is used, other jobs are refused."""

import errno
import json
import subprocess
import sys
import warnings
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from sta_mpi.errors import DataError, FormatError, InputError, InputWarning, ResourceError, Stopped
from sta_mpi.parallel import CheckpointStore, Partial, SumSpec, Unit, run_job
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.parallel.sealed import check_seal, write_sealed


class Job:
    """Eight units; stops itself after some of them by setting the stop flag."""

    name = "small"

    def __init__(self, stop_after=None, label="a", bad=()):
        self.stop_after = stop_after
        self.label = label
        self.bad = bad
        self.done = []

    def units(self):
        return [Unit(i, "g", 1.0) for i in range(8)]

    def sum_specs(self):
        return {"map": SumSpec((4, 3), 100.0)}

    def row_specs(self):
        return {"score": ((8,), "float32"), "class": ((8,), "int16")}

    def fingerprint(self):
        return self.label

    def prepare(self, runtime):
        return runtime

    def work(self, runtime, unit):
        self.done.append(unit.id)
        if len(self.done) == self.stop_after:
            runtime.stop._on_signal(15, None)
        if unit.id in self.bad:
            raise DataError("planted")
        value = np.random.default_rng(unit.id).standard_normal((4, 3))
        rows = np.array([unit.id])
        return Partial({"map": value}, rows, {"score": np.float32(value[0, :1]),
                                              "class": np.array([unit.id], np.int16)})

    def finish(self, reduced, runtime):
        return (reduced.shared("map").tobytes(), reduced.rows("score").tobytes(),
                reduced.rows("class").tobytes())


def stopped_store(folder, stop_after=3, **job):
    with pytest.raises(Stopped):
        run_job(Job(stop_after, **job), Runtime(), checkpoints=CheckpointStore(folder, "cmd"))
    return CheckpointStore(folder, "cmd")


@pytest.fixture(scope="module")
def truth():
    return run_job(Job(), Runtime()).outputs


def flip_bit(path, position):
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << (position % 8)
    path.write_bytes(data)


def test_resumed_run_does_only_what_was_missing_and_ends_in_the_same_bits(tmp_path, truth):
    store = stopped_store(tmp_path / "ck")
    job = Job()
    result = run_job(job, Runtime(), checkpoints=store)
    assert (result.resumed_units, len(job.done)) == (3, 5)
    assert result.outputs == truth


def test_checkpoint_may_be_resumed_twice(tmp_path, truth):
    stopped_store(tmp_path / "ck", 2)
    store = stopped_store(tmp_path / "ck", 4)
    job = Job()
    assert run_job(job, Runtime(), checkpoints=store).outputs == truth
    assert len(job.done) == 2


@pytest.mark.parametrize("position", [0, 30, 500, 512, 1000, 3001, -1, -77])
def test_one_flipped_bit_anywhere_is_detected_and_the_checkpoint_before_is_used(
        tmp_path, truth, position):
    stopped_store(tmp_path / "ck", 2)
    store = stopped_store(tmp_path / "ck", 3)
    newest = max((tmp_path / "ck").glob("sums-*.h5"))
    flip_bit(newest, position)
    with pytest.warns(InputWarning, match="trying the one before"):
        result = run_job(Job(), Runtime(), checkpoints=store)
    assert result.resumed_units == 2
    assert result.outputs == truth


@pytest.mark.parametrize("length", [0, 100, 512, 2000, -1])
def test_truncated_checkpoint_is_detected_and_the_one_before_is_used(tmp_path, truth, length):
    stopped_store(tmp_path / "ck", 2)
    store = stopped_store(tmp_path / "ck", 3)
    newest = max((tmp_path / "ck").glob("sums-*.h5"))
    newest.write_bytes(newest.read_bytes()[:length])
    with pytest.warns(InputWarning, match="trying the one before"):
        result = run_job(Job(), Runtime(), checkpoints=store)
    assert result.resumed_units == 2
    assert result.outputs == truth


def test_run_begins_anew_when_all_checkpoints_are_damaged(tmp_path, truth):
    store = stopped_store(tmp_path / "ck")
    for path in (tmp_path / "ck").glob("sums-*.h5"):
        flip_bit(path, 1500)
    with pytest.warns(InputWarning):
        result = run_job(Job(), Runtime(), checkpoints=store)
    assert result.resumed_units == 0
    assert result.outputs == truth


def test_two_generations_are_kept(tmp_path):
    store = CheckpointStore(tmp_path / "ck", "cmd", interval_s=0.0)
    result = run_job(Job(), Runtime(), checkpoints=store)
    assert result.checkpoints > 2
    assert len(list((tmp_path / "ck").glob("sums-*.h5"))) == 2


def test_checkpoint_of_another_command_is_refused(tmp_path):
    stopped_store(tmp_path / "ck")
    with pytest.raises(InputError, match="belongs to another job"):
        run_job(Job(), Runtime(), checkpoints=CheckpointStore(tmp_path / "ck", "other"))


def test_sums_of_an_earlier_job_of_the_same_command_are_not_used(tmp_path):
    store = stopped_store(tmp_path / "ck", label="iteration 1")
    result = run_job(Job(label="iteration 2"), Runtime(), checkpoints=store)
    assert result.resumed_units == 0


def test_bad_units_stay_set_aside_after_a_resume(tmp_path):
    job = {"bad": (1,)}
    with pytest.raises(Stopped):
        run_job(Job(3, **job), Runtime(), max_bad_share=0.5,
                checkpoints=CheckpointStore(tmp_path / "ck", "cmd"))
    again = Job(**job)
    result = run_job(again, Runtime(), max_bad_share=0.5,
                     checkpoints=CheckpointStore(tmp_path / "ck", "cmd"))
    assert 1 not in again.done
    assert [(q.id, q.message) for q in result.quarantined] == [(1, "planted")]
    assert result.outputs == run_job(Job(**job), Runtime(), max_bad_share=0.5).outputs


def test_bad_rows_stay_listed_after_a_resume(tmp_path):
    class Half(Job):
        """Every even unit leaves its row out."""

        def work(self, runtime, unit):
            partial = super().work(runtime, unit)
            partial.left_out = [(unit.id, "planted " * 2000)] * (unit.id % 2 == 0)
            return partial

    store = CheckpointStore(tmp_path / "ck", "cmd")
    with pytest.raises(Stopped):
        run_job(Half(5), Runtime(), max_bad_share=0.5, checkpoints=store)
    result = run_job(Half(), Runtime(), max_bad_share=0.5,
                     checkpoints=CheckpointStore(tmp_path / "ck", "cmd"))
    assert result.resumed_units == 5
    # three reasons of 16 kB each: more than an attribute of an HDF5 file can hold
    assert [one.row for one in result.left_out] == [0, 2, 4, 6]


def test_resume_with_other_libraries_says_so(tmp_path, monkeypatch):
    store = stopped_store(tmp_path / "ck")
    from sta_mpi.parallel import checkpoint

    now = {**checkpoint.environment(), "numpy": "9.9"}
    monkeypatch.setattr(checkpoint, "environment", lambda: now)
    with pytest.warns(InputWarning, match=r"numpy: .* -> 9\.9"):
        run_job(Job(), Runtime(), checkpoints=store)


def test_same_environment_gives_no_warning(tmp_path):
    store = stopped_store(tmp_path / "ck")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_job(Job(), Runtime(), checkpoints=store)


def test_write_error_keeps_the_old_checkpoint_and_leaves_no_temporary(tmp_path, monkeypatch):
    store = stopped_store(tmp_path / "ck")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ck").iterdir()}
    from sta_mpi.parallel import sealed

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sealed, "os", SimpleNamespace(**{**vars(sealed.os), "fsync": no_space}))
    store.interval_s = 0.0
    with pytest.raises(ResourceError, match="No space left on device"):
        run_job(Job(), Runtime(), checkpoints=store)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ck").iterdir()} == before


def test_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    store = CheckpointStore(tmp_path / "file" / "ck", "cmd", interval_s=0.0)
    with pytest.raises(ResourceError, match=r"could not be written: .*file/ck") as caught:
        run_job(Job(), Runtime(), checkpoints=store)
    assert "Its folder cannot be made, or was removed" in str(caught.value)
    assert "free" not in str(caught.value)


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    stopped_store(tmp_path / "ck")
    leftover = tmp_path / "ck" / ".sums-000002.h5.123.tmp"
    leftover.write_bytes(b"half a file")
    run_job(Job(), Runtime(), checkpoints=CheckpointStore(tmp_path / "ck", "cmd"))
    assert not leftover.exists()


def test_second_run_on_the_same_folder_is_refused(tmp_path, monkeypatch):
    from sta_mpi.parallel import checkpoint

    monkeypatch.setattr(checkpoint, "LOCK_WAIT_S", 0.2)
    (tmp_path / "ck").mkdir()
    code = ("import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); "
            "print('locked', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "ck" / "lock")], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(ResourceError, match="another run is writing"):
            CheckpointStore(tmp_path / "ck", "cmd").load_state(Runtime())
        other.stdin.close()
    assert CheckpointStore(tmp_path / "ck", "cmd").load_state(Runtime()) is None


def test_state_of_a_loop_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(4)
    arrays = {"half1": rng.standard_normal((5, 4, 3)).astype(np.float32),
              "poses": rng.standard_normal((7, 3, 3)), "half": np.arange(7, dtype=np.int8),
              "scalar": np.array(2.5), "empty": np.zeros((0, 3))}
    store = CheckpointStore(tmp_path / "ck", "cmd")
    assert store.load_state(Runtime()) is None
    store.save_state(Runtime(), {"iteration": 3, "resolution_A": 8.25}, arrays)
    state = store.load_state(Runtime())
    assert state.position == {"iteration": 3, "resolution_A": 8.25}
    assert state.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert state.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(state.arrays[name], array)


def test_newest_good_state_is_used(tmp_path):
    store = CheckpointStore(tmp_path / "ck", "cmd")
    for iteration in (1, 2, 3):
        store.save_state(Runtime(), {"iteration": iteration}, {"a": np.arange(3)})
    flip_bit(max((tmp_path / "ck").glob("state-*.h5")), 2000)
    with pytest.warns(InputWarning):
        assert store.load_state(Runtime()).position == {"iteration": 2}


def test_clear_removes_the_folder(tmp_path):
    store = stopped_store(tmp_path / "ck")
    store.clear(Runtime())
    assert not (tmp_path / "ck").exists()
    store.clear(Runtime())


def test_sealed_file_is_plain_hdf5_for_other_programs(tmp_path):
    path = tmp_path / "a.h5"
    write_sealed(path, lambda file: file.create_dataset("x", data=np.arange(4)))
    check_seal(path)
    with h5py.File(path) as file:
        assert file["x"][()].tolist() == [0, 1, 2, 3]


def test_error_while_filling_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write_sealed(path, lambda file: file.create_dataset("x", data=np.arange(4)))
    before = path.read_bytes()

    def fail(file):
        file["y"] = 1
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        write_sealed(path, fail)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_file_without_a_seal_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(json.dumps({}).encode() * 600)
    with pytest.raises(FormatError, match="no seal"):
        check_seal(path)

"""The engine in one process: what it promises a job, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest

from sta_mpi.errors import DataError, WorkerError
from sta_mpi.parallel import Partial, SumSpec, Unit, run_job
from sta_mpi.parallel.channel import Kind, LocalChannel, Message, pack, unpack
from sta_mpi.parallel.environment import differences, environment
from sta_mpi.parallel.runtime import Runtime, launched_ranks, start_runtime


class Job:
    """A job whose parts are given as functions."""

    name = "given"

    def __init__(self, work, n=4, rows=None):
        self._work = work
        self._n = n
        self._rows = rows or {}

    def units(self):
        return [Unit(i, "g", 1.0, i) for i in range(self._n)]

    def sum_specs(self):
        return {"s": SumSpec((3,), 100.0)}

    def row_specs(self):
        return self._rows

    def fingerprint(self):
        return "x"

    def prepare(self, runtime):
        return "context"

    def work(self, context, unit):
        assert context == "context"
        return self._work(unit)

    def finish(self, reduced, runtime):
        return reduced.slab("s")[2], {name: reduced.rows(name) for name in self._rows}


def test_sums_and_rows_are_those_of_the_units():
    job = Job(lambda unit: Partial({"s": np.full(3, 2.0 ** -unit.id)}, np.array([3 - unit.id]),
                                   {"r": np.array([unit.id * 10])}), rows={"r": ((4,), "int32")})
    result = run_job(job, Runtime())
    assert result.outputs[0].tolist() == [1.875] * 3
    assert result.outputs[1]["r"].tolist() == [30, 20, 10, 0]
    assert set(result.unit_seconds) == {0, 1, 2, 3}
    assert result.timings[0].units == 4
    assert 0.01 < result.timings[0].peak_memory_GiB < 100
    assert result.timings[0].messages == 9      # four leases, four answers, the end
    assert result.timings[0].reduced_GiB == 24 / 1024**3
    assert result.timings[0].finish_s > 0


def test_rows_that_no_unit_fills_are_nan():
    job = Job(lambda unit: Partial(rows=np.array([0]), values={"r": np.ones(1)}), n=1,
              rows={"r": ((3,), "float64")})
    values = run_job(job, Runtime()).outputs[1]["r"]
    assert values[0] == 1.0
    assert np.isnan(values[1:]).all()


def test_job_without_units_finishes():
    result = run_job(Job(lambda unit: Partial(), n=0), Runtime())
    assert result.outputs[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("partial", "message"), [
    (Partial(rows=np.array([0]), values={"r": np.ones(2)}), "shape"),
    (Partial(rows=np.array([9]), values={"r": np.ones(1)}), "rows outside"),
    (Partial(rows=np.array([0]), values={"r": np.ones(1)}), "two units filled the same row"),
    (Partial(rows=np.array([0]), values={"q": np.ones(1)}), "not declared"),
    (Partial(sums={"q": np.ones(1)}), "not declared")])
def test_results_that_were_not_declared_are_errors_of_the_job(partial, message):
    with pytest.raises(ValueError, match=message):
        run_job(Job(lambda unit: partial, rows={"r": ((4,), "float64")}), Runtime())


def test_nan_in_a_sum_sets_the_unit_aside_and_names_it():
    job = Job(lambda unit: Partial({"s": np.full(3, np.nan if unit.id == 2 else 1.0)}))
    result = run_job(job, Runtime(), max_bad_share=0.3)
    assert [(q.id, q.group) for q in result.quarantined] == [(2, "g")]
    assert result.outputs[0].tolist() == [3.0, 3.0, 3.0]


def test_more_bad_units_than_accepted_stop_the_run_with_their_names():
    def work(unit):
        raise DataError(f"image {unit.id} is empty")

    with pytest.raises(WorkerError, match=r"1 of 4 units .* accepted share of 5%.*is empty"):
        run_job(Job(work), Runtime())


def rows_left_out(n_bad, n=40):
    """A job of one row a unit, the last `n_bad` of which are bad."""
    def work(unit):
        bad = [(unit.id, f"row {unit.id} is empty")] if unit.id >= n - n_bad else []
        return Partial({"s": np.full(3, float(not bad))}, np.array([unit.id]),
                       {"r": np.zeros(1)}, bad)

    return Job(work, n, rows={"r": ((n,), "float64")})


def test_bad_rows_are_listed_and_their_units_are_finished():
    result = run_job(rows_left_out(2), Runtime())
    assert [(one.row, one.message) for one in result.left_out] == [
        (38, "row 38 is empty"), (39, "row 39 is empty")]
    assert result.quarantined == []
    assert result.outputs[0].tolist() == [38.0] * 3


def test_more_bad_rows_than_accepted_stop_the_run_with_their_reasons():
    with pytest.raises(WorkerError, match=r"3 of 40 particles .* of 5%. row 37 is empty\."):
        run_job(rows_left_out(3), Runtime())


def test_other_errors_of_a_unit_reach_the_caller():
    def work(unit):
        raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError):
        run_job(Job(work), Runtime())


def test_units_are_done_in_another_order_with_a_shuffle_seed():
    orders = []
    for seed in (None, 1):
        done = []
        run_job(Job(lambda unit, done=done: done.append(unit.id) or Partial(), n=10), Runtime(),
                shuffle_seed=seed)
        orders.append(done)
    assert orders[0] == list(range(10))
    assert orders[1] != orders[0]
    assert sorted(orders[1]) == orders[0]


def test_progress_ends_with_all_units_done():
    events = []
    run_job(Job(lambda unit: Partial()), Runtime(), progress=events.append)
    assert (events[-1].done, events[-1].total, events[-1].done_cost) == (4, 4, 4.0)
    assert [event.done for event in events] == sorted(event.done for event in events)


def test_one_process_never_imports_mpi():
    code = ("import sys, json; from sta_mpi.parallel import start_runtime; "
            "r = start_runtime({}); print(json.dumps([r.size, 'mpi4py' in sys.modules]))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [1, False]
    assert start_runtime({}).is_root


@pytest.mark.parametrize(("environ", "ranks"), [
    ({}, 1), ({"PMI_SIZE": "4", "PMI_RANK": "0"}, 4), ({"OMPI_COMM_WORLD_SIZE": "3"}, 3),
    ({"PMIX_RANK": "0", "PMIX_NAMESPACE": "x", "SLURM_STEP_NUM_TASKS": "8"}, 8),
    ({"PMIX_RANK": "0", "PMIX_NAMESPACE": "x"}, 0),
    ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, 1),
    ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8"}, 8)])
def test_launchers_are_recognised_by_their_environment(environ, ranks):
    assert launched_ranks(environ) == ranks


@pytest.mark.parametrize("message", [
    Message(Kind.DONE, 12, 3.25), Message(Kind.BAD, 2 ** 40, 0.0, "tilt 3 of 'Ü': 1 Å²"),
    Message(Kind.PAUSE, 1)])
def test_messages_survive_packing(message):
    assert unpack(pack(message)) == message


def test_local_channel_keeps_the_order_both_ways():
    channel = LocalChannel()
    for i in range(3):
        channel.worker.send(Message(Kind.DONE, i))
        channel.master.send(0, Message(Kind.LEASE, i))
    assert [message.number for _, message in channel.master.receive()] == [0, 1, 2]
    assert [message.number for message in channel.worker.receive()] == [0, 1, 2]
    assert channel.worker.receive() == []


def test_environment_names_versions_and_processor():
    now = environment()
    assert now["numpy"] == np.__version__
    assert now["processor"]
    assert differences(now, {**now, "numpy": "1"}) == [f"numpy: {np.__version__} -> 1"]

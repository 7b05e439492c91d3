"""The scheduler without MPI: events in any order, actions checked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sta_mpi.parallel.job import Quarantined, Unit, check_units, chunk_groups, chunk_rows
from sta_mpi.parallel.pool import UnitPool
from sta_mpi.parallel.scheduler import (
    Bad,
    CheckpointDue,
    Done,
    Lease,
    Pause,
    Ready,
    Reason,
    Resumed,
    Scheduler,
    StopAsked,
)


def make_units(n, n_groups=3):
    return [Unit(i, f"g{i % n_groups}", 1.0 + i % 7) for i in range(n)]


class World:
    """Workers that keep what they are leased and answer when they are told to."""

    def __init__(self, scheduler, n_workers):
        self.scheduler = scheduler
        self.queues = {worker: [] for worker in range(n_workers)}
        self.leased = []
        self.pauses = []
        for worker in self.queues:
            self.feed(Ready(worker))

    def feed(self, event):
        for action in self.scheduler.handle(event):
            if isinstance(action, Lease):
                assert self.scheduler.ending is None
                self.leased.append(action.unit)
                self.queues[action.worker].append(action.unit)
            else:
                self.pauses.append(action.reason)

    def answer(self, worker, bad=frozenset()):
        unit = self.queues[worker].pop(0)
        self.feed(Bad(worker, unit, "bad") if unit in bad else Done(worker, unit))

    def busy(self):
        return [worker for worker, queue in self.queues.items() if queue]


@settings(max_examples=60, deadline=None)
@given(n_units=st.integers(0, 40), n_workers=st.integers(1, 7), n_nodes=st.integers(1, 3),
       look_ahead=st.integers(0, 3), data=st.data())
def test_every_unit_is_leased_exactly_once_in_any_order_of_messages(
        n_units, n_workers, n_nodes, look_ahead, data):
    units = make_units(n_units)
    some = st.sets(st.sampled_from(range(n_units))) if n_units else st.just(set())
    finished = data.draw(some)
    bad = data.draw(some) - finished
    scheduler = Scheduler(units, {w: w % n_nodes for w in range(n_workers)}, finished=finished,
                          look_ahead=look_ahead, max_bad_share=1.0)
    world = World(scheduler, n_workers)
    while world.pauses[-1:] != [Reason.FINISH]:
        worker = data.draw(st.sampled_from(world.busy()))
        if data.draw(st.integers(0, 9)) == 0:
            world.feed(CheckpointDue())
        world.answer(worker, bad)
        if world.pauses[-1:] == [Reason.CHECKPOINT]:
            while data.draw(st.booleans()) and world.busy():
                world.answer(world.busy()[0], bad)  # messages sent before the meeting
            world.pauses.append(None)
            world.feed(Resumed())
    assert sorted(world.leased) == sorted(set(range(n_units)) - finished)
    assert scheduler.finished == set(range(n_units)) - bad
    assert {q.id for q in scheduler.quarantined} == bad
    assert not any(world.queues.values())


@given(order=st.permutations(list(range(12))))
@settings(max_examples=20, deadline=None)
def test_a_given_order_is_kept(order):
    world = World(Scheduler(make_units(12), {0: 0}, order=order), 1)
    while world.busy():
        world.answer(0)
    assert world.leased == list(order)


def test_a_worker_gets_its_next_unit_before_it_ends_the_one_in_hand():
    world = World(Scheduler(make_units(30), {0: 0, 1: 0}), 2)
    assert [len(queue) for queue in world.queues.values()] == [2, 2]


def test_no_worker_holds_two_units_when_fewer_are_left_than_workers():
    world = World(Scheduler(make_units(3), dict.fromkeys(range(4), 0)), 4)
    assert [len(queue) for queue in world.queues.values()] == [1, 1, 1, 0]


def test_groups_stay_on_their_node_until_it_has_nothing_else():
    units = [Unit(i, f"g{i // 10}", 1.0) for i in range(40)]
    pool = UnitPool(units)
    by_node = {0: [], 1: []}
    for turn in range(40):
        by_node[turn % 2].append(units[pool.take(turn % 2)].group)
    shared = set(by_node[0]) & set(by_node[1])
    assert not shared, "with equal nodes no group needs to be read twice"


def test_next_group_is_opened_by_one_unit_while_the_others_go_on_with_the_last():
    units = [Unit(i, f"g{i // 10}", 1.0) for i in range(20)]
    pool = UnitPool(units, open_ahead={0: 4})
    groups = [units[pool.take(0)].group for _ in range(20)]
    assert groups == ["g1"] * 6 + ["g0"] + ["g1"] * 4 + ["g0"] * 9


def test_an_idle_node_takes_work_of_a_group_of_another_node():
    pool = UnitPool([Unit(i, "only", 1.0) for i in range(4)])
    assert {pool.take(0), pool.take(1), pool.take(2)} == {0, 1, 2}


def test_units_are_leased_largest_first_and_small_ones_of_all_groups_last():
    units = [Unit(0, "a", 1.0), Unit(1, "a", 9.0), Unit(2, "b", 8.0), Unit(3, "b", 2.0),
             Unit(4, "a", 5.0)]
    pool = UnitPool(units)
    assert [pool.take(0) for _ in range(5)] == [1, 4, 2, 0, 3]


def test_a_stop_pauses_at_once_and_leases_nothing_more():
    world = World(Scheduler(make_units(9), {0: 0}), 1)
    world.feed(StopAsked())
    assert world.pauses == [Reason.STOP]
    world.answer(0)
    assert len(world.leased) == 2


def test_a_stop_during_a_checkpoint_comes_after_it():
    world = World(Scheduler(make_units(9), {0: 0}), 1)
    world.answer(0)
    world.feed(CheckpointDue())
    world.feed(StopAsked())
    assert world.pauses == [Reason.CHECKPOINT]
    world.feed(Resumed())
    assert world.pauses == [Reason.CHECKPOINT, Reason.STOP]


def test_a_checkpoint_with_nothing_new_in_it_is_left_out():
    world = World(Scheduler(make_units(9), {0: 0}), 1)
    world.feed(CheckpointDue())
    assert world.pauses == []
    world.answer(0)
    world.feed(CheckpointDue())
    world.feed(Resumed())
    world.feed(CheckpointDue())
    assert world.pauses == [Reason.CHECKPOINT]


def test_too_many_bad_units_end_the_run():
    world = World(Scheduler(make_units(40), {0: 0}, max_bad_share=0.05), 1)
    for _ in range(3):
        world.answer(0, bad=set(range(40)))
    assert world.pauses == [Reason.TOO_MANY_BAD]


def test_units_set_aside_before_a_resume_are_not_tried_again():
    bad = [Quarantined(2, "g2", "bad")]
    world = World(Scheduler(make_units(4), {0: 0}, finished=[0], quarantined=bad,
                            max_bad_share=0.5), 1)
    while world.busy():
        world.answer(0)
    assert sorted(world.leased) == [1, 3]
    assert world.pauses == [Reason.FINISH]


def test_a_report_of_a_unit_that_was_not_leased_is_an_error():
    scheduler = Scheduler(make_units(4), {0: 0})
    with pytest.raises(ValueError, match="does not hold"):
        scheduler.handle(Done(0, 3))


def test_an_order_that_is_no_permutation_is_refused():
    with pytest.raises(ValueError, match="permutation"):
        UnitPool(make_units(4), order=[0, 1, 1, 2])


@pytest.mark.parametrize(("units", "message"), [
    ([Unit(1, "a", 1.0)], "id 1"), ([Unit(0, "a", 0.0)], "cost 0.0"),
    ([Unit(0, "a", float("nan"))], "cost nan")])
def test_wrong_lists_of_units_are_refused(units, message):
    with pytest.raises(ValueError, match=message):
        check_units(units)


@given(n=st.integers(0, 200), size=st.integers(1, 50), share=st.floats(0, 1))
def test_chunks_hold_every_row_once_and_are_never_larger_than_asked(n, size, share):
    import numpy as np

    chunks = chunk_rows(np.arange(n), size, share)
    assert [row for chunk in chunks for row in chunk] == list(range(n))
    assert all(0 < len(chunk) <= size for chunk in chunks)


@given(sizes=st.lists(st.integers(0, 90), max_size=60), size=st.integers(1, 12))
def test_chunks_of_groups_hold_every_row_of_their_group_once(sizes, size):
    import numpy as np

    chunks = chunk_groups([np.arange(n) for n in sizes], size)
    assert [[row for chunk in group for row in chunk] for group in chunks] == [
        list(range(n)) for n in sizes]
    assert all(0 < len(chunk) <= size for group in chunks for chunk in group)


def test_small_groups_of_a_large_job_are_not_cut_up_but_for_its_last_share():
    import numpy as np

    groups = [np.arange(n) for n in [15] * 400 + [400] + [15] * 100]
    chunks = chunk_groups(groups, 24)
    assert {len(group) for group in chunks[:400]} == {1}
    assert [len(c) for c in chunks[400]] == [len(c) for c in chunk_rows(groups[400], 24)]
    rows = sum(len(c) for group in chunks for c in group if len(group) > 1 and len(c) <= 6)
    assert 0.1 < rows / sum(map(len, groups)) < 0.25


def test_pause_is_one_action_for_all_workers():
    assert Scheduler([], {0: 0, 1: 0}).handle(Ready(0)) == [Pause(Reason.FINISH)]

"""The queue: in order, one at a time, bounded, and never blocked by anyone."""

import threading

import pytest

from course_lib.upscaling import Progress
from jobs import CANCELLED, DONE, FAILED, RUNNING, WAITING, JobQueue, QueueFull

LONG = 30  # seconds


class Gate:
    """Work that begins, reports every time it is let on, and ends when it is opened."""

    def __init__(self):
        self.begun, self.let_on, self.opened = (threading.Event() for _ in range(3))

    def __call__(self, report):
        self.begun.set()
        while not self.opened.is_set():
            assert self.let_on.wait(LONG)
            self.let_on.clear()
            report(Progress(1, 2, 0.1))

    def step(self) -> None:
        self.let_on.set()

    def open(self) -> None:
        self.opened.set()
        self.let_on.set()


@pytest.fixture
def held():
    """A queue that one job holds."""
    queue, gate = JobQueue(most_waiting=3), Gate()
    job = queue.submit(gate)
    assert gate.begun.wait(LONG)
    yield queue, gate, job
    gate.open()


def test_result_is_returned_and_the_work_is_let_go():
    job = JobQueue().submit(lambda report: "picture")
    assert job.wait(LONG)
    assert (job.state, job.result, job.error, job.work) == (DONE, "picture", None, None)


def test_first_come_first_served_and_one_at_a_time(held):
    queue, gate, holder = held
    order, at_once, most = [], threading.Semaphore(1), []

    def work(number):
        def run(report):
            most.append(at_once.acquire(blocking=False))
            order.append(number)
            at_once.release()

        return run

    jobs = [queue.submit(work(number)) for number in range(3)]
    assert [job.state for job in (holder, *jobs)] == [RUNNING, WAITING, WAITING, WAITING]
    assert [queue.ahead(job) for job in (holder, *jobs)] == [0, 1, 2, 3]
    gate.open()
    assert all(job.wait(LONG) for job in jobs)
    assert order == [0, 1, 2]
    assert all(most)


def test_only_so_many_may_wait(held):
    queue, gate, _ = held
    waiting = [queue.submit(lambda report: None) for _ in range(3)]
    with pytest.raises(QueueFull):
        queue.submit(lambda report: None)
    queue.cancel(waiting[1])
    late = queue.submit(lambda report: None)  # there is room again
    gate.open()
    assert late.wait(LONG)
    assert [job.state for job in waiting] == [DONE, CANCELLED, DONE]


def test_cancelling_a_waiting_job_takes_it_out_at_once(held):
    queue, _, _ = held
    first, second = (queue.submit(lambda report: None) for _ in range(2))
    queue.cancel(first)
    assert first.ended
    assert first.state == CANCELLED
    assert queue.ahead(second) == 1


def test_cancelling_the_running_job_stops_it_at_its_next_step(held):
    queue, gate, holder = held
    after = queue.submit(lambda report: "mine")
    queue.cancel(holder)
    assert not holder.ended
    gate.step()
    assert holder.wait(LONG)
    assert holder.state == CANCELLED
    assert after.wait(LONG)
    assert after.result == "mine"


@pytest.mark.parametrize("error", [ValueError("broken"), MemoryError(), SystemExit(1)])
def test_a_holder_that_dies_blocks_no_one(error):
    def dies(report):
        raise error

    queue = JobQueue()
    first, second = queue.submit(dies), queue.submit(lambda report: "alive")
    assert first.wait(LONG)
    assert (first.state, first.error) == (FAILED, error)
    assert first.error.__traceback__ is None  # it would keep all pictures of the run alive
    assert second.wait(LONG)
    assert second.result == "alive"


def test_visitors_who_have_left_leave_the_queue():
    now, here = [0.0], {"holder": True, "absent": True, "patient": True}
    queue = JobQueue(grace=15, clock=lambda: now[0])
    gate = Gate()
    holder = queue.submit(gate, lambda: here["holder"])
    assert gate.begun.wait(LONG)
    absent = queue.submit(lambda report: None, lambda: here["absent"])
    patient = queue.submit(lambda report: "mine", lambda: here["patient"])
    here["absent"] = False
    now[0] = 14.0
    queue.drop_absent()
    assert not absent.ended, "a lost connection may come back"
    now[0] = 16.0
    queue.drop_absent()
    assert absent.state == CANCELLED
    assert queue.ahead(patient) == 1

    here["holder"] = False
    now[0] = 40.0
    gate.step()  # its own step finds out that nobody is waiting for it
    assert holder.wait(LONG)
    assert holder.state == CANCELLED
    assert patient.wait(LONG)
    assert patient.result == "mine"


def test_a_visitor_who_comes_back_keeps_the_place():
    now, here = [0.0], [True]
    queue = JobQueue(grace=15, clock=lambda: now[0])
    gate = Gate()
    queue.submit(gate)
    assert gate.begun.wait(LONG)
    job = queue.submit(lambda report: "mine", lambda: here[0])
    for time, present in ((10, False), (20, True), (30, False), (34, True)):
        now[0], here[0] = float(time), present
        queue.drop_absent()
    gate.open()
    assert job.wait(LONG)
    assert job.result == "mine"


def test_an_idle_queue_begins_again():
    queue = JobQueue()
    for number in range(3):
        job = queue.submit(lambda report, number=number: number)
        assert job.wait(LONG)
        assert job.result == number

"""The queue in front of a model: one pass for the same question, cancel at the next tick, failures told to everyone."""

import threading
import time

import pytest

from gatescope.routing.errors import CaptureCancelledError, PromptError, QueueFullError
from gatescope.server import jobs
from gatescope.server.jobs import JobQueue, Phase


@pytest.fixture
def queue():
    queue = JobQueue(limit=3)
    yield queue
    queue.close()


PATIENCE = 120
"""Seconds after which what should have happened never will, on a machine however busy."""


class Gate:
    """Work that ticks `steps` times, each step let through by the test, and remembers what it did.

    `ticks` are begun and `told` are over: then whatever the queue does at a tick is done.
    """

    def __init__(self, steps: int = 3) -> None:
        self.steps, self.runs, self.ticks, self.told = steps, 0, 0, 0
        self.began = threading.Event()
        self.let = threading.Semaphore(0)

    def __call__(self, tick):
        self.runs += 1
        self.began.set()
        for step in range(self.steps):
            assert self.let.acquire(timeout=PATIENCE)
            self.ticks += 1
            tick(step + 1, self.steps)
            self.told += 1
        return f"run {self.runs}"

    def open(self, steps: int | None = None) -> None:
        self.let.release(steps or self.steps)


def test_four_clicks_in_two_sessions_are_one_pass(queue):
    work = Gate()
    asked = [queue.submit("a", work, watcher=watcher) for watcher in ("one", "two", "one", "two")]
    work.open()
    assert all(job is asked[0] for job in asked)
    assert asked[0].wait(PATIENCE)
    assert (work.runs, asked[0].result, asked[0].phase) == (1, "run 1", Phase.DONE)


def test_clicks_from_many_threads_at_once_are_one_pass(queue):
    work, barrier, found = Gate(), threading.Barrier(16), []

    def click(name: str) -> None:
        barrier.wait()
        found.append(queue.submit("a", work, watcher=name))

    threads = [threading.Thread(target=click, args=(str(n),)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work.open()
    assert found[0].wait(PATIENCE)
    assert len(set(map(id, found))) == 1
    assert work.runs == 1


def test_progress_is_what_the_work_said_last(queue):
    work = Gate(steps=5)
    job = queue.submit("a", work, watcher="one")
    assert job.progress == (0, 0)
    work.open(2)
    _until(lambda: job.progress == (2, 5))
    work.open(3)
    assert job.wait(PATIENCE)
    assert job.progress == (5, 5)


def test_the_last_watcher_to_leave_stops_the_pass_at_the_next_tick(queue):
    work = Gate(steps=100)
    job = queue.submit("a", work, watcher="one")
    work.open(1)
    _until(lambda: work.told == 1)
    assert job.progress[0] == 1
    queue.leave(job, "one")
    work.open(99)
    assert job.wait(PATIENCE)
    assert (job.phase, work.ticks, job.result) == (Phase.CANCELLED, 2, None)


def test_one_of_two_watchers_leaving_does_not_stop_the_pass(queue):
    work = Gate()
    job = queue.submit("a", work, watcher="one")
    queue.submit("a", work, watcher="two")
    queue.leave(job, "one")
    work.open()
    assert job.wait(PATIENCE)
    assert job.phase is Phase.DONE


def test_a_waiting_job_nobody_watches_never_starts(queue):
    first, second = Gate(), Gate()
    running = queue.submit("a", first, watcher="one")
    waiting = queue.submit("b", second, watcher="two")
    queue.leave(waiting, "two")
    first.open()
    assert running.wait(PATIENCE)
    assert waiting.is_over
    assert (waiting.phase, second.runs) == (Phase.CANCELLED, 0)


def test_asking_again_after_cancelling_starts_afresh_even_while_the_old_pass_winds_down(queue):
    old, new = Gate(), Gate()
    cancelled = queue.submit("a", old, watcher="one")
    assert old.began.wait(PATIENCE)
    queue.leave(cancelled, "one")
    again = queue.submit("a", new, watcher="one")
    assert again is not cancelled
    old.open()
    new.open()
    assert again.wait(PATIENCE)
    assert (cancelled.phase, again.phase) == (Phase.CANCELLED, Phase.DONE)


def test_a_second_prompt_runs_after_the_first_and_knows_its_position(queue):
    first, second, third = Gate(), Gate(), Gate()
    one = queue.submit("a", first, watcher="one")
    assert first.began.wait(PATIENCE)
    two = queue.submit("b", second, watcher="two")
    three = queue.submit("c", third, watcher="three")
    assert [queue.position(job) for job in (one, two, three)] == [0, 1, 2]
    assert not second.began.is_set()
    for work in (first, second, third):
        work.open()
    assert three.wait(PATIENCE)
    assert [job.phase for job in (one, two, three)] == [Phase.DONE] * 3


def test_an_error_reaches_each_watcher_and_the_worker_survives_it(queue):
    def fail(_tick):
        raise PromptError("no text", expected="some", do="type")

    job = queue.submit("a", fail, watcher="one")
    assert job.wait(PATIENCE)
    assert job.phase is Phase.FAILED
    assert isinstance(job.error, PromptError)
    after = queue.submit("b", lambda _tick: 7, watcher="one")
    assert after.wait(PATIENCE)
    assert after.result == 7


def test_watchers_of_a_failing_job_see_the_same_error(queue):
    let = threading.Event()

    def fail(_tick):
        let.wait(PATIENCE)
        raise MemoryError("too large")

    seen = [queue.submit("a", fail, watcher=name) for name in ("one", "two")]
    let.set()
    assert all(job.wait(PATIENCE) for job in seen)
    assert seen[0].error is seen[1].error is not None


def test_even_a_library_that_exits_does_not_kill_the_worker(queue):
    def leave(_tick):
        raise SystemExit(3)

    assert queue.submit("a", leave, watcher="one").wait(PATIENCE)
    assert queue.submit("b", lambda _tick: 7, watcher="one").wait(PATIENCE)


def test_a_failed_job_is_tried_again_when_asked_again(queue):
    tries = []

    def flaky(_tick):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("first time")
        return "second time"

    assert queue.submit("a", flaky, watcher="one").wait(PATIENCE)
    again = queue.submit("a", flaky, watcher="one")
    assert again.wait(PATIENCE)
    assert again.result == "second time"


def test_a_full_queue_says_how_many_wait_and_joining_is_still_allowed(queue):
    works = [Gate() for _ in range(4)]
    jobs_ = [queue.submit(str(n), work, watcher="one") for n, work in enumerate(works)]
    assert works[0].began.wait(PATIENCE)
    with pytest.raises(QueueFullError) as refused:
        queue.submit("one too many", Gate(), watcher="two")
    assert refused.value.found == "3 captures are waiting"
    assert queue.submit("3", Gate(), watcher="two") is jobs_[3]
    for work in works:
        work.open()
    assert jobs_[-1].wait(PATIENCE)


def test_a_watcher_out_of_sight_for_too_long_counts_as_gone(monkeypatch):
    monkeypatch.setattr(jobs, "ABSENCE_SECONDS", 0.05)
    here = {"one": True}
    queue = JobQueue(limit=3, is_present=lambda watcher: here[watcher])
    work = Gate(steps=1000)
    job = queue.submit("a", work, watcher="one")
    work.open(5)
    _until(lambda: work.told == 5)
    assert not job.is_over
    here["one"] = False
    time.sleep(0.1)
    work.open(995)
    assert job.wait(PATIENCE)
    assert (job.phase, work.ticks) == (Phase.CANCELLED, 6)
    queue.close()


def test_waiting_jobs_of_closed_tabs_make_room_for_who_is_there(monkeypatch):
    """Three of three places are taken by tabs; two of them are closed while a long pass runs that ticks not once."""
    monkeypatch.setattr(jobs, "ABSENCE_SECONDS", 0.05)
    closed = set()
    queue = JobQueue(limit=3, is_present=lambda watcher: watcher not in closed)
    running, work = Gate(steps=1), Gate(steps=1)
    queue.submit("running", running, watcher="here")
    assert running.began.wait(10)
    waiting = [queue.submit(name, Gate(), watcher=name) for name in ("one", "two", "three")]
    with pytest.raises(QueueFullError):
        queue.submit("new", work, watcher="here")
    closed |= {"one", "three"}
    time.sleep(0.1)
    new = queue.submit("new", work, watcher="here")
    assert [job.phase for job in waiting] == [Phase.CANCELLED, Phase.WAITING, Phase.CANCELLED]
    assert queue.position(new) == 2
    queue.leave(waiting[1], "two")
    for gate in (running, work):
        gate.open()
    assert new.wait(10)
    queue.close()


def test_a_running_pass_sees_who_has_left_the_queue_behind_it(monkeypatch):
    monkeypatch.setattr(jobs, "ABSENCE_SECONDS", 0.05)
    closed = set()
    queue = JobQueue(limit=3, is_present=lambda watcher: watcher not in closed)
    running = Gate(steps=3)
    queue.submit("running", running, watcher="here")
    assert running.began.wait(10)
    left, stays = (queue.submit(name, Gate(), watcher=name) for name in ("left", "stays"))
    assert queue.position(stays) == 2
    closed.add("left")
    time.sleep(0.1)
    running.open(1)
    _until(lambda: queue.position(stays) == 1)
    assert left.phase is Phase.CANCELLED
    queue.leave(stays, "stays")
    running.open(2)
    queue.close()


def test_a_reload_shorter_than_the_allowance_keeps_the_pass(monkeypatch):
    monkeypatch.setattr(jobs, "ABSENCE_SECONDS", 60)
    queue = JobQueue(limit=3, is_present=lambda _watcher: False)
    job = queue.submit("a", lambda tick: tick(1, 1) or "kept", watcher="one")
    assert job.wait(PATIENCE)
    assert job.result == "kept"
    queue.close()


def test_closing_cancels_what_waits_and_what_runs(monkeypatch):
    monkeypatch.setattr(jobs, "CLOSING_SECONDS", 0.05)
    queue = JobQueue(limit=3)
    running, waiting = Gate(), Gate()
    jobs_ = [queue.submit("a", running, watcher="one"), queue.submit("b", waiting, watcher="one")]
    assert running.began.wait(PATIENCE)
    queue.close()
    running.open()
    assert all(job.wait(PATIENCE) for job in jobs_)
    assert [job.phase for job in jobs_] == [Phase.CANCELLED] * 2
    with pytest.raises(QueueFullError):
        queue.submit("c", waiting, watcher="one")


def test_closing_waits_for_the_worker_to_end():
    queue = JobQueue(limit=3)
    queue.submit("a", lambda _tick: time.sleep(0.2), watcher="one")
    queue.close()
    assert not queue._thread.is_alive()


def test_work_may_be_stopped_by_its_own_cancellation(queue):
    def stop(_tick):
        raise CaptureCancelledError("stopped", expected="to go on", do="run again")

    job = queue.submit("a", stop, watcher="one")
    assert job.wait(PATIENCE)
    assert (job.phase, job.error) == (Phase.CANCELLED, None)


def _until(claim, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)

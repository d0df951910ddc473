"""Workers that die, or cannot be reached for a while, on a cluster played by a few lines: no process, no waiting."""

from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from gatescope.routing.errors import GatescopeError, ModelNotFoundError
from gatescope.studies import ray_actors as crews
from gatescope.studies.ray_actors import MOST_LOSSES, PATIENCE_SECONDS, Crew, Lost
from gatescope.studies.ray_worker import Place


class ActorError(Exception):
    """As Ray has it: the class of both below."""


class DiedError(ActorError):
    """The process is gone for good."""


class UnavailableError(ActorError):
    """It may be there again later, and may have done what it was asked."""


class NoMemoryError(Exception):
    """Killed because its machine had no memory left."""


@dataclass(eq=False)
class Promise:
    """What a call will give, or raise."""

    outcome: object


class PlayedRay:
    """What a crew asks of Ray. `script`: for each worker hired, what becomes of each call in turn; else it answers."""

    exceptions = SimpleNamespace(
        ActorDiedError=DiedError, ActorUnavailableError=UnavailableError, OutOfMemoryError=NoMemoryError
    )

    def __init__(self, monkeypatch, *script):
        self.script, self.hired, self.killed, self.asked, self.now = deque(script), 0, [], [], 0.0
        monkeypatch.setattr(crews, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))

    def sleep(self, seconds):
        self.now += seconds

    def hire(self):
        self.hired += 1
        return PlayedWorker(self, self.hired, deque(self.script.popleft() if self.script else ()))

    def wait(self, calls, *, num_returns, **_limits):
        return calls[:num_returns], calls[num_returns:]

    def get(self, call):
        if isinstance(call.outcome, Exception):
            raise call.outcome
        return call.outcome

    def kill(self, worker):
        self.killed.append(worker.number)


class PlayedWorker:
    def __init__(self, ray, number, outcomes):
        self.ray, self.number, self.outcomes = ray, number, outcomes

    def __getattr__(self, method):
        def remote(*arguments):
            self.ray.asked.append((self.number, method, *arguments))
            usual = Place("here", self.number) if method == "start" else f"{method} by {self.number}"
            outcome = self.outcomes.popleft() if self.outcomes else None
            return Promise(usual if outcome is None else outcome)

        return SimpleNamespace(remote=remote)


@pytest.fixture
def play(monkeypatch):
    """A crew of one on a cluster that does as it is told, what it was told of trouble, and that cluster."""

    def start(*script):
        ray, said = PlayedRay(monkeypatch, *script), []
        return Crew(ray, ray.hire, 1, said.append), ray, said

    return start


def until_ready(crew):
    while not crew.places:
        assert crew.next() is None


def answer(crew):
    """The next answer, whatever has to be asked again before it."""
    while (done := crew.next()) is None:
        pass
    return done[1]


def ask(crew):
    """What comes of one more block."""
    until_ready(crew)
    crew.ask(crew.free("capture", 2), "capture", "block")
    return answer(crew)


def test_a_worker_that_cannot_be_reached_is_asked_again_and_neither_lost_nor_replaced(play):
    crew, ray, said = play([None, UnavailableError("Socket closed"), UnavailableError("Socket closed")])
    assert ask(crew) == "capture by 1"
    assert ray.asked == [(1, "start"), *[(1, "capture", "block")] * 3]
    assert (crew.lost, crew.places, ray.killed) == ([], [Place("here", 1)], [])
    assert said == ["process 1 on here cannot be reached, and is asked again (Socket closed)"], "told once"
    assert ray.now == 0.5 + 1.0, "after pauses, each twice as long"


def test_a_worker_that_cannot_be_reached_while_it_starts_is_asked_again(play):
    crew, ray, said = play([UnavailableError("The actor is restarting")] * 5)
    until_ready(crew)
    assert ray.asked == [(1, "start")] * 6
    assert (crew.lost, ray.hired, len(said)) == ([], 1, 1)
    assert said[0].startswith("a worker that starts cannot be reached")


def test_blocks_stay_with_a_worker_that_cannot_be_reached(play):
    """It may be at them still: another worker would do them beside it."""
    crew, ray, _ = play([None, UnavailableError(""), UnavailableError("")])
    until_ready(crew)
    for block in ("a", "b"):
        crew.ask(crew.free("capture", 2), "capture", block)
    assert crew.next() is None
    assert crew.next() is None
    assert crew.held("capture").total() == 2
    assert crew.free("capture", 2) is None
    assert answer(crew) == answer(crew) == "capture by 1"
    assert sorted(ray.asked[3:]) == [(1, "capture", "a"), (1, "capture", "b")]


@pytest.mark.parametrize("death", [DiedError("killed"), NoMemoryError("killed")])
def test_a_worker_that_dies_is_replaced_once_for_all_that_it_held(play, death):
    crew, ray, said = play([None, death, death])
    until_ready(crew)
    for block in ("a", "b"):
        crew.ask(crew.free("capture", 2), "capture", block)
    assert answer(crew) == answer(crew) == Lost("its process ended by itself", death)
    until_ready(crew)
    assert (crew.lost, crew.places, ray.hired) == ([Place("here", 1)], [Place("here", 2)], 2)
    assert ray.killed == said == []


def test_a_death_that_is_known_late_is_a_death(play):
    """As on a busy machine: a connection breaks, and only later somebody says that the process is gone."""
    crew, ray, _ = play([None, UnavailableError("Socket closed"), DiedError("killed")])
    lost = ask(crew)
    assert (lost.how, str(lost.why), crew.lost, ray.hired) == (
        "its process ended by itself", "killed", [Place("here", 1)], 2
    )  # fmt: skip


def test_who_cannot_be_reached_for_too_long_is_given_up_and_replaced(play):
    crew, ray, said = play([None, *[UnavailableError("No route to host")] * 99])
    lost = ask(crew)
    assert PATIENCE_SECONDS < ray.now < PATIENCE_SECONDS + crews.LONGEST_PAUSE
    assert (lost.how, crew.lost) == ("it could not be reached for 120 s", [Place("here", 1)])
    assert (ray.killed, ray.hired, len(said)) == ([1], 2, 1)
    assert ask(crew) == "capture by 2"


def test_workers_that_die_one_after_another_while_they_start_end_the_run(play):
    crew, ray, _ = play(*[[DiedError("no memory")]] * (MOST_LOSSES + 1))
    with pytest.raises(GatescopeError) as refusal:
        until_ready(crew)
    assert refusal.value.found == "a worker could not be started: its process ended by itself (no memory)"
    assert ray.hired == MOST_LOSSES + 1


def test_a_worker_that_starts_at_last_is_a_worker(play):
    crew, _, _ = play(*[[DiedError("no memory")]] * MOST_LOSSES)
    until_ready(crew)
    assert (crew.places, crew.lost) == ([Place("here", MOST_LOSSES + 1)], [])


def test_a_model_that_does_not_load_ends_the_run_at_once(play):
    crew, ray, _ = play([ModelNotFoundError("tiny is not there", expected="a folder", do="look")])
    with pytest.raises(ModelNotFoundError, match="tiny is not there"):
        until_ready(crew)
    assert ray.hired == 1


def test_a_mistake_of_the_program_is_no_lost_worker(play):
    crew, ray, _ = play([None, ZeroDivisionError("of ours")])
    with pytest.raises(ZeroDivisionError):
        ask(crew)
    assert ray.hired == 1


def test_what_is_finished_is_forgotten_and_the_workers_stay(play):
    crew, _, _ = play([None, UnavailableError(""), None])
    until_ready(crew)
    for block in ("a", "b"):
        crew.ask(crew.free("capture", 2), "capture", block)
    assert crew.next() is None  # one of them is put off
    crew.finish("capture")
    assert not crew.held("capture")
    assert crew.places == [Place("here", 1)]


def test_who_is_dismissed_is_killed(play):
    crew, ray, _ = play()
    until_ready(crew)
    crew.dismiss()
    assert (ray.killed, crew.places) == ([1], [])

"""The number of threads: what the machine grants, what a measurement finds, and torch's own number left as it was."""

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from gatescope.hooks import attach, capture, capture_corpus
from gatescope.hooks.loading import threads
from gatescope.hooks.loading.threads import Threads, processors
from gatescope.routing import Document
from gatescope.routing.errors import OptionError

CPU = torch.device("cpu")


@pytest.fixture
def four():
    """Four threads for torch, as on a machine with four cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(
    ("text", "granted"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("?", 8)]
)
def test_the_quota_of_a_container_bounds_the_cores(monkeypatch, tmp_path, text, granted):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "cpu.max")
    assert processors() == granted


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(("quota", "granted"), [("-1", 8), ("300000", 3)])
def test_the_older_kind_of_quota_is_read_too(monkeypatch, tmp_path, quota, granted):
    (tmp_path / "quota").write_text(quota)
    (tmp_path / "period").write_text("100000")
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "none")
    monkeypatch.setattr(threads, "CPU_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(threads, "CPU_PERIOD", tmp_path / "period")
    assert processors() == granted


class Timed:
    """A pass that takes as long as a table says of the number of threads; time stands still otherwise."""

    def __init__(self, monkeypatch, seconds, sums=None):
        self.seconds, self.sums, self.now, self.passes = seconds, sums or dict.fromkeys(seconds, 1.0), 0.0, []
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(threads, "_add", self.add)
        monkeypatch.setattr(threads, "processors", lambda: max(seconds))

    def __call__(self):
        self.passes.append(torch.get_num_threads())
        self.now += self.seconds[torch.get_num_threads()]

    def add(self):
        self.now += self.sums[torch.get_num_threads()]


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4}, 4),
        ({1: 1.0, 2: 0.6, 4: 0.9}, 2),
        ({1: 1.0, 2: 8.0, 4: 9.0}, 1),
        ({1: 1.0, 2: 0.95, 4: 0.93}, 1),  # hardly faster: not worth the cores
        ({1: 1.0, 2: 0.5, 3: 0.3}, 3),  # the machine grants three
    ],
)
def test_the_number_that_a_short_pass_is_fastest_on_is_chosen(monkeypatch, seconds, best):
    run = Timed(monkeypatch, seconds)
    assert Threads(nn.Linear(2, 2), run, CPU).count == best
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four")
def test_where_threads_wait_for_one_another_no_pass_is_tried_on_more(monkeypatch):
    run = Timed(monkeypatch, {1: 1.0, 2: 0.5, 4: 0.4}, sums={1: 1.0, 2: 700.0, 4: 900.0})
    assert Threads(nn.Linear(2, 2), run, CPU).count == 1
    assert set(run.passes) == {1}


@pytest.mark.usefixtures("four")
def test_a_number_that_was_given_stands_and_nothing_is_measured(monkeypatch):
    run = Timed(monkeypatch, {1: 1.0, 3: 9.0})
    chosen = Threads(nn.Linear(2, 2), run, CPU, fixed=3)
    with chosen.used(1, 10):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 4
    assert run.passes == []


@pytest.mark.usefixtures("four")
def test_on_another_device_torch_keeps_its_number(monkeypatch):
    run = Timed(monkeypatch, {1: 1.0, 2: 0.5})
    assert Threads(nn.Linear(2, 2), run, torch.device("meta")).count == 4
    assert run.passes == []


@pytest.mark.usefixtures("four")
def test_passes_that_fall_far_behind_have_the_number_measured_again(monkeypatch):
    run = Timed(monkeypatch, {1: 1.0, 2: 0.6})
    chosen = Threads(nn.Linear(2, 2), run, CPU)
    assert chosen.count == 2

    def take(seconds):
        with chosen.used(1, 100):
            run.now += seconds

    for _ in range(4):
        take(10.0)
    run.seconds = {1: 1.0, 2: 9.0}  # somebody else needs a core now
    take(13.0)
    assert chosen.count == 2, "a third slower is no reason"
    take(25.0)
    assert chosen.count == 1
    run.seconds = {1: 1.0, 2: 0.6}
    for _ in range(100):
        take(30.0)
    assert chosen.count == 2, "the core is free again: measured from time to time"


@pytest.mark.usefixtures("four")
def test_measuring_takes_a_small_part_of_the_time(monkeypatch):
    run = Timed(monkeypatch, {1: 1.0, 2: 0.9})
    chosen, passes = Threads(nn.Linear(2, 2), run, CPU), 0.0
    start = run.now
    for number in range(400):
        seconds = 1.0 if number % 2 else 10.0  # now fast, now slow
        passes += seconds
        with chosen.used(1, 100):
            run.now += seconds
    assert run.now - start - passes < 0.25 * passes


@pytest.mark.usefixtures("four")
def test_a_capture_runs_on_the_number_and_says_it(make_tiny, tokenizer):
    seen = []
    loaded = attach(make_tiny("olmoe"), tokenizer, name="tiny", threads=2)
    loaded.model.model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    record = capture(loaded, "some text")
    assert seen == [2]
    assert record.provenance.threads == 2
    assert torch.get_num_threads() == 4


def test_less_than_no_threads_are_refused(make_tiny, tokenizer):
    with pytest.raises(OptionError, match="-1 threads"):
        attach(make_tiny("olmoe"), tokenizer, name="tiny", threads=-1)


@pytest.mark.slow
def test_beside_a_busy_core_it_is_near_the_best_fixed_number(make_tiny, tokenizer):
    """Medians of interleaved captures; on a machine with one core there is nothing to choose."""
    if processors() < 2:
        pytest.skip("one core")
    before = torch.get_num_threads()
    torch.set_num_threads(min(processors(), 4))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processors() - 1)]
    try:
        models = {number: attach(make_tiny("olmoe"), tokenizer, name="t", threads=number) for number in (1, 2, 0)}
        taken = {number: [] for number in models}
        for _ in range(9):
            for number, loaded in models.items():
                started = time.perf_counter()
                capture(loaded, "some text " * 10)
                taken[number].append(time.perf_counter() - started)
    finally:
        for each in busy:
            each.kill()
            each.wait()
        torch.set_num_threads(before)
    median = {number: sorted(times)[4] for number, times in taken.items()}
    assert median[0] < 3 * min(median[1], median[2])  # torch's own number: six times and more


def test_a_corpus_is_the_same_whatever_number_its_batches_ran_on(make_tiny, tokenizer):
    loaded = attach(make_tiny("olmoe"), tokenizer, name="tiny", threads=2)
    assert capture_corpus(loaded, [Document("some text")]).provenance.threads == 0

"""How many threads a model computes on: chosen by a measurement, because more are often slower.

With one of two cores busy, or with less processor time than cores (a container's quota), threads wait for one another
at every operation, and a small model runs many times slower on all cores than on one. Which number is best is known to
a few short passes, and may change while a capture runs.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from gatescope.hooks.layers.probing import PROBE_TOKENS

ROUNDS = 3
HOPELESS = 4.0  # how many times as long as one thread more of them may take for small sums, to be tried at all
SMALL_BYTES = 2**31  # of weights, below which a short pass takes no time that matters
ROWS = 4096  # of the largest weight
BEHIND = 2.0  # how many times slower than before a pass must be for the number to be measured again
SHARE = 0.05  # of the time of passes that measurements may take
CLEARLY = 0.9  # of the time on fewer threads that more of them must be below, to be taken
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CPU_QUOTA, CPU_PERIOD = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))


def processors() -> int:
    """How many threads can run at once: the cores this process may use, within the container's quota of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, cores if quota is None else min(cores, round(quota)))


def _quota() -> float | None:
    """Cores' worth of time that the control group grants; None where it grants all."""
    try:
        if CPU_MAX.is_file():
            most, period = CPU_MAX.read_text().split()
        else:
            most, period = CPU_QUOTA.read_text(), CPU_PERIOD.read_text()
        granted = float(most) / float(period)
    except (OSError, ValueError):
        return None
    return granted if granted > 0 else None


class Threads:
    """The number of threads of one model's passes on a CPU, measured when it is first needed and again when it must be.

    `run` makes one short pass of the model. `fixed` is a number that somebody chose; 0: it is measured, within what
    torch may use (OMP_NUM_THREADS) and the machine grants. On another device than a CPU torch's own number stands.
    """

    def __init__(self, model: nn.Module, run: Callable[[], object], device: torch.device, *, fixed: int = 0) -> None:
        self._model, self._run = model, run
        own = torch.get_num_threads()
        self._most = own if device.type != "cpu" else max(1, min(own, processors()))
        self.count = fixed or self._most
        self.is_fixed = bool(fixed) or self._most == 1 or device.type != "cpu"
        self._cost = self._spent = 0.0
        self._best: dict[tuple[int, int], float] = {}
        if not self.is_fixed:
            self.measure()

    def measure(self) -> None:
        """Choose the number anew: the least that no larger one clearly beats."""
        started = time.perf_counter()
        numbers = sorted({*(2**power for power in range(self._most.bit_length())), self._most})
        work = self._work()
        _timed(work, numbers[0])  # what is made once is not counted
        alone = _timed(_add, numbers[0])
        seconds = {numbers[0]: median(_timed(work, numbers[0]) for _ in range(ROUNDS))}
        self.count = numbers[0]
        for number in numbers[1:]:
            if _timed(_add, number) > HOPELESS * alone:
                break
            seconds[number] = median(_timed(work, number) for _ in range(ROUNDS))
            if seconds[number] < CLEARLY * seconds[self.count]:
                self.count = number
        self._cost, self._spent = time.perf_counter() - started, 0.0
        self._best.clear()

    @contextmanager
    def used(self, texts: int, tokens: int) -> Iterator[None]:
        """Passes over so many tokens, in so many texts, on that number of threads; before and after, torch's own."""
        started = time.perf_counter()
        with _using(self.count):
            yield
        if not self.is_fixed:
            self._learn((texts.bit_length(), tokens.bit_length()), tokens, time.perf_counter() - started)

    def _learn(self, size: tuple[int, int], tokens: int, seconds: float) -> None:
        """Measure again where a pass was far slower than one of its size has been, if that costs little beside it."""
        self._spent += seconds
        speed = seconds / max(tokens, 1)
        best = self._best.setdefault(size, speed)
        self._best[size] = min(best, speed)
        is_due = self._cost < SHARE * self._spent
        if (speed > BEHIND * best and self._cost < 4 * SHARE * self._spent) or is_due:
            self.measure()

    def _work(self) -> Callable[[], object]:
        """What is timed: a short pass; of a large model, of which one takes long, its largest weight alone."""
        parameters = [each for each in self._model.parameters() if each.dim() >= 2]
        if sum(each.numel() * each.element_size() for each in parameters) <= SMALL_BYTES:
            return self._run
        weight_oi = max(parameters, key=Tensor.numel).detach().flatten(0, -2)[:ROWS]
        rows_ni = torch.ones(PROBE_TOKENS, weight_oi.shape[-1], dtype=weight_oi.dtype)
        return lambda: rows_ni @ weight_oi.T


def _add() -> None:
    """Small sums, one after another, which threads share: nearly all of the time goes to their waiting."""
    numbers = torch.ones(1 << 17)
    for _ in range(8):
        numbers.add_(1.0)


def _timed(work: Callable[[], object], number: int) -> float:
    """Seconds of some work on so many threads."""
    with _using(number):
        started = time.perf_counter()
        work()
        return time.perf_counter() - started


@contextmanager
def _using(number: int) -> Iterator[None]:
    """So many threads inside, as many as before after."""
    before = torch.get_num_threads()
    if number != before:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if number != before:
            torch.set_num_threads(before)

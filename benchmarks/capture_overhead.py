"""What recording costs: passes with recording over plain ones, in pairs.

    OMP_NUM_THREADS=1 python -m benchmarks.capture_overhead [--subject bundled|olmoe|both] [--rounds 21] [--layers 4]

Every model is run on the same weights without hooks ("plain"), and

- again without hooks: what this ratio strays from 1 is noise
- idle: hooks on, nobody records
- ids, weights: recorded
- scores: also margin, entropy, log-sum-exp and the first rejected expert
- all logits: also every score of the router
- the library's way: output_router_logits=True, then top-k and softmax of the logits: it gives no executed weights

A round times each kind beside a plain pass of its own, in random order of kinds and of the two. The ratio is of the two
neighbours; its median over the rounds counts, with the quartiles. "CPU" is the same ratio of processor time.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from benchmarks.subjects import OLMOE_LAYERS, Subject, bundled, olmoe_shaped
from gatescope.hooks.recording.sink import PASSES, RouteSink

WARM_UP = 2
LEAST_SECONDS = 0.02  # shorter passes are timed several in a row
DETAIL: Mapping[str, dict[str, bool]] = {
    "ids, weights": {"scores": False},
    "scores": {},
    "all logits": {"logits": True},
}

Run = Callable[[], object]


class Case(NamedTuple):
    """What a pass reads: a prompt of `length` tokens in every row, or one more token behind as many (`decodes`)."""

    rows: int
    length: int
    decodes: bool

    @property
    def name(self) -> str:
        """How the table names it."""
        return f"{'one token after' if self.decodes else 'prompt of'} {self.length}, batch {self.rows}"


class Spent(NamedTuple):
    """Seconds on the clock and of the processor."""

    wall: float
    cpu: float


def main() -> None:
    """Parse the options, then time and print one table per model."""
    options = _options()
    print(
        f"torch {version('torch')}, transformers {version('transformers')}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors, {options.rounds} rounds"
    )
    subjects = {"bundled": bundled, "olmoe": lambda: olmoe_shaped(options.layers)}
    for name in subjects if options.subject == "both" else [options.subject]:
        subject = subjects[name]()
        print(f"\n{subject.name} ({subject.plain.dtype})")
        print(f"{'':34}{'plain':>10}  {'kind':20}{'ratio':>7}  {'quartiles':13}{'CPU':>7}")
        for rows, reads in product(options.batches, options.passes):
            case = Case(rows, options.tokens, decodes=reads == "decode")
            _print(
                case, measure(kinds(subject, case), options.rounds, PASSES if case.decodes and case.rows == 1 else 1)
            )
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", choices=("bundled", "olmoe", "both"), default="bundled")
    parser.add_argument("--layers", type=int, default=4, help=f"layers of OLMoE's shape, at most {OLMOE_LAYERS}")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--passes", choices=("prompt", "decode"), nargs="+", default=["prompt", "decode"])
    parser.add_argument("--rounds", type=int, default=21)
    return parser.parse_args()


def kinds(subject: Subject, case: Case) -> dict[str, Run]:
    """Every kind of pass by name; "plain" comes first."""
    generator = torch.Generator().manual_seed(0)
    ids_bs = torch.randint(0, subject.plain.config.vocab_size, (case.rows, case.length + 1), generator=generator)
    return {
        "plain": _pass(subject, subject.plain, ids_bs, case),
        "plain again": _pass(subject, subject.plain, ids_bs, case),
        "idle": _pass(subject, subject.hooked, ids_bs, case),
        **{name: _recorded(subject, ids_bs, case, detail) for name, detail in DETAIL.items()},
        "the library's way": _reported(subject, ids_bs, case),
    }


def _pass(subject: Subject, model: Any, ids_bs: Tensor, case: Case, **extra: Any) -> Run:
    """One forward pass; a decoding one leaves its cache as it found it."""
    extra |= {"logits_to_keep": subject.logits_to_keep}
    if not case.decodes:
        prompt_bs = ids_bs[:, : case.length]
        return lambda: _forward(model, input_ids=prompt_bs, use_cache=False, **extra)
    cache = DynamicCache(config=subject.plain.config)
    _forward(subject.plain, input_ids=ids_bs[:, : case.length], past_key_values=cache, logits_to_keep=1)
    last_bs = ids_bs[:, case.length :]

    def step() -> Any:
        output = _forward(model, input_ids=last_bs, past_key_values=cache, use_cache=True, **extra)
        cache.crop(-1)
        return output

    return step


def _forward(model: Any, **inputs: Any) -> Any:
    with torch.no_grad():
        return model(**inputs)


def _recorded(subject: Subject, ids_bs: Tensor, case: Case, detail: dict[str, bool]) -> Run:
    """One pass, its routing handed over as arrays; when one token is decoded, with that of the passes around it."""
    run = _pass(subject, subject.hooked, ids_bs, case)
    keep_n = torch.ones(case.rows * (1 if case.decodes else case.length), dtype=torch.bool)
    sink = RouteSink(subject.routers.learnt, **detail, passes=PASSES if case.decodes else 1)

    def recorded() -> Any:
        with subject.routers.recorder.recording(sink):
            run()
            return sink.flush(keep_n)

    return recorded


def _reported(subject: Subject, ids_bs: Tensor, case: Case) -> Run:
    """One pass that hands out the routers' logits, and what they say about ids and weights."""
    run = _pass(subject, subject.reporting, ids_bs, case, output_router_logits=True)
    k = subject.routers.layers[0].k

    def reported() -> Any:
        best = [logits_ne.float().softmax(-1).topk(k, -1) for logits_ne in run().router_logits]
        return [(weights_nk.numpy(), ids_nk.numpy()) for weights_nk, ids_nk in best]

    return reported


def measure(runs: dict[str, Run], rounds: int, least: int = 1) -> dict[str, list[tuple[Spent, Spent]]]:
    """(plain, own) of every kind but the plain one, a pair for each round of at least so many passes."""
    plain = runs["plain"]
    for run in list(runs.values()) * WARM_UP:
        run()
    times = max(least, round(LEAST_SECONDS / timed(plain, 3).wall))
    order = random.Random(0)
    pairs: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in runs if name != "plain"}
    for _ in range(rounds):
        for name in order.sample(list(pairs), len(pairs)):
            if order.random() < 0.5:
                pairs[name].append((timed(plain, times), timed(runs[name], times)))
            else:
                own = timed(runs[name], times)
                pairs[name].append((timed(plain, times), own))
    return pairs


def timed(run: Run, times: int) -> Spent:
    """Seconds for one of several runs in a row."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        run()
    return Spent((time.perf_counter() - wall) / times, (time.process_time() - cpu) / times)


def _print(case: Case, pairs: dict[str, list[tuple[Spent, Spent]]]) -> None:
    plain = np.median([one.wall for each in pairs.values() for one, _ in each])
    start = f"{case.name:34}{1e3 * plain:7.1f} ms"
    for name, each in pairs.items():
        low, middle, high = np.quantile([own.wall / base.wall for base, own in each], (0.25, 0.5, 0.75))
        cpu = np.median([own.cpu / base.cpu for base, own in each])
        print(f"{start:44}  {name:20}{middle:7.3f}  {low:.3f}–{high:.3f}  {cpu:7.3f}")
        start = ""


if __name__ == "__main__":
    main()

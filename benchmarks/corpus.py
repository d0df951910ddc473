"""What a captured study costs: its speed beside that of the model alone, memory, bytes on the disk, adding up.

    OMP_NUM_THREADS=1 python -m benchmarks.corpus [--tokens 20000 200000] [--replayed 1000000] [--model sift-softmax]

`--tokens`: the probe set's texts, over and over, through the model into a folder; afterwards the very batches that ran
go through the model alone, without recording. `--replayed`: as many tokens without a model, by writing the routing of
the probe set again and again as other documents': counted, encoded, written and added up. Every figure is of a process
of its own; memory is the peak above the loaded model. Then what each level of detail takes on the disk. Linux.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.process import forget_peak, resident
from gatescope.analysis.counting import tally
from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.schema import encode
from gatescope.cache.study import COUNTS, ROUTES, SCORES, StudyFolder
from gatescope.corpora import probe
from gatescope.hooks import CaptureOptions, LoadedModel, find_batch_tokens, load_model
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.record import Document, RoutingRecord
from gatescope.studies.adding_up import whole_tally
from gatescope.studies.blocks import Seen, Texts, cut
from gatescope.studies.capturing import capture_block, capture_study
from gatescope.studies.packing import Skipped, packed
from gatescope.studies.plan import Detail, Plan, longest_text

WARM_UP = 8  # texts captured before the measurement, so that what is loaded once is not counted
LEVELS: tuple[tuple[Detail, float], ...] = (("counts", 0.0), ("ids", 0.0), ("weights", 0.0), ("weights", 0.1))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement; seconds of the clock, and seconds that processors worked."""

    what: str
    tokens: int
    blocks: int
    seconds: float
    cpu_seconds: float
    plain_seconds: float = 0.0
    plain_cpu_seconds: float = 0.0
    peak_mb: float
    routes_bytes: float
    counts_bytes: float
    scores_bytes: float
    adding_up_seconds: float
    adding_up_mb: float

    def __str__(self) -> str:
        speed = f"{self.tokens / self.seconds:,.0f}"
        against = f"{self.plain_seconds / self.seconds:.2f}" if self.plain_seconds else "–"
        against_cpu = f"{self.plain_cpu_seconds / self.cpu_seconds:.2f}" if self.plain_cpu_seconds else "–"
        return (
            f"{self.what:30} {self.tokens:>10,} {self.blocks:>7,} {speed:>9} {against:>9} {against_cpu:>9} "
            f"{self.peak_mb:>8,.0f} {self.routes_bytes:>8.1f} {self.counts_bytes:>8.1f} {self.scores_bytes:>8.1f} "
            f"{self.adding_up_seconds:>8.1f} {self.adding_up_mb:>8,.0f}"
        )


HEAD = (
    f"{'':30} {'tokens':>10} {'blocks':>7} {'tokens/s':>9} {'÷ plain':>9} {'in CPU s':>9} "
    f"{'peak MB':>8} {'routes':>8} {'counts':>8} {'scores':>8} {'add up s':>8} {'peak MB':>8}"
)


def main() -> None:
    """Run every measurement in a fresh process, or the one that the options name in this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--replayed", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--model", choices=tuple(BUNDLED_MODELS), default="sift-softmax")
    parser.add_argument("--here", nargs=3, metavar=("KIND", "TOKENS", "LEVEL"), help="measure this alone")
    options = parser.parse_args()
    if options.here:
        kind, tokens, level = options.here
        measured = captured if kind == "capture" else replayed
        print(json.dumps(vars(measured(options.model, int(tokens), *LEVELS[int(level)]))))
        return
    print(f"{options.model}, torch {version('torch')}, {torch.get_num_threads()} threads, in the order measured")
    print(f"{HEAD}\n{'':30} bytes a token under routes, counts and scores", flush=True)
    for kind, tokens, level in [
        *(("capture", tokens, 2) for tokens in options.tokens),
        *(("replay", tokens, 2) for tokens in options.replayed),
        *(("replay", 100_000, level) for level in range(len(LEVELS))),
    ]:
        here = [sys.executable, "-m", __spec__.name, "--model", options.model]
        run = subprocess.run(
            [*here, "--here", kind, str(tokens), str(level)], check=True, text=True, stdout=subprocess.PIPE
        )
        print(Row(**json.loads(run.stdout.splitlines()[-1])), flush=True)


def captured(name: str, tokens: int, detail: Detail, scores: float) -> Row:
    """A study of so many tokens, then the batches it ran through the model alone."""
    model, plan = ready(name, detail, scores)
    documents = list(texts(model, tokens))
    base = resident("VmRSS")
    forget_peak()
    with tempfile.TemporaryDirectory() as folder:
        study = StudyFolder.create(Path(folder, "study"), plan.recipe(model, "probe"))
        batches = Batches(model)
        seconds, cpu_seconds = clocks()
        done = capture_study(model, iter(documents), study, plan)
        seconds, cpu_seconds = (now - then for now, then in zip(clocks(), (seconds, cpu_seconds), strict=True))
        batches.handle.remove()
        peak = resident("VmHWM") - base
        plain = batches.run(model)
        return row(f"captured, {detail}", study, done.blocks, seconds, cpu_seconds, peak, plain)


def replayed(name: str, tokens: int, detail: Detail, scores: float) -> Row:
    """The routing of the probe set's first blocks written as other documents', until there are so many tokens."""
    model, plan = ready(name, detail, scores)
    held = [
        record
        for texts_of_block in islice(cut(texts(model, 40_000), Seen()), 4)
        if (record := capture_block(model, texts_of_block, plan)[0]) is not None
    ]
    base = resident("VmRSS")
    forget_peak()
    with tempfile.TemporaryDirectory() as folder:
        study = StudyFolder.create(Path(folder, "study"), plan.recipe(model, "probe"))
        then, blocks = clocks(), 0
        for blocks, record in enumerate(renamed(held, tokens), 1):
            texts_of_block = Texts(blocks - 1, record.documents, digest=str(blocks))
            study.write(*packed(texts_of_block, record, Skipped(), plan))
        study.end(blocks)
        seconds, cpu_seconds = (now - before for now, before in zip(clocks(), then, strict=True))
        peak = resident("VmHWM") - base
        print_parts(held[0], seconds)
        what = f"replayed, {detail}" + (f", {scores:.0%} scores" if scores else "")
        return row(what, study, blocks, seconds, cpu_seconds, peak, (0.0, 0.0))


def row(
    what: str,
    study: StudyFolder,
    blocks: int,
    seconds: float,
    cpu_seconds: float,
    peak: float,
    plain: tuple[float, float],
) -> Row:
    """A measurement, with what lies in the folder and how long its tallies take to add up."""
    finished = study.finished().values()
    tokens = sum(block.tokens for block in finished)
    base = resident("VmRSS")
    forget_peak()
    started = time.perf_counter()
    assert_same(int(whole_tally(study).table("tokens").sum()), tokens)
    return Row(
        what=what,
        tokens=tokens,
        blocks=blocks,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        plain_seconds=plain[0],
        plain_cpu_seconds=plain[1],
        peak_mb=peak,
        adding_up_seconds=time.perf_counter() - started,
        adding_up_mb=resident("VmHWM") - base,
        **{
            f"{kind}_bytes": sum(block.parts[kind][1] for block in finished if kind in block.parts) / tokens
            for kind in (ROUTES, COUNTS, SCORES)
        },
    )


def assert_same(counted: int, written: int) -> None:
    """A tally that misses tokens would be measured for nothing."""
    if counted != written:
        raise RuntimeError(f"{counted} tokens in the tallies, {written} in the blocks")


def print_parts(record: RoutingRecord, seconds: float) -> None:
    """On stderr, what counting and encoding a block take, beside each other."""
    spent: dict[str, float] = {}
    for name, work in {
        "tally": lambda: tally(record),
        "tally as bytes": lambda: to_bytes(tally(record)),
        "routes": lambda: encode(record),
    }.items():
        started = time.perf_counter()
        work()
        spent[name] = time.perf_counter() - started
    spent["tally as bytes"] -= spent["tally"]
    line = ", ".join(f"{name} {1e6 * each / record.tokens:.1f} µs a token" for name, each in spent.items())
    print(f"a block of {record.tokens:,} tokens: {line}; {seconds:.0f} s in all", file=sys.stderr)


def ready(name: str, detail: Detail, scores: float) -> tuple[LoadedModel, Plan]:
    """A model that has captured something already, and the plan."""
    model = load_model(BUNDLED_MODELS[name], device="cpu")
    documents = probe()[:WARM_UP]
    plan = Plan(
        options=CaptureOptions(),
        detail=detail,
        scores=scores,
        batch_tokens=find_batch_tokens(model, documents),
        longest=longest_text(model, "split"),
    )
    with tempfile.TemporaryDirectory() as folder:
        study = StudyFolder.create(Path(folder, "study"), {})
        capture_study(model, iter(documents), study, plan)
        whole_tally(study)
    return model, plan


def texts(model: LoadedModel, tokens: int) -> Iterator[Document]:
    """The probe set in random order, again and again under other names, until there are so many tokens."""
    documents = probe()
    random.Random(0).shuffle(documents)
    length = [model.count_tokens(document.text) for document in documents]
    for turn in count():
        for document, own in zip(documents, length, strict=True):
            if tokens <= 0:
                return
            tokens -= own
            yield replace(document, id=f"{document.id} {turn}")


def renamed(records: list[RoutingRecord], tokens: int) -> Iterator[RoutingRecord]:
    """The same routes again and again, as other documents'."""
    for turn in count():
        for record in records:
            if tokens <= 0:
                return
            tokens -= record.tokens
            yield replace(record, documents=tuple(replace(each, id=f"{turn} {each.id}") for each in record.documents))


class Batches:
    """Notes every batch that a model is run on, so that it can be run on them again."""

    def __init__(self, model: LoadedModel) -> None:
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []
        self.handle = model.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _module: Any, _args: tuple, kwargs: dict) -> None:
        ids_bs = kwargs["input_ids"]
        mask_bs = kwargs.get("attention_mask", torch.ones_like(ids_bs))
        self.seen.append((ids_bs.numpy().astype(np.int32), mask_bs.sum(1).numpy()))

    def run(self, model: LoadedModel) -> tuple[float, float]:
        """Seconds, and seconds of processors, that the model alone takes for all of them."""
        then = clocks()
        with torch.no_grad():
            for ids_bs, length_b in self.seen:
                mask_bs = torch.arange(ids_bs.shape[1])[None] < torch.from_numpy(length_b)[:, None]
                model.model(input_ids=torch.from_numpy(ids_bs).long(), attention_mask=mask_bs.long(), use_cache=False)
        seconds, cpu_seconds = (now - before for now, before in zip(clocks(), then, strict=True))
        return seconds, cpu_seconds


def clocks() -> tuple[float, float]:
    """The time, and the time that processors have worked for this process."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main()

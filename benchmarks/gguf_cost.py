"""What recording costs in llama.cpp: passes with the callback over passes without it, in pairs.

    OMP_NUM_THREADS=1 python -m benchmarks.gguf_cost [--rounds 41] [--file MODEL.gguf]

Without a file, on the first bundled model in Q8_0. Each round runs a prompt of 512 tokens, and one token behind it,
with the callback that copies ids, weights and scores, and without a callback, in random order. The ratio is of the two
neighbours' processor time; its median over the rounds counts, with the quartiles.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.gguf_files import write_gguf
from gatescope.engines.llamacpp.header import read_header
from gatescope.engines.llamacpp.library import load_library
from gatescope.engines.llamacpp.model import GgufModel, open_gguf
from gatescope.engines.llamacpp.runtime import Runtime
from gatescope.hooks import load_model
from gatescope.models import BUNDLED_MODELS

PROMPT = 512
REPEATS = 20  # a single token is run so often in one timing


def main() -> None:
    """Time both kinds of passes, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.file:
        measure(options.file, options.rounds)
        return
    name, folder = next(iter(BUNDLED_MODELS.items()))
    model = load_model(folder, device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory() as place:
        measure(write_gguf(model.model, Path(place) / f"{name}-Q8_0.gguf", kind="Q8_0"), options.rounds)


def measure(path: Path, rounds: int) -> None:
    """Time one file."""
    library = load_library()
    with open_gguf(path, threads=1) as recorded:
        plain = Runtime(library, read_header(library, path), attention="auto", threads=1)
        prompt = np.random.default_rng(0).integers(0, plain.vocabulary_size, plain.chunk).tolist()
        for name, tokens in (("prompt", prompt), ("one token", prompt[:1])):
            seconds = np.array([_pair(recorded, plain, prompt, tokens) for _ in range(rounds)])
            low, middle, high = np.quantile(seconds[:, 0] / seconds[:, 1], (0.25, 0.5, 0.75))
            print(
                f"{path.stem}: {name} of {len(tokens)}: {1e3 * np.median(seconds[:, 1]):.2f} ms, "
                f"recorded {middle:.3f} times that (quartiles {low:.3f} … {high:.3f})"
            )


def _pair(recorded: GgufModel, plain: Runtime, prompt: list[int], tokens: list[int]) -> tuple[float, float]:
    """Processor seconds of a recorded and a plain pass, whichever came first."""
    spent = {}
    for kind in random.sample(("recorded", "plain"), 2):
        spent[kind] = _spent(recorded if kind == "recorded" else plain, prompt, tokens)
    return spent["recorded"], spent["plain"]


def _spent(model: GgufModel | Runtime, prompt: list[int], tokens: list[int]) -> float:
    repeats = REPEATS if len(tokens) == 1 else 1
    model.begin(len(prompt) + repeats)
    start = len(prompt) if repeats > 1 else 0
    if start:
        _run(model, prompt, 0)
    started = time.process_time()
    for turn in range(repeats):
        _run(model, tokens, start + turn)
    return (time.process_time() - started) / repeats


def _run(model: GgufModel | Runtime, tokens: list[int], position: int) -> None:
    """One pass; of a model that records, with what a capture copies."""
    if isinstance(model, Runtime):
        model.decode(tokens, position)
        return
    kinds = set().union(*(reading.kinds for reading in model.readings))
    width = sum(2 * reading.rule.experts + 2 * reading.rule.k for reading in model.readings)
    model.run(tokens, position, kinds, len(tokens) * width + 1000)


if __name__ == "__main__":
    main()

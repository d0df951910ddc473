"""What a capture of a corpus takes in memory: the peak above the loaded model, each run in a process of its own.

    OMP_NUM_THREADS=1 python -m benchmarks.memory [--tokens 25000 50000 100000] [--batch-tokens 1024]

The probe set's texts in random order, as many as make up the tokens asked for, through the bundled model: as a stream
whose records are dropped at once, and as one record. A stream should need as much for many tokens as for few. Linux.
"""

import argparse
import random
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import product

from benchmarks.process import forget_peak, resident
from gatescope.corpora import probe
from gatescope.hooks import CaptureOptions, LoadedModel, capture_corpus, load_model, stream_corpus
from gatescope.hooks.capturing.corpus import BATCH_TOKENS
from gatescope.models import BUNDLED_MODEL
from gatescope.routing.record import Document

KINDS = ("stream", "one record")
DETAIL = {"scores": {}, "all logits": {"logits": True}}
WARM_UP = 8  # texts read before the measurement, so that what is loaded once is not counted


def main() -> None:
    """Run every combination in a fresh process, or the one that the options name in this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS)
    parser.add_argument("--here", nargs=2, metavar=("KIND", "DETAIL"), help="measure this alone, in this process")
    options = parser.parse_args()
    if options.here:
        print(measured(*options.here, tokens=options.tokens[0], batch_tokens=options.batch_tokens))
        return
    print(f"{BUNDLED_MODEL.name}, torch {version('torch')}, batches of {options.batch_tokens:,} places")
    for kind, detail, tokens in product(KINDS, DETAIL, options.tokens):
        of_one = ["--here", kind, detail, "--tokens", str(tokens), "--batch-tokens", str(options.batch_tokens)]
        run = subprocess.run(
            [sys.executable, "-m", __spec__.name, *of_one], check=True, text=True, stdout=subprocess.PIPE
        )
        print(f"{kind:12}{detail:12}{run.stdout.strip()}")


def measured(kind: str, detail: str, *, tokens: int, batch_tokens: int) -> str:
    """Capture so many tokens; the peak above the loaded model, and how long it took."""
    model = load_model(BUNDLED_MODEL, device="cpu")
    documents = texts(model, tokens)
    options = CaptureOptions(**DETAIL[detail])
    capture_corpus(model, documents[:WARM_UP], options)
    before = resident("VmRSS")
    forget_peak()
    started = time.perf_counter()
    if kind == "stream":
        done = sum(record.tokens for _, record in stream_corpus(model, documents, options, batch_tokens=batch_tokens))
    else:
        done = capture_corpus(model, documents, options, batch_tokens=batch_tokens).tokens
    seconds = time.perf_counter() - started
    return f"{done:>8,} tokens  peak {resident('VmHWM') - before:6.0f} MB above {before:.0f} MB  {seconds:6.1f} s"


def texts(model: LoadedModel, tokens: int) -> list[Document]:
    """Texts of the probe set in random order, as many as make up so many tokens."""
    documents = probe()
    random.Random(0).shuffle(documents)
    taken = []
    for document in documents:
        if tokens <= 0:
            break
        taken.append(document)
        tokens -= model.count_tokens(document.text)
    return taken


if __name__ == "__main__":
    main()

"""How far quantised weights route from the weights they were made of, on the bundled models.

    OMP_NUM_THREADS=1 python -m benchmarks.gguf_drift [--every 1]

Each bundled model is written as GGUF files (`benchmarks.gguf_files`) and read by llama.cpp; its routes are held against
those of transformers in float32 on the same tokens of the probe set, of which every n-th text is read. Per file:

- same set: share of (token, layer) whose chosen experts are the same, in percent, with the 95 % interval of the mean
  over texts (normal approximation); then by layer
- changed: how many (token, layer) that leaves
- Jaccard: shared experts over all experts that either chose, mean
- first: share of (token, layer) whose heaviest expert is the same
- margin of the changed: median of the margin that transformers' router had where the set changed, over the median of
  all margins; small means that what changed was close anyway
- nats: mean loss per token, and how much it is above transformers'
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.gguf_files import write_gguf
from gatescope.corpora import probe
from gatescope.engines.llamacpp import capture_gguf, open_gguf
from gatescope.hooks import LoadedModel, capture_corpus, load_model
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.record import Document, RoutingRecord

RUNS = (("F32", "float32"), ("F32", "auto"), ("F16", "auto"), ("Q8_0", "auto"), ("Q4_0", "auto"))
HEAD = (
    "model",
    "weights",
    "attention",
    "same set, %",
    "changed",
    "Jaccard",
    "first, %",
    "margin of the changed",
    "nats",
    "by layer, %",
)


class Drift(NamedTuple):
    """How one record differs from another of the same tokens."""

    same: float
    interval: float
    changed: int
    jaccard: float
    first: float
    margin: float
    layers: NDArray[np.float64]


def main() -> None:
    """Measure every bundled model in every format, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="read every n-th text of the probe set")
    documents = probe()[:: parser.parse_args().every]
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    for name, folder in BUNDLED_MODELS.items():
        model = load_model(folder, device="cpu", dtype="float32")
        expected = capture_corpus(model, documents)
        with tempfile.TemporaryDirectory() as place:
            for kind, attention in RUNS:
                print(
                    _row(name, model, Path(place) / f"{kind}.gguf", (kind, attention), documents, expected), flush=True
                )

    print(f"\n{len(documents)} texts, {expected.tokens:,} tokens")


def _row(
    name: str,
    model: LoadedModel,
    path: Path,
    how: tuple[str, str],
    documents: Sequence[Document],
    expected: RoutingRecord,
) -> str:
    """One file's line of the table."""
    kind, attention = how
    if not path.exists():
        write_gguf(model.model, path, kind=kind, tokenizer=model.tokenizer)
    with open_gguf(path, attention=attention) as opened:
        found = capture_gguf(opened, documents)
    drift, nats, before = compare(found, expected), *(float(np.nanmean(one.loss_t)) for one in (found, expected))
    cells = (
        name,
        kind,
        attention,
        f"{100 * drift.same:.2f} ± {100 * drift.interval:.2f}",
        f"{drift.changed:,}",
        f"{drift.jaccard:.4f}",
        f"{100 * drift.first:.2f}",
        f"{drift.margin:.3f}",
        f"{nats:.3f} ({nats - before:+.4f})",
        " ".join(f"{100 * share:.1f}" for share in drift.layers),
    )
    return "| " + " | ".join(cells) + " |"


def compare(found: RoutingRecord, expected: RoutingRecord) -> Drift:
    """The drift between two records of the same tokens. Errors: ValueError where the tokens differ."""
    if not np.array_equal(found.token_t, expected.token_t):
        raise ValueError("the records hold different tokens")
    same_tl = (np.sort(found.ids_tlk) == np.sort(expected.ids_tlk)).all(-1)
    shared_tl = (found.ids_tlk[..., :, None] == expected.ids_tlk[..., None, :]).any(-1).sum(-1)
    tokens_d = np.bincount(expected.document_t)
    same_d = np.bincount(expected.document_t, same_tl.mean(-1)) / tokens_d
    margin_tl = expected.margin_tl.astype(float)
    return Drift(
        same=float(same_tl.mean()),
        interval=float(1.96 * same_d.std(ddof=1) / np.sqrt(len(same_d))),
        changed=int((~same_tl).sum()),
        jaccard=float((shared_tl / (2 * found.slots - shared_tl)).mean()),
        first=float((found.ids_tlk[..., 0] == expected.ids_tlk[..., 0]).mean()),
        margin=float(np.median(margin_tl[~same_tl]) / np.median(margin_tl)) if not same_tl.all() else float("nan"),
        layers=same_tl.mean(0),
    )


if __name__ == "__main__":
    main()

"""Measure a bundled model and write its card: `python -m gatescope.training.evaluate sift-softmax`.

Every figure is taken twice: of the trained model, and of the untrained one its training began from. Both read held-out
documents of the training corpus, and the probe set, which neither was trained on.
"""

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import transformers
import typer
from transformers import PreTrainedModel

from gatescope.analysis.comparison.saturation import saturation
from gatescope.corpora import probe
from gatescope.hooks import LoadedModel, attach, capture_corpus, load_model
from gatescope.hooks.loading.threads import processors
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import history, load_probe_capture
from gatescope.routing.errors import GatescopeError, ModelNotFoundError
from gatescope.routing.record import Document, RoutingRecord
from gatescope.training import corpus as training_text
from gatescope.training.architecture import architecture, fresh_model
from gatescope.training.card import render
from gatescope.training.corpus import DEFAULT_FOLDER
from gatescope.training.evidence import PROBE_QUESTIONS, QUESTIONS, evidence, words
from gatescope.training.export import narrowed
from gatescope.training.memory import keep_freed_memory
from gatescope.training.samples import samples
from gatescope.training.train import RUNS

_CURVE_POINTS = 24


def choose(documents: Iterable[training_text.Document], most: int) -> list[Document]:
    """Return the first `most` documents of every pair of domain and language, in their order."""
    taken: dict[tuple[str, str], int] = {}
    chosen = []
    for number, document in enumerate(documents):
        key = (document.domain, document.language)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= most:
            about = (str(number), document.source, document.domain, document.language)
            chosen.append(Document(document.text, *about))
    return chosen


def training(run: Path) -> dict[str, Any]:
    """What the run's own state and log say: tokens, time, settings and the loss along the way."""
    if not (run / "checkpoint.pt").exists():
        raise ModelNotFoundError(
            f"no {run / 'checkpoint.pt'}",
            expected="the folder of a training run",
            do="run: python -m gatescope.training.train NAME --tokens 16e6",
        )
    parts = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    chosen = np.unique(np.linspace(0, len(rows) - 1, _CURVE_POINTS).astype(int))
    keys = ("step", "tokens", "loss", "rate", "variation_l")
    state = parts["state"]
    return {
        "steps": state["step"],
        "tokens": state["tokens"],
        "seconds": state["seconds"],
        "recipe": parts["recipe"],
        "curve": [{key: rows[index][key] for key in keys} for index in chosen],
    }


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _size(model: LoadedModel, folder: Path) -> dict[str, Any]:
    rule = model.layers[0]
    experts = sum(parameter.numel() for name, parameter in model.model.named_parameters() if ".mlp.experts." in name)
    return {
        "parameters": model.parameters,
        "active_parameters": model.parameters - experts * (rule.experts - rule.k) // rule.experts,
        "weights_bytes": (folder / "model.safetensors").stat().st_size,
        "class": type(model.model).__name__,
        "routed": rule.sentence,
        "layers": len(model.layers),
        "first_block": rule.block,
        "experts": rule.experts,
        "experts_a_token": rule.k,
        "vocabulary": model.model.config.vocab_size,
    }


def _heldout(model: LoadedModel, documents: list[Document], permutations: int) -> dict[str, Any]:
    record = capture_corpus(model, documents)
    figures = _sizes(record) | evidence(record, QUESTIONS, permutations=permutations)
    return figures | {"words": words(record, permutations=permutations)}


def _probe(record: RoutingRecord, permutations: int) -> dict[str, Any]:
    return _sizes(record) | evidence(record, PROBE_QUESTIONS, permutations=permutations)


def _sizes(record: RoutingRecord) -> dict[str, Any]:
    return {"documents": len(record.documents), "tokens": record.tokens}


def _untrained(model: LoadedModel, seed: int) -> LoadedModel:
    fresh: PreTrainedModel = narrowed(fresh_model(model.model.config, seed)).eval().to(model.model.dtype)
    return attach(fresh, model.tokenizer, name=f"{model.name}, untrained")


def _saturation(name: str, trained: int) -> list[dict[str, Any]]:
    """Per step that was kept, the share of a token's experts that are also its experts at the end, layer by layer."""
    moments = history(name)
    compared = saturation([moment.record for moment in moments])
    return [
        {
            "step": moment.step,
            "tokens": moment.tokens,
            "share": moment.tokens / trained,
            "overlap_l": [layer.share for layer in layers],
        }
        for moment, layers in zip(moments, compared, strict=True)
    ]


def evaluate(name: str, folder: Path, corpus: Path, run: Path, *, documents: int, permutations: int) -> dict[str, Any]:
    """Return every figure of the model's card."""
    past = training(run)
    heldout = choose(training_text.read(corpus, "heldout"), documents)
    trained = load_model(folder, device="cpu")
    untrained = _untrained(trained, past["recipe"]["seed"])
    readers = {"trained": trained, "untrained": untrained}
    captures = {"trained": load_probe_capture(name), "untrained": capture_corpus(untrained, probe())}
    return {
        "name": name,
        "about": architecture(name).describe,
        "balance": vars(architecture(name).balancer()),
        "size": _size(trained, folder),
        "training": past,
        "machine": _machine(),
        "corpus": [vars(row) for row in training_text.inventory(corpus)],
        "permutations": permutations,
        "heldout": {reader: _heldout(model, heldout, permutations) for reader, model in readers.items()},
        "probe": {reader: _probe(record, permutations) for reader, record in captures.items()},
        "saturation": _saturation(name, past["tokens"]),
        "samples": [sample._asdict() for sample in samples(trained, heldout)],
    }


def main(
    name: Annotated[str, typer.Argument(help="The model to measure: sift-softmax or sift-sigmoid.")],
    corpus: Annotated[Path, typer.Option(help="Folder that gatescope.training.corpus wrote.")] = DEFAULT_FOLDER,
    runs: Annotated[Path, typer.Option(help="Folder of runs that gatescope.training.train wrote.")] = RUNS,
    documents: Annotated[int, typer.Option(help="Held-out documents of each domain and language, at most.")] = 12,
    permutations: Annotated[int, typer.Option(help="Random shuffles of the labels.")] = 2000,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all that the machine grants.")] = 0,
) -> None:
    """Evaluate a bundled model and write evaluation.json and README.md into its folder."""
    keep_freed_memory()
    torch.set_num_threads(threads or processors())
    try:
        folder = BUNDLED_MODELS[architecture(name).name]
        figures = evaluate(name, folder, corpus, runs / name, documents=documents, permutations=permutations)
    except GatescopeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (folder / "README.md").write_text(render(figures))
    typer.echo(f"wrote {folder / 'evaluation.json'} and {folder / 'README.md'}")
    for reader, measured in figures["heldout"].items():
        typer.echo(f"{reader}: held-out loss {measured['loss']['nats']:.3f} nats a token")


if __name__ == "__main__":
    typer.run(main)

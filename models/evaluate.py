"""Measure the bundled model on held-out documents and write its card: `python -m models.evaluate`.

Every figure is taken twice: of the trained model, and of the untrained one its training began from.
"""

import json
import os
import platform
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import transformers
import typer
from numpy.typing import NDArray
from transformers import AutoTokenizer, PreTrainedModel, Qwen3MoeForCausalLM

from analysis.information import excess_information
from models import BUNDLED_MODEL
from models.architecture import fresh_model
from models.balance import load_figures
from models.card import render
from models.corpus import DEFAULT_FOLDER, Document, inventory, read
from models.measure import Measurement, choose, measure
from models.memory import keep_freed_memory
from models.specialists import specialists
from routing.errors import GatescopeError, ModelNotFoundError

_CURVE_POINTS = 24
_SMALLEST_GROUP = 5
"""A pair of domain and language with fewer held-out documents gets no loss of its own."""


def losses(measured: Measurement, documents: Sequence[Document]) -> dict[str, Any]:
    """Mean loss over all documents, per domain, per language and per pair of them, in nats a token."""
    domains, languages = ([getattr(d, field) for d in documents] for field in ("domain", "language"))
    pairs = [f"{domain} / {language}" for domain, language in zip(domains, languages, strict=True)]
    everything = np.ones(len(documents), dtype=bool)
    return {
        "nats": measured.loss_nats(everything),
        "bits_per_byte": measured.bits_per_byte(everything),
        "domain": _by_label(measured, domains),
        "language": _by_label(measured, languages),
        "pair": _by_label(measured, pairs),
    }


def _by_label(measured: Measurement, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    array = np.array(labels)
    return {
        label: {
            "documents": int((array == label).sum()),
            "tokens": int(measured.predicted_d[array == label].sum()),
            "nats": measured.loss_nats(array == label),
        }
        for label in sorted(set(labels))
        if (array == label).sum() >= _SMALLEST_GROUP
    }


def _codes(labels: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64)


def information(measured: Measurement, documents: Sequence[Document], *, permutations: int) -> dict[str, Any]:
    """Bits that experts tell about domain and language, per layer, against permuted document labels.

    "given": labels are permuted only among documents that share the other label, so that a domain cannot profit from
    its language, nor a language from its domain. "in English": English documents alone.
    """
    domain_d, language_d = _codes([d.domain for d in documents]), _codes([d.language for d in documents])
    english_d = np.array([d.language == "en" for d in documents])
    count_dle, ask = measured.count_dle, partial(excess_information, permutations=permutations, seed=0)
    results = {
        "domain": ask(count_dle, domain_d),
        "language": ask(count_dle, language_d),
        "domain given language": ask(count_dle, domain_d, strata_d=language_d),
        "language given domain": ask(count_dle, language_d, strata_d=domain_d),
        "domain in English": ask(count_dle[english_d], domain_d[english_d]),
    }
    return {name: [layer._asdict() for layer in layers] for name, layers in results.items()}


def load(measured: Measurement) -> dict[str, list[float]]:
    """How evenly each layer used its experts over all documents."""
    return load_figures(torch.from_numpy(measured.count_dle.sum(axis=0)))._asdict()


def leanings(measured: Measurement, documents: Sequence[Document]) -> dict[str, list[dict[str, Any]]]:
    """For each domain and each language the expert that leans most towards it."""
    return {
        field: [found._asdict() for found in specialists(measured.count_dle, [getattr(d, field) for d in documents])]
        for field in ("domain", "language")
    }


def training(run: Path) -> dict[str, Any]:
    """What the run's own state and log say: tokens, time, settings and the loss along the way."""
    if not (run / "checkpoint.pt").exists():
        raise ModelNotFoundError(
            f"no {run / 'checkpoint.pt'}",
            expected="the folder of a training run",
            do="run: python -m models.train --minutes 65",
        )
    parts = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    chosen = np.unique(np.linspace(0, len(rows) - 1, _CURVE_POINTS).astype(int))
    keys = ("step", "tokens", "loss", "rate")
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


def _size(model: PreTrainedModel, folder: Path) -> dict[str, Any]:
    config = model.config
    total = sum(parameter.numel() for parameter in model.parameters())
    expert = 3 * config.hidden_size * config.moe_intermediate_size
    idle = config.num_hidden_layers * (config.num_experts - config.num_experts_per_tok) * expert
    return {
        "parameters": total,
        "active_parameters": total - idle,
        "weights_bytes": (folder / "model.safetensors").stat().st_size,
        "layers": config.num_hidden_layers,
        "experts": config.num_experts,
        "experts_a_token": config.num_experts_per_tok,
        "vocabulary": config.vocab_size,
    }


def evaluate(
    folder: Path, corpus: Path, run: Path, *, documents: int, length: int, permutations: int
) -> dict[str, Any]:
    """Return every figure of the model's card."""
    tokenizer, trained = AutoTokenizer.from_pretrained(folder), Qwen3MoeForCausalLM.from_pretrained(folder)
    history = training(run)
    heldout = choose(read(corpus, "heldout"), documents)
    untrained = fresh_model(trained.config, history["recipe"]["seed"]).eval()
    untrained.to(trained.dtype)
    result: dict[str, Any] = {"name": folder.name, "size": _size(trained, folder), "training": history}
    result["machine"] = _machine()
    result["corpus"] = [vars(row) for row in inventory(corpus)]
    for name, model in (("trained", trained), ("untrained", untrained)):
        measured = measure(model, tokenizer, [document.text for document in heldout], length=length)
        result[name] = {
            "loss": losses(measured, heldout),
            "information": information(measured, heldout, permutations=permutations),
            "load": load(measured),
            "specialists": leanings(measured, heldout),
        }
        tokens = int(measured.predicted_d.sum())
    result["heldout"] = {"documents": len(heldout), "tokens": tokens, "length": length, "permutations": permutations}
    return result


def main(
    model: Annotated[
        Path, typer.Option(help="The model folder; its figures and card are written there.")
    ] = BUNDLED_MODEL,
    corpus: Annotated[Path, typer.Option(help="Folder that models.corpus wrote.")] = DEFAULT_FOLDER,
    run: Annotated[Path, typer.Option(help="Folder that models.train wrote.")] = Path(".cache/run"),
    documents: Annotated[int, typer.Option(help="Held-out documents of each domain and language, at most.")] = 40,
    length: Annotated[int, typer.Option(help="Tokens of each document, at most.")] = 384,
    permutations: Annotated[int, typer.Option(help="Random deals of the labels.")] = 1000,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Evaluate the model and write evaluation.json and README.md into its folder."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        figures = evaluate(model, corpus, run, documents=documents, length=length, permutations=permutations)
    except GatescopeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    (model / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n")
    (model / "README.md").write_text(render(figures))
    typer.echo(f"wrote {model / 'evaluation.json'} and {model / 'README.md'}")
    for name in ("trained", "untrained"):
        typer.echo(f"{name}: held-out loss {figures[name]['loss']['nats']:.3f} nats a token")


if __name__ == "__main__":
    typer.run(main)

"""Make the captures that come with a bundled model, after every export: `python -m gatescope.training.ship NAME`.

The captures over training need the run's folder; without it, those there are stay as they are.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import PreTrainedTokenizerFast

from gatescope.cache.schema import encode
from gatescope.cache.sums import write_sums
from gatescope.corpora import domains, languages, probe
from gatescope.hooks import LoadedModel, attach, capture, capture_corpus, load_model
from gatescope.hooks.loading.threads import processors
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import WELCOME_TEXT, Moment, folder_of
from gatescope.routing.errors import GatescopeError
from gatescope.routing.record import Document, RoutingRecord
from gatescope.training.architecture import architecture
from gatescope.training.export import load_weights
from gatescope.training.train import RUNS

_TEXTS_A_LABEL = 4
"""Texts of each domain, and passages of each language, that are captured over training."""


def texts_over_training() -> list[Document]:
    """The first four texts of every domain and the first four passages of every language."""
    taken: dict[tuple[str, str], int] = defaultdict(int)
    chosen = []
    for kind, documents in (("domain", domains()), ("language", languages())):
        for document in documents:
            key = (kind, getattr(document, kind))
            taken[key] += 1
            if taken[key] <= _TEXTS_A_LABEL:
                chosen.append(document)
    return chosen


def over_training(run: Path, tokenizer: PreTrainedTokenizerFast) -> Iterator[Moment]:
    """Capture the texts with every file of weights that a run kept, in the order of their steps."""
    for path in sorted(run.glob("kept-*.pt")):
        about = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        step, tokens = int(about["step"]), int(about["tokens"])
        weights = load_weights(path).float()
        model = attach(weights, tokenizer, name=f"{run.name} after {step} steps", digest=f"{run.name}-{step}")
        yield Moment(step, tokens, routes_alone(capture_corpus(model, texts_over_training()), tokens))


def routes_alone(record: RoutingRecord, trained_tokens: int) -> RoutingRecord:
    """The same routes without anything else; texts are left out, since their ids name them in the probe set."""
    return RoutingRecord(
        ids_tlk=record.ids_tlk,
        weight_tlk=None,
        token_t=record.token_t,
        document_t=record.document_t,
        position_t=record.position_t,
        flag_t=record.flag_t,
        documents=tuple(replace(document, text="") for document in record.documents),
        layers=record.layers,
        provenance=replace(
            record.provenance, options=dict(record.provenance.options) | {"trained_tokens": trained_tokens}
        ),
    )


def ship(model: LoadedModel, run: Path, folder: Path) -> Iterator[Path]:
    """Write every capture of a bundled model into `folder`, naming each as it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    yield _write(folder / "welcome.gsr", capture(model, WELCOME_TEXT))
    yield _write(folder / "probe.gsr", capture_corpus(model, probe()))
    if run.exists():
        past = folder / "history"
        past.mkdir(exist_ok=True)
        for path in past.glob("*.gsr"):
            path.unlink()
        for moment in over_training(run, model.tokenizer):
            yield _write(past / f"{moment.step:06d}.gsr", moment.record)
    write_sums(folder)


def _write(path: Path, record: RoutingRecord) -> Path:
    path.write_bytes(encode(record))
    return path


def main(
    name: Annotated[str, typer.Argument(help="The model: sift-softmax or sift-sigmoid.")],
    runs: Annotated[Path, typer.Option(help="Folder of runs that gatescope.training.train wrote.")] = RUNS,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all that the machine grants.")] = 0,
) -> None:
    """Capture the welcome text and the probe set with a bundled model, and some of it with its run's kept weights."""
    torch.set_num_threads(threads or processors())
    started = time.monotonic()
    try:
        model = load_model(BUNDLED_MODELS[architecture(name).name], device="cpu")
        for path in ship(model, runs / name, folder_of(name)):
            typer.echo(f"{path}: {path.stat().st_size / 1e3:.0f} kB after {time.monotonic() - started:.0f} s")
    except GatescopeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)

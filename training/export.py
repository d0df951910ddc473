"""Write a training run as a folder that `transformers` loads: `python -m gatescope.training.export sift-softmax`."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from gatescope.hooks.loading.weights import FINGERPRINT, fingerprint
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.errors import GatescopeError, ModelNotFoundError
from gatescope.training.architecture import architecture
from gatescope.training.corpus import DEFAULT_FOLDER
from gatescope.training.train import RUNS


def load_weights(weights: Path) -> PreTrainedModel:
    """The model of a run with the weights of one of its files: the checkpoint, or one that was kept on the way."""
    if not weights.exists():
        raise ModelNotFoundError(
            f"no {weights}",
            expected="the state of a training run",
            do="run: python -m gatescope.training.train NAME --tokens 16e6",
        )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(weights.parent))
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["model"])
    narrowed(model).eval()
    return model


def narrowed(model: PreTrainedModel) -> PreTrainedModel:
    """The model as it ships: its parameters in bfloat16; what is no parameter, a selection bias, stays as exact as it
    was."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.tie_weights()
    return model


def export(weights: Path, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model of `weights` to `folder`, each file replaced whole; other files there are kept."""
    model = load_weights(weights)
    config = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        _forget_origin(Path(scratch) / "tokenizer_config.json")
        for path in Path(scratch).iterdir():
            path.chmod(0o644)
            shutil.move(path, folder / path.name)
    (folder / FINGERPRINT).write_text(fingerprint(folder, (folder / "model.safetensors",)) + "\n", encoding="utf-8")


def _forget_origin(path: Path) -> None:
    """Drop the fields that say how the tokenizer was loaded before it was saved."""
    fields = json.loads(path.read_text())
    kept = {key: value for key, value in fields.items() if key not in {"is_local", "local_files_only"}}
    path.write_text(json.dumps(kept, indent=2) + "\n")


def main(
    name: Annotated[str, typer.Argument(help="The model to export: sift-softmax or sift-sigmoid.")],
    runs: Annotated[Path, typer.Option(help="Folder of runs that gatescope.training.train wrote.")] = RUNS,
    corpus: Annotated[Path, typer.Option(help="Folder that holds the tokenizer.")] = DEFAULT_FOLDER,
    out: Annotated[Path | None, typer.Option(help="The model folder to write; unset, the bundled one.")] = None,
) -> None:
    """Export the latest checkpoint of a run."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(corpus / "tokenizer")
    try:
        folder = out or BUNDLED_MODELS[architecture(name).name]
        export(runs / name / "checkpoint.pt", tokenizer, folder)
    except GatescopeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"wrote {folder}: {(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    typer.run(main)

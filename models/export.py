"""Write a training checkpoint as a model folder that `transformers` loads: `python -m models.export`."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM

from models import BUNDLED_MODEL
from models.architecture import configuration
from models.corpus import DEFAULT_FOLDER
from routing.errors import GatescopeError, ModelNotFoundError


def export(checkpoint: Path, tokenizer: PreTrainedTokenizerFast, folder: Path, config: Qwen3MoeConfig) -> None:
    """Write the model of `checkpoint` to `folder` in bfloat16, each file replaced whole; other files there are kept."""
    if not checkpoint.exists():
        raise ModelNotFoundError(
            f"no {checkpoint}", expected="the state of a training run", do="run: python -m models.train --minutes 65"
        )
    model = Qwen3MoeForCausalLM(config)
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["model"])
    model.to(torch.bfloat16)  # type: ignore[arg-type]  # transformers wraps the signature
    model.tie_weights()
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


def _forget_origin(path: Path) -> None:
    """Drop the fields that say how the tokenizer was loaded before it was saved."""
    fields = json.loads(path.read_text())
    kept = {key: value for key, value in fields.items() if key not in {"is_local", "local_files_only"}}
    path.write_text(json.dumps(kept, indent=2) + "\n")


def main(
    run: Annotated[Path, typer.Option(help="Folder that models.train wrote.")] = Path(".cache/run"),
    corpus: Annotated[Path, typer.Option(help="Folder that holds the tokenizer.")] = DEFAULT_FOLDER,
    out: Annotated[Path, typer.Option(help="The model folder to write.")] = BUNDLED_MODEL,
) -> None:
    """Export the latest checkpoint of a run."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(corpus / "tokenizer")
    try:
        export(run / "checkpoint.pt", tokenizer, out, configuration(tokenizer))
    except GatescopeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"wrote {out}: {(out / 'model.safetensors').stat().st_size / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    typer.run(main)

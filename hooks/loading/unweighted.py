"""A model built by its configuration alone, without memory for its weights: what it would hold, before any is read."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn
from transformers import AutoConfig

from gatescope.hooks.loading.config_limits import check_config
from gatescope.hooks.loading.model_class import building, model_class
from gatescope.hooks.loading.weights import WEIGHTS, is_folder, resolve
from gatescope.routing.errors import ModelNotFoundError


class Size(NamedTuple):
    """Weights a model has, and the number format they are stored in, where its configuration names one."""

    parameters: int
    stored: str


def build(name: str | Path, revision: str = "") -> tuple[nn.Module, Any]:
    """The model and its configuration; of a hub's, one small file is downloaded. Errors: ModelNotFoundError."""
    return _built(resolve(str(name), revision, files=("config.json",)).path)


def _built(path: Path) -> tuple[nn.Module, Any]:
    check_config(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        kind = model_class(config)
        with building, torch.device("meta"):
            return (kind.from_config(config) if hasattr(kind, "from_config") else kind(config)), config
    except (ValueError, KeyError, ImportError) as refusal:
        raise ModelNotFoundError(
            f"{path} is no model that transformers can build: {refusal}",
            expected="a config.json of a known family, needing no code of its own",
            do="check config.json's model_type",
        ) from refusal


def size_before_download(name: str, revision: str = "") -> Size | None:
    """What a hub's model will hold; None of a folder, of what is on this disk already, or cannot be built so.

    Errors: as `resolve`, where the hub cannot be asked.
    """
    if is_folder(name):
        return None
    path = resolve(name, revision, files=("config.json",)).path  # what stands in the way is said here
    if any(_is_here(name, revision, file) for file in WEIGHTS):
        return None
    try:
        model, config = _built(path)
    except ModelNotFoundError:  # what reading it says is clearer: its own code may be wanted
        return None
    parameters = {id(each): each.numel() for each in model.parameters()}
    stored = str(getattr(config.get_text_config(), "dtype", None) or "").removeprefix("torch.")
    return Size(sum(parameters.values()), stored)


def _is_here(name: str, revision: str, file: str) -> bool:
    return isinstance(try_to_load_from_cache(name, file, revision=revision or None), str)

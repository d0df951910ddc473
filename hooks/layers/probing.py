"""The short pass by which a model shows how it routes: its inputs, and what comes out of it."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatescope.routing.errors import OptionError

PROBE_TOKENS = 48
PROBE_SEED = 20260101
MODALITY = "moe_mm_token_type_ids"  # asked for by models whose text and image tokens have experts of their own


def probe_inputs(model: Any, *, vocabulary: int = 0, special: frozenset[int] = frozenset()) -> dict[str, Tensor]:
    """Inputs for one pass over a fixed row of random ordinary tokens, whatever kind of text model this is.

    Errors: OptionError for a model that does not read token ids.
    """
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        raise OptionError(
            f"{type(model).__name__} reads {model.main_input_name}, not token ids",
            expected="inputs that make it route",
            do="pass them: inputs={...}, as the model is called",
        )
    embedding = model.get_input_embeddings()
    size, device = embedding.weight.shape[0], input_device(model)
    ids_bs = _ordinary_ids(min(vocabulary or size, size), special).to(device)
    inputs = {"input_ids": ids_bs}
    accepted = inspect.signature(unwrapped(model).forward).parameters
    if getattr(model.config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = ids_bs.flip(1)
    if MODALITY in accepted:
        inputs[MODALITY] = torch.arange(PROBE_TOKENS, device=device)[None] % 2
    return inputs


def input_device(model: Any) -> torch.device:
    """Where a model wants its token ids: beside its embedding, wherever the weights are kept meanwhile."""
    embedding = model.get_input_embeddings()
    device: torch.device = embedding.weight.device
    if device.type != "meta":
        return device
    return torch.device(getattr(getattr(embedding, "_hf_hook", None), "execution_device", None) or "cpu")


def _ordinary_ids(vocabulary: int, special: frozenset[int]) -> Tensor:
    """A fixed row of random token ids, special ones replaced, shape (1, PROBE_TOKENS)."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    ids = torch.randint(0, vocabulary, (1, PROBE_TOKENS), generator=generator)
    taken = torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype))
    return ids.masked_fill(taken, next((token for token in range(vocabulary) if token not in special), 0))


def unwrapped(model: Any) -> nn.Module:
    """The model inside the wrappers that others put around it (PEFT, torch.compile)."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        if inner is None or inner is model:
            found: nn.Module = model
            return found
        model = inner


def forward(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """One pass without gradients; what comes out of it, as float32 of shape (rows, width)."""
    with torch.no_grad():
        output = model(**(no_cache(model) | dict(inputs)))
    first = getattr(output, "logits", None)
    first = output[0] if first is None and not isinstance(output, Tensor) else first
    values: Tensor = output if first is None else first
    return values.float().flatten(0, -2)


def no_cache(model: Any) -> dict[str, bool]:
    """What keeps a pass from leaving a cache, for models that have one."""
    parameters = inspect.signature(unwrapped(model).forward).parameters
    passes_on = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    text_config = model.config.get_text_config()
    accepts = "use_cache" in parameters or (passes_on and hasattr(text_config, "use_cache"))
    return {"use_cache": False} if accepts else {}

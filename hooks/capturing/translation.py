"""Forward passes of an encoder-decoder: the text read once by the encoder, then a token at a time by the decoder."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.hooks.capturing.generation import (
    Batch,
    Step,
    end_tokens,
    kept,
    next_batch,
    pad_batch,
    token_chooser,
    token_columns,
    what_rows_are,
)
from gatescope.hooks.capturing.options import CaptureOptions
from gatescope.hooks.layers.probing import input_device
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.text.tokens import Prompt
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Flag


def translation_steps(model: LoadedModel, prompts: Sequence[Prompt], options: CaptureOptions) -> Iterator[Step]:
    """Run the encoder over the texts, then the decoder from its start token on; a step for each stack and pass.

    A row that ends with an end-of-sequence token is no longer kept; generation stops when all have ended.
    """
    source = pad_batch(model, prompts, "right")
    mask_bs = source.real_bs.long()
    encoded = model.model.get_encoder()(input_ids=source.ids_bs, attention_mask=mask_bs)
    yield Step(source.real_bs.flatten(), _source_columns(model, source), "encoder")
    batch, cache = _start(model, len(prompts)), None
    chooser, ends = token_chooser(options), end_tokens(model)
    alive_b = torch.ones(len(prompts), dtype=torch.bool, device=batch.ids_bs.device)
    for remaining in range(options.max_new_tokens, -1, -1):
        output = model.model(
            encoder_outputs=encoded,
            attention_mask=mask_bs,
            decoder_input_ids=batch.ids_bs,
            past_key_values=cache,
            use_cache=options.max_new_tokens > 0,
        )
        cache = output.past_key_values if options.max_new_tokens else None
        next_b = chooser(batch.ids_bs, output.logits[:, -1].float()) if remaining else None
        yield Step(alive_b, token_columns(model, batch, output.logits, next_b, alive_b))
        if next_b is None:
            return
        alive_b = alive_b & ~torch.isin(next_b, ends)
        if not alive_b.any():
            return
        batch = next_batch(next_b, sum_real_b=batch.position_bs[:, 0] + 1)


def _start(model: LoadedModel, rows: int) -> Batch:
    """The decoder's first place: its start token in every row."""
    config: Any = model.model.config
    start = getattr(config, "decoder_start_token_id", None)
    start = getattr(model.model.generation_config, "decoder_start_token_id", None) if start is None else start
    if start is None:
        raise OptionError(
            f"{model.name} states no token for its decoder to start with",
            expected="decoder_start_token_id in its configuration",
            do="add it to config.json or generation_config.json",
        )
    ids_bs = torch.full((rows, 1), int(start), device=input_device(model.model))
    nothing_bs = torch.zeros_like(ids_bs)
    return Batch(ids_bs, nothing_bs == 0, nothing_bs, nothing_bs + int(Flag.SPECIAL))


def _source_columns(model: LoadedModel, source: Batch) -> dict[str, NDArray[Any]]:
    """The token columns of what the encoder read; it predicts nothing."""
    flagged = Batch(source.ids_bs, source.real_bs, source.position_bs, source.flag_bs | int(Flag.ENCODER))
    named = what_rows_are(flagged)
    if model.predicts_tokens:
        nothing: Tensor = torch.full_like(source.ids_bs, -1)
        named |= {"predicted_t": (nothing, np.int32), "loss_t": (nothing.float().fill_(float("nan")), np.float32)}
    return kept(named, source.real_bs)

"""Forward passes over a batch: the prompt in one, then one per generated token, with what each row is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from gatescope.hooks.capturing.options import CaptureOptions
from gatescope.hooks.layers.probing import input_device
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.text.tokens import Prompt
from gatescope.routing.record import Flag
from gatescope.routing.router import Stack

NOTHING = -100  # a target that is no token
CHUNK = 64  # places whose scores over the vocabulary are widened to float32 at once


@dataclass(frozen=True)
class Batch:
    """Padded token ids and what each place holds; `real_bs` is False on padding."""

    ids_bs: Tensor
    real_bs: Tensor
    position_bs: Tensor
    flag_bs: Tensor


@dataclass(frozen=True)
class Step:
    """One forward pass of a stack: which rows of the flattened batch to keep, and the token columns of those rows."""

    keep_n: Tensor
    columns: dict[str, NDArray[Any]]
    stack: Stack = "decoder"


def steps(
    model: LoadedModel, prompts: Sequence[Prompt], options: CaptureOptions, *, padding_side: str
) -> Iterator[Step]:
    """Run the prompts, then generate; yields after each forward pass, before the next begins.

    A row that ends with an end-of-sequence token is no longer kept; generation stops when all have ended.
    """
    batch = pad_batch(model, prompts, padding_side)
    chooser = token_chooser(options)
    ends = end_tokens(model)
    mask_bs, cache = batch.real_bs, None
    alive_b = torch.ones(len(prompts), dtype=torch.bool, device=mask_bs.device)
    for remaining in range(options.max_new_tokens, -1, -1):
        output = _forward(model, batch, mask_bs, cache, keeps_cache=options.max_new_tokens > 0)
        cache = output.past_key_values if options.max_new_tokens else None
        next_b = chooser(batch.ids_bs, _last(output.logits, batch.real_bs).float()) if remaining else None
        yield Step(
            (batch.real_bs & alive_b[:, None]).flatten(), token_columns(model, batch, output.logits, next_b, alive_b)
        )
        if next_b is None:
            return
        alive_b = alive_b & ~torch.isin(next_b, ends)
        if not alive_b.any():
            return
        batch = next_batch(next_b, sum_real_b=mask_bs.sum(1))
        mask_bs = torch.cat([mask_bs, torch.ones_like(mask_bs[:, :1])], dim=1)


def pad_batch(model: LoadedModel, prompts: Sequence[Prompt], side: str) -> Batch:
    """Prompts of any length as one rectangle, padded on the left or the right."""
    length = max(len(prompt.ids) for prompt in prompts)
    filler = model.tokenizer.pad_token_id
    ids_bs = torch.full((len(prompts), length), filler if filler is not None else 0)
    real_bs, flag_bs = torch.zeros_like(ids_bs, dtype=torch.bool), torch.zeros_like(ids_bs)
    special = set(model.tokenizer.all_special_ids)
    for row, prompt in enumerate(prompts):
        place = slice(length - len(prompt.ids), length) if side == "left" else slice(0, len(prompt.ids))
        ids_bs[row, place], real_bs[row, place] = torch.tensor(prompt.ids), True
        flags = [
            Flag.SPECIAL * (token in special) | Flag.TEMPLATE * template
            for token, template in zip(prompt.ids, prompt.is_template, strict=True)
        ]
        flag_bs[row, place] = torch.tensor(flags)
    position_bs = (real_bs.long().cumsum(1) - 1).clamp(min=0)
    device = input_device(model.model)
    return Batch(ids_bs.to(device), real_bs.to(device), position_bs.to(device), flag_bs.to(device))


def next_batch(next_b: Tensor, *, sum_real_b: Tensor) -> Batch:
    """The chosen tokens as the places of the next pass; `sum_real_b` are their positions."""
    ids_bs = next_b[:, None]
    return Batch(
        ids_bs, torch.ones_like(ids_bs, dtype=torch.bool), sum_real_b[:, None], torch.full_like(ids_bs, Flag.GENERATED)
    )


def _forward(model: LoadedModel, batch: Batch, mask_bs: Tensor, cache: Any, *, keeps_cache: bool) -> Any:
    extra = {} if mask_bs.all() and mask_bs.shape[0] == 1 else {"attention_mask": mask_bs.long()}
    return model.model(
        input_ids=batch.ids_bs, position_ids=batch.position_bs, past_key_values=cache, use_cache=keeps_cache, **extra
    )


def _last(logits_bsv: Tensor, real_bs: Tensor) -> Tensor:
    """Logits at each row's last real token."""
    rows_b, last_b = _last_places(real_bs)
    return logits_bsv[rows_b, last_b]


def _last_places(real_bs: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each row's last real token."""
    places = torch.arange(real_bs.shape[1], device=real_bs.device)
    return torch.arange(len(real_bs), device=real_bs.device), (places * real_bs).argmax(1)


def token_chooser(options: CaptureOptions) -> Any:
    """(ids so far, logits) → the next token of each row."""
    if not options.sample:
        return lambda _ids_bs, logits_bv: logits_bv.argmax(-1)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(options.temperature)])
    if options.top_p < 1.0:
        warpers.append(TopPLogitsWarper(options.top_p))
    generator = torch.Generator().manual_seed(options.seed)

    def draw(ids_bs: Any, logits_bv: Any) -> Tensor:
        share_bv = warpers(ids_bs, logits_bv).softmax(-1).cpu()
        return torch.multinomial(share_bv, 1, generator=generator)[:, 0].to(ids_bs.device)

    return draw


def end_tokens(model: LoadedModel) -> Tensor:
    """Ids of the tokens that end a text."""
    stated = getattr(getattr(model.model, "generation_config", None), "eos_token_id", None)
    stated = model.tokenizer.eos_token_id if stated is None else stated
    ends = stated if isinstance(stated, list) else [] if stated is None else [stated]
    return torch.tensor(ends, dtype=torch.long, device=input_device(model.model))


def token_columns(
    model: LoadedModel, batch: Batch, logits_bsv: Tensor, next_b: Tensor | None, alive_b: Tensor
) -> dict[str, NDArray[Any]]:
    """The token columns of one pass, padding and ended rows left out; no predictions of what predicts no tokens."""
    keep_bs = batch.real_bs & alive_b[:, None]
    named = what_rows_are(batch)
    if model.predicts_tokens:
        predicted_bs, loss_bs = _judged(logits_bsv, _next_tokens(batch, next_b))
        named |= {"predicted_t": (predicted_bs, np.int32), "loss_t": (loss_bs, np.float32)}
    return kept(named, keep_bs)


def what_rows_are(batch: Batch) -> dict[str, tuple[Tensor, type]]:
    """Token, document, position and flags of every place, with the types they are kept in."""
    document_bs = torch.arange(len(batch.ids_bs), device=batch.ids_bs.device)[:, None].expand_as(batch.ids_bs)
    return {
        "token_t": (batch.ids_bs, np.int32),
        "document_t": (document_bs, np.int32),
        "position_t": (batch.position_bs, np.int32),
        "flag_t": (batch.flag_bs, np.uint8),
    }


def kept(named: dict[str, tuple[Tensor, type]], keep_bs: Tensor) -> dict[str, NDArray[Any]]:
    """The places to keep, as arrays."""
    return {name: values_bs[keep_bs].cpu().numpy().astype(dtype) for name, (values_bs, dtype) in named.items()}


def _next_tokens(batch: Batch, next_b: Tensor | None) -> Tensor:
    """The token that came after each place, NOTHING where none did; after the last place, the one just chosen."""
    target_bs = torch.full_like(batch.ids_bs, NOTHING)
    target_bs[:, :-1] = batch.ids_bs[:, 1:].masked_fill(~batch.real_bs[:, 1:], NOTHING)
    if next_b is not None:
        target_bs[_last_places(batch.real_bs)] = next_b
    return target_bs


def _judged(logits_bsv: Tensor, target_bs: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest next token of each place, and the nats of the one that came; a few places at a time, for memory."""
    predicted, losses = [], []
    places = zip(logits_bsv.flatten(0, 1).split(CHUNK), target_bs.flatten().split(CHUNK), strict=True)
    for logits_cv, target_c in places:
        wide_cv = logits_cv.float()
        predicted.append(_likeliest(wide_cv))
        nats_c = cross_entropy(wide_cv, target_c, ignore_index=NOTHING, reduction="none")
        losses.append(nats_c.masked_fill(target_c == NOTHING, float("nan")))
    return torch.cat(predicted).view_as(target_bs), torch.cat(losses).view_as(target_bs)


def _likeliest(logits_cv: Tensor) -> Tensor:
    """The first of the largest in each row; on a CPU numpy finds it six times as fast as torch."""
    if logits_cv.device.type != "cpu":
        return logits_cv.argmax(-1)
    return torch.from_numpy(logits_cv.detach().numpy().argmax(-1))

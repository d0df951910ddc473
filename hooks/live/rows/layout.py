"""How the rows of a forward pass lie in its batch: which are padding, and where a sequence ends and the next begins."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.hooks.layers.site import stack_of
from gatescope.hooks.live.rows.passes import Call, Pass
from gatescope.routing.router import Stack

NO_TOKEN = -1  # the id of a row whose token is not known (embeddings, image patches)


class Layout(NamedTuple):
    """The rows of one stack's pass, b*S + s.

    `past` counts the places in the cache before it, `before_b` the real tokens among them where a mask told.
    `starts_bs` marks the first token of every sequence packed into a row behind another one. `is_patches`: the rows are
    no tokens but what a tower for images or sound read.
    """

    token_bs: Tensor
    real_bs: Tensor
    starts_bs: Tensor
    past: int
    before_b: Tensor | None
    is_patches: bool = False


def layout_of(done: Pass, stack: Stack, rows: int, *, beside_decoder: bool, mask_bs: Tensor | None) -> Layout | None:
    """The layout of the outermost call that was given as many tokens as the stack has rows; None where none was.

    `beside_decoder`: the model has an encoder and a decoder. `mask_bs` is the mask of the whole text, for calls whose
    own mask is no longer one number per token.
    """
    found = None
    for call in done.calls:
        for prefix in _prefixes(call, stack, beside_decoder=beside_decoder):
            layout = _layout(call, prefix, mask_bs)
            if layout is not None and layout.token_bs.numel() == rows:
                return layout
            if layout is not None and layout.token_bs.numel() > rows and found is None:
                found = layout
    return found


def _prefixes(call: Call, stack: Stack, *, beside_decoder: bool) -> Iterator[str]:
    """What the names of the arguments that feed a stack begin with, where this call feeds it."""
    if call.takes_both and stack in ("encoder", "decoder"):
        yield "decoder_" if stack == "decoder" else ""
    elif stack_of(call.path) == stack or (stack == "encoder" and not beside_decoder and not call.takes_both):
        yield ""


def _layout(call: Call, prefix: str, mask_bs: Tensor | None) -> Layout | None:
    token_bs = _tokens(call, prefix)
    if token_bs is None:
        return None
    rows, length = token_bs.shape
    past = 0 if prefix == "" and call.takes_both else call.past
    own_bs = call.given.get(f"{prefix}attention_mask")
    has_own = torch.is_tensor(own_bs) and own_bs.dim() == 2
    whole_bs = _whole(own_bs if has_own else mask_bs, rows, past, length, goes_on=not has_own)
    real_bs = torch.ones_like(token_bs, dtype=torch.bool) if whole_bs is None else whole_bs[:, -length:]
    before_b = None if whole_bs is None or not past else whole_bs[:, :past].sum(1)
    return Layout(token_bs, real_bs.to(token_bs.device), _starts(call, prefix, real_bs), past, before_b)


def _tokens(call: Call, prefix: str) -> Tensor | None:
    """(rows, places) token ids; NO_TOKEN everywhere where embeddings were given instead."""
    ids = call.given.get(f"{prefix}input_ids")
    if torch.is_tensor(ids) and ids.dim() == 2:
        return ids
    embeds = call.given.get(f"{prefix}inputs_embeds")
    if torch.is_tensor(embeds) and embeds.dim() == 3:
        return torch.full(embeds.shape[:2], NO_TOKEN, device=embeds.device)
    return None


def _whole(mask_bs: Tensor | None, rows: int, past: int, length: int, *, goes_on: bool) -> Tensor | None:
    """The mask over all places so far, from place 0 of the cache; None where there is none of that size.

    A mask of the prompt `goes_on` in ones, and is repeated where each text became several rows; a shorter one of the
    pass itself has ones before it.
    """
    if mask_bs is None or rows % len(mask_bs):
        return None
    mask_bs = mask_bs.bool().repeat_interleave(rows // len(mask_bs), 0)
    missing = past + length - mask_bs.shape[1]
    if missing <= 0:
        return mask_bs[:, : past + length] if past else mask_bs[:, -length:]
    ones_bs = mask_bs.new_ones(rows, missing)
    return torch.cat([mask_bs, ones_bs] if goes_on else [ones_bs, mask_bs], 1)


def _starts(call: Call, prefix: str, real_bs: Tensor) -> Tensor:
    """First tokens of packed sequences: said by `cu_seq_lens_q`, or where the positions of a row fall back."""
    starts_bs = torch.zeros_like(real_bs)
    bounds = call.given.get("cu_seq_lens_q")
    if torch.is_tensor(bounds) and prefix == "":
        inner = bounds[(bounds > 0) & (bounds < starts_bs.numel())].long().to(starts_bs.device)
        starts_bs.view(-1)[inner] = True
        return starts_bs
    position_bs = call.given.get(f"{prefix}position_ids")
    if not torch.is_tensor(position_bs) or position_bs.dim() != 2 or position_bs.shape[1] != real_bs.shape[1]:
        return starts_bs
    position_bs = position_bs.expand_as(real_bs)
    falls_bs = (position_bs[:, 1:] <= position_bs[:, :-1]).to(real_bs.device)
    starts_bs[:, 1:] = falls_bs & real_bs[:, 1:] & real_bs[:, :-1]
    return starts_bs

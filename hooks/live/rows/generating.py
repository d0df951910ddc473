"""One call of `generate`: what it was asked for, and which of the rows it ran belong to what it returned."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.hooks.live.rows.sequences import Link, Text, chain, cut, longest_match, matching
from gatescope.routing.router import Stack


@dataclass(frozen=True)
class Asked:
    """What a call of `generate` was given. `prompt` counts the ids it will return first, `places` those it will run."""

    prompt: int | None = None
    places: int | None = None
    mask_bs: Tensor | None = None
    has_beams: bool = False
    ends: frozenset[int] = frozenset()
    filler: int | None = None


@dataclass(eq=False)
class Generation:
    """A call of `generate` under way: its documents, stack by stack and row by row, and every link they ever had."""

    asked: Asked
    rows: dict[Stack, list[list[Text]]] = field(default_factory=dict)
    read: list[Text] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    places: int = 0

    def passed(self, stack: Stack, rows: list[list[Text]], places: int) -> None:
        """A pass over `rows` has been recorded, which ended at this place of the cache."""
        is_first = stack not in self.rows
        self.rows[stack] = rows
        if stack != "decoder":
            return
        self.places = self.first_generated(places)
        if self.asked.has_beams:
            ends = [text.end for texts in rows for text in texts]
            self.links += [link for end in ends for link in (chain(end) if is_first else [end] if end else [])]

    def first_generated(self, places: int) -> int:
        """The first place that is no prompt; in the first pass it ends, unless it was told, with that pass."""
        return self.places or (places if self.asked.places is None else self.asked.places)

    def finished(self, returned_rs: NDArray[np.integer] | None) -> tuple[list[Text], list[Text]]:
        """The documents that stood for its rows, and those that stand for what it returned."""
        before = [text for texts in self.rows.get("decoder", []) for text in texts]
        if returned_rs is None or not before:
            for text in before:
                text.end = self._without_end(text.end)
            return before, before
        offset = self.places - (self.places if self.asked.prompt is None else self.asked.prompt)
        if self.asked.has_beams:
            return before, [self._found(before, returned_rs, row, offset) for row in range(len(returned_rs))]
        for text, token_s in zip(before, returned_rs, strict=len(before) == len(returned_rs)):
            text.end = matching(text.end, self._trimmed(token_s, offset, len(returned_rs)), offset)
        return before, before

    def _found(self, before: Sequence[Text], returned_rs: NDArray[np.integer], row: int, offset: int) -> Text:
        """The document of one returned beam, found among all that were ever followed."""
        like = before[row * len(before) // len(returned_rs)]
        token_s = self._trimmed(returned_rs[row], offset, len(returned_rs))
        return Text(longest_match(self.links, token_s, offset), like.base, like.read)

    def _trimmed(self, token_s: NDArray[np.integer], offset: int, rows: int) -> NDArray[np.integer]:
        """A returned row without its end token and the filling behind it."""
        start = self.places - offset
        ends = np.isin(token_s[start:], list(self.asked.ends)).nonzero()[0]
        if len(ends):
            return token_s[: start + int(ends[0])]
        last = len(token_s)
        while rows > 1 and last > start and token_s[last - 1] == self.asked.filler:
            last -= 1
        return token_s[:last]

    def _without_end(self, end: Link | None) -> Link | None:
        """The rows before the first generated end token; all where there is none."""
        for link in chain(end):
            is_end_r = (link.slot_r >= self.places) & np.isin(link.token_r, list(self.asked.ends))
            if is_end_r.any():
                return cut(end, int(link.slot_r[is_end_r.argmax()]))
        return end


def asked(generate: Callable[..., Any], model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asked:
    """What a call of a model's `generate` asks for."""
    named = inspect.signature(generate).bind_partial(*args, **kwargs).arguments
    named |= named.pop("kwargs", {})
    options = [named, vars(named.get("generation_config") or object), vars(model.generation_config)]

    def option(name: str) -> Any:
        return next((one[name] for one in options if one.get(name) is not None), None)

    ends = option("eos_token_id")
    ends = ends.tolist() if torch.is_tensor(ends) else ends
    prompt, places, mask_bs = _prompt(model, named)
    return Asked(
        prompt=prompt,
        places=places,
        mask_bs=mask_bs,
        has_beams=(option("num_beams") or 1) > 1,
        ends=frozenset([] if ends is None else [ends] if isinstance(ends, int) else ends),
        filler=option("pad_token_id"),
    )


def _prompt(model: Any, named: Mapping[str, Any]) -> tuple[int | None, int | None, Tensor | None]:
    """Length of the prompt as it is returned, as it lies in the cache, and its mask; None where only the run tells."""
    if getattr(model.config, "is_encoder_decoder", False):
        return None, None, None
    ids = next((named[name] for name in ("inputs", "input_ids") if torch.is_tensor(named.get(name))), None)
    ids = ids if ids is not None and ids.dim() == 2 and not ids.is_floating_point() else None
    embeds, mask_bs = named.get("inputs_embeds"), named.get("attention_mask")
    mask_bs = mask_bs if torch.is_tensor(mask_bs) and mask_bs.dim() == 2 else None
    prompt = ids.shape[1] if ids is not None else 0 if embeds is not None else None
    places = embeds.shape[1] if embeds is not None else None if mask_bs is None else mask_bs.shape[1]
    return prompt, prompt if places is None else places, mask_bs


def sequences_of(output: Any) -> NDArray[np.integer] | None:
    """The token ids that `generate` returned, a row each."""
    ids = getattr(output, "sequences", output)
    return ids.cpu().numpy() if torch.is_tensor(ids) and ids.dim() == 2 and not ids.is_floating_point() else None

"""What one recording has seen: forward passes turned into the documents they read and wrote."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.hooks.live.rows.generating import Asked, Generation
from gatescope.hooks.live.rows.layout import NO_TOKEN, Layout, layout_of
from gatescope.hooks.live.rows.passes import Pass
from gatescope.hooks.live.rows.sequences import Columns, Link, Text
from gatescope.hooks.recording.sink import RouteSink
from gatescope.routing.errors import RouterOutputError
from gatescope.routing.record import Flag
from gatescope.routing.router import RouterRule, Stack

IMAGE_IDS = ("image_token_id", "image_token_index", "video_token_id", "audio_token_id")
PATCHES = "image patches"
Place = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows among those kept, and their places in the row of the batch


class Book:
    """Listens to forward passes and keeps their rows. `passes` counts those that were recorded."""

    def __init__(self, sink: RouteSink, rules: tuple[RouterRule, ...], config: Any) -> None:
        self.texts: list[Text] = []
        self.passes = 0
        self._sink, self._rules = sink, rules
        self._stacks: tuple[Stack, ...] = tuple(dict.fromkeys(rule.stack for rule in rules))
        self._has_both = bool(getattr(config, "is_encoder_decoder", False))
        self._image_ids = [token for name in IMAGE_IDS if isinstance(token := getattr(config, name, None), int)]
        self._caches: dict[int, tuple[weakref.ref[Any], dict[Stack, list[list[Text]]]]] = {}
        self._generations: list[Generation] = []
        self._encoded: tuple[weakref.ref[Any], list[Text]] | None = None

    @property
    def pending(self) -> list[Stack]:
        """Stacks whose layers ran outside any pass."""
        return [stack for stack in self._stacks if self._sink.rows(stack)]

    def began(self) -> None:
        """Forget what a broken-off pass left."""
        self._sink.clear()

    def failed(self) -> None:
        """Forget the pass that raised."""
        self._sink.clear()

    def ended(self, done: Pass, output: Any) -> None:
        """Record a pass. Errors: RouterOutputError where a layer did not report, or rows do not fit the tokens."""
        ran = self.pending
        self._refuse_silence(done, ran)
        read = self._record_encoder(done, output) if "encoder" in ran else []
        for stack in ran:
            if stack != "encoder":
                self._record_stack(done, stack, read, output)
        self._sink.clear()
        self.passes += 1

    def reordered(self, cache: Any, from_b: Tensor) -> None:
        """The rows of a cache were exchanged: row b goes on where row `from_b[b]` was."""
        for rows in self._rows_of(cache).values():
            ends = [[text.end for text in rows[row]] for row in from_b.tolist()]
            for texts, changed in zip(rows, ends, strict=True):
                for text, end in zip(texts, changed, strict=True):
                    text.end = end

    @contextmanager
    def generating(self, asked: Asked) -> Iterator[Generation]:
        """While `generate` runs, passes without a cache run the same texts again."""
        generation = Generation(asked)
        self._generations.append(generation)
        try:
            yield generation
        finally:
            self._generations.remove(generation)

    def finish(self, generation: Generation, returned_rs: NDArray[np.integer] | None) -> None:
        """Keep of a generation what it returned."""
        before, after = generation.finished(returned_rs)
        if before is not after:
            at = self.texts.index(before[0])
            gone = set(map(id, before))
            rest = [text for text in self.texts[at:] if id(text) not in gone]
            self.texts[at:] = [*(text for text in after if text.end is not None), *rest]

    def _refuse_silence(self, done: Pass, ran: list[Stack]) -> None:
        outer = done.calls[0].path
        silent = [rule for rule in self._rules if rule.module.startswith(outer) and rule.stack not in ran]
        if not ran or any(rule.stack == "decoder" for rule in silent):
            raise RouterOutputError(
                f"a forward pass of {type(done.calls[0].module).__name__} in which none of "
                f"{len(silent) or len(self._rules)} MoE layers reported, such as {(silent or self._rules)[0].module}",
                expected="every MoE layer to report in every forward pass",
                do="if the model was compiled before the recording was opened, call torch._dynamo.reset() or "
                "generate(disable_compile=True); load it without fused kernels (use_kernels=False)",
            )

    def _record_encoder(self, done: Pass, output: Any) -> list[Text]:
        """What the encoder read; kept as documents of its own unless a decoder wrote in the same pass."""
        layout = self._layout(done, "encoder")
        flag_bs = torch.full_like(layout.token_bs, Flag.ENCODER if self._has_both else 0)
        columns, parts = self._flushed(layout, flag_bs, "encoder")
        ends = [Link(None, columns, *part) for row in parts for part in row]
        texts = [Text(read=end) if self._has_both else Text(end) for end in ends]
        if "decoder" in self.pending:
            return texts
        self.texts += texts
        hidden = getattr(output, "last_hidden_state", None)
        if torch.is_tensor(hidden):
            self._encoded = weakref.ref(hidden), texts
        if self._generations:
            self._generations[-1].read = texts
        return []

    def _record_stack(self, done: Pass, stack: Stack, read: list[Text], output: Any) -> None:
        """Rows of a stack that writes: behind those of the same texts, where the pass continues some."""
        layout = self._layout(done, stack)
        cache = _cache_of(done, output)
        rows = self._continued(cache, stack, layout)
        columns, parts = self._flushed(layout, self._flags(layout, goes_on=rows is not None), stack)
        if rows is None:
            rows = self._begun(layout, parts, read or self._read_before(done))
        for texts, row in zip(rows, parts, strict=True):
            self._add(texts, columns, row)
        if cache is not None:
            self._caches.setdefault(id(cache), (weakref.ref(cache), {}))[1][stack] = rows
        if self._generations:
            self._generations[-1].passed(stack, rows, layout.past + layout.token_bs.shape[1])

    def _add(self, texts: list[Text], columns: Columns, row: list[Place]) -> None:
        """One row of the batch: its first sequence goes on, those packed behind it are new."""
        for number, place in enumerate(row):
            if number:
                texts.append(Text())
                self.texts.append(texts[-1])
            texts[-1].add(columns, *place)

    def _begun(self, layout: Layout, parts: list[list[Place]], read: list[Text]) -> list[list[Text]]:
        """A new text for every row; after places that were not recorded, its positions count them."""
        before_b = [layout.past] * len(parts) if layout.before_b is None else layout.before_b.tolist()
        texts = [Text(base=before, id=PATCHES if layout.is_patches else "") for before in before_b]
        if read and len(texts) % len(read) == 0:
            for number, text in enumerate(texts):
                text.read = read[number * len(read) // len(texts)].read
            self.texts = [text for text in self.texts if text not in read]
        self.texts += texts
        return [[text] for text in texts]

    def _read_before(self, done: Pass) -> list[Text]:
        """What an encoder read in an earlier pass, for a decoder that is given what came out of it."""
        given = next((call.given["encoder_outputs"] for call in done.calls if "encoder_outputs" in call.given), None)
        hidden = given[0] if given is not None else None
        if hidden is not None and self._encoded is not None and self._encoded[0]() is hidden:
            return self._encoded[1]
        return self._generations[-1].read if self._generations and hidden is not None else []

    def _continued(self, cache: Any, stack: Stack, layout: Layout) -> list[list[Text]] | None:
        """The texts that a pass continues, row by row: those of its cache, or of the call of `generate` it is in."""
        known = self._generations[-1].rows.get(stack) if self._generations else None
        if known is None and layout.past:
            known = self._rows_of(cache).get(stack)
        return known if known is not None and len(known) == len(layout.token_bs) else None

    def _rows_of(self, cache: Any) -> dict[Stack, list[list[Text]]]:
        """The texts that a cache holds, unless it is another one that came to lie where the first one lay."""
        reference, rows = self._caches.get(id(cache), (None, {}))
        if reference is not None and reference() is not cache:
            del self._caches[id(cache)]
            return {}
        return rows

    def _flags(self, layout: Layout, *, goes_on: bool) -> Tensor:
        """What is known of tokens without a tokenizer: generated, or standing for an image."""
        length = layout.token_bs.shape[1]
        if self._generations:
            first = self._generations[-1].first_generated(layout.past + length) - layout.past
        else:
            first = 0 if length == 1 and (goes_on or layout.past) else length
        is_image_bs = torch.isin(layout.token_bs, torch.tensor(self._image_ids, device=layout.token_bs.device))
        flag_bs = is_image_bs * int(Flag.IMAGE)
        if layout.is_patches:
            return flag_bs | int(Flag.IMAGE | Flag.ENCODER)
        flag_bs[:, max(first, 0) :] |= int(Flag.GENERATED)
        return flag_bs

    def _layout(self, done: Pass, stack: Stack) -> Layout:
        rows = self._sink.rows(stack)
        mask_bs = self._generations[-1].asked.mask_bs if self._generations and stack == "decoder" else None
        found = layout_of(done, stack, rows, beside_decoder=self._has_both, mask_bs=mask_bs)
        if found is not None:
            return found
        if stack in ("decoder", "encoder") and _reads_text(done):
            raise RouterOutputError(
                f"{rows} rows in a pass of {type(done.calls[0].module).__name__} that was given "
                f"{', '.join(sorted(done.calls[0].given)) or 'nothing known'}",
                expected="one row for each place of input_ids or inputs_embeds",
                do="call the model with input_ids or inputs_embeds of shape (batch, length)",
            )
        return _patches(rows)

    def _flushed(self, layout: Layout, flag_bs: Tensor, stack: Stack) -> tuple[Columns, list[list[Place]]]:
        """The columns of one stack's pass, and where the sequences of each row lie in them."""
        columns = self._sink.flush(layout.real_bs.flatten(), stack)
        columns["token_t"] = layout.token_bs[layout.real_bs].cpu().numpy().astype(np.int32)
        columns["flag_t"] = flag_bs[layout.real_bs].cpu().numpy().astype(np.uint8)
        return columns, _parts(layout)


def _patches(rows: int) -> Layout:
    """Rows that are no tokens, as one sequence."""
    token_bs = torch.full((1, rows), NO_TOKEN)
    real_bs = torch.ones_like(token_bs, dtype=torch.bool)
    return Layout(token_bs, real_bs, ~real_bs, 0, None, is_patches=True)


def _reads_text(done: Pass) -> bool:
    return getattr(done.calls[0].module, "main_input_name", "input_ids") == "input_ids"


def _parts(layout: Layout) -> list[list[Place]]:
    """For every row of the batch its sequences: rows among those kept, and their places in the cache."""
    real_bs, starts_bs = layout.real_bs.cpu().numpy(), layout.starts_bs.cpu().numpy()
    kept_bs = real_bs.cumsum().reshape(real_bs.shape) - 1
    parts = []
    for real_s, starts_s, kept_s in zip(real_bs, starts_bs, kept_bs, strict=True):
        place_r = real_s.nonzero()[0]
        bounds = starts_s[place_r].nonzero()[0]
        split = [each for each in np.split(place_r, bounds) if len(each)]
        parts.append([(kept_s[each], each + layout.past) for each in split])
    return parts


def _cache_of(done: Pass, output: Any) -> Any:
    """The cache that a pass wrote to: the one it was given, or the one that came out."""
    given = next((call.given["past_key_values"] for call in done.calls if "past_key_values" in call.given), None)
    if given is None:
        given = getattr(output, "past_key_values", None)
    if given is None and isinstance(output, tuple):
        given = next((each for each in output if hasattr(each, "get_seq_length")), None)
    return given if hasattr(given, "get_seq_length") else None

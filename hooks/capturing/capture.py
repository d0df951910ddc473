"""A capture: text goes in, a RoutingRecord comes out, prompt and generated tokens in one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatescope.hooks.capturing.generation import Step, steps
from gatescope.hooks.capturing.live import Live
from gatescope.hooks.capturing.options import CaptureOptions
from gatescope.hooks.capturing.prompt import encode
from gatescope.hooks.capturing.translation import translation_steps
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.recording.sink import PASSES, RouteSink, alike, interventions
from gatescope.hooks.text.pieces import pieces
from gatescope.hooks.text.tokens import Prompt
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document, Flag, RoutingRecord

Progress = Callable[[int, int], None]
Columns = dict[str, NDArray[Any]]


def capture(
    model: LoadedModel,
    text: str | Document | Prompt,
    options: CaptureOptions | None = None,
    *,
    on_progress: Progress | None = None,
    live: Live | None = None,
) -> RoutingRecord:
    """The routing of one text (and of what the model continues it with), exactly as executed.

    A `Prompt` is a text that this model has tokenised already (`LoadedModel.tokenise`).

    `on_progress(done, total)` is called after every MoE layer of every forward pass, in the calling thread; an
    exception it raises ends the pass at once and leaves the model as it was. `live` is told what was written so far,
    and may end it early: the record is then that of the same options with as many new tokens as were written.
    Errors: PromptError (empty, too long), OptionError.
    """
    return capture_batch(model, [text], options, on_progress=on_progress, live=live)


def capture_batch(
    model: LoadedModel,
    texts: Sequence[str | Document | Prompt],
    options: CaptureOptions | None = None,
    *,
    padding_side: str = "",
    on_progress: Progress | None = None,
    live: Live | None = None,
) -> RoutingRecord:
    """The routing of several texts run as one batch; padding never enters the record.

    `padding_side` is "left" or "right"; unset, it is left when tokens are generated and right otherwise.
    Errors: as `capture`; OptionError for generation after padding on the right.
    """
    options = options or CaptureOptions()
    documents = tuple(_document(text) for text in texts)
    new_tokens = options.max_new_tokens
    prompts = [
        encode(model, text.text if isinstance(text, Document) else text, chat=options.chat, new_tokens=new_tokens)
        for text in texts
    ]
    side = _padding_side(padding_side, options, lengths={len(prompt.ids) for prompt in prompts})
    total = len(model.layers) * (1 + new_tokens)
    sink = RouteSink(
        model.routers.learnt,
        scores=options.scores,
        logits=options.logits,
        passes=PASSES if new_tokens else 1,
        on_layer=_counter(on_progress, total),
    )
    stacks = {rule.stack for rule in model.layers}
    tokens = sum(len(prompt.ids) + new_tokens for prompt in prompts)
    with torch.no_grad(), model.computing(len(prompts), tokens), model.recorder.recording(sink):
        passes: list[tuple[Columns, Columns]] = []
        is_cut = False
        for step in _steps(model, prompts, options, side):
            if step.stack in stacks:
                passes.append((step.columns, sink.flush(step.keep_n, step.stack)))
            if live is None:
                continue
            if live.is_due():
                sink.settle()
                live.show(_partial(model, documents, options, sink, passes))
            is_cut = len(passes) > 1 and live.is_stopped()
            if is_cut:
                break
        sink.settle()
    if is_cut:
        return _partial(model, documents, options, sink, passes)
    columns = _joined([tokens | routes for tokens, routes in passes])
    return _record(model, documents, options.as_dict() | interventions(sink), columns)


def _partial(
    model: LoadedModel,
    documents: tuple[Document, ...],
    options: CaptureOptions,
    sink: RouteSink,
    passes: Sequence[tuple[Columns, Columns]],
) -> RoutingRecord:
    """The record of what was written so far: that of as many new tokens, whose last one has nothing after it."""
    columns = _joined([tokens | routes for tokens, routes in passes])
    written = max(np.bincount(columns["document_t"][(columns["flag_t"] & Flag.GENERATED) > 0], minlength=1))
    if "loss_t" in columns:
        is_last_t = np.append(np.diff(columns["document_t"]) != 0, True)
        columns["loss_t"] = np.where(is_last_t, np.float32("nan"), columns["loss_t"])
    made = replace(options, max_new_tokens=int(written))
    return _record(model, documents, made.as_dict() | interventions(sink), columns)


def _document(text: str | Document | Prompt) -> Document:
    if isinstance(text, Document):
        return text
    return Document(text.text if isinstance(text, Prompt) else text)


def _steps(model: LoadedModel, prompts: Sequence[Prompt], options: CaptureOptions, side: str) -> Iterator[Step]:
    """The forward passes of this kind of model."""
    if options.max_new_tokens and not model.predicts_tokens:
        raise OptionError(
            f"{options.max_new_tokens} new tokens from {model.name}, which predicts none",
            expected="a language model",
            do="set max_new_tokens to 0",
        )
    if model.is_encoder_decoder:
        return translation_steps(model, prompts, options)
    return steps(model, prompts, options, padding_side=side)


def _padding_side(side: str, options: CaptureOptions, *, lengths: set[int]) -> str:
    if options.max_new_tokens and side == "right" and len(lengths) > 1:
        raise OptionError(
            "padding on the right with tokens to generate",
            expected="padding on the left, so that each text is followed by its own continuation",
            do="leave padding_side unset",
        )
    return side or ("left" if options.max_new_tokens else "right")


def _counter(on_progress: Progress | None, total: int) -> Callable[[], None]:
    """Counts layers and reports them."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, max(total, done))

    return count


def _joined(passes: Sequence[Columns]) -> Columns:
    """The columns of all forward passes, rows by document and position, what the encoder read before the rest."""
    passes = alike(passes)
    columns = {name: np.concatenate([one[name] for one in passes]) for name in passes[0]}
    is_decoder_t = (columns["flag_t"] & Flag.ENCODER) == 0
    order_t = np.lexsort((columns["position_t"], is_decoder_t, columns["document_t"]))
    return {name: array[order_t] for name, array in columns.items()}


def _record(
    model: LoadedModel, documents: tuple[Document, ...], options: Mapping[str, Any], columns: Columns
) -> RoutingRecord:
    ids = np.union1d(columns["token_t"], columns.get("predicted_t", columns["token_t"]))
    return RoutingRecord(
        **columns,
        documents=documents,
        layers=model.layers,
        provenance=model.provenance(options),
        pieces=pieces(model.tokenizer, ids[ids >= 0].tolist()),
    )

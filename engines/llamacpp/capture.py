"""Captures of a GGUF: documents go in, a RoutingRecord comes out, prompt and generated tokens in one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.engines.llamacpp.model import GgufModel, Pass
from gatescope.engines.llamacpp.readings import Reading, Routes, routes
from gatescope.engines.llamacpp.structures import HEAD
from gatescope.routing.errors import OptionError, PromptError
from gatescope.routing.joined import joined
from gatescope.routing.record import EMPTY8, Document, Flag, RoutingRecord, empty_slot

Text = str | Document | Sequence[int]
Progress = Callable[[int, int], None]
Columns = dict[str, NDArray[Any]]
ROWS = 64  # places whose scores over the vocabulary are widened at once


@dataclass(frozen=True)
class Detail:
    """What to record beyond ids and weights."""

    scores: bool
    logits: bool


def capture_gguf(
    model: GgufModel,
    documents: Text | Sequence[Text],
    *,
    max_new_tokens: int = 0,
    scores: bool = True,
    logits: bool = False,
    on_progress: Progress | None = None,
) -> RoutingRecord:
    """The routing of every document, in one record, exactly as llama.cpp executed it.

    A document is a text, a `Document`, or, for a file without a vocabulary, a list of token ids. `max_new_tokens`
    continues each one, greedily. `scores` keeps margin, entropy, log-sum-exp and the first rejected expert; `logits`
    every score. `on_progress(done, total)` counts documents; an exception it raises ends the capture.
    Errors: PromptError (none, blank, too long, ids out of range), OptionError, ModelMemoryError, RouterOutputError.
    """
    texts = _listed(documents)
    records = []
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "scores": scores, "logits": logits}
    for record in stream_gguf(model, texts, **options):
        records.append(record)
        if on_progress is not None:
            on_progress(len(records), len(texts))
    return joined(records)


def stream_gguf(
    model: GgufModel,
    documents: Sequence[Text],
    *,
    max_new_tokens: int = 0,
    scores: bool = True,
    logits: bool = False,
) -> Iterator[RoutingRecord]:
    """The routing of every document, each in a record of its own, in memory that does not grow with their number.

    Errors: as `capture_gguf`, before anything runs.
    """
    if not 0 <= max_new_tokens <= 100_000:
        raise OptionError(
            f"max_new_tokens is {max_new_tokens}", expected="0 … 100000", do="choose max_new_tokens within that range"
        )
    texts = _listed(documents)
    ids_d = [_tokens(model, text, number) for number, text in enumerate(texts)]
    for number, ids in enumerate(ids_d):
        _check_length(model, len(ids), max_new_tokens, number)
    longest = max(map(len, ids_d)) + max_new_tokens
    detail = Detail(scores, logits)
    return (
        _captured(model, _document(text), ids, max_new_tokens, detail, longest)
        for text, ids in zip(texts, ids_d, strict=True)
    )


def _listed(documents: Text | Sequence[Text]) -> list[Text]:
    """Documents as a list, one alone in it."""
    if isinstance(documents, str | Document):
        return [documents]
    if not len(documents):
        raise PromptError("no documents", expected="at least one", do="pass the documents to read")
    if all(isinstance(one, int | np.integer) for one in documents):
        return [list(documents)]  # type: ignore[arg-type]  # one document of token ids
    return list(documents)  # type: ignore[arg-type]  # of documents, since one of ids was told apart


def _document(text: Text) -> Document:
    if isinstance(text, Document):
        return text
    return Document(text if isinstance(text, str) else "")


def _tokens(model: GgufModel, text: Text, number: int) -> list[int]:
    """Token ids of a document. Errors: PromptError."""
    if isinstance(text, str | Document):
        words = _document(text).text
        if not words.strip():
            raise PromptError(
                f"document {number} is blank", expected="at least one visible character", do="leave it out"
            )
        return model.vocabulary.tokenise(words)
    ids = [int(token) for token in text]
    wrong = next((token for token in ids if not 0 <= token < model.vocabulary.size), None)
    if wrong is not None or not ids:
        raise PromptError(
            f"document {number} has {'no tokens' if not ids else f'the token id {wrong}'}",
            expected=f"token ids from 0 to {model.vocabulary.size - 1}",
            do="tokenise with the vocabulary of this model",
        )
    return ids


def _check_length(model: GgufModel, tokens: int, new_tokens: int, number: int) -> None:
    """Refuse what does not fit the model's length. Errors: PromptError."""
    over = tokens + new_tokens - model.max_tokens
    if over > 0:
        raise PromptError(
            f"document {number}: {tokens} tokens and {new_tokens} new ones",
            expected=f"at most {model.max_tokens} together, the length {model.name} was made for",
            do=f"cut it by {over} tokens, or generate fewer",
        )


def _captured(
    model: GgufModel, document: Document, ids: list[int], new_tokens: int, detail: Detail, longest: int
) -> RoutingRecord:
    with model.lock:
        model.begin(longest)
        columns = _joined(list(_passes(model, ids, new_tokens, detail)))
    columns["document_t"] = np.zeros(len(columns["token_t"]), np.int32)
    shown = np.union1d(columns["token_t"], columns["predicted_t"]).tolist()
    pieces = {token: model.vocabulary.piece(token) for token in shown} if model.vocabulary.has_text else {}
    options: dict[str, Any] = {"max_new_tokens": new_tokens, "logits": detail.logits}
    return RoutingRecord(
        **columns,
        documents=(document,),
        layers=model.layers,
        provenance=model.provenance(options if detail.scores else options | {"scores": False}),
        pieces=pieces,
    )


def _passes(model: GgufModel, ids: list[int], new_tokens: int, detail: Detail) -> Iterator[Columns]:
    """The prompt in passes of at most a chunk, then one pass per token that follows, until the text ends."""
    prompt, written = len(ids), 0
    start = 0
    while start < len(ids):
        token_n = ids[start : start + model.chunk]
        ran = _run(model, token_n, start, detail)
        next_token = ids[start + len(token_n)] if start + len(token_n) < len(ids) else None
        if next_token is None and written < new_tokens:
            next_token = int(ran.logits_nv[-1].argmax())
            written += 1
            if not model.vocabulary.ends(next_token):
                ids = [*ids, next_token]
        yield _token_columns(model, token_n, start, prompt, next_token, ran) | _routed(model, ran, detail)
        start += len(token_n)


def _run(model: GgufModel, token_n: Sequence[int], start: int, detail: Detail) -> Pass:
    kinds = set().union(*(_kinds(reading, detail) for reading in model.readings))
    width = sum(2 * reading.rule.experts + 2 * reading.rule.k for reading in model.readings)
    return model.run(token_n, start, kinds, len(token_n) * width + len(kinds) * len(model.readings) * HEAD)


def _kinds(reading: Reading, detail: Detail) -> set[str]:
    """What to copy of one layer."""
    if detail.scores:
        return reading.kinds
    return {"topk", reading.weights} | ({reading.logits} - {""} if detail.logits else set())


def _token_columns(
    model: GgufModel, token_n: Sequence[int], start: int, prompt: int, next_token: int | None, ran: Pass
) -> Columns:
    """What the rows of a pass are, what the model expected next, and the nats of what came."""
    position_t = np.arange(start, start + len(token_n), dtype=np.int32)
    flag_t = [
        Flag.GENERATED if position >= prompt else Flag.SPECIAL * model.vocabulary.is_special(token)
        for position, token in zip(position_t, token_n, strict=True)
    ]
    target_n = np.array([*token_n[1:], -1 if next_token is None else next_token])
    predicted_n, loss_n = _judged(ran.logits_nv, target_n)
    return {
        "token_t": np.array(token_n, np.int32),
        "position_t": position_t,
        "flag_t": np.array(flag_t, np.uint8),
        "predicted_t": predicted_n.astype(np.int32),
        "loss_t": loss_n.astype(np.float32),
    }


def _judged(logits_nv: NDArray[np.float32], target_n: NDArray[np.int_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The likeliest next token of each place, and the nats of the one that came (NaN where none did)."""
    loss_n = np.full(len(target_n), np.nan)
    for low in range(0, len(target_n), ROWS):
        rows = slice(low, low + ROWS)
        scores_rv = logits_nv[rows].astype(np.float64)
        most_r = scores_rv.max(-1)
        lse_r = most_r + np.log(np.exp(scores_rv - most_r[:, None]).sum(-1))
        target_r = target_n[rows]
        own_r = scores_rv[np.arange(len(target_r)), target_r]
        loss_n[rows] = np.where(target_r >= 0, lse_r - own_r, np.nan)
    return logits_nv.argmax(-1), loss_n


def _routed(model: GgufModel, ran: Pass, detail: Detail) -> Columns:
    """The routing columns of a pass, layers side by side; narrower layers leave slots empty."""
    tokens = len(ran.logits_nv)
    experts = max(reading.rule.experts for reading in model.readings)
    columns = _blank(model, tokens, experts, detail)
    for layer, reading in enumerate(model.readings):
        _fill(columns, layer, routes(reading, ran.copied, tokens, scores=detail.scores, logits=detail.logits))
    return columns


def _blank(model: GgufModel, tokens: int, experts: int, detail: Detail) -> Columns:
    """Arrays of a pass in which no layer did anything."""
    shape = tokens, len(model.readings)
    slots = max(reading.rule.k for reading in model.readings)
    kind = np.dtype(np.uint8 if experts <= int(EMPTY8) else np.uint16)
    columns: Columns = {
        "ids_tlk": np.full((*shape, slots), empty_slot(kind), kind),
        "weight_tlk": np.zeros((*shape, slots), np.float16),
    }
    if detail.scores:
        columns |= {name: np.full(shape, np.nan, np.float16) for name in ("margin_tl", "entropy_tl", "lse_tl")}
        columns["rejected_tl"] = np.full(shape, empty_slot(kind), kind)
    if detail.logits:
        columns["logit_tle"] = np.full((*shape, experts), np.nan, np.float16)
    return columns


def _fill(columns: Columns, layer: int, routed: Routes) -> None:
    """Write one layer's routes into its column."""
    slots = routed.ids_nk.shape[1]
    columns["ids_tlk"][:, layer, :slots] = routed.ids_nk
    columns["weight_tlk"][:, layer, :slots] = routed.weights_nk
    named: Mapping[str, Any] = {"entropy_tl": routed.entropy_n, "lse_tl": routed.lse_n}
    for name, values in named.items():
        if name in columns and values is not None:
            columns[name][:, layer] = values
    if "margin_tl" in columns and routed.margin_n is not None and routed.rejected_n is not None:
        is_known_n = np.isfinite(routed.margin_n)
        columns["margin_tl"][is_known_n, layer] = routed.margin_n[is_known_n]
        columns["rejected_tl"][is_known_n, layer] = routed.rejected_n[is_known_n]
    if "logit_tle" in columns and routed.logits_ne is not None:
        columns["logit_tle"][:, layer, : routed.logits_ne.shape[1]] = routed.logits_ne


def _joined(passes: Sequence[Columns]) -> Columns:
    """The columns of all passes, one behind another."""
    return {name: np.concatenate([one[name] for one in passes]) for name in passes[0]}

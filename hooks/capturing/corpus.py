"""A corpus through a model: many documents, in batches of similar length, as a stream of records or as one."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatescope.hooks.capturing.capture import capture_batch
from gatescope.hooks.capturing.options import CaptureOptions
from gatescope.hooks.loading.model import LoadedModel
from gatescope.routing.errors import ModelMemoryError, PromptError
from gatescope.routing.joined import joined
from gatescope.routing.record import Document, RoutingRecord

FASTER = 1.1
MOST_BATCH_TOKENS = 1 << 17
CPU_SCORES = (64 << 20) / 4
BATCH_TOKENS = 1024  # the scores over the vocabulary are what takes memory: 4 bytes for each place and token


def stream_corpus(
    model: LoadedModel,
    documents: Sequence[Document],
    options: CaptureOptions | None = None,
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[tuple[NDArray[np.intp], RoutingRecord]]:
    """The routing of every document, batch by batch, in memory that does not grow with the corpus.

    Yields which of `documents` a batch holds, and their record, in which they are numbered from 0 in that order: the
    shortest documents come first. Batches are as in `capture_corpus`, whose record is these joined.
    Errors: as `capture_corpus`, before anything runs.
    """
    if not documents:
        raise PromptError("no documents", expected="at least one", do="pass the documents to read")
    length_d = [_length(model, document) for document in documents]
    return _captured(model, documents, options, _batches(length_d, batch_tokens))


def capture_corpus(
    model: LoadedModel,
    documents: Sequence[Document],
    options: CaptureOptions | None = None,
    *,
    batch_tokens: int = BATCH_TOKENS,
    on_progress: Callable[[int, int], None] | None = None,
) -> RoutingRecord:
    """The routing of every document, in one record and in the order given; each document is read on its own.

    Documents of similar length share a batch of at most `batch_tokens` places (a longer document runs alone), so that
    little padding is computed. `on_progress(done, total)` counts documents after every batch.
    Errors: PromptError for no documents, or for one that is blank or too long, which is named; OptionError.
    """
    records: list[RoutingRecord] = []
    order_d: list[int] = []
    for index_d, record in stream_corpus(model, documents, options, batch_tokens=batch_tokens):
        records.append(record)
        order_d += index_d.tolist()
        if on_progress is not None:
            on_progress(len(order_d), len(documents))
    return _in_order(joined(records), order_d, documents)


def _captured(
    model: LoadedModel,
    documents: Sequence[Document],
    options: CaptureOptions | None,
    batches: Iterator[list[int]],
) -> Iterator[tuple[NDArray[np.intp], RoutingRecord]]:
    for index_d in batches:
        yield from _halved_until_it_fits(model, documents, options, index_d)


def _halved_until_it_fits(
    model: LoadedModel, documents: Sequence[Document], options: CaptureOptions | None, index_d: list[int]
) -> Iterator[tuple[NDArray[np.intp], RoutingRecord]]:
    """A batch, or, where the device has not the memory, its halves. Errors: ModelMemoryError for a single document."""
    try:
        record = capture_batch(model, [documents[index] for index in index_d], options)
    except torch.OutOfMemoryError as error:
        if len(index_d) == 1:
            raise _too_large(model, documents[index_d[0]]) from error
    else:
        yield np.array(index_d), record
        return
    torch.cuda.empty_cache()  # outside the handler, which holds what the failed pass held
    middle = len(index_d) // 2
    yield from _halved_until_it_fits(model, documents, options, index_d[:middle])
    yield from _halved_until_it_fits(model, documents, options, index_d[middle:])


def _too_large(model: LoadedModel, document: Document) -> ModelMemoryError:
    return ModelMemoryError(
        f"document {document.id!r} alone takes more memory than {model.device} has free",
        expected="room for one document at a time",
        do="cut it into shorter documents, or free memory there",
    )


def find_batch_tokens(model: LoadedModel, documents: Sequence[Document], options: CaptureOptions | None = None) -> int:
    """How many places a batch of such documents should have: twice as many while that is clearly faster and fits.

    On a CPU as many as keep the scores over the vocabulary within 64 MiB; on a device by trial, from BATCH_TOKENS on.
    Errors: as `capture_corpus`, for documents of which not even one fits.
    """
    if model.device == "cpu":
        vocabulary = model.model.config.get_text_config().vocab_size
        return int(np.clip(2 ** int(np.log2(CPU_SCORES / vocabulary)), 256, 4 * BATCH_TOKENS))
    size, speed = BATCH_TOKENS, 0.0
    while size <= MOST_BATCH_TOKENS:
        batch = _filled(model, documents, size)
        try:
            capture_batch(model, batch, options)  # once more, so that what is made once is not counted
            started = time.perf_counter()
            tokens = capture_batch(model, batch, options).tokens
        except torch.OutOfMemoryError:
            break
        now = tokens / (time.perf_counter() - started)
        if now < FASTER * speed:
            break
        size, speed = 2 * size, now
    torch.cuda.empty_cache()
    return max(size // 2, BATCH_TOKENS // 4)


def _filled(model: LoadedModel, documents: Sequence[Document], places: int) -> list[Document]:
    """The documents over and over, as many as fill a batch."""
    length = max(_length(model, document) for document in documents)
    return [documents[n % len(documents)] for n in range(max(1, places // length))]


def _length(model: LoadedModel, document: Document) -> int:
    """Tokens of a document, blank ones refused by name before anything has run."""
    if not document.text.strip():
        raise PromptError(
            f"document {document.id!r} is blank", expected="at least one visible character", do="leave it out"
        )
    tokens = model.count_tokens(document.text)
    if tokens > model.max_tokens:
        raise PromptError(
            f"document {document.id!r} has {tokens} tokens",
            expected=f"at most {model.max_tokens}, the length {model.name} was made for",
            do="cut it into shorter documents",
        )
    return tokens


def _batches(length_d: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of documents, the shortest first, as many together as fit when padded to the longest."""
    held: list[int] = []
    for index in sorted(range(len(length_d)), key=length_d.__getitem__):
        if held and (len(held) + 1) * length_d[index] > batch_tokens:
            yield held
            held = []
        held.append(index)
    yield held


def _in_order(record: RoutingRecord, order_d: Sequence[int], documents: Sequence[Document]) -> RoutingRecord:
    """The same record with its documents as they were given: `order_d` holds where each one was."""
    given_t = np.asarray(order_d, dtype=np.int32)[record.document_t]
    row_t = np.argsort(given_t, kind="stable")
    columns: dict[str, Any] = {name: array[row_t] for name, array in record.arrays()}
    columns["document_t"] = given_t[row_t]
    made = replace(record.provenance, threads=0)  # they may change from batch to batch, and change no byte of a study
    return replace(record, **columns, documents=tuple(documents), provenance=made)

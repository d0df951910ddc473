"""Recording around other people's code: a forward pass, `generate`, or a step of a training loop.

with record(model) as recording:
    model.generate(**inputs)
routing = recording.record(tokenizer)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.live.rows.book import Book
from gatescope.hooks.live.rows.followed import core_of, followed_model
from gatescope.hooks.live.rows.sequences import Text, gathered
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.recording.sink import PASSES, RouteSink, interventions
from gatescope.hooks.text.pieces import pieces
from gatescope.routing.errors import OptionError, RouterOutputError
from gatescope.routing.record import Document, Flag, Provenance, RoutingRecord


class Recording:
    """What one `with record(model)` block has seen so far; it can be read while the block is still running."""

    def __init__(self, book: Book, learnt: Sequence[InferredRule], provenance: Provenance, sink: RouteSink) -> None:
        self._book, self._learnt, self._provenance, self._sink = book, learnt, provenance, sink
        self._ended = ""

    @property
    def passes(self) -> int:
        """Forward passes recorded; one that raised is not counted."""
        return self._book.passes

    @property
    def tokens(self) -> int:
        """Rows that `record` would hold."""
        return sum(len(link.row_r) for text in self._book.texts for link in text.links)

    def record(self, tokenizer: Any = None, labels: Sequence[str | Document] | None = None) -> RoutingRecord:
        """Everything recorded, one document for each sequence.

        With a `tokenizer`, texts and pieces are filled in and special tokens flagged. `labels` are the ids of the
        documents, or what is known of them. Errors: RouterOutputError before the first pass, OptionError for a number
        of labels that is not that of the documents.
        """
        texts = [text for text in self._book.texts if text.links]
        if not texts:
            raise _nothing(self.passes)
        self._sink.settle()
        columns = gathered(texts)
        is_special_t = np.isin(columns["token_t"], getattr(tokenizer, "all_special_ids", []))
        columns["flag_t"] = (columns["flag_t"] | is_special_t * np.uint8(Flag.SPECIAL)).astype(np.uint8)
        ids = np.unique(columns["token_t"])
        return RoutingRecord(
            **columns,
            documents=_documents(texts, columns, tokenizer, labels),
            layers=tuple(one.rule for one in self._learnt),
            provenance=self._stated(),
            pieces=pieces(tokenizer, ids[ids >= 0].tolist()) if tokenizer is not None else {},
        )

    def close(self, ended: str = "") -> None:
        """The block is over; `ended` names the exception that ended it. Errors: RouterOutputError if it saw nothing."""
        self._ended = ended
        if ended:
            return
        if self._book.pending:
            raise RouterOutputError(
                f"layers of the {self._book.pending[0]} ran outside any forward pass of the model",
                expected="the model, its body or its encoder to be called",
                do="call the model that was recorded, not its layers",
            )
        if not self.passes:
            raise _nothing(0)
        self._sink.settle()

    def _stated(self) -> Provenance:
        options = dict(self._provenance.options) | {"recorded": "forward passes"} | interventions(self._sink)
        return replace(self._provenance, options=options | ({"ended": self._ended} if self._ended else {}))


@contextmanager
def record(
    model: Any, *, scores: bool = True, logits: bool = False, inputs: Mapping[str, Any] | None = None
) -> Iterator[Recording]:
    """Record what the model routes inside the block, whatever runs it; nothing stays on the model afterwards.

    `model` is a transformers model, one wrapped by PEFT or torch.compile, or a LoadedModel. Only this thread and its
    context are recorded; blocks may nest. With `scores`, margins and entropies are kept; with `logits`, every score.
    `inputs` are what the model is called with in the short pass by which its routers are found, for models that read
    more than token ids. Errors: as `attach`; RouterOutputError when a layer does not report, or nothing was recorded.
    """
    wrapped = model.model if isinstance(model, LoadedModel) else model
    core = core_of(wrapped)
    followed = followed_model(core, model if isinstance(model, LoadedModel) else None, inputs)
    sink = RouteSink(followed.learnt, scores=scores, logits=logits, passes=PASSES)
    book = Book(sink, tuple(one.rule for one in followed.learnt), getattr(core, "config", None))
    stated = model.provenance() if isinstance(model, LoadedModel) else _provenance(core)
    recording = Recording(book, followed.learnt, stated, sink)
    with followed.heard_by(wrapped, core, book, sink):
        try:
            yield recording
        except BaseException as error:
            recording.close(type(error).__name__)
            raise
        recording.close()


def _provenance(core: Any) -> Provenance:
    """What can be said of a model that was not loaded here."""
    config = getattr(core, "config", None)
    first = next((each for each in core.parameters() if each.device.type != "meta"), None)
    return Provenance(
        model=str(getattr(config, "name_or_path", "") or type(core).__name__),
        fingerprint="",
        dtype=str(getattr(core, "dtype", first.dtype if first is not None else "")).removeprefix("torch."),
        device=str(first.device if first is not None else _execution_device(core)),
        attention=str(getattr(config, "_attn_implementation", "") or ""),
        experts_implementation=str(getattr(config, "_experts_implementation", "") or ""),
        versions={each.__name__: str(each.__version__) for each in (torch, transformers)},
    )


def _execution_device(core: Any) -> Any:
    """Where a model computes whose weights are all elsewhere until they are needed."""
    devices = (getattr(getattr(module, "_hf_hook", None), "execution_device", None) for module in core.modules())
    return next((device for device in devices if device is not None), "meta")


def _documents(
    texts: Sequence[Text], columns: Mapping[str, NDArray[Any]], tokenizer: Any, labels: Sequence[str | Document] | None
) -> tuple[Document, ...]:
    """What is known of each sequence: its label, and the text it began with."""
    if labels is not None and len(labels) != len(texts):
        raise OptionError(
            f"{len(labels)} labels for {len(texts)} documents",
            expected="one for each sequence that was recorded",
            do="pass labels in the order in which the sequences were run, or none",
        )
    documents = []
    for number, text in enumerate(texts):
        label = text.id if labels is None else labels[number]
        if isinstance(label, str):
            label = Document(_text(columns, number, tokenizer), id=label)
        documents.append(label)
    return tuple(documents)


def _text(columns: Mapping[str, NDArray[Any]], number: int, tokenizer: Any) -> str:
    """The prompt of a document: what its encoder read, or what came before the generated tokens."""
    if tokenizer is None:
        return ""
    own_t = columns["document_t"] == number
    flag_t, token_t = columns["flag_t"][own_t], columns["token_t"][own_t]
    is_read_t = flag_t & Flag.ENCODER > 0
    is_prompt_t = is_read_t if is_read_t.any() else flag_t & Flag.GENERATED == 0
    shown = token_t[is_prompt_t & (token_t >= 0)].tolist()
    return str(tokenizer.decode(shown, skip_special_tokens=True))


def _nothing(passes: int) -> RouterOutputError:
    return RouterOutputError(
        f"{passes} forward passes were recorded, with no rows",
        expected="the model to be called inside the block, in the same thread",
        do="open the recording inside the function that the thread runs (generate_batch and streamers in threads), "
        "record the very model that is called, and call torch._dynamo.reset() if it was compiled before",
    )

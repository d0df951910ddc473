"""A corpus through a model into a study's folder: block by block, counted as they pass, from where it stopped."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from analysis.tally import Tally, merge_all, tally, without_words
from analysis.tally_file import from_bytes, to_bytes
from app.study.blocks import WHOLE, Seen, Share, Texts, cut, name_of
from cache.schema import encode
from cache.study import COUNTS, ROUTES, SCORES, Block, StudyFolder
from routing.errors import OptionError, PromptError
from routing.record import Document, RoutingRecord, joined

if TYPE_CHECKING:  # torch takes seconds to import
    from hooks import CaptureOptions, LoadedModel

Detail = Literal["counts", "ids", "weights"]
Long = Literal["split", "skip", "stop"]
DETAILS: dict[Detail, str] = {
    "counts": "tallies alone: no text, no token of any text",
    "ids": "the experts of every token",
    "weights": "those, their weights, and what follows from the router's scores",
}
SCORED = ("weight_tlk", "rejected_tl", "margin_tl", "entropy_tl", "lse_tl")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a corpus is captured; everything here is part of the recipe that a study goes on with.

    detail          what is kept of every token; `scores`: share of the documents of which all router scores are kept
    long            a text beyond the model's length: cut at white space, left out and named, or the end of the run
    batch_tokens    places in a batch, padding included
    """

    options: "CaptureOptions"
    detail: Detail = "weights"
    scores: float = 0.0
    long: Long = "split"
    batch_tokens: int = 1024

    def __post_init__(self) -> None:
        if self.detail not in DETAILS:
            raise OptionError(f"detail {self.detail!r}", expected=f"one of {', '.join(DETAILS)}", do="choose one")
        if self.long not in ("split", "skip", "stop"):
            raise OptionError(f"long {self.long!r}", expected="split, skip or stop", do="choose one")
        if not 0 <= self.scores <= 1:
            raise OptionError(f"scores of {self.scores} of the documents", expected="0 to 1", do="give a share")

    def recipe(self, model: "LoadedModel", corpus: str) -> dict[str, Any]:
        """What two runs must have in common to be one study."""
        made = asdict(model.provenance(self.options.as_dict()))
        del made["device"]
        return {"corpus": corpus, **made, **{name: getattr(self, name) for name in ("detail", "scores", "long")}} | {
            "batch_tokens": self.batch_tokens
        }


class Captured(NamedTuple):
    """What became of one block."""

    block: Block
    parts: dict[str, bytes | memoryview]


class Progress(NamedTuple):
    """How far a run is: documents and characters read, blocks that were there already, tokens captured in this run."""

    seen: Seen
    blocks: int
    there: int
    tokens: int
    left_out: int
    seconds: float


def capture_study(
    model: "LoadedModel",
    documents: Iterator[Document],
    folder: StudyFolder,
    plan: Plan,
    *,
    share: Share = WHOLE,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Capture every block that is this share's and not yet whole. Killed at any moment, it goes on when run again.

    A block is counted and written beside the capture of the next. Errors: as `hooks.capture_corpus`; StoreError,
    StorageFullError; OptionError where the corpus is not the one the study was begun with.
    """
    there, seen, started = folder.finished(), Seen(), time.monotonic()
    blocks, found, tokens, left_out = 0, 0, 0, 0
    with ThreadPoolExecutor(max_workers=1) as writer:
        writing: Future[Block] | None = None
        for texts in cut(documents, seen):
            blocks += 1
            if texts.number in there:
                check_same(there[texts.number], texts)
                found += 1
            elif share.has(texts.number):
                record, missing = capture_block(model, texts, plan)
                if writing is not None:
                    writing.result()
                writing = writer.submit(_written, folder, texts, record, missing, plan)
                tokens += record.tokens if record is not None else 0
                left_out += len(missing)
            on_progress(Progress(seen, blocks, found, tokens, left_out, time.monotonic() - started))
        if writing is not None:
            writing.result()
    return Progress(seen, blocks, found, tokens, left_out, time.monotonic() - started)


def capture_block(
    model: "LoadedModel", texts: Texts, plan: Plan
) -> tuple[RoutingRecord | None, tuple[tuple[str, str], ...]]:
    """The routing of a block in the order of its documents, and what was left out, with why."""
    from hooks import capture_corpus

    fitting: list[Document] = []
    missing: list[tuple[str, str]] = []
    for document in texts.documents:
        try:
            fitting += pieces_of(model, document, plan)
        except PromptError as reason:
            if plan.long == "stop":
                raise
            missing.append((name_of(document), f"{reason.found}; needs {reason.expected}"))
    if not fitting:
        return None, tuple(missing)
    options = replace(plan.options, logits=plan.options.logits or plan.scores > 0)
    return capture_corpus(model, fitting, options, batch_tokens=plan.batch_tokens), tuple(missing)


def pieces_of(model: "LoadedModel", document: Document, plan: Plan) -> list[Document]:
    """A document as the model can read it: as it is, or in parts. Errors: PromptError where it cannot be read."""
    if not document.text.strip():
        raise PromptError(f"{name_of(document)} is blank", expected="at least one visible character", do="leave it out")
    most = model.max_tokens - plan.options.max_new_tokens
    if model.count_tokens(document.text, chat=plan.options.chat) <= most:
        return [document]
    if plan.long != "split":
        raise PromptError(
            f"{name_of(document)} has {model.count_tokens(document.text):,} tokens",
            expected=f"at most {most:,}, the length {model.name} was made for",
            do="cut it, or let it be cut: --long split",
        )
    texts = _cut_text(model, document.text, most)
    return [
        replace(document, text=text, id=f"{document.id} (part {number} of {len(texts)})")
        for number, text in enumerate(texts, 1)
        if text.strip()
    ]


def _cut_text(model: "LoadedModel", text: str, most: int) -> list[str]:
    """Halves of halves, cut at the white space nearest to the middle, until each fits."""
    if model.count_tokens(text) <= most or len(text) < 2:
        return [text]
    middle = len(text) // 2
    spaces = [at for at in (text.rfind(" ", 0, middle), text.find(" ", middle)) if at > 0]
    at = min(spaces, key=lambda each: abs(each - middle), default=middle)
    at = at if len(text) // 4 < at < 3 * len(text) // 4 else middle
    return _cut_text(model, text[:at], most) + _cut_text(model, text[at:], most)


def packed(texts: Texts, record: RoutingRecord | None, missing: tuple[tuple[str, str], ...], plan: Plan) -> Captured:
    """A block as it is written: its parts at the level of detail asked for."""
    parts: dict[str, bytes | memoryview] = {}
    block = Block(number=texts.number, documents=0, tokens=0, digest=texts.digest, left_out=missing)
    if record is not None:
        kept = reduced(record, plan)
        counts = tally(kept)
        parts[COUNTS] = to_bytes(without_words(counts) if plan.detail == "counts" else counts)
        if plan.detail != "counts":
            parts[ROUTES] = encode(kept)
        drawn = drawn_for_scores(record, plan.scores)
        if drawn is not None and plan.detail != "counts":
            parts[SCORES] = encode(drawn)
        block = replace(block, documents=len(record.documents), tokens=record.tokens)
    return Captured(block, parts)


def reduced(record: RoutingRecord, plan: Plan) -> RoutingRecord:
    """The same at a level of detail."""
    gone: dict[str, Any] = {} if plan.options.logits else {"logit_tle": None}
    if plan.detail == "ids":
        gone |= dict.fromkeys(SCORED)
    return replace(record, **gone)


def drawn_for_scores(record: RoutingRecord, share: float) -> RoutingRecord | None:
    """The documents of which all scores are kept, the same ones in every run: drawn by a hash of what they are."""
    marks = [blake2b(f"{d.source}\0{d.id}\0{d.text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
             for d in record.documents]  # fmt: skip
    is_drawn = [int.from_bytes(mark) < share * 2**64 for mark in marks]
    return record.take(np.array(is_drawn)[record.document_t]) if any(is_drawn) else None


def _written(
    folder: StudyFolder,
    texts: Texts,
    record: RoutingRecord | None,
    missing: tuple[tuple[str, str], ...],
    plan: Plan,
) -> Block:
    block, parts = packed(texts, record, missing, plan)
    return folder.write(block, parts)


def check_same(block: Block, texts: Texts) -> None:
    """Errors: OptionError where a block that is whole holds other texts than the corpus has there now."""
    if block.digest != texts.digest:
        raise OptionError(
            f"block {block.number} was captured from other texts than the corpus holds there now",
            expected="the corpus the study was begun with",
            do="name another --out for the changed corpus",
        )


def whole_tally(folder: StudyFolder, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Tally:
    """The tallies of all blocks as one. Errors: OptionError for a study without any; CaptureDamagedError."""
    blocks = [block for block in folder.finished().values() if COUNTS in block.parts]
    if not blocks:
        raise OptionError(f"{folder.folder} has no blocks", expected="a study that was captured", do="capture first")
    held: list[Tally] = []
    for done, block in enumerate(blocks, 1):
        held.append(from_bytes(folder.part(block, COUNTS)))
        if len(held) == 16:
            held = [merge_all(held)]
        on_progress(done, len(blocks))
    return merge_all(held)


def first_routes(folder: StudyFolder, tokens: int) -> RoutingRecord | None:
    """The routing of the first blocks, about so many tokens; None where a study keeps counts only."""
    kept: Sequence[RoutingRecord] = []
    for block in folder.finished().values():
        if ROUTES in block.parts and sum(each.tokens for each in kept) < tokens:
            kept = [*kept, folder.routes(block)]
    return joined(kept) if kept else None

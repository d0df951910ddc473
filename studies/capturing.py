"""A corpus through a model into a study's folder: block by block, counted as they pass, from where it stopped."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from gatescope.analysis.tally import Tally, merge_all, should_merge, tally, without_words
from gatescope.analysis.tally_file import from_bytes, to_bytes
from gatescope.cache.block import Block
from gatescope.cache.schema import encode
from gatescope.cache.study import COUNTS, ROUTES, SCORES, StudyFolder
from gatescope.routing.errors import OptionError, PromptError
from gatescope.routing.record import Document, RoutingRecord, joined
from gatescope.studies.blocks import MOST_CHARACTERS, WHOLE, Seen, Share, Texts, cut, digest_of, halves, name_of
from gatescope.studies.wholeness import check_whole

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import CaptureOptions, LoadedModel

Detail = Literal["counts", "ids", "weights"]
Long = Literal["split", "skip", "stop"]
DETAILS: dict[Detail, str] = {
    "counts": "tallies alone: no text, no token of any text",
    "ids": "the experts of every token",
    "weights": "those, their weights, and what follows from the router's scores",
}
SCORED = ("weight_tlk", "rejected_tl", "margin_tl", "entropy_tl", "lse_tl")
LEAST_TOKENS = 16
"""Room for text that a model must have beside the tokens it is to generate."""
CHARACTERS_A_TOKEN = 16
"""A text of more characters a token than this is not looked at whole: no tokenizer comes near on what people write."""
MOST_CUT_OFF = 128
"""Tokens that the end of a text may have more when it is cut there than when it goes on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a corpus is captured; everything here is part of the recipe that a study goes on with.

    detail          what is kept of every token; `scores`: share of the documents of which all router scores are kept
    long            a text beyond the model's length: cut at white space, left out and named, or the end of the run
    batch_tokens    places in a batch, padding included
    longest         characters of a text beyond which it is cut unseen, so that no block outgrows memory; 0: no limit
    """

    options: "CaptureOptions"
    detail: Detail = "weights"
    scores: float = 0.0
    long: Long = "split"
    batch_tokens: int = 1024
    longest: int = 0

    def __post_init__(self) -> None:
        if self.detail not in DETAILS:
            raise OptionError(f"detail {self.detail!r}", expected=f"one of {', '.join(DETAILS)}", do="choose one")
        if self.long not in ("split", "skip", "stop"):
            raise OptionError(f"long {self.long!r}", expected="split, skip or stop", do="choose one")
        if not 0 <= self.scores <= 1:
            raise OptionError(f"scores of {self.scores} of the documents", expected="0 to 1", do="give a share")
        if self.scores and self.detail == "counts":
            found = f"scores of {self.scores} of the documents, with counts alone"
            raise OptionError(found, expected="no scores where no token may be kept", do="leave one of the two out")

    def recipe(self, model: "LoadedModel", corpus: str) -> dict[str, Any]:
        """What two runs must have in common to be one study. Errors: OptionError for a plan that no text fits."""
        most_tokens(model, self)
        made = asdict(model.provenance(self.options.as_dict()))
        del made["device"]
        own = ("detail", "scores", "long", "batch_tokens", "longest")
        return {"corpus": corpus, **made, **{name: getattr(self, name) for name in own}}


class Left(NamedTuple):
    """Texts of a block that were not captured, each with why, and texts that were captured in parts, with how many."""

    left_out: tuple[tuple[str, str], ...] = ()
    was_cut: tuple[tuple[str, str], ...] = ()


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
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Progress:
    """Capture every block that is this share's and not yet whole. Killed at any moment, it goes on when run again.

    A block is counted and written beside the capture of the next. Errors: as `hooks.capture_corpus`; StoreError,
    StorageFullError; OptionError where the corpus is not the one the study was begun with.
    """
    there, seen, started = folder.finished(), Seen(), time.monotonic()
    blocks, found, tokens, left_out = 0, 0, 0, 0
    with ThreadPoolExecutor(max_workers=1) as writer:
        writing: Future[Block] | None = None
        for texts in cut(documents, seen, plan.longest):
            blocks += 1
            if is_there(there, texts):
                found += 1
            elif share.has(texts.number):
                record, left = capture_block(model, texts, plan)
                if writing is not None:
                    writing.result()
                writing = writer.submit(_written, folder, texts, record, left, plan)
                tokens += record.tokens if record is not None else 0
                left_out += len(left.left_out)
            on_progress(Progress(seen, blocks, found, tokens, left_out, time.monotonic() - started))
        if writing is not None:
            writing.result()
    check_end(there, blocks)
    folder.end(blocks)
    return Progress(seen, blocks, found, tokens, left_out, time.monotonic() - started)


def capture_block(model: "LoadedModel", texts: Texts, plan: Plan) -> tuple[RoutingRecord | None, Left]:
    """The routing of a block in the order of its documents, and what was left out or cut.

    Errors: PromptError for a text that is too long, where the plan is to stop; ModelMemoryError.
    """
    from gatescope.hooks import capture_corpus

    fitting: list[Document] = []
    left_out: list[tuple[str, str]] = []
    was_cut: list[tuple[str, str]] = []
    for document in texts.documents:
        try:
            pieces = pieces_of(model, document, plan)
        except PromptError as reason:
            if plan.long == "stop":
                raise
            left_out.append((name_of(document), f"{reason.found}; needs {reason.expected}"))
            continue
        fitting += pieces.documents
        if not pieces.documents:  # a portion that is blank is no document that is missing
            (was_cut if texts.portion else left_out).append((name_of(document), "blank, left out"))
        elif pieces.documents[0] is not document:
            was_cut.append((name_of(document), pieces.said))
    left = Left(tuple(left_out), tuple(was_cut))
    if not fitting:
        return None, left
    options = replace(plan.options, logits=plan.options.logits or plan.scores > 0)
    return capture_corpus(model, fitting, options, batch_tokens=plan.batch_tokens), left


class Pieces(NamedTuple):
    """A document as the model can read it, and how many parts of it are left out because they are blank."""

    documents: list[Document]
    blank: int = 0

    @property
    def said(self) -> str:
        """In words, of a document that was cut."""
        blank = f", {self.blank} more were blank and are left out" if self.blank else ""
        return f"captured in {len(self.documents)} parts{blank}"


def pieces_of(model: "LoadedModel", document: Document, plan: Plan) -> Pieces:
    """A document as it is, or in parts; none where it is blank.

    Errors: PromptError where it is too long and not to be cut, or no text.
    """
    most = most_tokens(model, plan)
    try:
        document.text.encode()
    except UnicodeEncodeError as error:
        found = f"{name_of(document)} holds half a character"
        raise PromptError(found, expected="whole characters", do="mend it") from error
    tokens = _tokens(model, document.text, plan) if document.text.strip() else 0
    if tokens <= most:
        return Pieces([document] if tokens else [])
    if plan.long != "split":
        raise PromptError(
            f"{name_of(document)} of {len(document.text):,} characters is too long",
            expected=f"at most {most:,} tokens, the length {model.name} was made for",
            do="cut it, or let it be cut: --long split",
        )
    texts = halves(document.text, lambda text: _tokens(model, text, plan) <= most)
    visible = [
        replace(document, text=text, id=f"{document.id} (part {number} of {len(texts)})")
        for number, text in enumerate(texts, 1)
        if text.strip() and _tokens(model, text, plan)
    ]
    return Pieces(visible, len(texts) - len(visible))


def _tokens(model: "LoadedModel", text: str, plan: Plan) -> int:
    """Tokens of a text; of one that is far too long, those of its beginning: a book takes a minute and a gigabyte."""
    most = most_tokens(model, plan)
    first = text[: CHARACTERS_A_TOKEN * most]
    if len(first) < len(text):
        tokens = model.count_tokens(first, chat=plan.options.chat)
        if tokens > most + MOST_CUT_OFF:
            return tokens
    return model.count_tokens(text, chat=plan.options.chat)


def most_tokens(model: "LoadedModel", plan: Plan) -> int:
    """Tokens of the longest text that is captured whole. Errors: OptionError where hardly any would be."""
    most = model.max_tokens - plan.options.max_new_tokens
    if most < LEAST_TOKENS:
        raise OptionError(
            f"{plan.options.max_new_tokens:,} tokens to generate with {model.name}, which takes {model.max_tokens:,}",
            expected=f"room for {LEAST_TOKENS} tokens of text",
            do="generate fewer",
        )
    return most


def longest_text(model: "LoadedModel", long: Long) -> int:
    """Characters of the longest text that is looked at whole, for a plan: far more than any that fits."""
    return max(MOST_CHARACTERS, CHARACTERS_A_TOKEN * model.max_tokens) if long == "split" else 0


def packed(texts: Texts, record: RoutingRecord | None, left: Left, plan: Plan) -> Captured:
    """A block as it is written: its parts at the level of detail asked for."""
    parts: dict[str, bytes | memoryview] = {}
    block = Block(number=texts.number, documents=0, tokens=0, digest=texts.digest, read=texts.read, **left._asdict())
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


def _written(folder: StudyFolder, texts: Texts, record: RoutingRecord | None, left: Left, plan: Plan) -> Block:
    block, parts = packed(texts, record, left, plan)
    return folder.write(block, parts)


def is_there(there: Mapping[int, Block], texts: Texts) -> bool:
    """Whether these texts are captured, as a block that is whole. Errors: OptionError where it holds other texts.

    The last block may hold the first of these texts alone: the corpus has become longer, and it is captured again.
    """
    block = there.get(texts.number)
    if block is None:
        return False
    is_longer = block.number == max(there) and 0 < block.read < len(texts.documents)
    if is_longer and block.digest == digest_of(texts.documents[: block.read]):
        return False
    check_same(block, texts)
    return True


def check_end(there: Mapping[int, Block], blocks: int) -> None:
    """Errors: OptionError where there are blocks of texts that the corpus does not hold any more."""
    if there and max(there) >= blocks:
        raise OptionError(
            f"the corpus ends before block {max(there)}, which was captured from it",
            expected="the corpus the study was begun with",
            do="name another --out for the changed corpus",
        )


def check_same(block: Block, texts: Texts) -> None:
    """Errors: OptionError where a block that is whole holds other texts than the corpus has there now."""
    if block.digest != texts.digest:
        raise OptionError(
            f"block {block.number} was captured from other texts than the corpus holds there now",
            expected="the corpus the study was begun with",
            do="name another --out for the changed corpus",
        )


def whole_tally(
    folder: StudyFolder,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    partial: bool = False,
) -> Tally:
    """The tallies of all blocks as one; if `partial`, of those that are whole, whatever is missing.

    Errors: StoreError for a study that is not whole; OptionError for one without any block; CaptureDamagedError.
    """
    if not partial:
        check_whole(folder)
    blocks = blocks_with_counts(folder)
    kept = folder.kept_sum(blocks, COUNTS)
    return from_bytes(kept) if kept is not None else added_up(folder, blocks, on_progress)


def blocks_with_counts(folder: StudyFolder) -> list[Block]:
    """Every block that holds a tally. Errors: OptionError for a study without any."""
    blocks = [block for block in folder.finished().values() if COUNTS in block.parts]
    if not blocks:
        raise OptionError(f"{folder.folder} has no blocks", expected="a study that was captured", do="capture first")
    return blocks


def added_up(
    folder: StudyFolder, blocks: Sequence[Block], on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Tally:
    """The tallies of some blocks as one, read sixteen at a time. Errors: CaptureDamagedError."""
    held: list[Tally] = []
    for done, block in enumerate(blocks, 1):
        held.append(from_bytes(folder.part(block, COUNTS)))
        if should_merge(held, 8):
            held = [merged(held)]
        on_progress(done, len(blocks))
    return merged(held)


def merged(tallies: Sequence[Tally]) -> Tally:
    """Tallies of blocks as one, in any order and any grouping the same; it names every device they were captured on."""
    devices = {device for each in tallies for device in each.provenance.device.split(", ")}
    whole = merge_all([replace(each, provenance=replace(each.provenance, device="")) for each in tallies])
    return replace(whole, provenance=replace(whole.provenance, device=", ".join(sorted(devices))))


def first_routes(folder: StudyFolder, tokens: int) -> RoutingRecord | None:
    """The routing of the first blocks, about so many tokens; None where a study keeps counts only."""
    kept: Sequence[RoutingRecord] = []
    for block in folder.finished().values():
        if ROUTES in block.parts and sum(each.tokens for each in kept) < tokens:
            kept = [*kept, folder.routes(block)]
    if not kept:
        return None
    devices = ", ".join(sorted({each.provenance.device for each in kept}))
    return joined([replace(each, provenance=replace(each.provenance, device=devices)) for each in kept])

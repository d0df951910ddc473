"""A corpus through a model into a study's folder: block by block, counted as they pass, from where it stopped."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gatescope.cache.study import StudyFolder
from gatescope.routing.errors import OptionError, PromptError
from gatescope.routing.record import Document, RoutingRecord
from gatescope.studies.blocks import WHOLE, Seen, Share, Texts, cut, halves, name_of
from gatescope.studies.packing import Skipped
from gatescope.studies.plan import CHARACTERS_A_TOKEN, TRIED, Plan, fitted, most_tokens
from gatescope.studies.run_blocks import Progress, beside_writing, run_blocks

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import CaptureOptions, LoadedModel

MOST_CUT_OFF = 128
"""Tokens that the end of a text may have more when it is cut there than when it goes on."""


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
    seen = Seen()
    strategy = beside_writing(
        lambda texts: capture_block(model, texts, plan),
        folder,
        plan,
    )
    blocks = cut(documents, seen, plan.longest)
    return run_blocks(blocks, folder, strategy, seen=seen, share=share, on_progress=on_progress)


def capture_texts(
    model: "LoadedModel",
    documents: Iterable[Document],
    place: Path,
    options: "CaptureOptions",
    *,
    corpus: str,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> StudyFolder:
    """Documents through a model into a new study's folder, each text that is too long cut into parts.

    Errors: as `capture_study`; OptionError where there are no documents.
    """
    texts = iter(documents)
    first = list(islice(texts, TRIED))
    if not first:
        raise OptionError(f"no documents in {corpus}", expected="at least one", do="check the corpus, or --limit")
    plan = fitted(model, Plan(options=options, batch_tokens=0), first)
    folder = StudyFolder.create(place, plan.recipe(model, corpus))
    capture_study(model, chain(first, texts), folder, plan, on_progress=on_progress)
    return folder


def capture_block(model: "LoadedModel", texts: Texts, plan: Plan) -> tuple[RoutingRecord | None, Skipped]:
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
            was_cut.append((name_of(document), pieces.described))
    left = Skipped(tuple(left_out), tuple(was_cut))
    if not fitting:
        return None, left
    options = replace(plan.options, logits=plan.options.logits or plan.scores > 0)
    return capture_corpus(model, fitting, options, batch_tokens=plan.batch_tokens), left


class Pieces(NamedTuple):
    """A document as the model can read it, and how many parts of it are left out because they are blank."""

    documents: list[Document]
    blank: int = 0

    @property
    def described(self) -> str:
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

"""What a study will take, before it begins: tokens from a sample of its texts, time and room from a short pass."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatescope.cache.study import COUNTS
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document, RoutingRecord
from gatescope.studies.blocks import Seen, Texts, cut
from gatescope.studies.capturing import capture_block
from gatescope.studies.packing import Skipped, packed
from gatescope.studies.plan import Plan

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel

COUNTED = 64
"""Texts that are tokenised to tell how many tokens all have; where there are no more, the number is exact."""
COUNTED_CHARACTERS = 20_000
"""Characters of a text that are tokenised: of a longer one, its beginning."""
TRIED = ((12, 3_000), (24, 12_000), (48, 48_000))
"""Documents and characters that the short pass reads: more, where they take so little time that a pass is mostly what
stands around it."""
TRIED_SECONDS = 0.5
TRIED_TIMES = 2
"""How often it is timed; the fastest counts, for other work of the machine only ever slows it down."""


class Length(NamedTuple):
    """Tokens of a corpus: in all, how far that may be off (0: counted), and the texts longer than the model takes."""

    tokens: int
    off: int
    too_long: int


class Speed(NamedTuple):
    """What a token takes: of time, of room on the disk for its routes; `counts` is the room of a block's counts."""

    tokens_a_second: float
    characters_a_token: float
    bytes_a_token: float
    counts: float

    def seconds(self, tokens: int) -> float:
        """Of so many tokens."""
        return tokens / self.tokens_a_second

    def size_bytes(self, tokens: int, block_characters: int) -> int:
        """Of so many tokens, in blocks of so many characters."""
        blocks = max(1.0, tokens * self.characters_a_token / block_characters)
        return int(tokens * self.bytes_a_token + blocks * self.counts)


def length_of(model: "LoadedModel", documents: Sequence[Document]) -> Length:
    """How many tokens a corpus has, from the tokens a character of some of its texts, spread over all of it."""
    characters = np.array([len(document.text) for document in documents], np.float64)
    if not len(characters):
        return Length(0, 0, 0)
    drawn = np.unique(np.linspace(0, len(documents) - 1, min(COUNTED, len(documents))).astype(int))
    texts = [documents[number].text[:COUNTED_CHARACTERS] for number in drawn]
    tokens = np.array([model.count_tokens(text) for text in texts], np.float64)
    read = np.array([len(text) for text in texts], np.float64)
    rate = tokens.sum() / max(read.sum(), 1.0)
    is_exact = len(drawn) == len(documents) and read.sum() == characters.sum()
    spread = 0.0 if is_exact or len(drawn) < 2 else float(np.std(tokens - rate * read, ddof=1) / np.sqrt(len(drawn)))
    off = 2 * spread * len(documents)
    likely = rate * characters > model.max_tokens
    return Length(round(rate * characters.sum()), round(off), int(np.count_nonzero(likely)))


def speed_of(model: "LoadedModel", documents: Sequence[Document], plan: Plan) -> Speed:
    """How fast some of the texts pass, and how large they become. Errors: OptionError where none can be read."""
    texts = _few(documents, *TRIED[0], plan)
    record, left, seconds = _timed(model, texts, plan)
    for number, most in TRIED[1:]:
        more = _few(documents, number, most, plan)
        if seconds > TRIED_SECONDS or more.digest == texts.digest:
            break
        texts = more
        record, left, seconds = _timed(model, texts, plan)
    parts = packed(texts, record, left, plan).parts
    characters = sum(len(document.text) for document in record.documents)
    counts = len(parts.pop(COUNTS))
    size = sum(len(part) for part in parts.values())
    return Speed(record.tokens / seconds, characters / record.tokens, size / record.tokens, float(counts))


def _timed(model: "LoadedModel", texts: Texts, plan: Plan) -> tuple[RoutingRecord, Skipped, float]:
    """Routes of some texts, what was left out, and the seconds of the fastest pass."""
    capture_block(model, texts, plan)  # once more, so that what is made once is not counted
    fastest = float("inf")
    for _ in range(TRIED_TIMES):
        started = time.perf_counter()
        record, left = capture_block(model, texts, plan)
        fastest = min(fastest, time.perf_counter() - started)
    if record is None:
        found = f"none of the first {len(texts.documents)} texts could be read"
        raise OptionError(found, expected="texts that fit the model", do="let long texts be cut")
    return record, left, fastest


def _few(documents: Sequence[Document], number: int, characters: int, plan: Plan) -> Texts:
    """So many of the documents, spread over all, the beginning of each: about so many characters together."""
    drawn = np.unique(np.linspace(0, len(documents) - 1, min(number, len(documents))).astype(int))
    most = characters // max(len(drawn), 1)
    few = [replace(documents[number], text=documents[number].text[:most]) for number in drawn]
    texts = next(cut(few, Seen(), plan.longest), None)
    if texts is None:
        raise OptionError("no text", expected="a text that says something", do="choose other documents")
    return texts

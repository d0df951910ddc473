"""Documents of made-up words: which words there are, how often each is used, and where a document ends."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document
from gatescope.simulation.effects import STEPS
from gatescope.simulation.numbers import GOLDEN, aliases, drawn, fractions

DOMAINS = ("code", "law", "news", "fiction", "medicine", "mathematics", "travel", "history")
LANGUAGES = ("en", "de", "fr", "zh")
BITS = 24
"""Of a random number that choose among words, and as many between the two of an alias."""
MOST_DOCUMENT_TOKENS = 100_000
_SYLLABLES = [f"{first}{second}" for first in "bdfghjklmnprstvz" for second in "aeiou"]


class Drawn(NamedTuple):
    """The tokens of some documents: token ids, and where each document's begin, and the end: (documents + 1,)."""

    token_t: NDArray[np.int32]
    start_d: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """How many documents, of which labels, and in which words.

    tokens, documents   in all; documents are of 0.5 to 1.5 times the average length
    domains, languages  how many; documents take all combinations in turn
    vocabulary          how many words there are: of all languages, of each, and of each domain in each language
    common, topical     share of the tokens that are words of all languages, and words of the document's own domain;
                        the rest are words of its language
    In each of these lists the word of rank r is used in proportion to 1/r (Zipf).

    Errors: OptionError for numbers that make no text.
    """

    tokens: int
    documents: int = 0
    domains: int = 6
    languages: int = 3
    vocabulary: int = 25_000
    common: float = 0.4
    topical: float = 0.2

    def __post_init__(self) -> None:
        if self.documents == 0:
            object.__setattr__(self, "documents", max(1, round(self.tokens / 400)))
        for name, value, most in (
            ("tokens", self.tokens, 10**12),
            ("documents", self.documents, self.tokens // 2),
            ("domains", self.domains, 1000),
            ("languages", self.languages, 1000),
        ):
            if not 1 <= value <= most:
                raise OptionError(f"{value:,} {name}", expected=f"1 to {most:,}", do=f"give --{name} within these")
        if self.tokens > self.documents * MOST_DOCUMENT_TOKENS:
            raise OptionError(
                f"documents of {self.tokens / self.documents:,.0f} tokens on average",
                expected=f"at most {MOST_DOCUMENT_TOKENS:,}",
                do="give more --documents",
            )
        if not self.lists <= self.vocabulary < 2**31 - 1:
            raise OptionError(
                f"{self.vocabulary:,} words",
                expected=f"at least {self.lists:,}, one for each of all languages, language, and domain in a language",
                do="give a larger --vocabulary",
            )
        if min(self.common, self.topical) < 0 or self.common + self.topical > 1:
            raise OptionError(
                f"{self.common:g} of the tokens common and {self.topical:g} topical",
                expected="two shares of at most 1 together",
                do="give smaller ones",
            )

    @property
    def lists(self) -> int:
        """How many lists of words: of all languages, of each, and of each domain in each."""
        return 1 + self.languages * (1 + self.domains)

    @property
    def ranks(self) -> int:
        """Words of one list."""
        return self.vocabulary // self.lists

    @property
    def domain_names(self) -> tuple[str, ...]:
        """What the domains are called."""
        return _named(DOMAINS, self.domains, "domain")

    @property
    def language_names(self) -> tuple[str, ...]:
        """What the languages are called."""
        return _named(LANGUAGES, self.languages, "language")

    def starts(self, seed: int, first: int, last: int) -> NDArray[np.int64]:
        """Where documents `first` to before `last` begin, and where the last ends, in tokens of the whole."""
        number_d = np.arange(first, last + 1)
        shift_d = (fractions(seed, "where documents end", last + 1 - first, first) - 0.5) / 2
        shift_d[(number_d == 0) | (number_d == self.documents)] = 0
        return np.rint((number_d + shift_d) * (self.tokens / self.documents)).astype(np.int64)

    def labels(self, number: int) -> tuple[int, int]:
        """Domain and language of a document, by number."""
        return number % self.domains, number // self.domains % self.languages

    def words(self, seed: int, first: int, last: int) -> Drawn:
        """The tokens of documents `first` to before `last`."""
        start_d = self.starts(seed, first, last)
        start_d -= start_d[0]
        token_t = np.empty(int(start_d[-1]), np.int32)
        domain_d, language_d = (np.array(each) for each in zip(*map(self.labels, range(first, last)), strict=True))
        own_d = 1 + self.languages + language_d * self.domains + domain_d
        list_ds = np.stack([np.zeros_like(own_d), 1 + language_d, own_d], axis=1) * self.ranks
        parts = round(self.common * STEPS), STEPS - round(self.topical * STEPS)
        draw_words(drawn(seed, "words", last - first, first), start_d, list_ds, *parts, *self._ranks, token_t)
        return Drawn(token_t, start_d)

    def document(self, number: int, token_t: NDArray[np.int32]) -> Document:
        """A document of these tokens: its pieces one after another."""
        domain, language = self.labels(number)
        return Document(
            text="".join(map(piece_of, token_t.tolist())),
            id=f"simulated {number}",
            source="simulated",
            domain=self.domain_names[domain],
            language=self.language_names[language],
        )

    @cached_property
    def _ranks(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        return aliases(1 / np.arange(1, self.ranks + 1), BITS)


def piece_of(token: int) -> str:
    """The text of a token id: a space and a word that no other id has.

    >>> piece_of(0), piece_of(77)
    (' baba', ' ziba')
    """
    word, rest = "", token
    while rest or len(word) < 4:
        word += _SYLLABLES[rest % len(_SYLLABLES)]
        rest //= len(_SYLLABLES)
    return f" {word}"


def _named(known: tuple[str, ...], count: int, what: str) -> tuple[str, ...]:
    return tuple(known[n] if n < len(known) else f"{what} {n + 1}" for n in range(count))


@jit
def draw_words(
    seed_d: NDArray[np.uint64],
    start_d: NDArray[np.int64],
    list_ds: NDArray[np.int64],
    below_common: int,
    from_topical: int,
    threshold_r: NDArray[np.uint32],
    other_r: NDArray[np.uint32],
    token_t: NDArray[np.int32],
) -> None:  # pragma: no cover
    """Fill `token_t`: for each token a list of words, then a rank in it. One random number each."""
    ranks = np.uint64(len(threshold_r))
    for d in range(len(seed_d)):
        state = seed_d[d]
        for t in range(start_d[d], start_d[d + 1]):
            state += GOLDEN
            bits = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            bits ^= bits >> np.uint64(31)
            which = bits & np.uint64(0xFFFF)
            at = 0 if which < below_common else (2 if which >= from_topical else 1)
            rank = (((bits >> np.uint64(16)) & np.uint64(0xFFFFFF)) * ranks) >> np.uint64(24)
            if (bits >> np.uint64(40)) >= np.uint64(threshold_r[rank]):
                rank = np.uint64(other_r[rank])
            token_t[t] = list_ds[d, at] + np.int64(rank)

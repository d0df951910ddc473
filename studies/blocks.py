"""A corpus cut into blocks: always at the same places, whoever reads it and wherever reading begins anew."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document

MOST_DOCUMENTS = 256
MOST_CHARACTERS = 1 << 17
COMPARED = 500_000
"""Texts that are compared with each other, the first ones, in about 60 MB; beyond, a second copy goes unseen."""


_SPACE = re.compile(r"\s")


class Texts(NamedTuple):
    """One block: some documents that follow one another, and a digest of all that they say.

    A text too long for one block is several, each with a portion of it; `portion` counts them from 1.
    """

    number: int
    documents: tuple[Document, ...]
    digest: str
    portion: int = 0

    @property
    def read(self) -> int:
        """Documents of the corpus that begin in it."""
        return int(self.portion == 1) if self.portion else len(self.documents)


@dataclass(frozen=True)
class Share:
    """Which blocks are one's own: those whose number leaves `index` when divided by `of`."""

    index: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Share":
        """From "2/8", counted from 1. Errors: OptionError.

        >>> Share.parse("2/8")
        Share(index=1, of=8)
        """
        index, slash, of = text.partition("/")
        if not (slash and index.isdigit() and of.isdigit() and 1 <= int(index) <= int(of)):
            raise OptionError(f"--shard {text}", expected="N/OF, such as 2/8, from 1/OF to OF/OF", do="give it so")
        return cls(int(index) - 1, int(of))

    @property
    def name(self) -> str:
        """What a lease on it is called (see `cache.lease`)."""
        return "whole" if self.of == 1 else f"{self.index + 1}of{self.of}"

    def has(self, number: int) -> bool:
        """Whether a block is one of these."""
        return number % self.of == self.index


WHOLE = Share()


@dataclass
class Seen:
    """What was read so far, and which texts were there before; bounded in memory.

    `twice` counts documents whose text was read before, `where` names the first of them.
    """

    documents: int = 0
    characters: int = 0
    twice: int = 0
    where: list[str] = field(default_factory=list)
    hashes: set[int] = field(default_factory=set)

    def add(self, document: Document) -> None:
        """Count one document."""
        self.documents += 1
        self.characters += len(document.text)
        mark = int.from_bytes(hashlib.blake2b(document.text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        if mark in self.hashes:
            self.twice += 1
            if len(self.where) < 20:
                self.where.append(name_of(document))
        elif len(self.hashes) < COMPARED:
            self.hashes.add(mark)


def cut(documents: Iterable[Document], seen: Seen, longest: int = 0) -> Iterator[Texts]:
    """Blocks of at most MOST_DOCUMENTS texts and MOST_CHARACTERS characters; a longer text is a block by itself.

    One of more than `longest` characters (0: however many) is cut, and each portion of it is a block.
    """
    number, held, characters = 0, list[Document](), 0
    for document in map(_sayable, documents):
        seen.add(document)
        size = len(document.text)
        is_cut = 0 < longest < size
        if held and (is_cut or len(held) == MOST_DOCUMENTS or characters + size > MOST_CHARACTERS):
            yield _texts(number, held)
            number, held, characters = number + 1, [], 0
        if is_cut:
            for portion, each in enumerate(_portions(document, longest), 1):
                yield _texts(number, [each], portion)
                number += 1
            continue
        held.append(document)
        characters += size
    if held:
        yield _texts(number, held)


def halves(text: str, fits: Callable[[str], bool]) -> list[str]:
    """A text cut at the white space nearest to its middle, and so on, until every part fits: none is lost."""
    if fits(text) or len(text) < 2:
        return [text]
    at = _middle(text)
    return halves(text[:at], fits) + halves(text[at:], fits)


def name_of(document: Document) -> str:
    """How a document is named to who reads what happened."""
    return f"{document.source}: {document.id}" if document.source else document.id or "a text without an id"


def digest_of(documents: Sequence[Document]) -> str:
    """A digest of all that documents say, in any version of Python the same."""
    digest = hashlib.blake2b(digest_size=16)
    for document in documents:
        digest.update(json.dumps(asdict(document)).encode("ascii"))
    return digest.hexdigest()


def _sayable(document: Document) -> Document:
    """The same, with escapes in the name of a file that is no text: whatever keeps or counts it needs text."""
    names = {name: getattr(document, name).encode("utf-8", "backslashreplace").decode() for name in ("id", "source")}
    is_text = (document.id, document.source) == (names["id"], names["source"])
    return document if is_text else replace(document, **names)


def _texts(number: int, documents: Sequence[Document], portion: int = 0) -> Texts:
    return Texts(number, tuple(documents), digest_of(documents), portion)


def _portions(document: Document, longest: int) -> list[Document]:
    texts = halves(document.text, lambda text: len(text) <= longest)
    return [
        replace(document, text=text, id=f"{document.id} (portion {number} of {len(texts)})")
        for number, text in enumerate(texts, 1)
    ]


def _middle(text: str) -> int:
    """Where the white space nearest to the middle begins, if there is any in the middle half; else the middle."""
    middle, quarter = len(text) // 2, len(text) // 4
    after = _SPACE.search(text, middle, middle + quarter)
    before = _SPACE.search(text[middle - quarter : middle][::-1])
    found = [after.start()] if after else []
    found += [middle - before.end()] if before else []
    return max(1, min(found, key=lambda at: abs(at - middle), default=middle))

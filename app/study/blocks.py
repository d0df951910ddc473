"""A corpus cut into blocks: always at the same places, whoever reads it and wherever reading begins anew."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from routing.errors import OptionError
from routing.record import Document

MOST_DOCUMENTS = 256
MOST_CHARACTERS = 1 << 17
COMPARED = 500_000
"""Texts that are compared with each other, the first ones, in about 60 MB; beyond, a second copy goes unseen."""


class Texts(NamedTuple):
    """One block: some documents that follow one another, and a digest of all that they say."""

    number: int
    documents: tuple[Document, ...]
    digest: str


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


def cut(documents: Iterable[Document], seen: Seen) -> Iterator[Texts]:
    """Blocks of at most MOST_DOCUMENTS texts and MOST_CHARACTERS characters; a longer text is a block by itself."""
    number, held, characters = 0, list[Document](), 0
    for document in documents:
        seen.add(document)
        if held and (len(held) == MOST_DOCUMENTS or characters + len(document.text) > MOST_CHARACTERS):
            yield _texts(number, held)
            number, held, characters = number + 1, [], 0
        held.append(document)
        characters += len(document.text)
    if held:
        yield _texts(number, held)


def name_of(document: Document) -> str:
    """How a document is named to who reads what happened."""
    return f"{document.source}: {document.id}" if document.source else document.id or "a text without an id"


def _texts(number: int, documents: list[Document]) -> Texts:
    digest = hashlib.blake2b(digest_size=16)
    for document in documents:
        digest.update(repr(asdict(document)).encode("utf-8", "surrogatepass"))
    return Texts(number, tuple(documents), digest.hexdigest())

"""The bundled probe set: texts of known domain, passages of known language, pairs that differ in one known thing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatescope.corpora.reader import read_jsonl
from gatescope.routing.errors import CorpusError
from gatescope.routing.record import Document

PROBE = Path(__file__).parent / "probe"
SIDES = ("a", "b")


@dataclass(frozen=True)
class Side:
    """One of the two texts of a pair, and where in it the word stands: `document.text[start:end] == word`."""

    document: Document
    word: str
    start: int
    end: int
    gloss: str


@dataclass(frozen=True)
class Pair:
    """Two short texts that differ in one known thing, which `kind` names."""

    name: str
    kind: str
    one: Side
    other: Side


def probe() -> list[Document]:
    """The labelled texts of the probe set: those of `domains`, then those of `languages`.

    Returns     552 documents, each with an id, a domain and a language
    Errors      CorpusError when the installed files are missing or altered
    """
    return domains() + languages()


def domains() -> list[Document]:
    """The English texts of the probe set: twelve domains, twenty unrelated texts each.

    Returns     240 documents, grouped by domain
    Errors      CorpusError when the installed file is missing or altered
    """
    return read_jsonl(PROBE / "domains.jsonl")


def languages() -> list[Document]:
    """The multilingual texts of the probe set: twenty-four passages, each said in thirteen languages.

    Returns     312 documents, grouped by passage; an id is the passage, a hyphen and the language (`weather-de`)
    Errors      CorpusError when the installed file is missing or altered
    """
    return read_jsonl(PROBE / "languages.jsonl")


def pairs() -> list[Pair]:
    """The minimal pairs of the probe set: one word in two senses, one number written two ways, and so on.

    Returns     92 pairs, grouped by kind; their documents are English, without a domain, and not part of `probe`
    Errors      CorpusError when the installed file is missing or altered
    """
    return list(_read_pairs(PROBE / "pairs.jsonl"))


def _read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file in which the two sides of each stand on consecutive lines."""
    try:
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    except OSError as error:
        raise _altered(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise _altered(f"{path}: {error}") from error
    for number in range(0, len(rows), len(SIDES)):
        try:
            one, other = rows[number : number + len(SIDES)]
            yield _pair(one, other)
        except (KeyError, TypeError, ValueError) as error:
            raise _altered(f"{path}, from line {number + 1}: {type(error).__name__}: {error}") from error


def _altered(found: str) -> CorpusError:
    """The error that an installed file is not the one that was shipped."""
    return CorpusError(found, expected="the pairs as they were installed", do="install Gatescope again")


def _pair(one: dict[str, str], other: dict[str, str]) -> Pair:
    """The pair of two lines; ValueError when they are not the sides a and b of one pair."""
    if (one["pair"], one["kind"]) != (other["pair"], other["kind"]) or (one["side"], other["side"]) != SIDES:
        raise ValueError(f"{one['id']} and {other['id']} are not the two sides of a pair")
    return Pair(name=one["pair"], kind=one["kind"], one=_side(one), other=_side(other))


def _side(row: dict[str, str]) -> Side:
    """One line of the file; ValueError when its word does not stand in its text exactly once."""
    text, word = row["text"], row["word"]
    if text.count(word) != 1:
        raise ValueError(f"{row['id']} has {word!r} {text.count(word)} times")
    start = text.index(word)
    document = Document(text, id=row["id"], source=row["source"], language=row["language"])
    return Side(document, word=word, start=start, end=start + len(word), gloss=row["gloss"])

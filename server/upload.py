"""Files that a visitor uploads, as documents: laid out on disk, looked at, mapped, read with a limit, and gone again.

    with laid_out([("mine.csv", content)]) as place:
        seen = look(place)
        texts = read(place, seen.guess, limits=Limits(documents=2000, characters=8_000_000))

Nothing of a file is run, and nothing of it decides where on this machine it lies.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from gatescope.corpora import Columns, Problem, open_corpus
from gatescope.corpora.columns import OBVIOUS, getter
from gatescope.corpora.formats import FORMATS, Cut, Table, all_suffixes, format_of
from gatescope.corpora.opening import PACKED
from gatescope.corpora.place import RowError
from gatescope.routing.errors import CorpusError, GatescopeError
from gatescope.routing.record import Document
from gatescope.studies.blocks import Seen

PARTS = ("text", "domain", "language", "id")
"""What a column may be read as; the text has to be."""
SUFFIXES = tuple(suffix for each in FORMATS.values() for suffix in each.suffixes)
MOST_UNPACKED = 400_000_000
"""Bytes that one upload may have once it is unpacked."""
MOST_FILES = 200
SHOWN_ROWS, SHOWN_CHARACTERS = 5, 160
COLUMNS_OFFERED = 200
_CHUNK = 1 << 20
MOST_NAME = 48
"""Characters of a name: of any script, it stays below what file systems take."""
_NAME = re.compile(r"(.*?)((?:\.[A-Za-z0-9]{1,10}){0,2})", re.DOTALL)

Mapped = Mapping[str, str | None]
"""For each of `PARTS` the column it is read from, None for none."""


class Limits(NamedTuple):
    """How much of an upload is taken: documents, and characters of all of them."""

    documents: int
    characters: int


@dataclass(frozen=True)
class Look:
    """What a file offers: its columns, which of them are obviously what, and its first rows as they are written.

    `guess["text"]` is None where no column is obviously the text.
    """

    columns: tuple[str, ...]
    guess: Mapped
    rows: tuple[tuple[str, ...], ...]
    is_plain: bool


class Fault(NamedTuple):
    """A row, or a file, that was not read: where, what was found, what is expected, what to do."""

    place: str
    found: str
    expected: str
    do: str


@dataclass(frozen=True)
class Texts:
    """What was read: the documents, the rows that were not (`bad` of them, the first ones named), and how it ended.

    twice      texts that were there before: they are kept, and counted
    is_cut     there were more than the limits let in
    """

    documents: tuple[Document, ...]
    bad: int = 0
    faults: tuple[Fault, ...] = ()
    twice: int = 0
    is_cut: bool = False

    @property
    def characters(self) -> int:
        """Of all texts together."""
        return sum(len(document.text) for document in self.documents)


@contextmanager
def laid_out(files: Sequence[tuple[str, bytes]]) -> Iterator[Path]:
    """A folder with these files, unpacked, under names that mean nothing to a file system; gone afterwards.

    Errors: CorpusError for none, for too many, for a format nobody knows, for what is too large once unpacked.
    """
    if not 0 < len(files) <= MOST_FILES:
        raise CorpusError(f"{len(files)} files", expected=f"1 to {MOST_FILES}", do="choose the files to study")
    with TemporaryDirectory(prefix="gatescope-upload-") as name:
        left = MOST_UNPACKED
        for number, (called, content) in enumerate(files):
            left -= _lay(Path(name), number, called, content, left)
        yield Path(name)


def safe_name(called: str) -> str:
    """A file's name as it may be written anywhere: its last part, of letters and digits of any script.

    >>> safe_name("../../etc/passwd.csv"), safe_name("<b>räder 1</b>.jsonl.gz"), safe_name(".csv")
    ('passwd.csv', 'b.jsonl.gz', 'file.csv')
    """
    last = re.split(r"[/\\]", called)[-1]
    stem, suffixes = _NAME.fullmatch(last).groups()  # type: ignore[union-attr]  # it fits everything
    kept = re.sub(r"[^\w.-]+", "_", stem).strip(".-")[:MOST_NAME].strip("._-")
    return f"{kept or 'file'}{suffixes}"


def look(place: Path, cut: Cut = "file") -> Look:
    """What the first of the files offers. Errors: CorpusError where it cannot be read."""
    table = _first_table(place, cut)
    try:
        guess = guessed(table.columns)
        rows = tuple(islice(_shown(table), SHOWN_ROWS))
    except GatescopeError as error:
        raise _without(place, error) from error
    first = format_of(_files(place)[0])
    return Look(table.columns[:COLUMNS_OFFERED], guess, rows, first is not None and first.name == "text")


def guessed(columns: Sequence[str]) -> Mapped:
    """Which column is obviously what, by its name; the only column of all is the text.

    >>> guessed(["Content", "label", "x"])
    {'text': 'Content', 'domain': 'label', 'language': None, 'id': None}
    """
    found: dict[str, str | None] = {}
    for part in PARTS:
        named = {name: [column for column in columns if column.casefold() == name] for name in OBVIOUS[part]}
        found[part] = next((fitting[0] for fitting in named.values() if fitting), None)
    if found["text"] is None and len(columns) == 1:
        found["text"] = columns[0]
    return found


def read(place: Path, mapped: Mapped, *, limits: Limits, cut: Cut = "file", guess_language: bool = False) -> Texts:
    """The documents of the files, as far as the limits go; a row that cannot be read is named and left out.

    Errors: CorpusError where nothing can be read, or a column is not there.
    """
    if not mapped.get("text"):
        raise CorpusError("no column for the text", expected="one column that holds the texts", do="choose it")
    columns = Columns(text=str(mapped["text"]), **{part: mapped.get(part) for part in PARTS[1:]}, source=None)
    try:
        corpus = open_corpus(place, columns=columns, bad="skip", cut=cut, guess_language=guess_language)
        documents, is_cut, seen = _within(iter(corpus), limits)
    except GatescopeError as error:
        raise _without(place, error) from error
    report = corpus.report
    faults = [_fault(place, problem) for problem in report.problems]
    faults += [Fault(name, "no known format", all_suffixes(), "rename or convert it") for name in report.passed_over]
    return Texts(documents, report.bad.total(), tuple(faults), seen.twice, is_cut)


def _fault(place: Path, problem: Problem) -> Fault:
    """A problem without the folder of this machine, its place said once."""
    where, found = (text.replace(f"{place}/", "") for text in (problem.place, problem.found))
    return Fault(where, found.removeprefix(f"{where}: "), problem.expected, problem.do)


def _within(documents: Iterator[Document], limits: Limits) -> tuple[tuple[Document, ...], bool, Seen]:
    """Documents as far as the limits go, and whether there were more."""
    seen, kept = Seen(), list[Document]()
    for document in documents:
        if len(kept) == limits.documents or seen.characters + len(document.text) > limits.characters:
            return tuple(kept), True, seen
        seen.add(document)
        kept.append(document)
    return tuple(kept), False, seen


def _lay(folder: Path, number: int, called: str, content: bytes, most: int) -> int:
    """Write one file unpacked; how many bytes it has then. Errors: CorpusError."""
    name = safe_name(called)
    if format_of(Path(name)) is None:
        do = "write it as JSON Lines, CSV, Parquet or plain text"
        raise CorpusError(f"{name}: no known format", expected=f"{all_suffixes()} (.gz and .zst too)", do=do)
    packing = Path(name).suffix.lower()
    path = folder / name.removesuffix(Path(name).suffix) if packing in PACKED else folder / name
    if path.exists():
        path = folder / f"{number}-{path.name}"
    written = 0
    try:
        with path.open("wb") as file, _unpacked(content, packing) as stream:
            while chunk := stream.read(_CHUNK):
                written += file.write(chunk)
                if written > most:
                    raise _too_large(name)
    except (EOFError, zlib.error, OSError) as error:
        found = f"{name} cannot be unpacked: {error}"
        raise CorpusError(found, expected="a whole compressed file", do="copy or pack it again") from error
    if path.suffix.lower() in (".parquet", ".pq"):
        _check_parquet(path, name)
    return written


def _unpacked(content: bytes, packing: str) -> BinaryIO:
    """The bytes of a file, through gzip or zstd where its name says so."""
    stream = pa.BufferReader(content)
    if packing == ".gz":
        return cast(BinaryIO, gzip.open(cast(BinaryIO, stream)))
    return cast(BinaryIO, pa.CompressedInputStream(stream, "zstd") if packing == ".zst" else stream)


def _check_parquet(path: Path, name: str) -> None:
    """Refuse a file that says it unpacks to too much. What is no Parquet at all is told when it is read."""
    try:
        said = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return
    size = sum(said.row_group(number).total_byte_size for number in range(said.num_row_groups))
    if size > MOST_UNPACKED:
        raise _too_large(name)


def _too_large(name: str) -> CorpusError:
    found = f"{name} is larger than {MOST_UNPACKED:,} bytes once unpacked"
    return CorpusError(found, expected="less", do="cut it, or capture it on the command line: gatescope capture")


def _files(place: Path) -> list[Path]:
    return sorted(place.iterdir())


def _first_table(place: Path, cut: Cut) -> Table:
    """The table of the first file that can be opened at all. Errors: CorpusError of the first where none can."""
    wrong: GatescopeError | None = None
    for path in _files(place):
        format = format_of(path)
        try:
            if format is not None:
                return format.table(path, cut)
        except GatescopeError as error:
            wrong = wrong or error
    raise _without(place, wrong or CorpusError("no file", expected="a file of texts", do="choose one"))


def _shown(table: Table) -> Iterator[tuple[str, ...]]:
    """Rows as they are written, each cell's beginning; a row that cannot be read says so in its first cell."""
    columns = table.columns[:COLUMNS_OFFERED]
    for _, fields in table.rows(columns):
        if isinstance(fields, RowError):
            yield (f"({fields.reason})", *("" for _ in columns[1:]))
        else:
            yield tuple(_cell(fields, column) for column in columns)


def _cell(fields: Mapping[str, object], column: str) -> str:
    value = getter(column)(fields)
    shown = "" if value is None else str(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[: SHOWN_CHARACTERS - 1]}…"


def _without(place: Path, error: GatescopeError) -> CorpusError:
    """The same error, without the folder of this machine that the file lay in for a moment."""
    said = (text.replace(f"{place}/", "").replace(str(place), "the upload") for text in _parts(error))
    found, expected, do = said
    return CorpusError(found, expected=expected, do=do)


def _parts(error: GatescopeError) -> tuple[str, str, str]:
    return error.found, error.expected, error.do

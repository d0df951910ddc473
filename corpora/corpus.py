"""A user's own labelled texts as documents, one at a time: out of a file, a folder or the hub."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gatescope.corpora.columns import Column, Columns, Constant, Folder, Layout, find, getter
from gatescope.corpora.formats import Cut, Format, Table, all_suffixes, format_of, named_format
from gatescope.corpora.guess import guesser
from gatescope.corpora.ids import Ids
from gatescope.corpora.opening import unreadable
from gatescope.corpora.place import Place, RowError
from gatescope.corpora.report import Report
from gatescope.corpora.values import label_of, text_of
from gatescope.routing.errors import CorpusError, OptionError
from gatescope.routing.record import Document

IDS_COMPARED = 100_000
"""Ids that are compared with each other, the first ones, in about 25 MB. Beyond, a second use goes unseen."""
HUB = "hub:"
"""What a source begins with that is the id of a data set."""

_Maker = Callable[[Any, Place], Document]


class _Part(NamedTuple):
    """A file, or a split of the hub: how documents name it, and how its table is opened."""

    name: str
    source: str
    folder: str
    format: str
    table: Callable[[], Table]


@dataclass
class Corpus:
    """Documents that are read anew, and one at a time, on every pass over it; `report` tells of the latest pass.

    Errors      on the pass: CorpusError when nothing can be read, a column is not there, or, with bad="refuse", at
                the first row that cannot be read
    """

    name: str
    columns: Columns
    bad: Literal["refuse", "skip"]
    guess: Callable[[str], str] | None
    parts: Callable[[Report], Iterator[_Part]]
    report: Report = field(default_factory=Report)

    def __iter__(self) -> Iterator[Document]:
        report, ids = Report(), Ids(IDS_COMPARED)
        self.report = report
        for part in self.parts(report):
            try:
                yield from self._documents(part, report, ids)
            except RowError as error:
                self._refuse_or_count(error, report)
        if not report.kept:
            raise _nothing_kept(self.name, report)

    def _documents(self, part: _Part, report: Report, ids: Ids) -> Iterator[Document]:
        """The documents of one part. Errors: RowError when the whole part cannot be read, CorpusError."""
        table = part.table()
        layout = find(self.columns, table.columns, part.name)
        report.begin(part.name, part.format, layout)
        make = _maker(layout, part, self.guess)
        for place, fields in table.rows(layout.wanted()):
            report.read += 1
            try:
                if isinstance(fields, RowError):
                    raise fields
                document = make(fields, place)
                if layout.id is not None:
                    ids.check(document.id, place)
            except RowError as error:
                self._refuse_or_count(error, report)
                continue
            report.add(document)
            yield document

    def _refuse_or_count(self, error: RowError, report: Report) -> None:
        report.add_problem(error)
        if self.bad == "refuse":
            do = f'{error.do}; or go on without what cannot be read: bad="skip", on the command line --bad skip'
            raise CorpusError(error.found, expected=error.expected, do=do) from error


def open_corpus(
    source: str | Path,
    *,
    columns: Columns | None = None,
    bad: Literal["refuse", "skip"] = "refuse",
    guess_language: bool | Collection[str] = False,
    format: str = "",
    only: str = "*",
    cut: Cut = "file",
    config: str = "",
    split: str = "",
    revision: str = "",
) -> Corpus:
    """A corpus of one's own, ready to be read.

    source      a file, a folder (its files, and those of its sub-folders), or hub:owner/name
    columns     which column is the text and which are labels; left out, obvious names are looked for
    bad         what becomes of a row that cannot be read: an error at once, or counted in the report and left out
    guess_language  guess the language where none is said; a collection of codes names those it may be
    format      read every file as this format, whatever its name; see `corpora.formats`
    only        of a folder, the files whose name fits this pattern, such as "*.jsonl"
    cut         what one document of a plain text is: "file", "paragraphs", or a number of words
    config, split, revision     of a data set of the hub: "" is its default, "train" (or the only one), "main"
    Errors      CorpusError when there is nothing to read at the source, OptionError when an option is not one of these
    """
    if bad not in ("refuse", "skip"):
        raise OptionError(f"bad={bad!r}", expected="'refuse' or 'skip'", do="choose one of the two")
    among = guess_language if isinstance(guess_language, Collection) else ()
    guess = guesser(among) if guess_language else None
    source = str(source)
    if source.startswith(HUB):
        parts = _of_hub(source.removeprefix(HUB), config, split, revision)
    elif config or split or revision:
        found = f"config, split or revision for {source}"
        raise OptionError(found, expected="them for hub: sources only", do="leave them out")
    else:
        parts = _of_path(Path(source).expanduser(), named_format(format) if format else None, only, cut)
    return Corpus(source, columns or Columns(), bad, guess, parts)


def _of_hub(name: str, config: str, split: str, revision: str) -> Callable[[Report], Iterator[_Part]]:
    """The split of a data set as one part, at the commit of this moment: every pass reads the same."""
    from gatescope.corpora.hub import Dataset, hub_table, pinned

    dataset = pinned(Dataset(name, config, split, revision))
    source = f"{HUB}{name}@{dataset.revision}" + "".join(f"/{part}" for part in (config, split) if part)
    part = _Part(name, source, "", "hub", partial(hub_table, dataset))
    return lambda _report: iter((part,))


def _of_path(path: Path, format: Format | None, only: str, cut: Cut) -> Callable[[Report], Iterator[_Part]]:
    if path.is_dir():
        return lambda report: _files(path, format, only, cut, report)
    try:
        path.stat()
    except OSError as error:
        raise unreadable(Place(path), error) from error
    found = format or format_of(path)
    if found is None:
        expected, do = f"a name that ends in {all_suffixes()} (.gz and .zst too)", _how_to_convert(path)
        raise CorpusError(f"{path}: no known format", expected=expected, do=do)
    part = _Part(path.name, path.name, path.resolve().parent.name, found.name, partial(found.table, path, cut))
    return lambda _report: iter((part,))


def _how_to_convert(path: Path) -> str:
    if path.suffix.lower() == ".json":
        return "write it as JSON Lines, an object on each line (for a list of objects: jq -c '.[]')"
    return "rename the file, or say its format: format='csv', on the command line --format csv"


def _files(path: Path, format: Format | None, only: str, cut: Cut, report: Report) -> Iterator[_Part]:
    """Every file of a folder that can be read, in the order of their names; hidden ones are left out."""
    found = None
    for file in sorted(path.rglob(only)):
        inside = file.relative_to(path)
        if any(part.startswith(".") for part in inside.parts) or not file.is_file():
            continue
        found = format or format_of(file)
        if found is None:
            report.pass_over(inside.as_posix())
            continue
        name, folder = inside.as_posix(), inside.parts[0] if len(inside.parts) > 1 else ""
        yield _Part(name, name, folder, found.name, partial(found.table, file, cut))


def _maker(layout: Layout, part: _Part, guess: Callable[[str], str] | None) -> _Maker:
    """A function from a row's columns to its document."""
    text = getter(layout.text)
    domain, language = _label("domain", layout.domain, part), _label("language", layout.language, part)
    name, source = _label("id", layout.id, part), _label("source", layout.source, part)

    def make(fields: Any, place: Place) -> Document:
        content, tongue = text_of(text(fields), place), language(fields, place)
        guessed = guess(content) if guess and not tongue else ""
        return Document(
            text=content,
            id=name(fields, place) or f"{part.name}:{place.line}",
            source=source(fields, place) or part.source,
            domain=domain(fields, place),
            language=tongue or guessed,
            language_guessed=bool(guessed),
        )

    return make


def _label(name: str, column: Column, part: _Part) -> Callable[[Any, Place], str]:
    """A function from a row's columns to one label."""
    if isinstance(column, str):
        value = getter(column)
        return lambda fields, place: label_of(name, value(fields), place)
    fixed = {Constant: getattr(column, "value", ""), Folder: part.folder}.get(type(column), "")
    return lambda _fields, _place: fixed


def _nothing_kept(name: str, report: Report) -> CorpusError:
    """The error of a corpus without a single document."""
    if report.problems:
        first = report.problems[0]
        found = f"{name}: nothing could be read; first {first.found}"
        return CorpusError(found, expected=first.expected, do=first.do)
    if report.files:
        do = "write at least one row; docs/corpora.md shows one"
        return CorpusError(f"{name}: an empty file", expected="at least one row", do=do)
    over = f" ({', '.join(report.passed_over[:5])} …)" if report.passed_over else ""
    expected = f"files that end in {all_suffixes()} (.gz and .zst too)"
    return CorpusError(f"{name}: a folder without a file to read{over}", expected=expected, do="give another folder")

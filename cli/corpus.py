"""`gatescope corpus check FILE`: what would be read of a corpus, and what would not."""

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gatescope.cli.output import errors_shown, stderr, stdout
from gatescope.routing.errors import OptionError

commands = typer.Typer(help="Labelled texts: what would be read of them.", no_args_is_help=True)

if TYPE_CHECKING:  # Arrow takes long to import
    from gatescope.corpora.columns import Column
    from gatescope.corpora.corpus import Corpus
    from gatescope.corpora.formats import Cut
    from gatescope.corpora.report import Report

_LABELS_SHOWN = 15
_PROGRESS_EVERY = 1000


class Bad(StrEnum):
    """What becomes of a row that cannot be read."""

    REFUSE = "refuse"
    SKIP = "skip"


class Part(StrEnum):
    """A label that a sub-folder's name may be."""

    DOMAIN = "domain"
    LANGUAGE = "language"


@commands.callback()
def _top() -> None:
    """Reads labelled texts."""


@commands.command()
def check(
    source: Annotated[str, typer.Argument(help="A file, a folder, or hub:owner/name.")],
    text: Annotated[str, typer.Option(help="Column of the text.")] = "",
    domain: Annotated[str, typer.Option(help="Column of the domain.")] = "",
    language: Annotated[str, typer.Option(help="Column of the language.")] = "",
    id: Annotated[str, typer.Option(help="Column of the id.")] = "",
    source_column: Annotated[str, typer.Option("--source", help="Column of the source.")] = "",
    domain_is: Annotated[str, typer.Option(help="One domain for every text.")] = "",
    language_is: Annotated[str, typer.Option(help="One language for every text.")] = "",
    folder_is: Annotated[Part | None, typer.Option(help="What the names of sub-folders say.")] = None,
    bad: Annotated[Bad, typer.Option(help="What to do about a row that cannot be read.")] = Bad.REFUSE,
    guess_language: Annotated[
        bool, typer.Option("--guess-language", help="Guess a language that is not said.")
    ] = False,
    guess_among: Annotated[str, typer.Option(help="Guess among these only, such as en,de,fr.")] = "",
    format: Annotated[str, typer.Option(help="Read as this format: jsonl, csv, parquet or text.")] = "",
    only: Annotated[str, typer.Option(help="Of a folder, the files whose name fits, such as '*.jsonl'.")] = "*",
    cut: Annotated[str, typer.Option(help="Plain text: file, paragraphs, or a number of words.")] = "file",
    config: Annotated[str, typer.Option(help="Configuration of a hub data set.")] = "",
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "",
    revision: Annotated[str, typer.Option(help="Commit, tag or branch of a hub data set.")] = "",
) -> None:
    """Read a corpus to its end and tell what it holds; exit code 1 when it would be refused."""
    from gatescope.corpora.columns import Columns
    from gatescope.corpora.corpus import open_corpus

    with errors_shown():
        columns = Columns(
            text=text,
            domain=_label(Part.DOMAIN, domain, domain_is, folder_is),
            language=_label(Part.LANGUAGE, language, language_is, folder_is),
            id=id,
            source=source_column,
        )
        corpus = open_corpus(
            source,
            columns=columns,
            bad="skip",
            guess_language=guess_among.split(",") if guess_among else guess_language,
            format=format,
            only=only,
            cut=_cut(cut),
            config=config,
            split=split,
            revision=revision,
        )
        _read(corpus)
    _print(corpus.name, corpus.report)
    if corpus.report.bad and bad is Bad.REFUSE:
        stderr.print("refused: mend the rows above, or leave them out with --bad skip")
        raise typer.Exit(1)


def _label(part: Part, column: str, constant: str, folder: Part | None) -> "Column":
    """Where a label comes from, which may be said in one way only. Errors: OptionError."""
    from gatescope.corpora.columns import FOLDER, Constant

    ways: list[Column] = [each for each in (column, constant and Constant(constant)) if each]
    ways += [FOLDER] if folder is part else []
    if len(ways) > 1:
        expected, do = "a column, one word for all, or the folders' names", "leave all but one out"
        raise OptionError(f"the {part} said in {len(ways)} ways", expected=expected, do=do)
    return ways[0] if ways else ""


def _cut(cut: str) -> "Cut":
    if cut in ("file", "paragraphs"):
        return "file" if cut == "file" else "paragraphs"
    if cut.isdecimal() and int(cut):
        return int(cut)
    do = "choose how a text file is cut into documents"
    raise OptionError(f"--cut {cut}", expected="file, paragraphs or a number of words above 0", do=do)


def _read(corpus: "Corpus") -> None:
    """One pass over the corpus, with the number of rows on stderr while it lasts."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("reading")
        for number, _ in enumerate(corpus, 1):
            if number % _PROGRESS_EVERY == 0:
                progress.update(task, description=f"{number:,} documents")


def _print(name: str, report: "Report") -> None:
    _say(name)
    _say(f"rows       {report.read:,} read, {report.kept:,} kept, {report.bad.total():,} bad")
    _say("files      " + ", ".join(f"{count:,} {format}" for format, count in report.files.items()))
    for layout, file in report.layouts.items():
        _say(f"columns    {layout}" + (f"   (first in {file})" if len(report.layouts) > 1 else ""))
    lengths, mean = report.characters, report.characters.total / report.kept
    _say(f"characters {lengths.shortest:,} to {lengths.longest:,} a text, {mean:,.0f} on average")
    if report.guessed:
        _say(f"guessed    {report.guessed:,} of the languages")
    if report.passed_over:
        _say(f"not read   {', '.join(report.passed_over[:5])}" + (" …" if len(report.passed_over) > 5 else ""))
    _print_labels("domain", report.domains)
    _print_labels("language", report.languages)
    _print_problems(report)


def _print_labels(name: str, labels: Counter[str]) -> None:
    """The commonest labels with their counts, and how many more there are."""
    if set(labels) == {""}:
        _say(f"{name:<10} not said")
        return
    table = Table(name, "texts", box=None)
    table.columns[1].justify = "right"
    for label, count in labels.most_common(_LABELS_SHOWN):
        table.add_row(Text(label or "(not said)"), f"{count:,}")
    stdout.print(table)
    if len(labels) > _LABELS_SHOWN:
        _say(f"and {len(labels) - _LABELS_SHOWN:,} other values of {name}")


def _print_problems(report: "Report") -> None:
    """How many rows of each fault, and the first of all with their places."""
    if not report.bad:
        return
    _say("bad        " + ", ".join(f"{count:,} {reason}" for reason, count in report.bad.most_common()))
    for problem in report.problems:
        _say(f"  {problem.found}\n    expected: {problem.expected}\n    do: {problem.do}")
    if report.bad.total() > len(report.problems):
        _say(f"  and {report.bad.total() - len(report.problems):,} more")


def _say(line: str) -> None:
    stdout.print(line, markup=False, highlight=False)

"""What was read of a corpus, counted while it is read; its size does not grow with the corpus."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from gatescope.corpora.columns import Layout
from gatescope.corpora.place import RowError
from gatescope.routing.record import Document

SHOWN = 20
"""Problems that are kept with their place; the others are only counted."""
MAX_LABELS = 10_000
"""Different labels that are counted; documents of a label beyond are counted under `BEYOND`."""
BEYOND = "(other labels)"


class Problem(NamedTuple):
    """One row, or file, that was not read."""

    place: str
    reason: str
    found: str
    expected: str
    do: str


@dataclass
class Lengths:
    """Lengths of texts, in characters."""

    shortest: int = 0
    longest: int = 0
    total: int = 0

    def add(self, length: int) -> None:
        """Count one text."""
        self.shortest = min(self.shortest, length) if self.total else length
        self.longest = max(self.longest, length)
        self.total += length


@dataclass
class Report:
    """The account of one pass over a corpus.

    read, kept      rows; what was read and not kept was bad
    bad             rows and files that were not kept, by reason
    problems        the first `SHOWN` of them, each with its place
    domains, languages  documents by label; "" is "not said"
    guessed         documents whose language was guessed
    characters      lengths of the texts kept
    layouts         for each choice of columns, the first file it was made in
    files           files read, by format
    passed_over     files of a folder that no format knows, the first `SHOWN`
    """

    read: int = 0
    kept: int = 0
    guessed: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    domains: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    characters: Lengths = field(default_factory=Lengths)
    layouts: dict[Layout, str] = field(default_factory=dict)
    files: Counter[str] = field(default_factory=Counter)
    passed_over: list[str] = field(default_factory=list)

    def begin(self, file: str, format: str, layout: Layout) -> None:
        """Count a file whose columns were found."""
        self.files[format] += 1
        self.layouts.setdefault(layout, file)

    def pass_over(self, file: str) -> None:
        """Note a file of a folder that is not read."""
        if len(self.passed_over) < SHOWN:
            self.passed_over.append(file)

    def add(self, document: Document) -> None:
        """Count a document that was kept."""
        self.kept += 1
        self.guessed += document.language_guessed
        self.characters.add(len(document.text))
        _count(self.domains, document.domain)
        _count(self.languages, document.language)

    def add_problem(self, error: RowError) -> None:
        """Count a row or file that was not."""
        self.bad[error.reason] += 1
        if len(self.problems) < SHOWN:
            self.problems.append(Problem(str(error.place), error.reason, error.found, error.expected, error.do))


def _count(labels: Counter[str], label: str) -> None:
    labels[label if label in labels or len(labels) < MAX_LABELS else BEYOND] += 1

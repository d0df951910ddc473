"""Routes that anyone's own code wrote, as an `.npz` file or a Parquet file of a few obvious names.

`docs/importing.md` holds the whole form with examples. Everything but the ids may be absent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Importer, Report
from gatescope.cache.importers.reading.digest import provenance_of
from gatescope.cache.importers.reading.layers import rules_of
from gatescope.cache.importers.reading.plain_npz import is_plain_npz, plain_npz
from gatescope.cache.importers.reading.plain_parquet import is_plain_parquet, plain_parquet
from gatescope.cache.importers.reading.rows import Rows, Trace, tokens_at_once
from gatescope.cache.importers.reading.vocabulary import Vocabulary
from gatescope.routing.record import Document, RoutingRecord

ABSENCES = {
    "weights": "weights: the order of the slots is that of the file, and nothing can be said of how sure the gate is",
    "logits": "scores of all experts: no margins, no entropy of the gate, no experts that were nearly chosen",
    "token": "ids of tokens",
    "piece": "texts of tokens",
    "document": "documents: everything counts as one",
    "position": "positions: counted from 0 in each document",
    "flags": "flags: every token counts as plain text",
    "document_domain": "domains of documents",
}


def detect(path: Path) -> bool:
    """Whether a file has the one array or column that makes it of this form."""
    return path.is_file() and (is_plain_npz(path) or is_plain_parquet(path))


def read(path: Path, given: Given, report: Report) -> Iterator[RoutingRecord]:
    """The records of one file."""
    opened = plain_npz if is_plain_npz(path) else plain_parquet
    with opened(path, given, report) as table:
        layers = rules_of(table.seen, given, str(path))
        made = provenance_of([path], given, engine="plain", about=table.about)
        _describe(table.names, report)
        trace = Trace(layers, made, given, report)
        cells = table.seen.slots + table.scores
        maker = _Maker(str(path), table.document)
        for part in table.parts(tokens_at_once(len(layers), cells)):
            yield from trace.records(maker.rows(part), maker.document, maker.pieces)
    report.understood.append(f"{report.tokens:,} tokens of {report.documents:,} documents, {len(layers)} layers")


def _describe(names: frozenset[str], report: Report) -> None:
    """What of the form a file holds, and what not."""
    report.understood.append(f"a plain trace of {', '.join(sorted(names & ({'ids'} | ABSENCES.keys())))}")
    report.missing += [about for name, about in ABSENCES.items() if name not in names]
    if "piece" in names and "token" not in names:
        report.missing.append("token ids proper: texts of tokens were numbered in order of appearance")


class _Maker:
    """Fills in what a part of a table does not hold, over the parts of one trace."""

    def __init__(self, where: str, labels: Mapping[int, Document]) -> None:
        self._where, self._labels = where, labels
        self._words, self._names = Vocabulary(), Vocabulary()
        self._row, self._last, self._next = 0, -1, 0
        self.pieces: Mapping[int, str] = {}

    def rows(self, part: Mapping[str, NDArray[Any]]) -> Rows:
        """The part as rows of a trace, with what it lacks put in."""
        first, count = self._row, len(part["ids"])
        self._row += count
        zero_t = np.zeros(count, np.int64)
        document_t = part.get("document", zero_t)
        if document_t.dtype.kind not in "iu":
            document_t = self._names.numbers(document_t.tolist())
        return Rows(
            ids_tlk=part["ids"],
            weight_tlk=part.get("weights"),
            logit_tle=part.get("logits"),
            token_t=self._tokens(part, count),
            document_t=document_t,
            position_t=part["position"] if "position" in part else self._counted(document_t),
            flag_t=part.get("flags", zero_t),
            place=lambda row: f"{self._where}, row {first + row}",
        )

    def document(self, number: int) -> Document:
        """What is said of a document."""
        label = self._labels.get(number, Document(""))
        return replace(label, id=label.id or self._names.texts.get(number, str(number)))

    def _tokens(self, part: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.integer]:
        """Ids of tokens; where there are none, numbers of their texts; -1 without both. Fills `pieces`."""
        if "piece" not in part:
            return part.get("token", np.full(count, -1, np.int64))
        texts = part["piece"].tolist()
        if "token" not in part:
            token_t = self._words.numbers(texts)
            self.pieces = self._words.texts
            return token_t
        self.pieces = dict(zip(part["token"].tolist(), texts, strict=True))
        return part["token"]

    def _counted(self, document_t: NDArray[np.integer]) -> NDArray[np.int64]:
        """Positions counted from 0 in each document, on where the part before ended."""
        row_t = np.arange(len(document_t))
        is_first_t = np.diff(document_t, prepend=self._last) != 0
        first_t = np.maximum.accumulate(np.where(is_first_t, row_t, -self._next))
        position_t = row_t - first_t
        if len(document_t):
            self._last, self._next = int(document_t[-1]), int(position_t[-1]) + 1
        return position_t


IMPORTER = Importer(name="plain", title="arrays or a table of your own, .npz or Parquet", detect=detect, read=read)

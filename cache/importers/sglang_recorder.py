"""Dumps of SGLang's expert distribution recorder: a `.pt` file, or a folder with those of several ranks.

Only dumps of mode `per_token` hold routes. The others hold counts, out of which no record can be made; they are refused
by name. Ids in a dump are those of physical experts, which the dump's own map turns into the model's.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gatescope.cache.importers.importer import Given, Importer, Report
from gatescope.cache.importers.reading.digest import provenance_of
from gatescope.cache.importers.reading.layers import rules_of
from gatescope.cache.importers.reading.rows import Rows, Trace, tokens_at_once
from gatescope.cache.importers.reading.sequences import Open, Part, Sequences
from gatescope.cache.importers.reading.sglang_dump import NAMED, Dump
from gatescope.cache.importers.reading.tensors import begins_with
from gatescope.routing.errors import TraceError
from gatescope.routing.record import Document, Flag, RoutingRecord

KEYS = (b"forward_pass_id", b"logical_count", b"last_physical_to_logical_map")
MOST_OPEN = 2**27  # routes of sequences that may go on; each takes two bytes
MISSING = (
    "weights and scores: the recorder keeps ids alone, so the order of the slots says nothing",
    "changes of the map: a dump holds the last one, so rebalancing must be off while it records",
    "texts: tokens are ids; domains and names of documents are not known",
    "which request a token belongs to: generated tokens were joined to what ended where they begin",
    "parts of prompts that were cut or whose beginning was cached: they are documents that begin behind position 0",
)


def detect(path: Path) -> bool:
    """Whether this is a dump, or a folder of files that are called like dumps."""
    try:
        if path.is_dir():
            return any(NAMED.fullmatch(file.name) for file in path.iterdir())
        return path.is_file() and begins_with(path, KEYS)
    except OSError:
        return False


def read(path: Path, given: Given, report: Report) -> Iterator[RoutingRecord]:
    """The records of every rank that saw tokens of its own."""
    files = _files(path)
    dump = Dump(files, given, report)
    copies = dump.copies() if len(files) > 1 else {}
    made = provenance_of(files, given, engine="sglang")
    gatherer = _Gatherer(Trace(rules_of(dump.seen, given, str(path)), made, given, report))
    report.missing += MISSING
    for rank in sorted(set(dump.ranks.values())):
        if rank in copies:
            report.understood.append(f"rank {rank} saw the same tokens as rank {copies[rank]}, which was read")
            continue
        sequences = Sequences(MOST_OPEN // dump.width)
        for run in dump.passes(rank):
            for over in sequences.add(run):
                yield from gatherer.add(over, rank)
        for over in sequences.rest():
            yield from gatherer.add(over, rank)
        _tell(report, rank, sequences)
    yield from gatherer.records()
    report.understood.append(f"{report.tokens:,} tokens of {report.documents:,} sequences")


def _tell(report: Report, rank: int, sequences: Sequences) -> None:
    """What was made of one rank's passes."""
    sentence = f"rank {rank}: {sequences.begun:,} documents, {sequences.begun_inside:,} of them begun behind position 0"
    if sequences.unclear:
        sentence += f"; {sequences.unclear:,} tokens that could belong to several sequences and were left on their own"
    if sequences.let_go:
        sentence += f"; {sequences.let_go:,} were let go early to save memory, and may go on in further documents"
    report.understood.append(sentence)


def _files(path: Path) -> list[Path]:
    """The dumps of a folder, those of a rank in the order of their time."""
    if path.is_file():
        return [path]
    named = [(match, file) for file in path.iterdir() if (match := NAMED.fullmatch(file.name))]
    if not named:
        raise TraceError(f"{path}: no dump", expected="files called as the recorder calls them", do="check the folder")
    return [file for match, file in sorted(named, key=lambda each: (int(each[0][2] or 0), float(each[0][1])))]


Taken = tuple[int, Part, int, int]
"""The number of a sequence, and which rows of one of its parts are taken."""


class _Gatherer:
    """Sequences that are over, gathered until they make a record. A long one is cut into several."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.tokens, self.at_once = trace, 0, tokens_at_once(len(trace.layers), 8)
        self._over: list[tuple[Open, str]] = []
        self._first = 0

    def add(self, over: Open, rank: int) -> Iterator[RoutingRecord]:
        """One more sequence."""
        if self.tokens + over.tokens > self.at_once:
            yield from self.records()
        self._over.append((over, f"rank {rank}, sequence {over.number}"))
        self.tokens += over.tokens

    def records(self) -> Iterator[RoutingRecord]:
        """What was gathered, and a new beginning."""
        over, first = self._over, self._first
        self._over, self._first, self.tokens = [], first + len(over), 0
        parts = [(first + at, part) for at, (each, _) in enumerate(over) for part in each.parts]
        rows: list[Taken] = []
        count = 0
        for number, part in parts:
            for start in range(part.start, part.stop, self.at_once):
                stop = min(part.stop, start + self.at_once)
                if count + stop - start > self.at_once:
                    yield from self._record(rows, first, over)
                    rows, count = [], 0
                rows.append((number, part, start, stop))
                count += stop - start
        if rows:
            yield from self._record(rows, first, over)

    def _record(self, rows: list[Taken], first: int, over: list[tuple[Open, str]]) -> Iterator[RoutingRecord]:
        lengths = [stop - start for _, _, start, stop in rows]
        ends = np.cumsum(lengths)

        def place(row: int) -> str:
            at = int(np.searchsorted(ends, row, side="right"))
            _, part, start, _ = rows[at]
            return f"{part.run.name}, token {start + row - (ends[at] - lengths[at])}"

        yield from self.trace.records(
            Rows(
                ids_tlk=np.concatenate([part.run.ids_nlk[start:stop] for _, part, start, stop in rows]),
                token_t=np.concatenate([part.run.token_n[start:stop] for _, part, start, stop in rows]),
                position_t=np.concatenate([part.run.position_n[start:stop] for _, part, start, stop in rows]),
                document_t=np.repeat([number for number, *_ in rows], lengths),
                flag_t=np.repeat([Flag.GENERATED * part.generated for _, part, _, _ in rows], lengths),
                place=place,
            ),
            lambda number: Document("", id=over[number - first][1]),
        )


IMPORTER = Importer(
    name="sglang_recorder", title="dumps of SGLang's expert distribution recorder", detect=detect, read=read
)

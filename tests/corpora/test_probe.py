"""The bundled probe set: balanced, distinct, clean text, each language in its own script, pairs that differ as said."""

import configparser
import csv
import json
import re
import shutil
import sqlite3
import statistics
import subprocess
import tomllib
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from gatescope import corpora
from gatescope.corpora import Pair, bundled, domains, languages, pairs, probe
from gatescope.routing import Document
from gatescope.routing.errors import CorpusError

FOLDER = Path(corpora.__file__).parent / "probe"
DOCS = Path(__file__).parents[2] / "docs" / "corpora.md"
FILES = ("domains.jsonl", "languages.jsonl", "pairs.jsonl")
PROSE = {"mathematics", "science", "law", "medicine", "finance", "news", "fiction", "dialogue", "recipes", "poetry"}
DOMAINS = PROSE | {"code", "data"}
EACH = 20
PASSAGES = 24
SCRIPTS = {
    "en": ("LATIN",),
    "de": ("LATIN",),
    "fr": ("LATIN",),
    "es": ("LATIN",),
    "ru": ("CYRILLIC",),
    "el": ("GREEK",),
    "ar": ("ARABIC",),
    "he": ("HEBREW",),
    "hi": ("DEVANAGARI",),
    "zh": ("CJK UNIFIED",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK UNIFIED"),
    "ko": ("HANGUL",),
    "th": ("THAI",),
}
MARKS = {
    "en": {"the", "and", "of"},
    "de": {"der", "die", "und", "nicht", "das", "ich", "den"},
    "fr": {"le", "la", "les", "et", "est", "une"},
    "es": {"el", "la", "los", "y", "que", "una"},
}
UNSPACED = {"zh", "ja", "th"}
PASSAGE_LENGTH = {"ko": (40, 65), "zh": (80, 125), "ja": (115, 185), "th": (180, 320)}
KINDS = {"sense": 24, "prose-code": 16, "digits-words": 16, "case": 12, "negation": 12, "register": 12}
DENIALS = {"not", "never", "cannot"}
FIVE_GRAM_LIMIT = 0.1
SHARED_WORDS_LIMIT = 0.2


def words(document: Document) -> list[str]:
    """Words, or letters where the script writes no spaces between words."""
    if document.language in UNSPACED:
        return [sign for sign in document.text if sign.isalpha()]
    return document.text.lower().split()


@cache
def five_grams(document: Document) -> frozenset[tuple[str, ...]]:
    said = words(document)
    return frozenset(tuple(said[start : start + 5]) for start in range(len(said) - 4))


@cache
def long_words(document: Document) -> frozenset[str]:
    return frozenset(re.findall("[a-z]{4,}", document.text.lower())) - {"that", "this", "with", "from", "have", "were"}


def overlap(left: frozenset, right: frozenset) -> float:
    return len(left & right) / len(left | right)


def of(*domain: str) -> list[Document]:
    return [document for document in domains() if document.domain in domain]


def text_of(name: str) -> str:
    (text,) = [document.text for document in domains() if document.id == name]
    return text


def lines(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8-sig").split("\n") if line]


def said_by(pair: Pair) -> tuple[str, str]:
    return pair.one.document.text, pair.other.document.text


def of_kind(kind: str) -> list[Pair]:
    return [pair for pair in pairs() if pair.kind == kind]


# What there is


def test_probe_is_the_domains_and_the_languages() -> None:
    assert probe() == domains() + languages()
    assert len(probe()) == EACH * len(DOMAINS) + PASSAGES * len(SCRIPTS)


def test_ids_are_unique_and_source_is_said() -> None:
    documents = probe() + [side.document for pair in pairs() for side in (pair.one, pair.other)]
    assert len({document.id for document in documents}) == len(documents)
    assert {document.source for document in documents} == {"gatescope-probe"}


def test_domains_are_balanced() -> None:
    assert Counter(document.domain for document in domains()) == dict.fromkeys(DOMAINS, EACH)
    assert {document.language for document in domains()} == {"en"}


def test_texts_stand_by_domain_and_say_it_in_the_id() -> None:
    order = [document.domain for document in domains()]
    assert sum(one != other for one, other in pairwise(order)) == len(DOMAINS) - 1
    assert [document.id for document in domains() if not document.id.startswith(f"{document.domain}-")] == []


def test_languages_are_balanced() -> None:
    assert Counter(document.language for document in languages()) == dict.fromkeys(SCRIPTS, PASSAGES)
    assert {document.domain for document in languages()} == PROSE


def test_every_passage_is_said_once_in_every_language() -> None:
    rows = lines("languages.jsonl")
    passages = list(dict.fromkeys(row["passage"] for row in rows))
    assert len(passages) == PASSAGES
    said = [(row["passage"], row["language"]) for row in rows]
    assert said == [(passage, language) for passage in passages for language in SCRIPTS]


def test_translations_share_their_domain_and_say_it_in_the_id() -> None:
    domain_of: dict[str, str] = {}
    for row in lines("languages.jsonl"):
        assert domain_of.setdefault(row["passage"], row["domain"]) == row["domain"]
        assert row["id"] == f"{row['passage']}-{row['language']}"


# How long


def test_domain_text_length(subtests) -> None:
    for document in of(*PROSE, "code"):
        with subtests.test(document.id):
            assert 60 <= len(words(document)) <= 120


def test_data_length_is_counted_in_characters(subtests) -> None:
    for document in of("data"):
        with subtests.test(document.id):
            assert 500 <= len(document.text) <= 1110


def test_passage_length(subtests) -> None:
    for document in languages():
        with subtests.test(document.id):
            low, high = PASSAGE_LENGTH.get(document.language, (45, 95))
            assert low <= len(words(document)) <= high


@pytest.mark.parametrize("language", SCRIPTS)
def test_translations_leave_nothing_out(language: str) -> None:
    passages = {document.id.rsplit("-", 1)[0]: document for document in languages() if document.language == "en"}
    ratios = {
        document.id: len(document.text) / len(passages[document.id.rsplit("-", 1)[0]].text)
        for document in languages()
        if document.language == language
    }
    usual = statistics.median(ratios.values())
    assert {name: ratio for name, ratio in ratios.items() if not 0.75 < ratio / usual < 1.3} == {}


def test_translations_of_a_poem_have_its_lines() -> None:
    ends = {(row["passage"], row["text"].count("\n")) for row in lines("languages.jsonl")}
    assert len(ends) == PASSAGES


def test_domains_are_of_similar_length() -> None:
    total: Counter[str] = Counter()
    for document in domains():
        total[document.domain] += len(words(document))
    assert max(total.values()) < 1.25 * min(total.values())


# No text twice


def test_no_text_repeats() -> None:
    texts = [" ".join(words(document)) for document in probe()]
    assert len(set(texts)) == len(texts)


def test_no_near_duplicates() -> None:
    both = [(a, b) for a, b in combinations(probe(), 2) if a.language == b.language]
    alike = {(a.id, b.id): overlap(five_grams(a), five_grams(b)) for a, b in both}
    assert {ids: share for ids, share in alike.items() if share >= FIVE_GRAM_LIMIT} == {}


def test_no_two_english_texts_are_about_the_same() -> None:
    english = [document for document in probe() if document.language == "en"]
    alike = {(a.id, b.id): overlap(long_words(a), long_words(b)) for a, b in combinations(english, 2)}
    assert {ids: share for ids, share in alike.items() if share >= SHARED_WORDS_LIMIT} == {}


# Clean


def test_text_is_clean(subtests) -> None:
    for row in [row for name in FILES for row in lines(name)]:
        with subtests.test(row["id"]):
            text = row["text"]
            assert text == text.strip()
            assert unicodedata.is_normalized("NFC", text)
            bad = [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
            assert set(bad) <= {"\n", "\t"}
            assert "\ufffd" not in text


@pytest.mark.parametrize("name", FILES)
def test_files_are_utf8_without_mark_and_end_in_a_newline(name: str) -> None:
    content = (FOLDER / name).read_bytes()
    content.decode("utf-8")
    assert not content.startswith(b"\xef\xbb\xbf")
    assert content.endswith(b"}\n") and b"\r" not in content


def test_text_is_in_the_script_of_its_language(subtests) -> None:
    for document in languages():
        with subtests.test(document.id):
            letters = [unicodedata.name(sign) for sign in document.text if sign.isalpha()]
            own = [name for name in letters if name.startswith(SCRIPTS[document.language])]
            assert len(own) > 0.97 * len(letters)


def test_kana_is_japanese_only(subtests) -> None:
    for document in languages():
        with subtests.test(document.id):
            kana = [
                sign for sign in document.text if unicodedata.name(sign, "").startswith(("HIRAGANA", "KATAKANA LETTER"))
            ]
            assert (len(kana) > 0.3 * len(document.text)) == (document.language == "ja")
            assert kana == [] or document.language == "ja"


def test_chinese_is_simplified(subtests) -> None:
    for document in [document for document in languages() if document.language == "zh"]:
        with subtests.test(document.id):
            "".join(words(document)).encode("gb2312")  # simplified characters; traditional ones raise


@pytest.mark.parametrize("language", MARKS)
def test_latin_languages_use_their_own_small_words(language: str) -> None:
    for document in languages():
        if document.language == language:
            own = {tongue: len(marks & set(words(document))) for tongue, marks in MARKS.items()}
            assert own[language] == max(own.values()) > 0, document.id


# Code and data are what they look like


def test_python_compiles(subtests) -> None:
    for document in [document for document in of("code") if "-python-" in document.id]:
        with subtests.test(document.id):
            compile(document.text, document.id, "exec")


def test_bash_parses(subtests) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on the path; install it to check the shell scripts")
    for document in [document for document in of("code") if "-bash-" in document.id]:
        with subtests.test(document.id):
            done = subprocess.run([bash, "-n"], input=document.text, text=True, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")


def test_sql_runs() -> None:
    with sqlite3.connect(":memory:") as database:
        database.executescript(text_of("code-sql-library-loans"))
        database.executescript(
            """CREATE TABLE customers (id, region); INSERT INTO customers VALUES (1, 'north');
            CREATE TABLE orders (id, customer_id, placed_at, status);
            INSERT INTO orders VALUES (1, 1, '2024-01-05', 'paid'), (2, 1, '2024-02-09', 'paid');
            CREATE TABLE order_items (order_id, quantity, unit_price);
            INSERT INTO order_items VALUES (1, 2, 10.0), (2, 3, 10.0);"""
        )
        rows = database.execute(text_of("code-sql-revenue").strip(";")).fetchall()
    database.close()
    assert rows == [("north", "2024-01", 20.0, None, 1), ("north", "2024-02", 30.0, 10.0, 1)]


def test_code_closes_what_it_opens(subtests) -> None:
    for document in of("code"):
        with subtests.test(document.id):
            signs = Counter(document.text)
            assert (signs["{"], signs["["]) == (signs["}"], signs["]"])


def test_json_data_parses_and_adds_up() -> None:
    order = json.loads(text_of("data-json-order"))
    assert sum(line["quantity"] * line["unitPrice"] for line in order["lines"]) == order["totals"]["goods"]


def test_toml_data_parses() -> None:
    assert [valve["gpio"] for valve in tomllib.loads(text_of("data-toml-greenhouse"))["valve"]] == [17, 27, 22]


def test_csv_data_is_a_rectangle() -> None:
    rows = list(csv.reader(text_of("data-csv-bird-ringing").splitlines(), strict=True))
    assert len(rows) == 10 and {len(row) for row in rows} == {11}


@pytest.mark.parametrize("name", ["data-xml-museum-record", "data-gpx-track"])
def test_xml_data_parses(name: str) -> None:
    assert len(list(ET.fromstring(text_of(name)).iter())) > 10


def test_ini_data_parses() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text_of("data-ini-game-settings"))
    assert parser.sections() == ["Display", "Audio", "Controls", "Network", "Saves"]


def test_markdown_data_is_a_table() -> None:
    assert {line.count("|") for line in text_of("data-markdown-laptop-table").splitlines()} == {9}


def test_calendar_data_closes_what_it_opens() -> None:
    opened: list[str] = []
    for line in text_of("data-icalendar").splitlines():
        name, _, value = line.partition(":")
        if name == "BEGIN":
            opened.append(value)
        if name == "END":
            assert opened.pop() == value
    assert opened == []


def test_metrics_of_the_histogram_agree_with_the_counter() -> None:
    rows = dict(re.findall(r"^([^#\n]+) (\S+)$", text_of("data-prometheus-metrics"), re.MULTILINE))
    requests = sum(int(value) for name, value in rows.items() if name.startswith("http_requests_total"))
    assert requests == int(rows["request_seconds_count"]) == int(rows['request_seconds_bucket{le="+Inf"}'])


# Pairs


def test_pairs_are_of_six_kinds_and_grouped() -> None:
    kinds = [pair.kind for pair in pairs()]
    assert Counter(kinds) == KINDS
    assert list(dict.fromkeys(kinds)) == list(KINDS)
    assert sum(one != other for one, other in pairwise(kinds)) == len(KINDS) - 1


def test_a_pair_keeps_what_its_two_lines_say() -> None:
    rows = iter(lines("pairs.jsonl"))
    for pair in pairs():
        for side, letter in ((pair.one, "a"), (pair.other, "b")):
            row = next(rows)
            assert (row["pair"], row["kind"], row["side"]) == (pair.name, pair.kind, letter)
            assert (row["word"], row["gloss"], row["text"]) == (side.word, side.gloss, side.document.text)
            assert side.document.id == row["id"] == f"{pair.name}-{letter}"
            assert (side.document.language, side.document.domain) == ("en", "")
    assert list(rows) == []


def test_the_word_stands_once_in_its_text_where_the_side_says() -> None:
    for side in [side for pair in pairs() for side in (pair.one, pair.other)]:
        text = side.document.text
        assert text[side.start : side.end] == side.word
        assert text.count(side.word) == 1
        around = text[max(side.start - 1, 0) : side.start] + text[side.end : side.end + 1]
        assert not any(sign.isalnum() for sign in around), side.document.id


def test_the_sides_of_a_pair_differ_in_text_and_gloss() -> None:
    assert [pair.name for pair in pairs() if pair.one.document.text == pair.other.document.text] == []
    assert [pair.name for pair in pairs() if pair.one.gloss == pair.other.gloss] == []


def test_a_word_of_two_senses_stands_at_the_same_place_after_the_context(subtests) -> None:
    for pair in of_kind("sense"):
        with subtests.test(pair.name):
            (one, other), (left, right) = said_by(pair), (pair.one, pair.other)
            place = len(one[: left.start].split())
            assert left.word == right.word
            assert place == len(other[: right.start].split()) >= 4
            assert one[: left.start] != other[: right.start]
            assert len(one.split()) == len(other.split())


def test_prose_and_code_share_their_word(subtests) -> None:
    for pair in of_kind("prose-code"):
        with subtests.test(pair.name):
            assert pair.one.word == pair.other.word
            assert pair.one.gloss == "English prose"
            assert pair.one.document.text.endswith(".")
            if pair.other.gloss == "Python code":
                compile(pair.other.document.text, pair.name, "exec")
            else:
                assert pair.other.gloss in {"SQL code", "JavaScript code"}
                assert pair.other.document.text.endswith(";")


def test_digits_and_words_differ_in_nothing_else(subtests) -> None:
    for pair in of_kind("digits-words"):
        with subtests.test(pair.name):
            one, other = said_by(pair)
            assert any(sign.isdigit() for sign in pair.one.word)
            assert not any(sign.isdigit() for sign in other)
            assert one.replace(pair.one.word, pair.other.word) == other


def test_case_is_all_that_differs(subtests) -> None:
    for pair in of_kind("case"):
        with subtests.test(pair.name):
            one, other = said_by(pair)
            assert pair.one.word.islower()
            assert pair.other.word in {pair.one.word.upper(), pair.one.word.capitalize()}
            assert one.replace(pair.one.word, pair.other.word) == other


def test_one_word_negates(subtests) -> None:
    for pair in of_kind("negation"):
        with subtests.test(pair.name):
            one, other = (text.split() for text in said_by(pair))
            (changed,) = [(said, denied) for said, denied in zip(one, other, strict=True) if said != denied]
            assert changed[1] in DENIALS or changed[1].endswith("n't")
            assert changed[0] not in DENIALS and not changed[0].endswith("n't")
            assert pair.one.word == pair.other.word not in changed


def test_a_casual_message_has_no_capitals_at_its_start_and_shares_its_word(subtests) -> None:
    for pair in of_kind("register"):
        with subtests.test(pair.name):
            one, other = said_by(pair)
            assert pair.one.word == pair.other.word
            assert one[0].isupper() and one.endswith(".")
            assert other[0].islower() and not other.endswith(".")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "from line 183"),
        (lambda text: text.replace('"side": "a"', '"side": "b"', 1), "not the two sides of a pair"),
        (lambda text: text.replace("basket on the bank", "basket on the bench", 1), "bank-a has 'bank' 0 times"),
        (lambda text: text.replace("his basket", "his bank", 1), "bank-a has 'bank' 2 times"),
        (lambda text: text.replace('"word": "bank", ', "", 1), "'word'"),
        (lambda text: text[:-2] + "\n", "pairs.jsonl"),
        (lambda _text: "[1]\n[2]\n", "from line 1"),
    ],
    ids=["half a pair", "sides", "word gone", "word twice", "field gone", "torn", "lists"],
)
def test_an_altered_file_of_pairs_is_refused(tmp_path: Path, monkeypatch, change, found: str) -> None:
    whole = (FOLDER / "pairs.jsonl").read_text(encoding="utf-8")
    assert change(whole) != whole
    (tmp_path / "pairs.jsonl").write_text(change(whole), encoding="utf-8")
    monkeypatch.setattr(bundled, "PROBE", tmp_path)
    with pytest.raises(CorpusError) as caught:
        pairs()
    assert found in caught.value.found


def test_a_missing_file_of_pairs_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bundled, "PROBE", tmp_path)
    with pytest.raises(CorpusError, match="No such file"):
        pairs()


# What is written about it


@pytest.mark.parametrize("name", FILES)
def test_every_line_keeps_the_schema(name: str) -> None:
    schema = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))["$defs"][name]
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    for row in lines(name):
        assert list(row) == schema["required"] == list(schema["properties"]), row["id"]
        assert [field for field, value in row.items() if not allowed(value, schema["properties"][field])] == []


def allowed(value: object, rule: dict) -> bool:
    """Whether a value keeps a rule, which uses a small part of JSON Schema."""
    assert rule.keys() <= {"type", "pattern", "enum", "const", "description"}
    assert rule.get("type", "string") == "string"
    if not isinstance(value, str):
        return False
    return (
        value in rule.get("enum", [value])
        and value == rule.get("const", value)
        and re.search(rule.get("pattern", ""), value) is not None
    )


def test_the_schema_names_the_labels_there_are() -> None:
    rules = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))["$defs"]
    assert set(rules["domains.jsonl"]["properties"]["domain"]["enum"]) == DOMAINS
    assert set(rules["languages.jsonl"]["properties"]["domain"]["enum"]) == PROSE
    assert rules["languages.jsonl"]["properties"]["language"]["enum"] == list(SCRIPTS)
    assert rules["pairs.jsonl"]["properties"]["kind"]["enum"] == list(KINDS)


def test_the_docs_list_what_there_is() -> None:
    text = DOCS.read_text(encoding="utf-8").split("\n## A file of your own")[0]
    named = re.findall(r"^\| `([\w.-]+)` \|", text, re.MULTILINE)
    passages = list(dict.fromkeys(row["passage"] for row in lines("languages.jsonl")))
    domain_names = list(dict.fromkeys(document.domain for document in domains()))
    fields = ["id", "pair", "kind", "side", "word", "gloss"]
    assert named == [*FILES, *domain_names, *SCRIPTS, *passages, *KINDS, *fields]
    for row in lines("languages.jsonl"):
        assert f"| `{row['passage']}` | {row['domain']} |" in text


def test_the_docs_say_how_many_there_are() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert f"{len(DOMAINS)} domains × {EACH} texts" in text
    assert f"{PASSAGES} passages × {len(SCRIPTS)} languages" in text
    assert f"{len(pairs())} pairs" in text
    assert all(f"| `{kind}` | {count} |" in text for kind, count in KINDS.items())

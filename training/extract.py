"""One function per source format: from a package's archive to pages of text, each with its language.

An extractor takes the archive and the package's row and yields `Page`s. A page is the unit of the train / held-out
split, so that no two parts of one article, file or chapter fall on different sides.
"""

import gettext
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from gatescope.training import arithmetic as problems
from gatescope.training import records as structured
from gatescope.training.archive import members
from gatescope.training.markup import squeeze, text_of_html, text_of_mallard, text_of_roff
from gatescope.training.packages import Package


class Page(NamedTuple):
    """One article, file or chapter: its language and its text, one paragraph a line."""

    language: str
    text: str


Extractor = Callable[[Path, Package], Iterator[Page]]


def _matching(pattern: str) -> Callable[[str], bool]:
    return lambda name: re.search(pattern, name) is not None


def batches(entries: Iterable[str], size: int, separator: str = "\n") -> Iterator[str]:
    """Join short entries, in their order, into pages of `size` entries."""
    held: list[str] = []
    for entry in entries:
        held.append(entry)
        if len(held) == size:
            yield separator.join(held)
            held = []
    if held:
        yield separator.join(held)


def handbook(archive: Path, package: Package) -> Iterator[Page]:
    """The pages of a parallel DocBook handbook, one folder `html/<language>-<region>` a language."""
    for name, content in members(archive, _matching(r"/html/[a-z]{2}-[A-Z]{2}/[^/]*\.html$")):
        region = name.split("/html/")[1][:5]
        if region[:2] in package.languages and region != "zh-TW":
            yield Page(region[:2], text_of_html(content.decode()))


def desktop_help(archive: Path, package: Package) -> Iterator[Page]:
    """The pages of a parallel Mallard manual, one folder `help/<language>` a language; `C` is English."""
    labels = {"C": "en", "zh_CN": "zh"} | {language: language for language in package.languages if language != "en"}
    for name, content in members(archive, _matching(r"help/[^/]+/gnome-help/[^/]*\.page$")):
        language = labels.get(name.split("/help/")[1].split("/")[0])
        if language:
            yield Page(language, text_of_mallard(content.decode()))


def manual_pages(archive: Path, package: Package) -> Iterator[Page]:
    """Unix manual pages in roff; regional variants other than the simplified Chinese one are left out."""
    for _, content in members(archive, _matching(r"/man/(?!zh_TW)([a-z_A-Z]+/)?man\d/.*\.gz$")):
        text = gzip.decompress(content).decode("utf-8", "replace")
        if ".so man" not in text[:200]:
            yield Page(package.languages[0], text_of_roff(text))


def office_help(archive: Path, package: Package) -> Iterator[Page]:
    """Pages of an office suite's help."""
    for _, content in members(archive, _matching(r"/help/[^/]+/text/.*\.html$")):
        yield Page(package.languages[0], text_of_html(content.decode()))


def message_catalogues(archive: Path, package: Package) -> Iterator[Page]:
    """Translated messages out of compiled gettext catalogues; the English text is the German catalogue's keys."""
    labels = {"zh_CN": "zh"} | {language: language for language in package.languages if language != "en"}
    for name, content in members(archive, _matching(r"/LC_MESSAGES/.*\.mo$")):
        language = labels.get(name.split("/")[-3])
        if language is None:
            continue
        pairs = [(key, value) for key, value in _messages(content) if len(value) > 40 and key != value]
        for page in batches((_message(value) for _, value in pairs), 12):
            yield Page(language, page)
        if language == "de":
            yield from (Page("en", page) for page in batches((_message(key) for key, _ in pairs), 12))


def _messages(content: bytes) -> list[tuple[str, str]]:
    """The (original, translation) pairs of a compiled catalogue, plural forms left out."""
    catalogue = vars(gettext.GNUTranslations(io.BytesIO(content)))["_catalog"]  # there is no public iterator
    return [(key, value) for key, value in catalogue.items() if isinstance(key, str)]


def _message(text: str) -> str:
    text = re.sub(r"</?[a-z_]+[^>]*>", "", text.rpartition("\x04")[2].rpartition("^")[2])
    return squeeze(_MNEMONIC.sub("", _PLACEHOLDER.sub("", text)).replace("\n", " "))


_MNEMONIC = re.compile(r"(?<!\w)[~_&](?=\w)")
_PLACEHOLDER = re.compile(r"%\S*|\$\([^)]*\)|\{\{[^}]*\}\}|\$\d")


def interface_messages(archive: Path, package: Package) -> Iterator[Page]:
    """The sentences of a web program's interface: flat JSON files named after their language, in wiki markup."""
    labels = {"zh-hans": "zh"} | {language: language for language in package.languages if language != "zh"}
    for name, content in members(archive, _matching(r"/i18n/([\w-]+/)?[a-z-]+\.json$")):
        language = labels.get(Path(name).stem)
        if language:
            entries = json.loads(content).values()
            texts = (_message(_without_links(entry)) for entry in entries if isinstance(entry, str))
            yield from (Page(language, page) for page in batches((text for text in texts if len(text) > 40), 12))


def _without_links(text: str) -> str:
    """Wiki markup as plain words: the label of a link, no quotes of emphasis."""
    text = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", text)
    return re.sub(r"\[\S+ ([^\]]*)\]", r"\1", text).replace("'''", "").replace("''", "")


_TALKS = {
    "chinese": "zh",
    "english": "en",
    "french": "fr",
    "german": "de",
    "hebrew": "he",
    "hindi": "hi",
    "japanese": "ja",
    "korean": "ko",
    "russian": "ru",
    "spanish": "es",
    "thai": "th",
}


def conversations(archive: Path, package: Package) -> Iterator[Page]:
    """Dialogues kept as nested YAML lists: a turn a line, ten exchanges a page."""
    for name, content in members(archive, _matching(r"/data/[a-z]+/.*\.yml$")):
        language = _TALKS.get(name.split("/")[-2])
        if language in package.languages:
            turns = re.split(r"\n- - ", content.decode().partition("conversations:")[2])[1:]
            for page in batches((squeeze(re.sub(r"\n  - ", "\n", turn)) for turn in turns), 10, "\n\n"):
                yield Page(language, page)


def source_code(archive: Path, package: Package) -> Iterator[Page]:
    """Source files of a program as they are, without built, minified and test files."""
    suffix = {"python": "py", "go": "go", "javascript": "js"}[package.languages[0]]
    skipped = re.compile(r"/(tests?|build|dist|libs|testdata|vendor)/|\.min\.|/_[a-z]|_test\.go$")
    for name, content in members(archive, _matching(rf"\.{suffix}$")):
        if not skipped.search(name) and 600 < len(content) < 120_000:
            yield Page(package.languages[0], _without_notice(content.decode("utf-8", "replace")).replace("\t", "    "))


def _without_notice(source: str) -> str:
    """Leave out a copyright notice at the head of a source file: a thousand copies of it teach nothing."""
    return re.sub(r"\A(\s*(//|#).*(?:\n|\Z))*(?=[\s\S])", "", source, count=1) if "opyright" in source[:300] else source


def coq(archive: Path, package: Package) -> Iterator[Page]:
    """Theories of a proof assistant, as they are."""
    for _, content in members(archive, _matching(r"/theories/.*\.v$")):
        yield Page(package.languages[0], re.sub(r"\A(\(\*.*\*\)\s*\n)+", "", content.decode()))


def metamath(archive: Path, package: Package) -> Iterator[Page]:
    """Statements of the largest Metamath database and the steps their proofs name, six blocks a page."""
    for _, content in members(archive, _matching(r"/set\.mm$")):
        readable = re.sub(r"(\$=\s+\([^)]*\))[A-Z\s]+\$\.", r"\1 $.", content.decode())
        blocks = re.findall(r"  \$\{\n(.*?)\n  \$\}", readable, flags=re.DOTALL)
        yield from (Page(package.languages[0], page) for page in batches(blocks, 6, "\n\n"))


def algebra_manual(archive: Path, package: Package) -> Iterator[Page]:
    """The reference manual of an algebra system."""
    for _, content in members(archive, _matching(r"/doc/(ref|tut)/chap\d+\.html$")):
        text = text_of_html(content.decode())
        yield Page(
            package.languages[0], re.sub(r"^(\[Top of|\[MathJax|Goto Chapter).*\n", "", text, flags=re.MULTILINE)
        )


def arithmetic(_archive: Path, package: Package) -> Iterator[Page]:
    """Generated word problems; no archive is read."""
    yield from (Page(language, page) for language in package.languages for page in problems.pages(language))


def records(_archive: Path, package: Package) -> Iterator[Page]:
    """Generated structured data; no archive is read."""
    yield from (Page(language, page) for language in package.languages for page in structured.pages(language))


def computing_dictionary(archive: Path, package: Package) -> Iterator[Page]:
    """A dictionary in `dict` format, 8 entries a page."""
    for _, content in members(archive, _matching(r"/foldoc\.dict\.dz$")):
        entries = re.split(r"\n(?=\S)", gzip.decompress(content).decode("utf-8", "replace"))
        joined = (squeeze(re.sub(r"\n {3}(?=\S)", " ", entry)) for entry in entries[20:])
        texts = (text.replace("{", "").replace("}", "") for text in joined)
        yield from (Page(package.languages[0], page) for page in batches(texts, 8))


def wordnet(archive: Path, package: Package) -> Iterator[Page]:
    """Words and their glosses, 12 a page."""
    for _, content in members(archive, _matching(r"/wordnet/data\.(noun|verb|adj|adv)$")):
        lines = (line for line in content.decode().split("\n") if "|" in line and not line.startswith(" "))
        yield from (Page(package.languages[0], page) for page in batches(map(_gloss, lines), 12))


def _gloss(line: str) -> str:
    head, _, gloss = line.partition("|")
    fields = head.split()
    words = [fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16))]
    return f"{', '.join(words)}: {gloss.strip()}"


def ontology(archive: Path, package: Package) -> Iterator[Page]:
    """Names and definitions of the terms of an OBO ontology, 8 a page."""
    for _, content in members(archive, _matching(r"/hp\.obo$")):
        found = re.findall(r'^name: (.+)\n(?:.*\n)*?def: "((?:[^"\\]|\\.)*)"', content.decode(), flags=re.MULTILINE)
        terms = (f"{name}. {text}" for name, text in found)
        yield from (Page(package.languages[0], page) for page in batches(terms, 8))


def diagnoses(archive: Path, package: Package) -> Iterator[Page]:
    """Descriptions and notes of a classification of diseases, one category a page."""
    for _, content in members(archive, _matching(r"/icd10c-tabular.*\.xml$")):
        root = ElementTree.fromstring(content)
        for category in root.iterfind("./chapter/section/diag"):
            lines = (element.text or "" for element in category.iter() if element.tag in {"desc", "note"})
            yield Page(package.languages[0], squeeze("\n".join(lines)))

"""What each extractor takes out of a package, on files of a few lines."""

import json
import operator
import re
import sqlite3
import struct
import zlib
from pathlib import Path

import pytest

from gatescope.routing.errors import CorpusError
from gatescope.training import extract, records, scripture
from gatescope.training.archive import members
from gatescope.training.arithmetic import pages
from gatescope.training.corpus import extractor_of
from gatescope.training.markup import text_of_html, text_of_mallard, text_of_roff
from gatescope.training.packages import NATURAL_LANGUAGES, PACKAGES
from tests.training.conftest import catalogue_bytes, compress, package


@pytest.mark.parametrize("kind", ["deb", "pypi", "npm"])
def test_every_kind_of_archive_gives_the_same_files(archive, kind):
    path = archive({"a/one.txt": b"1", "a/two.bin": b"2"}, kind)
    assert list(members(path, lambda name: name.endswith(".txt"))) == [("a/one.txt", b"1")]


def test_a_broken_debian_package_is_named(tmp_path):
    path = tmp_path / "broken.deb"
    path.write_bytes(b"!<arch>\n")
    with pytest.raises(CorpusError, match=r"no data\.tar in .*broken\.deb"):
        list(members(path, lambda _name: True))


def test_every_row_of_the_table_names_an_extractor_and_a_unique_file():
    assert all(callable(extractor_of(row)) for row in PACKAGES)
    assert len({row.key for row in PACKAGES}) == len(PACKAGES)


def test_an_unknown_extractor_is_named():
    with pytest.raises(CorpusError, match="extractor 'nothing' for fixture"):
        extractor_of(package("nothing", "en"))


def test_html_keeps_blocks_apart_and_leaves_navigation_out():
    source = (
        "<head><title>x</title></head><nav>menu</nav><h1>Head &amp; tail</h1><p>one\n two<br>three</p><pre>a\n b</pre>"
    )
    assert text_of_html(source) == "Head & tail\none two\nthree\na\nb"


def test_mallard_keeps_titles_and_paragraphs_only():
    source = (
        '<page xmlns="http://projectmallard.org/1.0/"><info><desc>no</desc></info><title>Battery</title>'
        "<p>Check the <gui>cable</gui>\n first.</p></page>"
    )
    assert text_of_mallard(source) == "Battery\nCheck the cable first."


def test_roff_loses_its_fonts_and_macros():
    source = '.\\" comment\n.TH LS 1\n.SH NAME\nls \\- list \\fBfiles\\fP\n.PP\nUse\n.BR ls (1)\nnow.\n'
    assert text_of_roff(source) == "NAME\nls - list files\nUse ls(1) now."


def test_manual_pages_leave_out_links_and_traditional_chinese(archive):
    path = archive(
        {
            "usr/share/man/zh_CN/man1/ls.1.gz": compress(".SH 名称\nls \\- 列出文件\n".encode()),
            "usr/share/man/zh_TW/man1/ls.1.gz": compress(b"no"),
            "usr/share/man/zh_CN/man1/dir.1.gz": compress(b".so man1/ls.1\n"),
        },
        "deb",
    )
    assert list(extract.manual_pages(path, package("manual_pages", "zh"))) == [("zh", "名称\nls - 列出文件")]


def test_catalogues_give_translations_and_english_once(archive):
    english, german = (
        "We must reach the ford before the orcs do, said Konrad.",
        "Wir müssen die Furt vor den Orks erreichen, sagte Konrad.",
    )
    catalogue = catalogue_bytes({english: german, "Yes": "Ja"})
    path = archive(
        {"x/locale/de/LC_MESSAGES/story.mo": catalogue, "x/locale/nl/LC_MESSAGES/story.mo": catalogue}, "deb"
    )
    assert list(extract.message_catalogues(path, package("message_catalogues", "de", "en"))) == [
        ("de", german),
        ("en", english),
    ]


def test_a_message_loses_its_tags_mnemonics_and_placeholders(archive):
    catalogue = catalogue_bytes(
        {"_Open %s": "Die ausgewählte _Datei <b>%s</b> mit snake_case jetzt öffnen ({{count}})"}
    )
    path = archive({"a/locale/de/LC_MESSAGES/b.mo": catalogue}, "deb")
    german, _ = extract.message_catalogues(path, package("message_catalogues", "de", "en", registry="deb"))
    assert german == ("de", "Die ausgewählte Datei mit snake_case jetzt öffnen ()")


def test_interface_messages_are_sentences_without_wiki_markup(archive):
    messages = {
        "@metadata": {"authors": ["A"]},
        "short": "Open",
        "long": "See '''[[Help:Pages|the pages]]''' or [//a.example/x this address] for {{PLURAL:$1|x}} what there is.",
    }
    files = {f"languages/i18n/{name}.json": json.dumps(messages).encode() for name in ("th", "zh-hans", "xx")}
    pages = list(extract.interface_messages(archive(files, "deb"), package("interface_messages", "th", "zh")))
    assert pages == [(language, "See the pages or this address for what there is.") for language in ("th", "zh")]


def test_the_hebrew_bible_loses_its_points(archive):
    path = archive({"a/json/bible.json": json.dumps([[["בְּרֵאשִׁית בָּרָא", "עַל־<i>פְּנֵי</i>"]]]).encode()}, "pypi")
    assert list(scripture.hebrew_bible(path, package("hebrew_bible", "he"))) == [("he", "בראשית ברא\nעל פני")]


def test_structured_data_is_well_formed_and_never_changes():
    pages = {form: list(records.pages(form, count=20)) for form in ("json", "csv", "log")}
    assert pages == {form: list(records.pages(form, count=20)) for form in pages}
    assert all(isinstance(json.loads(line), dict) for page in pages["json"] for line in page.split("\n"))
    for page in pages["csv"]:
        head, *rows = (re.split(r"[,;\t]", line) for line in page.split("\n"))
        assert head[-2:] == ["unit_price", "total"]
        assert all(float(row[5]) == pytest.approx(int(row[3]) * float(row[4]), abs=0.006) for row in rows)
    assert all(
        re.match(r"\d+\.\d+\.\d+\.\d+ |\d{4}-\d\d-\d\d ", line) for page in pages["log"] for line in page.split("\n")
    )


def test_conversations_are_a_turn_a_line(archive):
    yaml = b"categories:\n- a\nconversations:\n- - Hello\n  - Hi there\n- - Bye\n  - So long\n"
    path = archive({"p/data/english/talk.yml": yaml, "p/data/klingon/talk.yml": yaml}, "pypi")
    assert list(extract.conversations(path, package("conversations", "en"))) == [
        ("en", "Hello\nHi there\n\nBye\nSo long")
    ]


def test_source_code_leaves_out_tests_and_copyright_notices(archive):
    body = b"package x\n" + b"func f() {\n\treturn\n}\n" * 40
    path = archive({"src/a.go": b"// Copyright someone\n\n" + body, "src/a_test.go": body, "src/b.txt": body})
    (page,) = extract.source_code(path, package("source_code", "go"))
    assert page.text.lstrip().startswith("package x\nfunc f() {\n    return")


def test_metamath_loses_the_compressed_letters_of_a_proof(archive):
    path = archive({"db/set.mm": b"  ${\n    a $p |- x $=\n      ( b c ) ABCDE\n      FGH $.\n  $}\n"})
    (page,) = extract.metamath(path, package("metamath", "formal"))
    assert page.text == "    a $p |- x $=\n      ( b c ) $."


def test_wordnet_gives_words_and_gloss(archive):
    line = b"00977132 04 n 02 first_strike 0 blow 1 001 @ 00976531 n 0000 | a hostile attack  \n"
    path = archive({"usr/share/wordnet/data.noun": b"  1 licence | no\n" + line}, "deb")
    assert list(extract.wordnet(path, package("wordnet", "en"))) == [("en", "first strike, blow: a hostile attack")]


def test_an_ontology_gives_names_and_definitions(archive):
    obo = b'[Term]\nid: 1\nname: Renal cyst\nalt_id: 2\ndef: "A fluid filled sac." [x]\n\n[Term]\nname: All\n'
    path = archive({"d/hp.obo": obo}, "pypi")
    assert list(extract.ontology(path, package("ontology", "en"))) == [("en", "Renal cyst. A fluid filled sac.")]


def test_scripture_is_read_by_chapter_and_ten_verses(archive):
    king_james = {"genesis": {"1": {"1": "In the beginning", "2": "And the earth"}}}
    quran = [{"verses": [{"text": f"آية {number}"} for number in range(12)]}]
    path = archive(
        {"b/data/kjv.json": json.dumps(king_james).encode(), "b/dist/quran.json": json.dumps(quran).encode()}
    )
    assert list(scripture.king_james(path, package("king_james", "en"))) == [("en", "In the beginning\nAnd the earth")]
    assert [len(page.text.split("\n")) for page in scripture.quran(path, package("quran", "ar"))] == [10, 2]


def test_a_sword_module_is_unpacked_block_by_block(archive):
    block = zlib.compress(b"<chapter/><w>En</w> <w>el principio</w>.")
    path = archive({"m/ot.bzs": struct.pack("<III", 0, len(block), 99), "m/ot.bzz": block})
    assert list(scripture.sword_module(path, package("sword_module", "es"))) == [("es", "En el principio.")]


def test_a_code_of_law_keeps_the_articles_in_force(archive):
    tree = {
        "children": [{"data": {"etat": "VIGUEUR", "texte": "Article un."}}, {"data": {"etat": "ABROGE", "texte": "x"}}]
    }
    files = {
        f"p/data/{name}.json": json.dumps(tree).encode() for name in ("LEGITEXT000006072050", "LEGITEXT000006073189")
    }
    assert list(scripture.french_code(archive(files), package("french_code", "fr"))) == [("fr", "Article un.")] * 2


def test_statutes_carry_their_article_numbers_once(archive, tmp_path):
    file = tmp_path / "laws.db"
    with sqlite3.connect(file) as database:
        database.execute("create table articles (id integer, law_id text, article_no text, article_text text)")
        rows = [(1, "a", "第一条", "第一条 甲"), (2, "a", "第二条", "乙")]
        database.executemany("insert into articles values (?, ?, ?, ?)", rows)
    database.close()
    path = archive({"p/data/laws.db": Path(file).read_bytes()}, "pypi")
    assert list(scripture.chinese_statutes(path, package("chinese_statutes", "zh"))) == [("zh", "第一条 甲\n第二条 乙")]


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_arithmetic_is_correct_in_every_language_and_never_changes(language):
    first, again = list(pages(language, 3)), list(pages(language, 3))
    assert first == again
    sums = re.findall(r"(\d+) ([-+×]) (\d+) = (\d+)", "\n".join(first))
    work = {"+": operator.add, "-": operator.sub, "×": operator.mul}
    assert len(sums) == 24
    assert all(work[sign](int(left), int(right)) == int(result) for left, sign, right, result in sums)


def test_a_package_without_the_promised_file_is_named(archive):
    with pytest.raises(CorpusError, match=r"no file /kjv\.json in .*fixture"):
        list(scripture.king_james(archive({"other": b""}), package("king_james", "en")))

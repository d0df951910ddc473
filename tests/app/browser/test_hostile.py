"""Text that wants to be more than text: shown, never obeyed, on every page, in every file that leaves."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gatescope.cli.main import app
from gatescope.routing import Document, Provenance
from tests.app.browser.harness import PATHS, People, download, errors, run, settled
from tests.records import build_record

pytestmark = pytest.mark.browser

PIECES = [
    "<s>",
    "<script>window.pwned=1;alert(1)</script>",
    "<img src=x onerror='window.pwned=1;alert(2)'>",
    "=cmd()|' /C calc'!A0",
    "+1+1",
    "@SUM(A1)",
    "**bold** _it_ `code` $x^2$",
    "[x](javascript:window.pwned=1)",
    ":red[inked] :material/home:",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe\u202c",
    "\u2066isolated\u2069",
    "zero\u200bwidth\ufeff",
    "nul\x00\x01\x7f",
    "<a href='javascript:window.pwned=1'>here</a>",
    "%{x}<br><b>plotly</b>",
    "{{7*7}}${7*7}",
    "\n\r\t",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "</style><style>body{display:none}</style>",
]
LABELS = ["<img src=x onerror=alert(3)>", "=HYPERLINK(1)", "**d**[x](javascript:alert(4))", "<b>bold</b>"]
CAPTURE = "hostilecaptureaa"
TYPED = "".join(piece for piece in PIECES[1:] if "\x00" not in piece and "\r" not in piece)
INJECTED = "img[src=x], img[src='x'], a[href^=javascript], .pwned, svg b, [data-testid=tokens] script, .gs-card script"


def hostile_record():
    """Four documents of these tokens under these labels, of a model with such a name; enough of them for every page."""
    tokens, length = 4 * 80, 80
    random = np.random.default_rng(5)
    ids = np.argsort(random.random((tokens, 2, 4)), axis=-1)
    made = build_record(
        PIECES * (tokens // len(PIECES)),
        ids_tlk=ids[..., :2].astype(np.uint8),
        rejected_tl=ids[..., 2].astype(np.uint8),
    )
    token = np.arange(tokens, dtype=np.int32) % len(PIECES)
    documents = [
        Document("".join(PIECES[1:]), id=label, source=label, domain=label, language=LABELS[1 - number % 2])
        for number, label in enumerate(LABELS)
    ]
    return replace(
        made,
        token_t=token,
        predicted_t=(token + 1) % len(PIECES),
        document_t=np.repeat(np.arange(4, dtype=np.int32), length),
        position_t=np.tile(np.arange(length, dtype=np.int32), 4),
        documents=tuple(documents),
        pieces=dict(enumerate(PIECES)),
        provenance=Provenance(
            model="<img src=x onerror=alert(5)> **m**", fingerprint="0f" * 8, dtype="=1+1", device="cpu"
        ),
    )


@pytest.fixture
def hostile(store):
    """The id of a capture full of traps."""
    if not store.has(CAPTURE):
        store.put(CAPTURE, hostile_record())
    return CAPTURE


def assert_inert(page) -> None:
    """Nothing ran and nothing was built out of a text; dialogs and failed loads are complaints of the visit."""
    assert page.evaluate("window.pwned") is None
    assert page.locator(INJECTED).count() == 0
    assert page.locator("h1").first.is_visible()


@pytest.mark.parametrize("state", ["", "&d=1&t=2&l=1&e=2&vs=hostilecaptureaa", "&s=domain:%3Cb%3Ebold%3C/b%3E"])
@pytest.mark.parametrize("name", PATHS)
def test_hostile_tokens_labels_and_names_are_inert_on_every_page(visit, hostile, name, state):
    page = visit(f"{PATHS[name]}?c={hostile}{state}")
    settled(page)
    assert_inert(page)
    assert errors(page) == []


def test_every_hostile_token_is_seen_as_it_is(visit, hostile):
    page = visit(f"?c={hostile}&d=0")
    settled(page)
    shown = page.get_by_test_id("tokens").locator(".token").all_inner_texts()[: len(PIECES)]
    assert shown[1] == PIECES[1] and shown[2] == PIECES[2].replace(" ", "·")
    assert shown[9] == "␛[31mred␛[0m"
    assert shown[10] == "‹202E›gnp.exe‹202C›" and shown[11] == "‹2066›isolated‹2069›"
    assert shown[12] == "zero‹200B›width‹FEFF›" and shown[13] == "nul␀␁␡"
    assert shown[17] == "⏎␍⇥"
    assert not re.search(r"[\x00-\x08\x1b\u200b\u202a-\u202e\u2066-\u2069]", "".join(shown))


def test_hostile_text_that_is_run_comes_back_whole_and_harmless(visit):
    page = visit()
    capture = run(page, TYPED)
    assert_inert(page)
    cells = rows_of(download(page, "Trace (CSV)").read_text("utf-8"))
    assert len({len(row) for row in cells}) == 1, "a token broke a row"
    assert formulas(cells) == []
    column = cells[0].index("token")
    position = cells[0].index("position")
    seen = {row[position]: json.loads(row[column]) for row in cells[1:] if row[cells[0].index("is_special")] == "false"}
    assert whole("".join(seen.values())) == TYPED
    for name in PATHS:
        page.goto(f"{page.url.split('?')[0].rsplit('/', 1)[0]}/{PATHS[name]}?c={capture}&t=3&l=0&e=1")
        settled(page)
        assert_inert(page)


def rows_of(text: str) -> list[list[str]]:
    """The cells of a CSV."""
    return list(csv.reader(io.StringIO(text, newline="")))


def whole(text: str) -> str:
    """Text put together from tokens, where a token that ends within a character names its bytes: `<E2 80><AE>`."""
    runs = re.compile(r"(?:<[0-9A-F]{2}(?: [0-9A-F]{2})*>)+")
    return runs.sub(lambda found: bytes.fromhex(re.sub("[<> ]", "", found[0])).decode(), text)


def formulas(cells: list[list[str]]) -> list[str]:
    """Cells that a spreadsheet would run: they begin as a formula and are no number."""
    begins = [cell for row in cells for cell in row if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    return [cell for cell in begins if not re.fullmatch(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", cell)]


@pytest.fixture(scope="module")
def study(tiny_model, tmp_path_factory):
    """The folder that `gatescope analyze` makes of such a corpus."""
    rows = [
        {"text": "".join(PIECES[1:]), "domain": label, "language": LABELS[1 - number % 2], "id": f"{label}{number}"}
        for number, label in enumerate(LABELS * 3)
    ]
    folder = tmp_path_factory.mktemp("hostile")
    corpus = folder / "<b>corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    asked = ["analyze", str(corpus), "--out", str(folder / "out"), "--model", str(tiny_model), "--resamples", "20"]
    ran = CliRunner().invoke(app, asked)
    assert ran.exit_code == 0, ran.output
    return folder / "out"


def test_the_report_of_a_hostile_corpus_is_inert(browser, study):
    people = People(browser, (study / "report.html").as_uri())
    page = people()
    page.locator("[data-figure]").first.scroll_into_view_if_needed()  # a figure is drawn when it is looked at
    page.locator(".js-plotly-plot").first.wait_for()
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, iframe, a[href^=javascript], body b").count() == 0
    people.leave()
    assert people.hosts == set()


def test_the_tables_of_a_hostile_corpus_hold_no_formulas(study):
    found = {table.name: formulas(rows_of(table.read_text("utf-8"))) for table in (study / "tables").glob("*.csv")}
    assert found
    assert {name: cells[:2] for name, cells in found.items() if cells} == {}

"""A trace as one file and in a notebook: what the file holds, what it never holds, and that nothing in it is run."""

import json
import re
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import gatescope
from gatescope.drawing import notebook
from gatescope.drawing.one_file import to_html
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document
from tests.records import build_record

HOSTILE = ["</script><script>alert(1)</script>", "<b>", "\u202eevil", "\x00", "\ud800", "-->", "]]>", "&lt;", "'\"`"]


class Reader(HTMLParser):
    """The elements of a page, and the text of those that have an id."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.blocks, self.policy, self._open = [], {}, "", None
        self.style = self.code = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        self._open = given.get("id") or (tag if tag in ("style", "title") or given.get("type") == "module" else None)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]

    def handle_endtag(self, _tag):
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.blocks[self._open] = self.blocks.get(self._open, "") + data


def part(reader: Reader, name: str) -> tuple[dict, bytes]:
    """The header of a block and the bytes behind it."""
    plain = zlib.decompress(b64decode(reader.blocks[name]))
    size = int.from_bytes(plain[:4], "little")
    return json.loads(plain[4 : 4 + size]), plain[4 + size :]


def everything(page: str) -> bytes:
    """All a file holds, its blocks unpacked."""
    reader = Reader(page)
    packed = [name for name in reader.blocks if re.fullmatch(r"[A-Za-z0-9+/=]+", reader.blocks[name])]
    return page.encode() + b"".join(zlib.decompress(b64decode(reader.blocks[name])) for name in packed)


def test_a_file_holds_the_routes_that_were_recorded():
    record = build_record(["a", " b", "c", "d"])
    header, rest = part(Reader(to_html(record)), "routes")
    assert (header["first"], header["end"], header["tokens"], header["slots"]) == (0, 4, 4, 2)
    counted = 4 * (2 * 4 + 2)
    ids = np.frombuffer(rest[counted : counted + record.ids_tlk.size], np.uint8).reshape(record.ids_tlk.shape)
    assert (ids == record.ids_tlk).all()
    shares = np.frombuffer(rest[counted + record.ids_tlk.size :], np.uint8)
    assert set(shares.tolist()) == {191, 64}  # 0.75 and 0.25 of 255


def test_a_text_of_many_tokens_is_held_whole():
    record = build_record([f"w{n}" for n in range(9000)], layers=12, experts=32, k=4)
    header, _ = part(Reader(to_html(record)), "routes")
    assert (header["first"], header["end"], header["size"]) == (0, 9000, 9000)


def test_the_values_of_a_quantity_come_back_within_half_a_step():
    margin_tl = np.linspace(0.1, 0.9, 8).reshape(4, 2).astype(np.float16)
    header, rest = part(Reader(to_html(build_record(["a", "b", "c", "d"], margin_tl=margin_tl))), "margin")
    codes = np.frombuffer(rest[:8], np.uint8).reshape(header["shape"])
    low, high = header["scale"]["low"], header["scale"]["high"]
    step = (high - low) / 254
    assert np.abs(low + codes * step - np.clip(margin_tl.T.astype(float), low, high)).max() <= step / 2 + 1e-6
    assert header["pieces"] == ["a", "b", "c", "d"]


def test_the_file_says_what_it_is_of():
    record = build_record()
    made = replace(record.provenance, versions={"torch": "2.13.0", "transformers": "5.23.0"})
    about = json.loads(Reader(to_html(replace(record, provenance=made), selfcheck="11 of 11")).blocks["about"])
    facts = " ".join(about["facts"].values())
    assert (about["format"], about["version"], about["text"]) == ("gatescope-trace", 1, True)
    for said in ("small", "0f" * 8, "float32", "torch 2.13.0", "transformers 5.23.0", "3 tokens", "11 of 11"):
        assert said in facts
    assert f"gatescope {gatescope.__version__} on 20" in facts
    assert "254" in about["layout"]


def test_only_its_own_script_may_run_and_nothing_may_be_asked():
    reader = Reader(to_html(build_record(HOSTILE)))
    style, code = (b64encode(sha256(reader.blocks[kind].encode()).digest()).decode() for kind in ("style", "script"))
    assert "default-src 'none'" in reader.policy
    assert f"script-src 'sha256-{code}'; style-src 'sha256-{style}'" in reader.policy
    assert "unsafe" not in reader.policy
    assert "http" not in reader.policy
    asking = [tag for tag, given in reader.tags if {"src", "href", "srcdoc", "action"} & given.keys() or tag == "link"]
    assert asking == []
    assert [given["type"] for tag, given in reader.tags if tag == "script" and given["type"] == "module"] == ["module"]
    assert not [given for _, given in reader.tags if any(name.startswith("on") for name in given)]
    assert not [given for _, given in reader.tags if "style" in given]  # the policy would refuse it


def test_hostile_tokens_names_and_versions_stay_text():
    record = build_record(HOSTILE)
    made = replace(record.provenance, model="<img src=x>\u202e</title>", versions={"<b>": "</script>"})
    page = to_html(replace(record, provenance=made), note="<i>\x00")
    harmless = build_record(["a"] * len(HOSTILE))
    harmless = replace(harmless, provenance=replace(made, model="m", versions={"b": "c"}))
    plain, told = Reader(to_html(harmless, note="n")), Reader(page)
    assert [tag for tag, _ in told.tags] == [tag for tag, _ in plain.tags]
    assert "\x00" not in page
    assert "\u202e" not in page
    assert part(told, "margin")[0]["pieces"] == HOSTILE
    page.encode()  # no lone surrogate


def test_without_its_text_a_file_holds_no_token_no_id_and_no_label():
    pieces = ["zebra", " quokka", "xylograph", "zebra"]
    record = build_record(pieces)
    number = 31_337
    record = replace(
        record,
        token_t=record.token_t + number,
        predicted_t=record.predicted_t + number,
        pieces={number + place: piece for place, piece in enumerate(pieces)},
        documents=(Document("zebra quokka", id="secret-id", source="secret-source", domain="secret-domain"),),
    )
    held = everything(to_html(record, text=False))
    assert b"zebra" in everything(to_html(record))
    for secret in (b"zebra", b"quokka", b"xylograph", b"secret", b"31337", b"31338", number.to_bytes(4, "little")):
        assert secret not in held
    header, _ = part(Reader(to_html(record, text=False)), "margin")
    assert header["pieces"] == ["⟨0⟩", "⟨1⟩", "⟨2⟩", "⟨3⟩"]


def test_a_message_of_a_file_holds_what_the_browser_s_types_name():
    header, _ = part(Reader(to_html(build_record())), "margin")
    types = (Path(__file__).parents[3] / "drawing" / "heatmap" / "model.js").read_text("utf-8")
    described = types.partition("@typedef {object} Header\n")[2].partition("*/")[0]
    assert set(header) == set(re.findall(r"@property \{.*\} (\w+)", described))


def test_a_file_is_written_whole_and_an_empty_record_is_refused(tmp_path):
    page = to_html(build_record(), tmp_path / "trace.html")
    assert (tmp_path / "trace.html").read_text("utf-8") == page
    with pytest.raises(OptionError, match="neither empty"):
        to_html(build_record().take(slice(0, 0)))


def test_a_notebook_s_cell_holds_the_page_in_a_frame_that_reaches_nothing():
    record = build_record(HOSTILE)
    shown = gatescope.show(record)
    cell = Reader(shown._repr_html_())
    [frame] = [given for tag, given in cell.tags if tag == "iframe"]
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert part(Reader(frame["srcdoc"]), "margin")[0]["pieces"] == HOSTILE
    assert repr(shown) == "small @ 0f0f0f0f: 9 tokens, 2 MoE layers, 2 of 4 experts a token, recorded by hooks"


def test_a_long_text_is_reduced_in_a_notebook_and_says_so(monkeypatch):
    monkeypatch.setattr(notebook, "CELL_BYTES", 200_000)
    rng = np.random.default_rng(0)
    record = build_record([f"w{n}" for n in range(4000)], margin_tl=rng.random((4000, 2)).astype(np.float16))
    record = replace(record, entropy_tl=rng.random((4000, 2)).astype(np.float16))
    cell = gatescope.show(record)._repr_html_()
    page = unescape(cell)
    tokens = int(re.search(r"the first ([\d,]+) of 4,000 tokens", page)[1].replace(",", ""))
    assert 0 < tokens < 4000
    assert len(gatescope.show(record)._page()) <= 200_000
    assert "Reduced" not in gatescope.show(record).to_html()


def test_a_widget_needs_its_extra_and_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "anywidget", None)
    with pytest.raises(OptionError, match=r"gatescope\[notebook\]"):
        gatescope.show(build_record()).widget()


def test_the_docs_read_a_file_without_gatescope(tmp_path, monkeypatch):
    record = build_record(["a", " b", "c", "d"], layers=3, experts=8, k=2)
    to_html(record, tmp_path / "trace.html")
    monkeypatch.chdir(tmp_path)
    docs = (Path(__file__).parents[3] / "docs" / "sharing.md").read_text("utf-8")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", docs, re.DOTALL) if "zlib" in block]
    assert "gatescope" not in code
    found: dict = {}
    exec(code, found)
    assert (found["ids"] == record.ids_tlk).all()

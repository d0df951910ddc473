"""A page of matrices for the browser tests: `?show=` names one, `?pin=row,column` pins a cell."""

import time

import numpy as np
import streamlit as st

from gatescope.app.components import TOKEN_FLAGS, Mark, Pick, Scale, matrix, token_matrix

st.set_page_config(layout="wide")

HOSTILE = "<img src=x onerror=alert(1)>"
TEXT = (
    "The| mixture| of| experts| sends| every| token| to| a| few| of| its| experts|.|\n|\n|def| f|(|x|):|\n|\t|"
    f"return| x| **| 2|\n|L'|été| 東京| 大阪| שלום| مرحبا|  |\u200b|\xa0|0xE2|{HOSTILE}| and| the| router| decides"
).split("|")


def tokens_demo() -> dict:
    """Short text with every kind of token, 24 layers."""
    pieces = ["<s>", "<|user|>", *TEXT, *[" it", " writes", " this", "\n", "</s>"]]
    flags = np.zeros(len(pieces), int)
    flags[0], flags[1], flags[-1] = TOKEN_FLAGS["special"], TOKEN_FLAGS["template"], TOKEN_FLAGS["special"]
    flags[-5:] += TOKEN_FLAGS["generated"]
    layer, token = np.mgrid[0:24, 0 : len(pieces)]
    values = (1 + np.sin(layer / 5 + token / 3) + 0.6 * np.cos(token * 1.7)).clip(0.02).astype(np.float32)
    values[3:6, 10:14] = np.nan
    values[:, 0] = np.nan
    scale = Scale("margin", low=0.0, high=2.5, unit="logits", null=0.5, pool="min")
    return {"values_rc": values, "pieces": pieces, "flags": flags, "rows": None, "scale": scale}


def spikes(pool: str = "max") -> dict:
    """64 lone cells in 48 x 8,192 equal ones, one a column, never two under one pixel."""
    ground, spike = {"max": (0, 1), "min": (1, 0), "far": (0, -1)}[pool]
    values = np.full((48, 8192), ground, np.float32)
    values[np.arange(64) % 48, 64 + np.arange(64) * 127] = spike
    ends = {"low": -1, "null": 0, "palette": "diverging"} if pool == "far" else {"low": 0}
    scale = Scale("spike", high=1, pool=pool, **ends)
    return {"values_rc": values, "rows": None, "columns": None, "scale": scale, "column_noun": "token"}


@st.cache_resource
def large() -> dict:
    """The standing test size: 96 x 8,192 with text."""
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 0.4, (96, 8192)).astype(np.float32)
    words = [" the", " router", " of", " tokens", ".", "\n", " and", " expert"]
    pieces = [words[i] for i in rng.integers(0, 8, 8192)]
    scale = Scale("gate entropy", low=0, high=4, unit="bits", null=3.0)
    return {"values_rc": values, "pieces": pieces, "rows": None, "scale": scale}


def difference() -> dict:
    """Layers x experts on the diverging scale."""
    layer, expert = np.mgrid[0:16, 0:64]
    values = (np.sin(layer * 1.3 + expert / 4) * np.cos(expert * 2.1)).astype(np.float32)
    scale = Scale("load difference", low=-1, high=1, unit="", null=0.0, palette="diverging", pool="far")
    return {
        "values_rc": values,
        "rows": [str(2 * i) for i in range(16)],
        "columns": None,
        "scale": scale,
        "row_noun": "block",
    }


def identity() -> dict:
    """Which expert: labels on a neutral ground."""
    rng = np.random.default_rng(1)
    starts = rng.random((12, 72)) < 0.4
    labels = rng.integers(0, 128, (12, 72))[
        np.arange(12)[:, None], np.maximum.accumulate(starts * np.arange(72), axis=1)
    ]
    labels[2, 5] = -1
    scale = Scale("top expert", low=0, high=1, palette="neutral")
    return {
        "values_rc": np.zeros(labels.shape),
        "pieces": [f" w{i}" for i in range(72)],
        "rows": None,
        "scale": scale,
        "labels_rc": labels,
    }


def square() -> dict:
    """Experts x experts, more rows than pixels."""
    a, b = np.mgrid[0:512, 0:512]
    values = np.exp(-(((a - b) / 40.0) ** 2)).astype(np.float32)
    values[7, 400] = 1.0
    scale = Scale("co-activation lift", low=0, high=1, null=0.25)
    return {"values_rc": values, "rows": None, "columns": None, "scale": scale, "row_noun": "expert"}


def lone_square(size: int = 512) -> dict:
    """Experts x experts, 64 lone hot cells on a diagonal among equal ones."""
    values = np.zeros((size, size), np.float32)
    at = np.arange(64) * (size // 64) + size // 128
    values[at, at] = 1
    scale = Scale("spike", low=0, high=1)
    plain = {"rows": None, "columns": None, "scale": scale, "row_noun": "expert", "square": True}
    return {"values_rc": values, **plain}


DOMAINS = [
    "English law",
    "mathematics (proofs)",
    "Python",
    "العربية",
    "日本語",
    "C++ <b>templates</b>",
    "poems",
    "chat",
]


def domains() -> dict:
    """Experts x domains: long names, glyphs on some cells, faint where nothing can be said, links on the rows."""
    expert, domain = np.mgrid[0:16, 0:24]
    values = np.sin(expert * 1.7 + domain * 0.9).astype(np.float32)
    values[5, 3] = np.nan
    marks = np.zeros(values.shape, int)
    marks[2, :4], marks[9, 7] = 1, 2
    scale = Scale("log-ratio", low=-1, high=1, unit="nats", null=0.0, palette="diverging", pool="far")
    return {
        "values_rc": values,
        "rows": [f"expert {e} of layer 3" for e in range(16)],
        "columns": [f"{DOMAINS[d % 8]}{' ' + str(d // 8) if d >= 8 else ''}" for d in range(24)],
        "scale": scale,
        "row_noun": "expert",
        "column_noun": "domain",
        "marks_rc": marks,
        "marks": [Mark("×", "dead"), Mark("●", "hot")],
        "faded_rc": np.abs(values) < 0.5,
        "faded_says": "not beyond chance",
        "on_row": hear_row,
    }


def rich() -> dict:
    """The tokens with everything a page may add."""
    given = tokens_demo()
    shape = given["values_rc"].shape
    changes, stops = np.zeros(shape, bool), np.zeros(shape, bool)
    changes[0, [7, 31]], stops[0, [4, 20, 40]] = True, True
    ranges = {"span": st.session_state.span, "on_span": hear_span, "on_row": hear_row}
    return given | ranges | {"changes_rc": changes, "stops_rc": stops, "attribution": "Made up for this test."}


@st.cache_resource
def stops_of_large() -> dict:
    """Changes at three cells of ten, near ties at three of a hundred."""
    rng = np.random.default_rng(2)
    return {"changes_rc": rng.random((96, 8192)) < 0.3, "stops_rc": rng.random((96, 8192)) < 0.03}


def heavy() -> dict:
    """The standing test size with text, changes, stops and ranges."""
    return large() | stops_of_large() | {"span": st.session_state.span, "on_span": hear_span}


def faint_spike() -> dict:
    """One supported cell of middling value among faint ones of the largest."""
    values = np.ones((48, 8192), np.float32)
    faded = np.ones(values.shape, bool)
    values[7, 4000], faded[7, 4000] = 0.5, False
    scale = Scale("lift", low=0, high=1)
    plain = {"rows": None, "columns": None, "scale": scale, "faded_rc": faded, "faded_says": "not beyond chance"}
    return {"values_rc": values, **plain}


STRANGE = [
    "\u202eevil",
    "\u2066x\u2069",
    "a\u0301",
    "\u0301",
    "\u3000",
    "\u2003",
    "\ud800",
    "\x00\x1b[31m",
    "\u061c",
    "\u3164",
]
STRANGE += [
    "\ufe0f",
    "👨\u200d👩",
    "שלום!",
    "مرحبا",
    "東京",
    "<0xE2>",
    "",
    "\U000e0041",
    "</span><script>alert(1)</script>",
    "&lt;",
]


def strange() -> dict:
    """Tokens that would hide, reorder or inject."""
    scale = Scale("margin", low=0, high=1)
    values = np.tile(np.linspace(0, 1, len(STRANGE), dtype=np.float32), (4, 1))
    return {"values_rc": values, "pieces": STRANGE, "rows": ["\u202etop", "b", "c", "d"], "scale": scale}


def bundled() -> dict:
    """6 layers x 32 experts."""
    values = np.random.default_rng(3).dirichlet(np.ones(32), 6).astype(np.float32)
    scale = Scale("load", low=0, high=0.2, null=1 / 32)
    return {"values_rc": values, "rows": None, "columns": None, "scale": scale}


def hear_span(span: tuple[int, int] | None) -> None:
    st.session_state.span = span


def hear_row(row: int) -> None:
    st.session_state.row = row


SHOWS = {f.__name__: f for f in (tokens_demo, spikes, large, difference, identity, square, lone_square, domains)}
SHOWS |= {f.__name__: f for f in (rich, heavy, faint_spike, strange, bundled)}
SHOWS |= {"low_spikes": lambda: spikes("min"), "far_spikes": lambda: spikes("far")}
SHOWS |= {"small_square": lambda: lone_square(64), "twins": difference}


def read_pin() -> tuple[int | None, int] | None:
    """The pin of the address, as a page would read it."""
    row, _, column = st.query_params.get("pin", "").partition(",")
    return (int(row) if row else None, int(column)) if column else None


if "pin" not in st.session_state:
    st.session_state.pin, st.session_state.heard = read_pin(), []
    st.session_state.span = st.session_state.row = None


def hear(pick: Pick | None) -> None:
    st.session_state.heard.append(pick)
    st.session_state.pin = pick


show = st.query_params.get("show", "tokens_demo")
arguments = dict(SHOWS[show]())
if st.toggle("Another quantity"):
    arguments["values_rc"] = arguments["values_rc"][::-1] / 2
    arguments["scale"] = Scale("entropy", low=0, high=2, unit="bits")
arguments["description"] = "Every number here is made up."
draw = token_matrix if "pieces" in arguments else matrix
st.title("A matrix")
began = time.perf_counter()
if show == "twins":
    arguments["group"] = "twins"
    matrix(**arguments | {"key": "second", "pinned": None})
pin = draw(**arguments, pinned=st.session_state.pin, key="demo", on_pick=hear)
spent_ms = (time.perf_counter() - began) * 1000
st.session_state.pin = pin
st.text(f"pin: {pin}")
st.text(f"heard: {len(st.session_state.heard)}, last {st.session_state.heard[-1:]}")
st.text(f"python: {spent_ms:.0f} ms")
st.text(f"span: {st.session_state.span}, row: {st.session_state.row}")
if st.button("Select 3 to 8 from Python"):
    st.session_state.span = (3, 8)
    st.rerun()
if st.button("Pin 5, 7 from Python"):
    st.session_state.pin = Pick(5, 7)
    st.rerun()
if st.button("Release from Python"):
    st.session_state.pin = None
    st.rerun()

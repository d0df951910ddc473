"""Every figure of every page, as a visitor meets it: what it says, draws, gives to save, and hands out as Python."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.analysis.counting import tally
from gatescope.analysis.tally.files import to_bytes
from gatescope.app.shell import figure
from gatescope.app.shell.session import FRAME, server
from gatescope.app.views.prompt import show as prompt
from gatescope.cache.schema import encode
from gatescope.cache.study import ROUTES, Block, StudyFolder
from gatescope.models.bundled_captures import load_probe_capture
from gatescope.routing import Flag, RoutingRecord
from gatescope.server import sources
from gatescope.server.settings import settings
from gatescope.server.sources import ANALYSED, CAPTURED, TALLY
from gatescope.studies import results
from gatescope.studies.compute import Chosen, computed
from gatescope.studies.tables import about, tables

MODEL = "sift-softmax"
CORPUS, OTHER, STUDY = "figurescaptureaa", "figuresothercapt", "figuresstudyaaaa"
ASKED = Chosen(resamples=60, seed=5)
"""What the study was analysed with: neither what a page takes while one waits, nor the default."""

LABELS = (("code", "en"), ("law", "en"), ("poetry", "en"), ("news", "de"), ("news", "fr"), ("law", "de"))
EACH = 4

SCOPES: dict[str, dict[str, str]] = {
    "whole": {"c": CORPUS},
    "slice": {"c": CORPUS, "s": "domain:law"},
    "numbers": {"c": CORPUS, "s": "documents:0-9.12.20"},
    "range": {"c": CORPUS, "d": "2", "r": "3-60"},
    "facet": {"c": CORPUS, "f": "generated"},
    "format": {"c": CORPUS, "f": "format"},
    "sliced facet": {"c": CORPUS, "s": "language:en", "f": "prompt"},
    "compared": {"c": CORPUS, "vs": OTHER, "s": "domain:law"},
    "study": {"c": STUDY},
    "slice of a study": {"c": STUDY, "s": "domain:law"},
    "facet of a study": {"c": STUDY, "f": "generated"},
}
"""Which tokens count: in a capture, and in an analysed study of which only the first documents are at hand."""

QUICK = ("slice",)
"""The scope that is tried each time; the others in the second tier."""

PLACE = {"t": "5", "l": "2", "e": "7"}
VISITS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "layers": ("layers", {}, {}),
    "layers by depth": ("layers", {}, {"layers-part": "By depth"}),
    "layers by kind": ("layers", {}, {"layers-part": "By kind of token"}),
    "any line": ("layers", {}, {"layers-part": "Any other measure", "any-measure": "load_gini"}),
    "any by group": ("layers", {}, {"layers-part": "Any other measure", "any-measure": "core_membership"}),
    "pairs": ("pairs", {"l": "1"}, {}),
    "pairs of paths": ("pairs", {}, {"pairs-part": "Paths through all layers"}),
    "domains": ("domains", {}, {}),
    "domains, all layers": ("domains", {}, {"usage-difference-view": "All layers"}),
    "languages": ("domains", {"by": "language"}, {}),
    "locality": ("locality", {}, {}),
    "locality of a layer": ("locality", {"l": "3"}, {"locality-part": "From token to token"}),
    "fetching ahead": ("locality", {}, {"locality-part": "Fetching ahead"}),
    "expert": ("expert", PLACE, {}),
    "token": ("token", PLACE, {}),
    "map": ("map", {}, {}),
    "map of tokens": ("map", {"l": "2"}, {"map-kind-2": "tokens"}),
    "settling": ("compare", {}, {}),
    "weights": ("compare", {"vs": OTHER}, {}),
    "two documents": ("compare", {"vs": CORPUS, "m": "sift-sigmoid"}, {}),
    "two texts": ("compare", {"vs": "welcome.sift-softmax"}, {}),
    "two models": ("compare", {"vs": "probe.sift-sigmoid"}, {}),
    "claims": ("model", {"m": MODEL}, {f"claims-of-{CORPUS}": True}),
    "prompt": ("prompt", {}, {}),
    "pinned in a prompt": ("prompt", PLACE | {"view": "expert"}, {}),
    "enough": ("library", {}, {"library-part": "enough", "enough-of": None}),
    "guide": ("guide", {}, {}),
}
"""Every page with figures, in each of its parts: its address, and what was chosen on it."""

SLOW = ("settling", "two documents", "two texts", "two models", "claims", "pinned in a prompt")
"""Visits left to the second tier: they read a corpus or a model that ships, or say little that others do not."""

EVERY_VISIT = [pytest.param(visit, marks=[pytest.mark.slow] if visit in SLOW else [], id=visit) for visit in VISITS]

KEYS = {
    "settling": {"settling"},
    "weights": {"overlap", "margins", "cascade", "shift", "pair"},
    "two documents": {"diff", "stay", "pair"},
    "two texts": {"diff", "stay", "pair"},
    "two models": {"sight-load_effective_experts", "sight-load_entropy", "sight-mutual_information", "shape", "shared"},
    "claims": {"claims"},
    "prompt": {"trace", "counts", "picture"},
    "pinned in a prompt": {"trace", "counts", "picture"},
}
"""All figures of a visit, of those pages that leave out what the captures cannot give."""

LACKS = {
    "settling": ("compared", "facet", "format", "facet of a study"),
    "two documents": ("facet", "study", "slice of a study", "facet of a study"),
    "two texts": ("range", "facet", "facet of a study"),
    "two models": ("facet", "format", "facet of a study"),
}
"""Scopes in which a visit lacks some of them: nothing that counts is in both captures, or they compare otherwise."""


@dataclass
class Shown:
    """One figure as it was drawn."""

    key: str
    frame: Callable[[], pd.DataFrame] | None
    file: str = ""
    code: str = ""
    beyond: str = ""
    takeaway: str = ""
    saves: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    has_interval: bool = False


def corpus() -> RoutingRecord:
    """Some documents of the probe set by label; the last third of each is taken for written by the model."""
    record = load_probe_capture(MODEL)
    numbers = [
        number
        for label in LABELS
        for number in [at for at, each in enumerate(record.documents) if (each.domain, each.language) == label][:EACH]
    ]
    chosen = record.of_documents(numbers)
    length_d = np.bincount(chosen.document_t)
    is_late_t = chosen.position_t >= 2 * length_d[chosen.document_t] // 3
    flag_t = np.where(is_late_t, chosen.flag_t | Flag.GENERATED, chosen.flag_t).astype(np.uint8)
    return replace(chosen, flag_t=flag_t)


def rerouted(record: RoutingRecord) -> RoutingRecord:
    """The same tokens, of which one in five goes to the next expert in each layer."""
    moved_tl = np.random.default_rng(0).random(record.ids_tlk.shape[:2]) < 0.2
    next_tlk = ((record.ids_tlk + 1) % record.experts).astype(record.ids_tlk.dtype)
    is_moved_tlk = moved_tl[..., None] & (record.ids_tlk != record.empty)
    return replace(record, ids_tlk=np.where(is_moved_tlk, next_tlk, record.ids_tlk))


def write_study(folder: Path, record: RoutingRecord) -> None:
    """A study of two blocks, analysed whole."""
    half = len(record.documents) // 2
    parts = [record.of_documents(range(half)), record.of_documents(range(half, len(record.documents)))]
    captured = StudyFolder.create(folder / CAPTURED, {"corpus": "made", "model": MODEL})
    for number, part in enumerate(parts):
        size = {"documents": len(part.documents), "tokens": part.tokens}
        captured.write(Block(number=number, digest=str(number), read=1, **size), {ROUTES: encode(part)})
    study = computed(tally(record), record, ASKED, on_progress=lambda _what, _done, _total: None)
    analysed = folder / ANALYSED
    (analysed / "tables").mkdir(parents=True)
    (analysed / results.NAME).write_bytes(results.to_bytes(study.results))
    (analysed / TALLY).write_bytes(to_bytes(study.tally))
    said = pd.Series(about(study, model=MODEL, corpus="made")).to_json(default_handler=str)
    (analysed / "study.json").write_text(said, "utf-8")
    for title, frame in tables(study, counts_only=False):
        frame.to_parquet(analysed / "tables" / f"{title}.parquet", index=False)


@contextmanager
def figures_server(folder: Path) -> Iterator[Callable[..., list[Shown]]]:
    """A server with the corpus as a capture and as a study of which one half is at hand; opens a page's figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATESCOPE_CACHE_DIR", str(folder))
        patch.setattr(sources, "KEPT_TOKENS", 1)
        _forget()
        record = corpus()
        server().capture_cache.store.put(CORPUS, record)
        server().capture_cache.store.put(OTHER, rerouted(record.of_documents(range(0, len(record.documents), 2))))
        write_study(folder / "studies" / STUDY, record)
        shown: list[Shown] = []
        _listen(patch, shown)
        yield lambda *asked: _opened(shown, *asked)
    _forget()


def _forget() -> None:
    settings.cache_clear()
    st.cache_resource.clear()


def _listen(patch: pytest.MonkeyPatch, shown: list[Shown]) -> None:
    """Note every figure; all that draws them runs as it is."""
    ways_out, download, python_of = figure._ways_out, figure._download, prompt._python

    def noted_ways_out(export, code):
        one = export.figure
        shown.append(Shown(one.key, one.frame, export.file, code, one.beyond, one.takeaway))
        return ways_out(export, code)

    def noted_download(name, make, file, mime, key):
        shown[-1].saves[name] = make
        return download(name, make, file, mime, key)

    def noted_python(table, code):
        shown.append(Shown(table.name.lower(), table.make, code=code))
        return python_of(table, code)

    patch.setattr(prompt, "_python", noted_python)
    patch.setattr(figure, "_ways_out", noted_ways_out)
    patch.setattr(figure, "_download", noted_download)


def _opened(
    shown: list[Shown], page: str, params: dict[str, str], state: dict[str, Any]
) -> tuple[AppTest, list[Shown]]:
    """The page at an address, and its figures; the Model page once the model is loaded."""
    shown.clear()
    if page == "model":
        assert server().worker(params["m"]).loading.wait(240)
    view = AppTest.from_file(FRAME, default_timeout=300)
    for name, value in params.items():
        view.query_params[name] = value
    for name, value in state.items():
        view.session_state[name] = params.get("c") if value is None else value
    view.switch_page(f"../pages/{page}.py")
    view.run()
    assert not view.exception, [each.message for each in view.exception]
    for found in shown:
        found.has_interval = any(
            "tonexty" in chart.proto.spec
            for chart in view.get("plotly_chart")
            if chart.proto.id.endswith(f"-{found.key}-chart")
        )
    return view, list(shown)

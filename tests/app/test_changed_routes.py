"""A capture made under an intervention, or by no model, is never taken for a model's own: each place says so."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.analysis.counting import tally
from gatescope.analysis.tally.files import from_bytes, to_bytes
from gatescope.analysis.tally.tally import merge
from gatescope.app.charts.exported import Export, Origin
from gatescope.app.charts.figure import Figure
from gatescope.app.charts.page import headline
from gatescope.app.shell.session import FRAME, library
from gatescope.app.views.model import claims
from gatescope.cache.store import Store
from gatescope.routing.errors import RecordError
from gatescope.routing.record import SIMULATION
from gatescope.server.server import Server
from gatescope.server.settings import settings
from gatescope.server.sources import Source, read_shipped
from gatescope.server.view import View
from tests.records import build_record

PLAIN, CHANGED, SIMULATED = "plaincaptureaaaa", "changedcaptureaa", "simulatedaaaaaaa"
NAME = "Silenced(layer_index=0, expert=1)"
SENTENCE = f"was made under an intervention ({NAME}): its routes are not the model's own."
PAGES = ("prompt", "token", "expert", "layers", "pairs", "domains", "locality", "map", "compare")


def changed(record, name=NAME):
    return replace(record, provenance=replace(record.provenance, options={"intervention": name}))


def simulated(record):
    return replace(record, provenance=replace(record.provenance, engine=SIMULATION, model="simulated small"))


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A server with one text captured twice, once under an intervention, and the same routes as if simulated."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    store, record = Store(settings().cache_dir), build_record(["a", " few", " words"] * 4)
    store.put(PLAIN, record)
    store.put(CHANGED, changed(record))
    store.put(SIMULATED, simulated(record))
    yield record
    monkeypatch.undo()
    settings.cache_clear()
    st.cache_resource.clear()


def warned(address: str, **params: str) -> tuple[str, str]:
    """The warnings of a page and its captions."""
    page = AppTest.from_file(FRAME, default_timeout=240)
    page.switch_page(f"../pages/{address}.py")
    for name, value in params.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception, address
    parts = page.warning, page.caption
    warnings, captions = ("\n".join(str(each.value) for each in part).replace("\\", "") for part in parts)
    return warnings, captions


def test_every_page_of_a_capture_says_so_once(kept, subtests):  # noqa: ARG001
    for address in PAGES:
        with subtests.test(address):
            warnings, captions = warned(address, c=CHANGED)
            assert warnings.count(f"This capture {SENTENCE}") == 1
            assert "recorded by hooks under an intervention" in captions


def test_capture_b_is_said_to_be_changed_and_a_plain_one_is_not(kept, subtests):  # noqa: ARG001
    for address in ("prompt", "compare"):
        with subtests.test(address):
            warnings, captions = warned(address, c=PLAIN, vs=CHANGED)
            assert f"Capture B {SENTENCE}" in warnings and "This capture" not in warnings
            assert "recorded by hooks under" not in captions


def test_a_simulated_capture_is_called_so(kept, subtests):  # noqa: ARG001
    for address in ("prompt", "layers", "expert"):
        with subtests.test(address):
            warnings, captions = warned(address, c=SIMULATED)
            assert "This capture is simulated" in warnings and "No model made them" in warnings
            assert "simulated small" in captions and "simulated, by no model" in captions
    assert library().entry_of(SIMULATED, "", ()).recorded == "experts, weights, margins, simulated"


def test_the_library_s_row_says_so(kept):  # noqa: ARG001
    assert library().entry_of(CHANGED, "", ()).recorded == "experts, weights, margins, under an intervention"
    assert library().entry_of(PLAIN, "", ()).recorded == "experts, weights, margins"


def test_an_intervention_of_any_name_is_one_line():
    source = Source(id="x", name="x", kind="text", record=changed(build_record(), "a\nb\u202e" + "c" * 5000))
    assert "\n" not in headline(source) and len(headline(source)) < 300


def test_a_figure_s_table_names_it_for_the_capture_it_is_of():
    own = Origin(model="m", fingerprint="f", scope="all documents")
    other = Origin(model="m", fingerprint="f", scope="all documents", intervention=NAME)
    figure, rows = Figure(key="x", takeaway=""), pd.DataFrame({"capture": ["A", "B: other"], "value": [1, 2]})
    assert "intervention" not in Export(figure=figure, own=own).table(rows)
    both = Export(figure=figure, own=own, other=other)
    assert both.table(rows)["intervention"].tolist() == ["", NAME]
    assert set(both.table(rows[["value"]])["other_intervention"]) == {NAME}
    assert set(Export(figure=figure, own=other).table(rows[["value"]])["intervention"]) == {NAME}


def test_counts_keep_it_and_are_not_added_to_the_model_s_own():
    record = build_record()
    assert from_bytes(to_bytes(tally(changed(record)))).provenance.intervention == NAME
    with pytest.raises(RecordError, match="different provenance"):
        merge(tally(record), tally(changed(record)))


def test_no_claim_about_a_model_is_judged_by_changed_routes(monkeypatch):
    shipped = read_shipped("probe.sift-softmax")
    model = SimpleNamespace(provenance=lambda: shipped.record.provenance)
    for change in (changed, simulated):
        other = replace(shipped, record=change(shipped.record))
        monkeypatch.setattr(Server, "find_source", lambda _server, id, other=other: other if id == CHANGED else shipped)
        assert claims.corpus_for(View(model="sift-softmax", capture=CHANGED, quantity=""), model) is shipped

"""The page of locality over what ships with a model: curves, a planner, and what it does not know."""

import re

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gatescope.app.shell.session import FRAME, server
from gatescope.server.expert_sizes import known_weights
from gatescope.server.measures import measure
from gatescope.server.settings import settings
from gatescope.server.sources import read_shipped
from tests.records import build_record

PROBE = "probe.sift-softmax"
OTHER = "othercaptureaaaa"


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens the page by its address on a server of the bundled models, with one capture from elsewhere."""
    monkeypatch.setenv("GATESCOPE_CACHE_DIR", str(tmp_path / "captures"))
    settings.cache_clear()
    st.cache_resource.clear()
    server().capture_cache.store.put(OTHER, build_record([" word"] * 30))
    page = AppTest.from_file(FRAME, default_timeout=240)

    def open_page(**params: str) -> AppTest:
        page.switch_page("../pages/locality.py")
        for name in list(page.query_params):
            del page.query_params[name]
        for name, value in params.items():
            page.query_params[name] = value
        page.run()
        assert not page.exception
        assert not page.error
        return page

    yield open_page
    settings.cache_clear()
    st.cache_resource.clear()


def words(page: AppTest) -> str:
    """All that is said on the page."""
    parts = (*page.title, *page.header, *page.subheader, *page.markdown, *page.caption, *page.info)
    return "\n".join(part.value.replace("\\", "") for part in parts)


def everything(page: AppTest) -> str:
    """All that is said in any part of the page."""
    parts = page.segmented_control(key="locality-part").options
    return "\n".join(words(page.segmented_control(key="locality-part").set_value(part).run()) for part in parts)


def verdict(page: AppTest) -> str:
    return re.search(r"With \d+ experts kept in each layer, a token loads .*", words(page))[0]


def test_every_figure_stands_on_the_probe_set(opened):
    said = everything(opened())
    for question in (
        "Does the next token have the same first expert?",
        "Does it have any expert in common?",
        "How far does a token's choice reach?",
        "How often would a cache have the expert?",
        "What would it take to keep only some of the experts?",
        "Does a layer's choice tell the next layer's, to fetch it early?",
    ):
        assert question in said
    assert "Not shown" not in said
    assert said.count("N = 110,552 tokens of 552 documents") == 6


def test_hits_are_those_measured(opened):
    page = opened(l="2")
    rate = measure(read_shipped(PROBE), "lru_hit_rate").value[2, 7]
    assert f"With 8 experts kept (layer 2), {rate:.0%}".replace("%", " %") in words(page)


def test_one_number_kept_moves_both_figures(opened):
    page = opened()
    page.slider(key="locality-size").set_value(12).run()
    said = words(page)
    assert "With 12 experts kept (the mean over layers)" in said
    assert verdict(page).startswith("With 12 experts kept in each layer")
    page.select_slider(key="locality-memory").set_value(4).run()
    assert "With 4 experts kept (the mean over layers)" in words(page)
    assert page.slider(key="locality-size").value == 4


def test_the_planner_counts_the_bytes_of_the_configuration(opened):
    page = opened()
    # hidden_size 192, moe_intermediate_size 80, three matrices, four bytes a weight; 6 layers of 4 experts a token
    size = 3 * 192 * 80 * 4
    assert "46,080 weights" in words(page)
    hit_l = measure(read_shipped(PROBE), "lru_hit_rate").value[:, 7]
    loaded = (4 * (1 - hit_l)).sum() * size
    assert f"a token loads {loaded / 1e6:.3g} MB on average" in verdict(page)
    assert f"instead of {6 * 4 * size / 1e6:.3g} MB" in verdict(page)
    page.selectbox(key="plan-format-32 bits a weight").set_value("8 bits a weight").run()
    assert f"a token loads {loaded / 4e3:.3g} kB on average" in verdict(page)


def test_nothing_kept_loads_all(opened):
    page = opened()
    page.select_slider(key="locality-memory").set_value(0).run()
    assert "a token loads 4.42 MB on average" in verdict(page) and "instead of 4.42 MB: 0 % less" in verdict(page)


def test_a_layer_is_chosen_on_the_page(opened):
    page = opened()
    page.segmented_control(key="locality-part").set_value("From token to token").run()
    page.selectbox(key="locality-layer").set_value(3).run()
    assert page.query_params["l"] in ("3", ["3"])
    assert "Layer 3: A token shares" in words(page)
    page.selectbox(key="locality-layer").set_value(-1).run()
    assert "l" not in page.query_params


def test_sizes_of_an_unknown_model_are_typed(opened):
    page = opened(c=OTHER)
    assert "The size of this model's experts is not known here." in words(page)
    assert "experts kept in each layer" not in words(page)
    width, inner = page.number_input
    width.set_value(10)
    inner.set_value(5)
    page.run()
    assert "150 weights an expert" in words(page)
    assert "experts kept in each layer, a token loads" in words(page)


def test_a_capture_cannot_name_a_folder_whose_configuration_is_read():
    record = build_record()
    assert record.provenance.model == "small" and known_weights(record) is None


def test_nothing_generated_is_said(opened):
    assert "Nothing was generated here" in words(opened(f="generated"))


def test_a_short_text_has_no_floor_and_no_interval(opened):
    said = everything(opened(c="welcome.sift-softmax"))
    assert "There is no other document of the same kind" in said
    assert "95 % interval" not in said.partition("a token loads")[2]


def test_a_slice_has_its_own_numbers(opened):
    page = opened(s="domain:code", l="2")
    assert "tokens of 20 documents" in words(page)
    whole = measure(read_shipped(PROBE), "lru_hit_rate").value[2, 7]
    said = re.search(r"With 8 experts kept \(layer 2\), (\d+) %", words(page))[1]
    assert int(said) != round(100 * whole)


def test_another_model_is_drawn_beside(opened):
    said = everything(opened(m="sift-sigmoid", vs=PROBE))
    assert said.count("; B: 110,552 tokens") == 4
    assert np.isfinite(measure(read_shipped("probe.sift-sigmoid"), "lru_hit_rate").value).all()

"""The token picture as the component's arguments: axes, ends of the scale, and the cell that is pinned first."""

import numpy as np
import pytest

from gatescope.analysis.token.routing_trace import QUANTITIES
from gatescope.app.components import TOKEN_FLAGS
from gatescope.drawing.token_heatmap import (
    TOP_EXPERT,
    explain,
    row_names,
    striking_cell,
    token_figure,
    token_flags,
    view_title,
    views,
)
from gatescope.routing import Flag


def test_layers_are_rows_and_tokens_columns(make_record):
    record = make_record(pieces=list("abcde"), layers=2)
    for view in views(record):
        assert token_figure(record, view).values_lt.shape == (2, 5)


def test_every_quantity_has_a_button_and_an_explanation():
    assert set(views()) == {*QUANTITIES, TOP_EXPERT}
    for view in views():
        assert view_title(view)
        assert explain(view).says


def test_a_quantity_that_was_not_recorded_has_no_button(make_record):
    bare = make_record(margin_tl=None, entropy_tl=None, weight_tlk=None)
    assert set(views(bare)) == {TOP_EXPERT, "overlap"}


def test_the_interesting_end_of_the_scale_is_never_clipped(make_record):
    margin_tl = np.linspace(0.01, 1, 200).reshape(100, 2).astype(np.float16)
    margin_tl[50, 1] = 40
    figure = token_figure(make_record(pieces=["x"] * 100, margin_tl=margin_tl), "margin")
    assert figure.scale.low == pytest.approx(0.01, rel=1e-3)
    assert figure.scale.high < 1.1
    assert figure.scale.pool == "min"


def test_the_null_is_on_the_legend_where_all_layers_share_it(make_record):
    assert token_figure(make_record(experts=4), "entropy").scale.null == pytest.approx(2.0)
    assert token_figure(make_record(), "margin").scale.null is None


def test_the_cell_pinned_first_is_the_one_the_sentence_names(make_record):
    margin_tl = np.full((3, 2), 0.5, np.float16)
    margin_tl[0, 0], margin_tl[2, 1] = 0.0, 0.125  # token 0 is special: it belongs to the format, not to the text
    record = make_record(margin_tl=margin_tl)
    assert striking_cell(record, "margin") == (1, 2)
    assert "token 2" in token_figure(record, "margin").sentence


def test_without_any_value_the_first_token_is_pinned(make_record):
    record = make_record(margin_tl=np.full((3, 2), np.nan, np.float16))
    assert striking_cell(record, "margin") == (None, 0)
    assert striking_cell(make_record().take(slice(0, 0)), "margin") is None


def test_the_first_view_is_the_expert_with_its_share_of_the_weight(make_record):
    assert views()[0] == TOP_EXPERT
    weight_tlk = np.array([[[0.6, 0.2], [0.5, 0.5]], [[1.0, 0.0], [0.3, 0.1]], [[0.9, 0.1], [0.2, 0.2]]], np.float16)
    figure = token_figure(make_record(weight_tlk=weight_tlk), TOP_EXPERT)
    assert figure.expert_lt.tolist() == [[0, 1, 2], [1, 2, 3]]
    np.testing.assert_allclose(figure.values_lt, [[0.75, 1.0, 0.9], [0.5, 0.75, 0.5]], atol=1e-3)
    assert figure.scale.palette == "experts"


def test_where_no_weights_were_recorded_every_expert_is_drawn_in_full(make_record):
    figure = token_figure(make_record(weight_tlk=None), TOP_EXPERT)
    assert figure.values_lt.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_the_sentence_of_the_experts_names_the_busiest(make_record):
    ids_tlk = np.array([[[3, 0], [0, 1]], [[3, 1], [1, 2]], [[3, 2], [2, 3]]], np.uint8)
    said = token_figure(make_record(experts=4, ids_tlk=ids_tlk, weight_tlk=None), TOP_EXPERT).sentence
    assert "every token to 2 of its 4 experts" in said
    assert "expert 3 of layer 0 (block 1), ran for 100% of the tokens; an even share is 50.0%" in said


def test_flags_are_those_of_the_component(make_record):
    flag_t = np.array([Flag.SPECIAL, Flag.TEMPLATE | Flag.GENERATED, Flag.IMAGE], np.uint8)
    expected = [TOKEN_FLAGS["special"], TOKEN_FLAGS["template"] + TOKEN_FLAGS["generated"], 0]
    assert token_flags(make_record(flag_t=flag_t)).tolist() == expected


def test_rows_are_named_by_block_where_layer_and_block_differ(make_record):
    assert row_names(make_record()) == ["0 (block 1)", "1 (block 2)"]

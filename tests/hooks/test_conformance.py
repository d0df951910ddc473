"""Every family is recorded as it was executed: against its formula, against silenced experts, and as text.

`formulas` and `ablation` know nothing of the reader under test, and `test_truths` holds them against one another.
"""

from functools import cache

import numpy as np
import pytest
import torch

from gatescope.hooks import attach, capture
from gatescope.hooks.layers.probing import forward, no_cache
from gatescope.hooks.loading.routers import read_routers
from gatescope.hooks.loading.selfcheck import check
from gatescope.hooks.recording.intervene import Watch
from tests.hooks.ablation import contributions
from tests.hooks.conformance import FLOAT16, Found, differences_of_all
from tests.hooks.formulas import expected
from tests.hooks.zoo import cases, specimen

AGREE = 2e-4
TEXT = "Every family is read as it was executed."
FAULTS_UPSTREAM = {"nllb_moe": "causal"}
"""Families whose modules do not do what their router says, and the check of the model's own that tells so."""

NOT_TEXT = {"qwen3_omni_moe_talker", "diffusion_gemma", "dots3_note_vision"}
"""Families that cannot read a text by itself: a talker of codec tokens, a denoiser of canvases, a vision tower."""


@cache
def reading(name):
    """One pass through the reader: its routers, and what each layer did."""
    thing = specimen(name)
    routers = read_routers(thing.model, thing.inputs)
    watch = Watch()
    with routers.recorder.recording(watch):
        forward(thing.model, thing.inputs)
    report = check(routers)
    routers.close()
    return routers, [found(watch.seen[site.layer]) for site in routers.sites], report


def found(routes):
    rows = None if routes.rows_n is None else routes.rows_n.numpy()
    return Found(routes.logits_ne.numpy(), routes.ids_nk.numpy(), routes.weights_nk.numpy(), rows)


@pytest.mark.parametrize("name", cases())
def test_routes_are_those_of_the_published_formula(name):
    thing = specimen(name)
    assert differences_of_all(expected(name, thing.model, thing.inputs), reading(name)[1]) == []


@pytest.mark.parametrize("name", cases(without=FAULTS_UPSTREAM))
def test_routes_are_those_that_silencing_the_experts_shows(name):
    thing = specimen(name)
    routers, records, _ = reading(name)
    by_path = {}
    for one in contributions(thing.model, thing.inputs):
        by_path.setdefault(one.path, one)
    seen = 0
    for site, record in zip(routers.sites, records, strict=True):
        truth = (
            by_path.get(site.experts_path)
            or by_path.get(site.holder_path)
            or by_path.get(f"{site.holder_path}.experts")
        )
        if truth is None:
            continue
        seen += 1
        experts = truth.dense_ne.shape[1]
        run_ne = np.zeros((len(record.ids_nk), site.options))
        for token, slot in np.argwhere(record.ids_nk >= 0):
            run_ne[token, record.ids_nk[token, slot]] += record.weights_nk[token, slot] / site.output_scale
        np.testing.assert_array_equal(run_ne[:, :experts] != 0, truth.dense_ne != 0)
        np.testing.assert_allclose(run_ne[:, :experts], truth.dense_ne, rtol=AGREE)
    assert seen == len(routers.sites) - (len(routers.sites) // 2 if name == "jetmoe" else 0)


@pytest.mark.parametrize("name", cases())
def test_the_model_proves_itself_or_says_why_not(name):
    report = reading(name)[2]
    failed = [one.name for one in report.checks if not one.passed]
    assert failed == ([FAULTS_UPSTREAM[name]] if name in FAULTS_UPSTREAM else [])
    if name in FAULTS_UPSTREAM:
        assert any("transformers" in note for note in report.notes)


@pytest.mark.parametrize("name", cases(without=NOT_TEXT))
def test_the_record_of_a_text_is_that_of_the_formula(name, tokenizer):
    loaded = attach(specimen(name).model, tokenizer, name=name)
    try:
        record = capture(loaded, TEXT)
        ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
        inputs = no_cache(loaded.model) | {"input_ids": ids}
        if loaded.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.tensor([[loaded.model.config.decoder_start_token_id]])
        layers = expected(name, loaded.model, inputs)
        records = of_record(record, loaded)
        assert differences_of_all(layers, records, FLOAT16) == []
        read = record.token_t[(record.flag_t & 16) > 0] if loaded.is_encoder_decoder else record.token_t
        assert read.tolist() == ids[0].tolist()
    finally:
        loaded.routers.close()


def of_record(record, loaded):
    """What a record holds of each layer that ran, in the form that the comparison reads."""
    founds = []
    for rule in loaded.layers:
        is_encoder_t = (record.flag_t & 16) > 0
        own_t = is_encoder_t if rule.stack == "encoder" else ~is_encoder_t
        ids_tk = record.ids_tlk[own_t, rule.layer, : rule.k].astype(int)
        ids_tk[ids_tk == record.empty] = -1
        if (ids_tk >= 0).any():  # experts for images see none in a text
            founds.append(Found(None, ids_tk, record.weight_tlk[own_t, rule.layer, : rule.k].astype(float), None))
    return founds


def test_experts_outside_the_kept_groups_win_where_every_other_score_is_negative():
    """AXK2 sets ruled-out scores to 0, so a bias below all scores turns its group limit around."""
    thing = specimen("axk2")
    for name, value in thing.model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            value.fill_(-2.0).add_(0.01 * torch.arange(len(value)))
    routers = read_routers(thing.model, thing.inputs)
    try:
        assert [learnt.selector.ruled_out for learnt in routers.learnt] == [0.0] * len(routers.learnt)
        assert all(learnt.ids_agree >= 0.98 for learnt in routers.learnt)
    finally:
        routers.close()

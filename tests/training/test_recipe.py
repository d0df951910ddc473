"""The whole recipe on a tiny scale: corpus, training, export, captures, evaluation and card, by the commands."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from gatescope.analysis.comparison.saturation import saturation
from gatescope.corpora import domains, languages
from gatescope.models import bundled_captures as box
from gatescope.training import corpus, evaluate, export, ship, train
from gatescope.training.card import render
from gatescope.training.packages import Package
from gatescope.training.train import Recipe
from tests.training.conftest import SMALL, SMALL_OF

STEP_TOKENS = 512


@pytest.fixture
def small(shape, tmp_path, monkeypatch):
    """The table reduced to generated text, the shape to a thousandth, the probe set to a few texts."""
    rows = (
        Package("arithmetic", "generated", "2", "Apache-2.0", "mathematics", ("en", "de"), "arithmetic"),
        Package("records", "generated", "1", "Apache-2.0", "data", ("json", "log"), "records"),
    )
    monkeypatch.setattr(corpus, "PACKAGES", rows)
    monkeypatch.setattr(train, "Recipe", partial(Recipe, step_tokens=STEP_TOKENS, lengths=(64,), warmup_steps=5))
    tiny = replace(shape, fields=shape.fields | SMALL | SMALL_OF[shape.name])
    monkeypatch.setitem(train.architecture.__globals__["ARCHITECTURES"], shape.name, tiny)
    for module in (box, evaluate, export, ship):
        monkeypatch.setitem(module.BUNDLED_MODELS, shape.name, tmp_path / shape.name)
    some = domains()[::40] + languages()[:6]
    for module in (evaluate, ship):
        monkeypatch.setattr(module, "probe", lambda: some)
    monkeypatch.setattr(ship, "domains", lambda: domains()[::60])
    monkeypatch.setattr(ship, "languages", lambda: languages()[:3])
    return shape.name


def run(module, *arguments: object) -> str:
    app = Typer()
    app.command()(module.main)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_the_commands_of_the_card_make_a_model_its_captures_and_its_card(small, tmp_path):
    text, runs = ("--corpus", tmp_path / "text"), ("--runs", tmp_path / "runs")
    run(corpus, "--out", tmp_path / "text")
    run(train, small, "--tokens", 40 * STEP_TOKENS, "--threads", 1, *text, *runs)
    run(export, small, *text, *runs)
    said = run(ship, small, "--threads", 1, *runs)
    assert said.count(".gsr") == 2 + 3  # welcome and probe; the untrained weights, those of step 32, the last ones
    run(evaluate, small, "--documents", 6, "--permutations", 20, "--threads", 1, *text, *runs)

    figures = json.loads((tmp_path / small / "evaluation.json").read_text())
    assert (tmp_path / small / "README.md").read_text() == render(figures)
    heldout = figures["heldout"]
    assert heldout["trained"]["loss"]["nats"] < heldout["untrained"]["loss"]["nats"] - 1
    assert figures["training"]["tokens"] == 40 * STEP_TOKENS
    assert len(figures["samples"]) == len({"en", "de", "json", "log", "mathematics", "data"})

    moments = box.history(small)
    assert [(moment.step, moment.tokens) for moment in moments] == [
        (0, 0),
        (32, 32 * STEP_TOKENS),
        (40, 40 * STEP_TOKENS),
    ]
    last = saturation([moment.record for moment in moments])[-1]
    assert [layer.share for layer in last] == [1.0] * figures["size"]["layers"]
    assert {document.text for document in moments[0].record.documents} == {""}
    probed = box.probed(small)
    np.testing.assert_array_equal(probed.documents, evaluate.probe())
    assert box.welcome(small).documents[0].text == box.WELCOME_TEXT

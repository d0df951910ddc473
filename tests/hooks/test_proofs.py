"""What was proven once is not proven anew with the same weights, and is with others; three passes find and prove."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from gatescope.hooks import attach, capture, load_model
from gatescope.hooks.layers import probing
from gatescope.hooks.loading import load
from tests.hooks.conftest import byte_tokenizer, tiny

TEXT = "what is proven once"


@contextmanager
def passes_counted(monkeypatch):
    """Forward passes of any model and the tokens they ran."""
    seen = []
    own = torch.nn.Module.__call__

    def counting(self, *args, **kwargs):
        if hasattr(self, "get_output_embeddings") and hasattr(self, "lm_head"):
            seen.append(kwargs["input_ids"].numel())
        return own(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "__call__", counting)
        yield seen


def test_three_passes_find_and_prove(family, tokenizer, monkeypatch):
    with passes_counted(monkeypatch) as passes:
        loaded = attach(tiny(family), tokenizer, name=family)
    assert loaded.selfcheck.passed
    assert len(passes) == 3
    assert sum(passes) <= 3 * probing.PROBE_TOKENS


@pytest.fixture
def model(tmp_path):
    return saved(tmp_path / "model", "deepseek_v3")


def saved(path, family, **changes):
    tiny(family, **changes).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


def test_the_second_start_runs_nothing_and_records_the_same(model, tmp_path, monkeypatch):
    first = load_model(model, proofs=tmp_path / "proofs")
    with passes_counted(monkeypatch) as passes:
        second = load_model(model, proofs=tmp_path / "proofs")
    assert passes == []
    assert (first.selfcheck.proven_at, bool(second.selfcheck.proven_at)) == ("", True)
    assert first.layers == second.layers
    assert first.selfcheck.checks == second.selfcheck.checks
    one, two = capture(first, TEXT), capture(second, TEXT)
    for name, array in one.arrays():
        assert np.array_equal(array, getattr(two, name), equal_nan=array.dtype.kind == "f"), name
    assert np.isfinite(two.margin_tl).all(), "the selector, groups and bias included, is the same"


def test_a_proof_can_be_asked_for_again(model, tmp_path, monkeypatch):
    load_model(model, proofs=tmp_path / "proofs")
    with passes_counted(monkeypatch) as passes:
        again = load_model(model, proofs=tmp_path / "proofs", prove_again=True)
    assert len(passes) == 3
    assert not again.selfcheck.proven_at


def test_without_a_folder_nothing_is_kept(model, tmp_path):
    load_model(model)
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("change", ["weights", "dtype", "experts", "code"])
def test_a_proof_made_with_something_else_is_none(model, tmp_path, monkeypatch, change):
    load_model(model, proofs=tmp_path / "proofs")
    options = {}
    if change == "weights":
        saved(model, "deepseek_v3", routed_scaling_factor=1.5)
    elif change == "dtype":
        options["dtype"] = "bfloat16"
    elif change == "experts":
        file = model / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"first_k_dense_replace": 0}))
        saved(model, "deepseek_v3", first_k_dense_replace=0)
    else:
        monkeypatch.setattr("gatescope.hooks.loading.proofs._code", lambda: "other code")
    with passes_counted(monkeypatch) as passes:
        loaded = load_model(model, proofs=tmp_path / "proofs", **options)
    assert len(passes) >= 3
    assert loaded.selfcheck.passed
    assert len(list((tmp_path / "proofs").iterdir())) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: kept | {"made": kept["made"] | {"fingerprint": "another"}},
        lambda kept: kept | {"sites": kept["sites"][:1]},
        lambda kept: kept | {"sites": [one | {"router_path": "model.nowhere"} for one in kept["sites"]]},
        lambda kept: (
            kept | {"sites": [one | {"classes": dict.fromkeys(one["classes"], "Odd")} for one in kept["sites"]]}
        ),
        lambda kept: kept | {"checks": [one | {"passed": False} for one in kept["checks"]]},
        lambda kept: {name: value for name, value in kept.items() if name != "rules"},
        lambda _kept: [],
        None,
    ],
)
def test_a_damaged_proof_counts_as_none(model, tmp_path, monkeypatch, spoil):
    load_model(model, proofs=tmp_path / "proofs")
    (file,) = (tmp_path / "proofs").iterdir()
    file.write_text("{" if spoil is None else json.dumps(spoil(json.loads(file.read_text()))))
    with passes_counted(monkeypatch) as passes:
        loaded = load_model(model, proofs=tmp_path / "proofs")
    assert len(passes) == 3
    assert loaded.selfcheck.passed


def test_a_proof_that_failed_is_not_kept(model, tmp_path, monkeypatch):
    own = load._read

    def odd(*args):
        made = own(*args)
        gate = made.model.layers[1].mlp.gate
        usual = type(gate).forward
        kind = type(
            "Odd", (type(gate),), {"forward": lambda self, hidden: usual(self, hidden + torch.randn_like(hidden))}
        )
        gate.__class__ = kind
        return made

    monkeypatch.setattr(load, "_read", odd)
    loaded = load_model(model, proofs=tmp_path / "proofs")
    assert not loaded.selfcheck.passed
    assert not (tmp_path / "proofs").exists()


def test_a_folder_that_cannot_be_written_does_not_stop_the_load(model, tmp_path, caplog):
    (tmp_path / "proofs").write_text("a file")
    assert load_model(model, proofs=tmp_path / "proofs").selfcheck.passed
    assert "is not kept" in caplog.text


def test_the_stages_are_told_with_the_size_before_anything_is_read(model, tmp_path):
    told = []
    load_model(model, proofs=tmp_path / "proofs", on_stage=told.append)
    assert [stage.split()[0] for stage in told] == ["looking", "checking", "reading", "finding", "proving"]
    assert "billion weights" in told[2] and "GiB free" in told[2]

"""Training: batches, schedule, balance, and runs that are cut and resumed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gatescope.routing.errors import ModelNotFoundError, OptionError
from gatescope.training.architecture import ARCHITECTURES, architecture
from gatescope.training.balance import AuxiliaryLoss, RouterTap, SelectionBias, batch_load, load_figures, router_losses
from gatescope.training.corpus import Document
from gatescope.training.evaluate import choose
from gatescope.training.export import export, load_weights
from gatescope.training.tokenizer import balanced_sample
from gatescope.training.tokens import Sampler, Stream, load_streams, save_streams
from gatescope.training.train import Recipe, State, Trainer, learning_rate

SHORT = Recipe(tokens=6 * 64, step_tokens=64, lengths=(16, 32), warmup_steps=2)


@pytest.fixture
def trainer(shape, streams, tiny):
    """Make a run of the tiny model in a folder; made again there, it goes on."""

    def make(folder, recipe=SHORT) -> Trainer:
        return Trainer(recipe, shape, tiny, Sampler(streams, recipe.seed), folder)

    return make


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def weights(run: Trainer) -> torch.Tensor:
    return flat(run.model)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, trainer):
    whole = trainer(tmp_path / "whole")
    whole.run(say_steps=1)
    cut = trainer(tmp_path / "cut")
    for _ in range(3):
        cut.step()
    cut.save()
    cut.step()  # lost: the process dies before the next save
    resumed = trainer(tmp_path / "cut")
    assert resumed.state.step == 3
    resumed.run(say_steps=1)
    assert resumed.state.step == whole.state.step == 6
    assert torch.equal(weights(resumed), weights(whole))
    assert torch.equal(resumed.state.load_le, whole.state.load_le)


def test_a_finished_run_does_nothing_more(tmp_path, trainer):
    first = trainer(tmp_path)
    first.run()
    again = trainer(tmp_path)
    again.run()
    assert again.state.step == first.state.step == 6


def test_a_kill_while_saving_leaves_the_state_before_it(tmp_path, trainer, monkeypatch):
    run = trainer(tmp_path)
    run.step()
    run.save()
    run.step()

    def torn(_parts, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        run.save()
    assert trainer(tmp_path).state.step == 1


def test_log_lines_after_the_last_saved_state_are_taken_back(tmp_path, trainer):
    run = trainer(tmp_path)
    run.step()
    run.save()
    rows = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}]
    run.log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trainer(tmp_path)
    assert [json.loads(line)["step"] for line in run.log.read_text().splitlines()] == [1]


def test_training_lowers_the_loss(tmp_path, trainer, tiny):
    run = trainer(tmp_path, Recipe(tokens=10**6, step_tokens=128, lengths=(32,), warmup_steps=2))
    losses = [run.step()["loss"] for _ in range(30)]
    assert losses[0] == pytest.approx(math.log(tiny.vocab_size), abs=0.3)
    assert np.mean(losses[-3:]) < losses[0] - 1


def test_the_rate_warms_up_stays_and_falls_to_its_last_share():
    recipe = Recipe(tokens=1, learning_rate=1.0, warmup_steps=4, constant_until=0.5, final_share=0.1)
    assert learning_rate(recipe, 0, 0.0) == 0.25
    assert learning_rate(recipe, 100, 0.5) == 1.0
    assert learning_rate(recipe, 100, 0.75) == 0.5
    assert learning_rate(recipe, 100, 1.0) == 0.1


def test_progress_follows_tokens_or_the_time_spent_training():
    assert State(tokens=50).progress(Recipe(tokens=200)) == 0.25
    assert State(seconds=30.0).progress(Recipe(minutes=1)) == 0.5
    assert State(seconds=90.0).progress(Recipe(minutes=1)) == 1.0


@pytest.mark.parametrize("length", [{}, {"minutes": 1.0, "tokens": 1}])
def test_a_run_needs_exactly_one_length(length):
    with pytest.raises(OptionError, match="exactly one"):
        Recipe(**length)


def tap_of(logit_lte: torch.Tensor, chosen: int) -> RouterTap:
    tap = RouterTap([])
    tap.logit_te = list(logit_lte)
    tap.ids_tk = [logit_te.topk(chosen).indices for logit_te in logit_lte]
    return tap


def test_balance_is_one_when_even_and_the_number_of_experts_when_collapsed():
    even = tap_of(torch.zeros(1, 10, 4), 2)
    assert router_losses(even, torch.full((1, 4), 0.25)).balance.item() == pytest.approx(1)
    collapsed = tap_of(torch.tensor([60.0, 0, 0, 0]).expand(1, 10, 4), 1)
    assert router_losses(collapsed, torch.tensor([[1.0, 0, 0, 0]])).balance.item() == pytest.approx(4)


def test_two_layers_that_collapse_onto_different_experts_are_not_balanced():
    logit_lte = torch.tensor([[60.0, 0], [0, 60.0]])[:, None].expand(2, 10, 2)
    tap = tap_of(logit_lte, 1)
    assert router_losses(tap, batch_load(tap, 2)).balance.item() == pytest.approx(2)


def test_the_z_loss_is_the_square_of_the_log_of_the_sum():
    assert router_losses(tap_of(torch.zeros(1, 3, 8), 1), torch.full((1, 8), 1 / 8)).z.item() == pytest.approx(
        math.log(8) ** 2
    )


def test_load_figures_by_hand():
    figures = load_figures(torch.tensor([[1.0, 1, 1, 1], [3, 1, 0, 0]]))
    assert figures.variation_l == pytest.approx([0, math.sqrt((4 + 0 + 1 + 1) / 4)])
    assert figures.violation_l == pytest.approx([0, 2])
    assert figures.dead_l == [0, 2]


def test_a_batch_depends_on_the_seed_and_its_number_only(streams):
    sampler = Sampler(streams, 7)
    sampler.batch(0, 4, 8)
    assert np.array_equal(sampler.batch(5, 4, 8), Sampler(streams, 7).batch(5, 4, 8))
    assert not np.array_equal(sampler.batch(5, 4, 8), sampler.batch(6, 4, 8))
    assert not np.array_equal(sampler.batch(5, 4, 8), Sampler(streams, 8).batch(5, 4, 8))


def test_sources_are_drawn_by_the_square_root_of_their_size():
    small, large = Stream(np.zeros(100, np.uint16), np.array([0])), Stream(np.ones(900, np.uint16), np.array([0]))
    share = Sampler({"small": small, "large": large}, 0).batch(0, 8000, 4).mean()
    assert share == pytest.approx(0.75, abs=0.02)


def test_a_source_shorter_than_a_window_is_repeated():
    short = Stream(np.array([1, 2, 3], np.uint16), np.array([0]))
    assert Sampler({"short": short}, 0).batch(0, 1, 6).tolist() == [[1, 2, 3, 1, 2, 3, 1]]


def test_streams_hold_whole_documents_between_their_marks(streams, tokenizer, tmp_path):
    save_streams(streams, tmp_path / "train.npz")
    for name, stream in load_streams(tmp_path / "train.npz").items():
        assert np.array_equal(stream.token_t, streams[name].token_t)
        assert (stream.token_t[stream.start_d] == tokenizer.bos_token_id).all()
        assert stream.token_t[-1] == tokenizer.eos_token_id


def test_the_tokenizer_marks_the_start_splits_digits_and_loses_nothing(tokenizer):
    text = "Größe 123\n\tдом 🙂"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert {"1", "2", "3"} <= set(tokenizer.tokenize(text))


def test_the_sample_for_the_tokenizer_is_limited_for_each_domain_and_language():
    rows = [Document("x" * 10, domain, "en", "s", "train") for domain in ("a", "b") for _ in range(5)]
    assert len(balanced_sample(rows, sample_bytes=15)) == 4
    assert len(choose(rows, 3)) == 6


def test_weights_are_kept_at_the_start_at_every_doubling_and_at_the_end(tmp_path, trainer):
    run = trainer(tmp_path, replace(SHORT, first_kept_step=2))
    run.run()
    steps = [int(path.stem.removeprefix("kept-")) for path in sorted(tmp_path.glob("kept-*.pt"))]
    assert steps == [0, 2, 4, 6]
    kept = torch.load(tmp_path / "kept-000006.pt", weights_only=True)
    assert kept["tokens"] == run.state.tokens
    loaded = load_weights(tmp_path / "kept-000006.pt")
    assert torch.equal(flat(loaded), weights(run).to(torch.bfloat16))


def test_the_selection_bias_moves_against_the_load_and_gives_no_loss():
    gate = torch.nn.Linear(1, 4)
    gate.register_buffer("e_score_correction_bias", torch.zeros(4))
    tap, load_le = RouterTap([gate]), torch.tensor([[0.4, 0.1, 0.25, 0.25]])
    SelectionBias(rate=0.5).adjust(tap, load_le, pace=0.5)
    assert gate.e_score_correction_bias.tolist() == [-0.25, 0.25, 0, 0]
    assert SelectionBias().loss(tap, load_le).item() == 0


def test_the_auxiliary_loss_adds_balance_and_size_over_layers():
    tap = tap_of(torch.zeros(2, 10, 4), 2)
    loss = AuxiliaryLoss(weight=0.5, z_weight=0.25).loss(tap, torch.full((2, 4), 0.25))
    assert loss.item() == pytest.approx(2 * (0.5 + 0.25 * math.log(4) ** 2))


def test_only_the_shape_without_an_auxiliary_loss_has_a_bias_that_training_moves(tmp_path, trainer, shape):
    run = trainer(tmp_path)
    run.run()
    biases = [buffer for name, buffer in run.model.named_buffers() if "e_score_correction_bias" in name]
    moved = [bool(bias.abs().max() > 0) for bias in biases]
    assert moved == ([True, True] if shape.name == "sift-sigmoid" else [])


def test_a_shape_nobody_knows_is_refused_with_the_names_there_are():
    with pytest.raises(OptionError, match="sift-huge") as caught:
        architecture("sift-huge")
    assert all(name in str(caught.value) for name in ARCHITECTURES)


def test_an_exported_checkpoint_loads_and_says_the_same(tmp_path, trainer, tokenizer):
    run = trainer(tmp_path / "run")
    run.run()
    export(run.checkpoint, tokenizer, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.equal(flat(loaded), weights(run).to(torch.bfloat16).float())
    before, after = (dict(model.named_buffers()) for model in (run.model, loaded))
    biases = [name for name in before if "e_score_correction_bias" in name]
    assert all(torch.equal(before[name], after[name]) for name in biases)
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("Hello")["input_ids"] == tokenizer("Hello")["input_ids"]


def test_exporting_before_training_names_the_command(tmp_path, tokenizer):
    with pytest.raises(ModelNotFoundError, match=r"python -m gatescope\.training\.train"):
        export(tmp_path / "none.pt", tokenizer, tmp_path / "model")

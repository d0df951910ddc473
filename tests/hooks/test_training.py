"""The trainer's callback: its numbers against the metrics of the analysis, in a real training run."""

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from gatescope.analysis.statistics import load
from gatescope.hooks import RoutingCallback, record
from gatescope.hooks.live.training import METRICS
from gatescope.routing.errors import OptionError

TEXTS = [[5, 6, 7, 8, 9, 10], [20, 21, 22], [30, 31, 32, 33], [40, 41], [50, 51, 52], [60, 61, 62], [70], [80, 81]]
PAD = 258


def collated(rows):
    """A padded batch."""
    length = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [PAD] * (length - len(row["input_ids"])) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": ids.masked_fill(ids == PAD, -100)}


@pytest.fixture
def train(tmp_path):
    def run(model, callback, *, texts=TEXTS, others=(), **options):
        settings = {
            "output_dir": str(tmp_path),
            "per_device_train_batch_size": 2,
            "max_steps": 2,
            "logging_steps": 1,
            "report_to": [],
            "use_cpu": True,
            "save_strategy": "no",
            "disable_tqdm": True,
            "learning_rate": 0.0,
            "train_sampling_strategy": "sequential",
        }
        trainer = Trainer(
            model,
            TrainingArguments(**(settings | options)),
            data_collator=collated,
            train_dataset=[{"input_ids": text} for text in texts],
            callbacks=list(others),
        )
        callback.joins(trainer)
        trainer.train()
        return [entry for entry in trainer.state.log_history if "loss" in entry]

    return run


def hooks_of(model):
    return {
        (path, name, key)
        for path, module in model.named_modules()
        for name, held in vars(module).items()
        if name.startswith(("_forward", "_backward")) and isinstance(held, dict)
        for key in held
    }


def expected(model, texts):
    """The same numbers from the analysis, on a recording of the same texts."""
    with record(model) as recording, torch.no_grad():
        for text in texts:
            model(torch.tensor([text]))
    routing = recording.record()
    counts_le = load.expert_counts(routing)
    share_le = load.assignment_share(counts_le).share_le
    entropy_l = np.array([-(row[row > 0] * np.log(row[row > 0])).sum() for row in share_le])
    gate_l = routing.entropy_tl.astype(float).mean(0)
    numbers = (share_le.max(1), share_le.min(1), load.max_violation(counts_le), entropy_l, gate_l)
    return dict(zip(METRICS, numbers, strict=True))


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_accumulation_steps": 2, "max_steps": 2}, {"activation_checkpointing": True}],
    ids=["plain", "accumulation", "checkpointing"],
)
def test_numbers_are_those_of_the_analysis_padding_left_out(make_tiny, train, options):
    model = make_tiny("qwen3_moe")
    before = hooks_of(model)
    logged = train(model, RoutingCallback(), **options)
    model.disable_input_require_grads()  # the trainer's own, for checkpointing
    assert hooks_of(model) == before
    each = 2 * options.get("gradient_accumulation_steps", 1)
    for step, entry in enumerate(logged):
        wanted = expected(model.eval(), TEXTS[step * each : (step + 1) * each])
        for metric in METRICS:
            found = [entry[f"routing/layer_{layer}/{metric}"] for layer in range(3)]
            np.testing.assert_allclose(found, wanted[metric], atol=1e-3)
    assert len(logged) == 2


def test_many_layers_are_summed_up(make_tiny, train):
    model = make_tiny("qwen3_moe", num_hidden_layers=6)
    logged = train(model, RoutingCallback(max_keys=24), max_steps=1)
    keys = [key for key in logged[0] if key.startswith("routing/")]
    assert len(keys) == 15
    violation_l = expected(model.eval(), TEXTS[:2])["max_violation"]
    found = [logged[0][f"routing/max_violation/{name}"] for name in ("min", "median", "max")]
    np.testing.assert_allclose(found, [violation_l.min(), np.median(violation_l), violation_l.max()], rtol=1e-6)


def test_every_other_step_is_counted(make_tiny, train):
    model = make_tiny("qwen3_moe")
    logged = train(model, RoutingCallback(every=2), max_steps=4)
    assert [any(key.startswith("routing/") for key in entry) for entry in logged] == [True, False, True, False]


def test_a_log_of_several_steps_covers_them_all(make_tiny, train):
    model = make_tiny("qwen3_moe")
    logged = train(model, RoutingCallback(), max_steps=4, logging_steps=4)
    wanted = expected(model.eval(), TEXTS)
    found = [logged[0][f"routing/layer_{layer}/max_violation"] for layer in range(3)]
    np.testing.assert_allclose(found, wanted["max_violation"], rtol=1e-6)


def test_loggers_of_the_trainer_are_given_the_numbers(make_tiny, train):
    seen = []

    class Logger(TrainerCallback):
        def on_log(self, _args, _state, _control, logs=None, **_kwargs):
            seen.append(dict(logs))

    train(make_tiny("qwen3_moe"), RoutingCallback(), others=[Logger()], max_steps=1)
    assert "routing/layer_0/max_violation" in seen[0]


@pytest.mark.parametrize("where", ["on_step_begin", "on_pre_optimizer_step", "on_step_end", "forward"])
def test_hooks_are_gone_when_training_raises(make_tiny, train, where):
    model = make_tiny("qwen3_moe")
    before = hooks_of(model)

    class Failing(TrainerCallback):
        pass

    def fail(*_args, **_kwargs):
        raise ArithmeticError(where)

    if where == "forward":  # but not in the pass that finds the routers
        model.model.layers[1].mlp.experts.register_forward_pre_hook(
            lambda module, _args: fail() if module.training else None
        )
        before = hooks_of(model)
    else:
        setattr(Failing, where, fail)
    callback = RoutingCallback()  # kept: hooks would also come off with a callback that is thrown away
    with pytest.raises(ArithmeticError, match=where):
        train(model, callback, others=[Failing()])
    if where == "on_step_begin":  # between the hooks and their pass: the next one takes them off
        model(torch.tensor([[1, 2]]))
    assert hooks_of(model) == before
    del callback


def test_an_evaluation_is_not_counted(make_tiny, train):
    model = make_tiny("qwen3_moe")
    callback = RoutingCallback()

    class Reading(TrainerCallback):
        def on_step_end(self, _args, _state, _control, **_kwargs):
            with torch.no_grad():
                model(torch.arange(100)[None])

    logged = train(model, callback, others=[Reading()], max_steps=1)
    wanted = expected(model.eval(), TEXTS[:2])["largest_share"]
    np.testing.assert_allclose([logged[0][f"routing/layer_{layer}/largest_share"] for layer in range(3)], wanted)


@pytest.mark.parametrize("options", [{"every": 0}, {"max_keys": 14}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        RoutingCallback(**options)

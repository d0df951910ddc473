"""`gatescope check`: what is said of a model, in words and as JSON, and an exit code that scripts may rely on."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from gatescope.cli import check as command
from gatescope.cli.main import app
from gatescope.hooks import attach
from gatescope.routing.groups import span
from tests.hooks import zoo

ROOT = Path(__file__).parents[2]
FORMULA = "softmax over 8 experts, the best 3 kept, their weights made to sum to 1"  # Qwen3-MoE with norm_topk_prob


def check(*arguments: object, **environment: str):
    return CliRunner().invoke(app, ["check", *map(str, arguments)], env=environment)


def numbers_in(folder: Path) -> int:
    """All numbers of a saved model, counted from its file."""
    return sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """A model folder that may be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture
def odd(make_tiny, tokenizer):
    """A Mixtral whose middle layer weighs by a formula that nobody knows."""
    model = make_tiny("mixtral")
    gate = model.model.layers[1].mlp.gate
    usual = type(gate).forward

    def cubed(self, hidden):
        logits, weights, ids = usual(self, hidden)
        return logits, weights**3, ids

    gate.__class__ = type("OddRouter", (type(gate),), {"forward": cubed})
    return attach(model, tokenizer, name="odd")


def test_a_proven_model_is_described_and_passes(folder):
    done = check(folder, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert f"Qwen3MoeForCausalLM (qwen3_moe), {numbers_in(folder):,} parameters" in done.stdout
    assert "float32 on cpu" in done.stdout
    assert f"torch {torch.__version__}, transformers {transformers.__version__}" in done.stdout
    layers = next(line for line in done.stdout.splitlines() if FORMULA in line)
    assert layers.split()[:5] == ["0–2", "0–2", "8", "3", "model.layers.*.mlp"]
    assert re.search(r"^proven: (\d+) of \1 checks passed$", done.stdout, re.MULTILINE)
    assert "FAILED" not in done.stdout
    assert done.stderr == ""


def test_every_check_is_shown_with_its_figure(folder, qwen):
    rows = [line.split(maxsplit=2) for line in check(folder, "--device", "cpu").stdout.splitlines()]
    shown = {row[0]: row[2].rstrip() for row in rows if len(row) == 3 and row[1] == "passed"}
    assert shown.keys() == {one.name for one in qwen.selfcheck.checks}, "the same model, attached in memory"
    assert all(re.search(r"\d", figure) for figure in shown.values())


def test_the_number_format_is_the_one_asked_for(folder):
    done = check(folder, "--device", "cpu", "--dtype", "bfloat16", "--json")
    assert json.loads(done.stdout)["model"]["dtype"] == "bfloat16"


def test_a_failed_check_is_named_and_fails_the_command(odd, capsys):
    with pytest.raises(typer.Exit) as ended:
        command.report(odd, as_json=False)
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert re.search(r"^weights +FAILED ", said, re.MULTILINE)
    assert re.search(r"^choice +passed ", said, re.MULTILINE)
    assert re.search(r"^NOT PROVEN: 1 of \d+ checks failed: weights$", said, re.MULTILINE)
    assert re.search(r"^0, 2 +0, 2 +8 +2 .*softmax over 8", said, re.MULTILINE)
    assert re.search(r"^1 +1 +8 +2 .*unknown over 8", said, re.MULTILINE)


def test_a_failed_check_fails_the_command_with_json_too(odd, capsys):
    with pytest.raises(typer.Exit) as ended:
        command.report(odd, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert ended.value.exit_code == 1
    assert found["passed"] is False
    assert [one["name"] for one in found["checks"] if not one["passed"]] == ["weights"]
    assert [row["layers"] for row in found["layers"]] == [[0, 2], [1]]


def test_json_is_one_object_with_the_keys_that_are_documented(folder):
    done = check(folder, "--json", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert found["model"]["name"] == folder.name
    assert found["model"]["parameters"] == numbers_in(folder)
    assert (found["model"]["class"], found["model"]["type"]) == ("Qwen3MoeForCausalLM", "qwen3_moe")
    assert found["blocks_without_experts"] == []
    (row,) = found["layers"]
    assert row == {
        "layers": [0, 1, 2],
        "blocks": [0, 1, 2],
        "stack": "decoder",
        "module": "model.layers.*.mlp",
        "experts": 8,
        "k": 3,
        "shared_experts": 0,
        "rule": FORMULA,
    }
    written = {*found, *found["model"], *row, *found["checks"][0]}
    assert written <= set(re.findall(r"\w+", command.__doc__))


def test_blocks_without_experts_are_counted(make_tiny, tokenizer, capsys):
    loaded = attach(make_tiny("deepseek_v3"), tokenizer, name="deepseek")  # its first block of three is dense
    command.report(loaded, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["blocks_without_experts"] == [0]
    assert [(row["layers"], row["blocks"]) for row in found["layers"]] == [([0, 1], [1, 2])]
    command.report(loaded, as_json=False)
    assert re.search(r"^blocks +without experts: 0$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("family", "bare"),
    [
        ("longcat_flash", []),  # its config counts two layers a block
        ("jamba", [0, 2]),  # experts in every second block
        ("jetmoe", []),  # two routed layers in each block
        ("switch_transformers", None),  # an encoder and a decoder
    ],
)
def test_blocks_are_counted_in_the_model_itself(family, bare, tokenizer):
    made = zoo.specimen(family)
    loaded = attach(made.model, tokenizer, name=family, inputs=made.inputs)
    assert command.summary(loaded)["blocks_without_experts"] == bare


def test_what_a_reader_must_know_beside_the_checks_is_said(tokenizer, capsys):
    made = zoo.specimen("doge")  # whose scores transformers mixes across tokens
    loaded = attach(made.model, tokenizer, name="doge", inputs=made.inputs)
    command.report(loaded, as_json=False)
    assert re.search(r"^note: .*scores of a batch", capsys.readouterr().out, re.MULTILINE)
    command.report(loaded, as_json=True)
    assert ["scores of a batch" in note for note in json.loads(capsys.readouterr().out)["notes"]] == [True]


@pytest.fixture
def dense(tmp_path, tokenizer) -> Path:
    path = tmp_path / "dense"
    sizes = {"hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=259, bos_token_id=256, eos_token_id=257, **sizes)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_dense_model_is_told_so(dense):
    done = check(dense, "--device", "cpu")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert [line.strip().partition(":")[0] for line in done.stderr.splitlines()] == ["found", "expected", "do"]
    assert "dense: no router found in llama" in done.stderr


def test_an_error_is_json_where_json_is_asked_for(dense):
    done = check(dense, "--json", "--device", "cpu")
    error = json.loads(done.stdout)["error"]
    assert done.exit_code == 1
    assert error["kind"] == "DenseModelError"
    assert all(error[part] for part in ("found", "expected", "do"))


def test_a_folder_without_weights_is_refused(copy):
    (copy / "model.safetensors").unlink()
    done = check(copy)
    assert done.exit_code == 1
    assert f"found: {copy} lacks any *.safetensors file" in done.stderr


def test_a_failure_that_nobody_foresaw_has_three_parts_too(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_experts_per_tok": 20}))  # of 8
    done = check(copy, "--device", "cpu", GATESCOPE_DEBUG="")
    assert done.exit_code == 1
    assert {"found", "expected", "do"} <= set(re.findall(r"^ *(\w+):", done.stderr, re.MULTILINE))
    assert "Traceback" not in done.output


@pytest.mark.parametrize("misuse", [(), ("--no-such-option",), ("--device", "tpu"), ("--dtype", "int3")])
def test_misuse_has_an_exit_code_of_its_own(folder, misuse):
    done = check(folder, *misuse) if misuse else check()
    assert done.exit_code == 2


def test_nothing_is_cut_off_or_said_by_colour_alone(folder, tmp_path):
    name = "a-model-with-a-name-" + "long" * 40
    place = Path(shutil.copytree(folder, tmp_path / name))
    plain = check(place, "--device", "cpu")
    assert name in plain.stdout
    assert "\x1b" not in plain.stdout
    narrow = check(place, "--device", "cpu", FORCE_COLOR="1", COLUMNS="50").stdout
    bare = re.sub(r"\x1b\[[0-9;]*m", "", narrow)
    assert "…" not in bare
    assert name in bare
    assert len(bare.splitlines()) > len(plain.stdout.splitlines()), "wrapped on a narrow terminal, not in a file"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], ""),
        ([4], "4"),
        ([0, 1], "0–1"),
        ([0, 2], "0, 2"),
        ([0, 1, 2, 7, 9, 10], "0–2, 7, 9–10"),
        ([1, 3, 5], "1, 3, 5"),
        ([1, 3, 5, 7, 9], "1, 3 … 9"),
    ],
)
def test_numbers_are_said_in_short(numbers, said):
    assert span(numbers) == said

"""The examples of docs/servers.md run as they stand, the address apart."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.engines.standin import MODEL, Manners, run, serving, sglang_answer, vllm_answer

EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "docs/servers.md").read_text("utf-8"), re.M | re.S
)
PLACE = "http://localhost:8000"


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_examples_run_and_give_what_the_hooks_saw(engine, tmp_path, monkeypatch, capsys):
    asks, reads = EXAMPLES
    (tmp_path / "config.json").write_bytes((MODEL / "config.json").read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {}
    with serving(Manners(engine=engine)) as address:
        assert PLACE in asks
        exec(asks.replace(PLACE, address), names)
    own = [run(text, 17) for text in ("The first text.", "Der zweite Text.")]
    np.testing.assert_array_equal(names["record"].ids_tlk, np.concatenate([one.record.ids_tlk for one in own]))
    write = {"vllm": vllm_answer, "sglang": sglang_answer}[engine]
    lines = [json.dumps(write(one, one.ids_tlk)) for one in own]
    Path("answers.jsonl").write_text("\n".join(lines), encoding="utf-8")
    exec(reads, names)
    np.testing.assert_array_equal(names["record"].token_t, np.concatenate([one.record.token_t for one in own]))
    assert f"{names['record'].tokens} (" in capsys.readouterr().out

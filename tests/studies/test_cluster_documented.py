"""The example of docs/cluster.md runs as it stands: two processes that share one model write what one alone writes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.distributed

from gatescope.cache.study import StudyFolder
from gatescope.corpora import open_corpus
from gatescope.hooks import CaptureOptions, load_model
from gatescope.studies.capturing import capture_study
from gatescope.studies.plan import Plan

ROOT = Path(__file__).parents[2]
EXAMPLE = re.search(r"^```python\n(.*?)^```", (ROOT / "docs/cluster.md").read_text("utf-8"), re.M | re.S)[1]
COMMAND = "torchrun --standalone --nproc-per-node 2 capture_parallel.py"
SECONDS = 280


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """A model, a corpus and, captured by two processes, a study."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo, by which processes on a CPU talk")
    path = tmp_path_factory.mktemp("parallel")
    (path / "model").symlink_to(tiny_model)
    texts = [" ".join(f"{number} times {n} is {number * n}," for n in range(12)) for number in range(40)]
    rows = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (path / "corpus.jsonl").write_text("\n".join(rows))
    (path / "capture_parallel.py").write_text(EXAMPLE)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    assert COMMAND in (ROOT / "docs/cluster.md").read_text("utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", *COMMAND.split()[1:]]
    done = subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.slow
def test_two_processes_that_share_a_model_write_the_study_of_one(folder, tmp_path):
    shared = StudyFolder.open(folder / "study")
    model = load_model(folder / "model", device="cpu")
    plan = Plan(options=CaptureOptions(), batch_tokens=4096, long="skip")
    alone = StudyFolder.create(tmp_path / "alone", plan.recipe(model, "corpus"))
    capture_study(model, iter(open_corpus(folder / "corpus.jsonl")), alone, plan)
    (block,), (own,) = shared.finished().values(), alone.finished().values()
    assert (block.documents, block.tokens, block.digest) == (own.documents, own.tokens, own.digest)
    found, expected = shared.routes(block), alone.routes(own)
    np.testing.assert_array_equal(found.token_t, expected.token_t)
    differs_tl = (np.sort(found.ids_tlk) != np.sort(expected.ids_tlk)).any(axis=-1)
    assert (expected.margin_tl[differs_tl] < 1e-3).all(), "other experts only where two were tied but for rounding"
    assert differs_tl.mean() < 1e-3
    np.testing.assert_allclose(found.weight_tlk[~differs_tl], expected.weight_tlk[~differs_tl], atol=2e-3)


@pytest.mark.slow
def test_its_recipe_says_that_the_model_was_shared(folder):
    assert StudyFolder.open(folder / "study").recipe()["parallel"] == "2 processes"

"""Two processes that share one model over gloo: each records what one process alone records.

Run as a program, this file is one of those processes: python test_parallel.py FOLDER RANK.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed

TEXTS = [[7, 8, 9, 10, 11, 12, 13, 14], [40, 41, 42, 43, 44, 45, 46, 47]]
WAYS = {
    "tensor parallel": {"tp_size": 2, "tp_plan": "auto"},
    "expert parallel": {"tp_size": 2, "tp_plan": "auto", "ep_size": 2},
    "expert parallel, tokens exchanged": {
        "tp_size": 2,
        "tp_plan": "auto",
        "ep_size": 2,
        "ep_implementation": "all_to_all",
    },
    "experts over the ranks of a sharded model": {"fsdp_size": 2, "ep_size": 2},
    "fully sharded": {"fsdp_size": 2},
}
OWN_BATCH = {"experts over the ranks of a sharded model", "fully sharded"}
SECONDS = 240
"""After which what should have ended never will, on a machine however busy."""


def work(folder: Path, rank: int) -> None:
    """One process: every way in turn, what it recorded written beside the model. They meet in a file, not at a port."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    from transformers import AutoModelForCausalLM
    from transformers.distributed import DistributedConfig

    from gatescope.hooks import record

    for way, options in WAYS.items():
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, distributed_config=DistributedConfig(**options)).eval()
            texts = TEXTS[rank : rank + 1] if way in OWN_BATCH else TEXTS
            with record(model) as recording, torch.no_grad():
                model(torch.tensor(texts))
            routing = recording.record()
            found = {"token": routing.token_t.tolist(), "ids": routing.ids_tlk.tolist(), "experts": routing.experts}
            found["weights"] = routing.weight_tlk.astype(float).tolist()
            found["held"] = sum(getattr(each, "_local_tensor", each).numel() for each in model.parameters())
        except Exception as error:  # noqa: BLE001  # told to the test
            found = {"error": f"{type(error).__name__}: {error}"}
        (folder / f"{way} {rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model, and beside it what both processes recorded of it."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo, by which processes on a CPU talk")
    from tests.hooks.conftest import tiny

    path = tmp_path_factory.mktemp("parallel")
    tiny("qwen3_moe").save_pretrained(path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(path), rank], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    try:
        messages = [process.communicate(timeout=SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(messages)
    return path


@pytest.fixture(scope="module")
def alone():
    """The record of one process, and how many numbers its model has."""
    from gatescope.hooks import record
    from tests.hooks.conftest import tiny

    model = tiny("qwen3_moe")
    with record(model) as recording, torch.no_grad():
        model(torch.tensor(TEXTS))
    return recording.record(), sum(each.numel() for each in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_rank_records_what_one_process_records(folder, alone, way, rank):
    found = json.loads((folder / f"{way} {rank}.json").read_text())
    assert "error" not in found, found["error"]
    routing, whole = alone
    own = routing.take(routing.document_t == rank) if way in OWN_BATCH else routing
    np.testing.assert_array_equal(found["token"], own.token_t)
    np.testing.assert_array_equal(np.sort(found["ids"], -1), np.sort(own.ids_tlk, -1))
    np.testing.assert_allclose(found["weights"], own.weight_tlk.astype(float), atol=2e-3)
    assert found["experts"] == 8, "all experts of the model, not those of this rank"
    assert found["held"] < 0.8 * whole, "the model was shared out"


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))

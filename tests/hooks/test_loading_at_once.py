"""Two models read at the same time do not spoil each other."""

import threading

import torch
from safetensors.torch import load_file

from gatescope.hooks import LoadedModel, load_model
from gatescope.models import BUNDLED_MODELS


def test_models_read_by_several_threads_have_the_weights_of_their_files():
    loaded: list[LoadedModel] = []
    folders = [*BUNDLED_MODELS.values()] * 2
    threads = [threading.Thread(target=lambda folder=folder: loaded.append(load_model(folder))) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert sorted(model.name for model in loaded) == sorted(folder.name for folder in folders)
    for model in loaded:
        kept, held = load_file(BUNDLED_MODELS[model.name] / "model.safetensors"), model.model.state_dict()
        same = [name for name in kept if name in held]
        assert same
        assert all(torch.equal(held[name].float(), kept[name].float()) for name in same)
        assert all(check.passed for check in model.selfcheck.checks)

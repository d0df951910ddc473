"""Nothing in a hook waits for the device: no number is asked for, no shape depends on one, nothing is copied away.

A changed layer is the exception: whether what an intervention handed back exists is asked once, before its experts run.
"""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gatescope import hooks
from gatescope.hooks.interventions.ablation import Ablated
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.recording.intervene import Reroute
from gatescope.hooks.recording.sink import RouteSink

OWN = str(Path(hooks.__file__).parent)
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim", "_unique2"}
IDS = torch.arange(24).reshape(2, 12)


class WaitingError(Exception):
    """An operation of ours that a GPU would have to be waited for."""


class NoWaiting(TorchDispatchMode):
    """Refuses such operations where a function of the hooks package asks for them; what the model does is its own.

    As many as are `allowed` pass.
    """

    def __init__(self, allowed=0):
        super().__init__()
        self.left = allowed

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            torch.is_tensor(one) and one.dtype == torch.bool for one in args[1]
        )
        if (name in WAITING or by_mask) and is_ours(sys._getframe()):
            self.left -= 1
            if self.left < 0:
                raise WaitingError(name)
        return func(*args, **(kwargs or {}))


def is_ours(frame):
    while frame is not None:
        if frame.f_code.co_filename.startswith(OWN):
            return True
        frame = frame.f_back
    return False


def run(loaded, sink, allowed=0):
    with torch.no_grad(), loaded.recorder.recording(sink), NoWaiting(allowed):
        loaded.model(input_ids=IDS, use_cache=False)


@pytest.mark.parametrize("held", [0, 10**9])
def test_a_pass_is_recorded_without_waiting(loaded, monkeypatch, held):
    """Reduced after every layer, or not before the pass is over."""
    monkeypatch.setattr("gatescope.hooks.recording.sink.HELD", held)
    sink = RouteSink(loaded.routers.learnt, logits=True)
    run(loaded, sink)
    assert sink.flush(torch.ones(24, dtype=torch.bool))["ids_tlk"].shape[0] == 24


def test_a_changed_layer_asks_its_device_once(loaded):
    """The expert that nobody has, so that nothing but the recorder's own work is seen."""
    sink = RouteSink(loaded.routers.learnt, logits=True)
    with loaded.recorder.changing(Ablated(0, -7)):
        run(loaded, sink, allowed=1)
    assert sink.flush(torch.ones(24, dtype=torch.bool))["wanted_ids_tlk"].shape[0] == 24


def test_an_intervention_that_asks_for_a_number_is_caught(qwen):
    with qwen.recorder.changing(Reroute(0, 3, 1)), pytest.raises(WaitingError, match="_local_scalar_dense"):
        run(qwen, RouteSink(qwen.routers.learnt))


def test_tensors_without_any_numbers_are_reduced_but_not_handed_over(loaded, monkeypatch):
    """Meta tensors hold shapes alone: whoever asks one for a number, or copies it to the CPU, fails."""
    monkeypatch.setattr("gatescope.hooks.recording.sink.HELD", 0)
    sink = RouteSink(loaded.routers.learnt, logits=True)
    for rule in loaded.layers:
        ids_nk = torch.empty(5, rule.k, dtype=torch.long, device="meta")
        sink.layer(rule.layer, Routes(torch.empty(5, rule.experts, device="meta"), ids_nk, ids_nk.float()))
    assert sink.rows("decoder") == 5
    with pytest.raises(NotImplementedError, match="meta tensor"):
        sink.flush(torch.ones(5, dtype=torch.bool))

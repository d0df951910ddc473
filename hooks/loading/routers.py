"""A model's routers: found, hooked, and their rules learnt. What every use of a model starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatescope.hooks.discovery.find import find_sites
from gatescope.hooks.discovery.rules import InferredRule, learn
from gatescope.hooks.layers.probing import forward, probe_inputs
from gatescope.hooks.layers.site import Site
from gatescope.hooks.recording.intervene import Watch, watched
from gatescope.hooks.recording.recorder import Recorder
from gatescope.routing.router import RouterRule


@dataclass(frozen=True, eq=False, kw_only=True)
class Routers:
    """The MoE layers of one model, with permanent hooks on them until `close`.

    `unreached` names experts that the probing pass did not reach (those of a vision tower, given text).
    `inputs`, `watch` and `output_nv` are that pass: what it was given, what the layers did, what came out.
    """

    model: Any
    sites: tuple[Site, ...]
    learnt: tuple[InferredRule, ...]
    recorder: Recorder
    unreached: tuple[str, ...]
    inputs: Mapping[str, Any]
    watch: Watch
    output_nv: Tensor

    @property
    def layers(self) -> tuple[RouterRule, ...]:
        """The routing rule of each MoE layer."""
        return tuple(learnt.rule for learnt in self.learnt)

    def close(self) -> None:
        """Take the hooks off the model again."""
        self.recorder.close()


def read_routers(model: Any, inputs: Mapping[str, Any] | None = None) -> Routers:
    """Find every MoE layer of a model in memory, install the hooks and learn the rules from one short pass.

    `inputs` are what the model is called with in that pass, `model(**inputs)`; unset, a row of random token ids.
    Errors: DenseModelError, RouterOutputError naming the module; OptionError when the model needs inputs of its own.
    """
    inputs = dict(probe_inputs(model) if inputs is None else inputs)
    was_training = model.training
    model.eval()
    try:
        found = find_sites(model, lambda: forward(model, inputs))
        recorder, watch = Recorder(found.sites), Watch()
        output_nv = watched(model, recorder, watch, inputs)
    finally:
        model.train(was_training)
    return Routers(
        model=model,
        sites=found.sites,
        learnt=tuple(_learnt(model, site, watch, inputs) for site in found.sites),
        recorder=recorder,
        unreached=found.unreached,
        inputs=inputs,
        watch=watch,
        output_nv=output_nv,
    )


def _learnt(model: Any, site: Site, watch: Watch, inputs: Mapping[str, Any]) -> InferredRule:
    around = model.get_submodule(site.holder_path.rpartition(".")[0])
    name = "decoder_input_ids" if site.stack == "decoder" and "decoder_input_ids" in inputs else "input_ids"
    ids = inputs.get(name)
    return learn(site, watch.seen[site.layer], around=around, token_n=ids.flatten() if torch.is_tensor(ids) else None)

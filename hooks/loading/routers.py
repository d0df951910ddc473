"""A model's routers: found, hooked, and their rules learnt. What every use of a model starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatescope.hooks.discovery.find import Found, find_sites
from gatescope.hooks.discovery.rules import InferredRule, learn
from gatescope.hooks.layers.probing import forward, probe_inputs
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.layers.site import Site
from gatescope.hooks.recording.intervene import Watch, watched
from gatescope.hooks.recording.recorder import Recorder, scaled
from gatescope.routing.router import RouterRule


@dataclass(frozen=True, eq=False, kw_only=True)
class Routers:
    """The MoE layers of one model, with permanent hooks on them until `close`.

    `unreached` names experts that the probing pass did not reach (those of a vision tower, given text).
    `inputs`, `watch` and `output_nv` are that pass: what it was given, what the layers did, what came out.
    `first` is what the layers had done in the pass before, as far as it was read without the hooks; none elsewhere.
    """

    model: Any
    sites: tuple[Site, ...]
    learnt: tuple[InferredRule, ...]
    recorder: Recorder
    unreached: tuple[str, ...]
    inputs: Mapping[str, Any]
    watch: Watch
    output_nv: Tensor
    first: tuple[Routes, ...] = ()

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
        found, recorder, watch, output_nv = _found(model, inputs)
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
        first=found.routes,
    )


def same_routes(one: Routes, other: Routes) -> bool:
    """Whether a layer did the same in two passes, to the bit."""
    return all(torch.equal(mine, its) for mine, its in zip(one[:3], other[:3], strict=True))


def _found(model: Any, inputs: Mapping[str, Any]) -> tuple[Found, Recorder, Watch, Tensor]:
    """The layers, the hooks on them, and a pass of the model as it is, told by these hooks.

    That pass is the one in which the experts are silent while their scale is measured: all else is as ever. Where a
    layer chose otherwise in it than before, a pass is made with nothing silent.
    """
    passes: list[tuple[Recorder, Watch, Tensor]] = []

    def again(sites: tuple[Site, ...]) -> None:
        recorder, watch = Recorder(sites), Watch()
        try:
            passes.append((recorder, watch, watched(model, recorder, watch, inputs)))
        except BaseException:
            recorder.close()
            raise

    found = find_sites(model, lambda: forward(model, inputs), again=again)
    is_same = bool(passes) and all(
        same_routes(routes, passes[0][1].seen[layer]) for layer, routes in enumerate(found.routes)
    )
    if not is_same:
        for recorder, _, _ in passes:
            recorder.close()
        again(found.sites)
        recorder, watch, output_nv = passes[-1]
    else:
        recorder, watch, output_nv = passes[-1]
        if any(site.output_scale != 1.0 for site in found.sites):  # the hooks did not know it yet
            recorder.close()
            recorder = Recorder(found.sites)
            watch.seen = {layer: scaled(routes, found.sites[layer]) for layer, routes in watch.seen.items()}
    routes = tuple(map(scaled, found.routes, found.sites[: len(found.routes)]))
    return found._replace(routes=routes), recorder, watch, output_nv


def _learnt(model: Any, site: Site, watch: Watch, inputs: Mapping[str, Any]) -> InferredRule:
    around = model.get_submodule(site.holder_path.rpartition(".")[0])
    name = "decoder_input_ids" if site.stack == "decoder" and "decoder_input_ids" in inputs else "input_ids"
    ids = inputs.get(name)
    return learn(site, watch.seen[site.layer], around=around, token_n=ids.flatten() if torch.is_tensor(ids) else None)

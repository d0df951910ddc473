"""What a model loses without one expert: its loss on some texts while one expert's answer counts for nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from gatescope.hooks.layers.probing import input_device
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.recording.intervene import run
from gatescope.hooks.text.tokens import tokenise
from gatescope.routing.errors import OptionError

MOST_TOKENS = 256
"""Tokens read of each text."""


@dataclass(frozen=True)
class Ablated:
    """An intervention that gives one expert of one layer the weight 0 and leaves the others' weights as they are."""

    layer_index: int
    expert: int

    def change(self, layer: int, routes: Routes) -> tuple[Tensor, Tensor] | None:
        """Called by the recorder; None, which changes nothing, in every other layer."""
        if layer != self.layer_index:
            return None
        return routes.ids_nk, routes.weights_nk.masked_fill(routes.ids_nk == self.expert, 0.0)


def losses_without(
    model: LoadedModel,
    texts: Sequence[str],
    layer: int,
    experts: Sequence[int],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The loss on each text as it is, then without each expert in turn, one at a time.

    Shapes      (1 + experts, texts) summed losses in nats; (texts,) predicted tokens.
    Units       Sums over the first `MOST_TOKENS` tokens of each text. `on_progress` hears of passes, done and in all.
    Not this    A model trained without the expert: the other experts keep their weights, and none takes its place.
    Errors      OptionError for a model that predicts no next token, or whose experts are called one by one, so that
                their weights cannot be changed.
    """
    _check(model, layer)
    silenced = [Ablated(-1, -1), *(Ablated(layer, expert) for expert in experts)]
    loss_xd, tokens_d = np.zeros((len(silenced), len(texts))), np.zeros(len(texts), np.int64)
    for number, text in enumerate(texts):
        ids_s = torch.tensor(tokenise(model.tokenizer, text, chat=False).ids[:MOST_TOKENS])
        tokens_d[number] = max(len(ids_s) - 1, 0)
        for at, one in enumerate(silenced):
            if on_progress is not None:
                on_progress(number * len(silenced) + at, len(texts) * len(silenced))
            with model.computing(1, len(ids_s)):
                loss_xd[at, number] = _loss(model, one, ids_s) if len(ids_s) > 1 else 0.0
    return loss_xd, tokens_d


def _loss(model: LoadedModel, silenced: Ablated, ids_s: Tensor) -> float:
    logits_sv = run(model.model, model.recorder, silenced, {"input_ids": ids_s[None].to(input_device(model.model))})
    return float(cross_entropy(logits_sv[:-1], ids_s[1:].to(logits_sv.device), reduction="sum"))


def _check(model: LoadedModel, layer: int) -> None:
    if model.is_encoder_decoder or not model.predicts_tokens:
        raise OptionError(
            f"{model.name} predicts no next token", expected="a causal language model", do="choose another model"
        )
    if not model.sites[layer].reading.takes_weights:
        raise OptionError(
            f"{model.name} hands no weights to the experts of layer {layer}, so that none can be changed from outside",
            expected="a router or an experts module that hands weights on",
            do="load the model with its experts in one module, or do without the knock-out",
        )

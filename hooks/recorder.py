"""Hooks that are installed once and stay; what they see goes to the sink of whoever is running.

Installing, running and removing hooks on a model that several threads share mixes their captures. Here the hooks are
permanent and look up the sink of the current context: with none, a hook costs that one look-up.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from torch import Tensor, nn

from hooks.find import Site
from routing.errors import RouterOutputError


class Sink(Protocol):
    """Receives one MoE layer's routing as it happens; may hand back changed routes."""

    def layer(self, layer: int, logits_ne: Tensor, ids_nk: Tensor, weights_nk: Tensor) -> tuple[Tensor, Tensor] | None:
        """Called once per MoE layer and forward pass, before its experts run; (ids, weights) returned replace them."""


class Recorder:
    """Permanent hooks on the routers and experts of one model."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sink: ContextVar[Sink | None] = ContextVar("sink", default=None)
        self._logits: ContextVar[dict[int, Tensor] | None] = ContextVar("logits", default=None)
        self._handles = []
        for site in sites:
            self._handles.append(site.router.register_forward_hook(self._on_router(site)))
            self._handles.append(site.experts.register_forward_pre_hook(self._on_experts(site), with_kwargs=True))

    @contextmanager
    def recording(self, sink: Sink) -> Iterator[None]:
        """Send everything this context's forward passes route to `sink`."""
        tokens = self._sink.set(sink), self._logits.set({})
        try:
            yield
        finally:
            self._sink.reset(tokens[0])
            self._logits.reset(tokens[1])

    def close(self) -> None:
        """Take the hooks off the model again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _on_router(self, site: Site) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            pending = self._logits.get()
            if pending is not None:
                pending[site.layer] = output if site.logits_at is None else output[site.logits_at]

        return hook

    def _on_experts(self, site: Site) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            sink, pending = self._sink.get(), self._logits.get()
            if sink is None or pending is None:
                return None
            hidden, ids_nk, weights_nk, *rest = [*args, *kwargs.values()]
            logits_ne = pending.pop(site.layer, None)
            if logits_ne is None:
                raise _no_logits(site)
            changed = sink.layer(site.layer, logits_ne, ids_nk, weights_nk)
            return None if changed is None else ((hidden, *changed, *rest), {})

        return hook


def _no_logits(site: Site) -> RouterOutputError:
    return RouterOutputError(
        f"{site.experts_path} ran, but its router {site.router_path} had not answered in this pass",
        expected="the router to run before its experts in every forward pass",
        do="run the model eagerly: compiled or fused kernels bypass modules",
    )

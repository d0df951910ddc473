"""A model that somebody records: its routers, found once, and the hooks that are on it for so long."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import Context
from dataclasses import replace
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from gatescope.hooks.discovery.formulas.selection import selection_bias
from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.layers.site import Site
from gatescope.hooks.live.rows.book import Book
from gatescope.hooks.live.rows.generating import asked, sequences_of
from gatescope.hooks.live.rows.passes import Listener, Passes
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.loading.routers import read_routers
from gatescope.hooks.recording.recorder import Recorder, Sink


class Followed:
    """A model whose routers are known, and hooks that are on it while somebody records."""

    def __init__(self, sites: tuple[Site, ...], learnt: tuple[InferredRule, ...]) -> None:
        self.sites = sites
        self.learnt = learnt
        self.passes = Passes()
        self._recorder: Recorder | None = None
        self._is_shared = False
        self._own_methods: dict[str, Any] = {}
        self._users = 0
        self._lock = threading.Lock()

    def is_current(self, core: nn.Module) -> bool:
        """Whether its routers are still those of the model (adapters or another precision may have replaced them)."""
        modules = dict(core.named_modules())
        found = [modules.get(site.router_path) is site.router for site in self.sites]
        return all(found) and all(
            modules.get(site.experts_path) is site.experts for site in self.sites if site.experts is not None
        )

    @contextmanager
    def heard_by(self, model: nn.Module, core: nn.Module, listener: Listener, sink: Sink) -> Iterator[None]:
        """Hooks on, and every pass of this context told to `listener`, its routing to `sink`."""
        with ExitStack() as stack:
            recorder = stack.enter_context(self._hooked(model, core))
            stack.enter_context(recorder.recording(sink))
            stack.enter_context(self.passes.heard_by(listener))
            yield

    @contextmanager
    def _hooked(self, model: nn.Module, core: nn.Module) -> Iterator[Recorder]:
        entrances = _entrances(model, core, self.sites)
        with self._lock:
            self._users += 1
            if self._recorder is None:
                shared = Recorder.on(self.sites)
                self._recorder, self._is_shared = shared or Recorder(self.sites), shared is not None
                self._follow_generate(core)
            for path, module in entrances:
                self.passes.hook(path, module)
            recorder = self._recorder
        try:
            yield recorder
        finally:
            with self._lock:
                self._users -= 1
                for _, module in entrances:
                    self.passes.unhook(module)
                if not self._users:
                    if not self._is_shared:
                        recorder.close()
                    self._recorder = None
                    self._leave_generate(core)

    def _follow_generate(self, core: Any) -> None:
        """Let `generate` say where it begins, what it returns, and how it exchanges the rows of its beams."""
        if not callable(getattr(core, "generate", None)):
            return
        followed = {"generate": _generate(core, self.passes), "_reorder_cache": _reorder_cache(core, self.passes)}
        self._own_methods = {name: core.__dict__[name] for name in followed if name in core.__dict__}
        core.__dict__.update(followed)

    def _leave_generate(self, core: Any) -> None:
        for name in ("generate", "_reorder_cache"):
            core.__dict__.pop(name, None)
        core.__dict__.update(self._own_methods)
        self._own_methods = {}


_FOLLOWED: WeakKeyDictionary[nn.Module, Followed] = WeakKeyDictionary()
_FINDING = threading.Lock()


def core_of(model: nn.Module) -> nn.Module:
    """The transformers model inside whatever was put around it (adapters, compilation, data parallelism)."""
    return next((module for module in model.modules() if isinstance(module, PreTrainedModel)), model)


def followed_model(core: nn.Module, loaded: LoadedModel | None, inputs: Mapping[str, Any] | None) -> Followed:
    """A model's routers: those found before, while they are still its own; otherwise found in a short pass."""
    with _FINDING:
        followed = _FOLLOWED.get(core)
        if followed is None or not followed.is_current(core):
            sites, learnt = (loaded.sites, loaded.routers.learnt) if loaded else _found(core, inputs)
            followed = Followed(sites, tuple(learnt))
            if not any(site.holder is core for site in sites):  # then it would keep itself alive
                _FOLLOWED[core] = followed
        followed.learnt = tuple(_renewed(site, one) for site, one in zip(followed.sites, followed.learnt, strict=True))
        return followed


def _found(core: nn.Module, inputs: Mapping[str, Any] | None) -> tuple[tuple[Site, ...], tuple[InferredRule, ...]]:
    """Sites and rules, found without leaving a trace: modes, random numbers and compiled code stay as they were."""
    training = [(module, module.training) for module in core.modules()]
    devices = sorted({each.device.index for each in core.parameters() if each.device.type == "cuda"})
    with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        try:
            routers = Context().run(read_routers, core, inputs)  # nobody's sinks and interventions take part
        finally:
            for module, mode in training:
                module.training = mode
    routers.close()
    return routers.sites, routers.learnt


def _renewed(site: Site, learnt: InferredRule) -> InferredRule:
    """The rule with the balancing bias as it is now: training moves it, and a model may change its place."""
    if learnt.selector is None or learnt.selector.bias_e is None:
        return learnt
    return learnt._replace(selector=replace(learnt.selector, bias_e=selection_bias(site)))


def _entrances(model: nn.Module, core: nn.Module, sites: Sequence[Site]) -> list[tuple[str, nn.Module]]:
    """The modules that can be called with tokens: the model, what is put around it, and the models inside it."""
    paths = {module: path for path, module in core.named_modules()}
    inside = [
        (path, module)
        for module, path in paths.items()
        if (isinstance(module, PreTrainedModel) or module is core)
        and any(site.router_path.startswith(f"{path}." if path else "") for site in sites)
    ]
    around = [
        ("", module)
        for module in model.modules()
        if module not in paths and any(each is core for each in module.modules())
    ]
    return around + inside


def _generate(core: Any, passes: Passes) -> Callable[..., Any]:
    """The model's `generate`, telling every book of this context what it is asked for and what it returned."""
    generate = core.generate

    @wraps(generate)
    def followed(*args: Any, **kwargs: Any) -> Any:
        books = [listener for listener in passes.listeners if isinstance(listener, Book)]
        if not books:
            return generate(*args, **kwargs)
        question, returned_rs = asked(generate, core, args, kwargs), None
        with ExitStack() as stack:
            generations = [(book, stack.enter_context(book.generating(question))) for book in books]
            try:
                output = generate(*args, **kwargs)
                returned_rs = sequences_of(output)
            finally:
                for book, generation in generations:
                    book.finish(generation, returned_rs)
        return output

    return followed


def _reorder_cache(core: Any, passes: Passes) -> Callable[..., Any]:
    """What `generate` calls to exchange the rows of its beams, where a model has it; otherwise the cache does it."""
    reorder = getattr(core, "_reorder_cache", None)

    def followed(cache: Any, from_b: Any) -> Any:
        for listener in passes.listeners:
            if isinstance(listener, Book):
                listener.reordered(cache, from_b)
        if reorder is not None:
            return reorder(cache, from_b)
        cache.reorder_cache(from_b)
        return cache

    return followed

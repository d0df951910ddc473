"""Hooks that are installed once and stay; what they see goes to the sinks of whoever is running.

Installing, running and removing hooks on a model that several threads share mixes their captures. Here the hooks are
permanent and look up the sinks of the current context: with none, a hook costs that one look-up.

Interventions change routes before the experts run, one after another in the order in which they were opened. Sinks see
what came of it, whether they were opened before or after, and beside it what the router itself chose.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor, nn

from gatescope.hooks.layers.list_reading import ListReading, marks
from gatescope.hooks.layers.readings import AnswerReading, Reading
from gatescope.hooks.layers.routes import Routes
from gatescope.hooks.layers.site import Site
from gatescope.hooks.recording.changing import Changed, Intervention, changed, name_of, to_execute
from gatescope.routing.errors import OptionError, RouterOutputError

_INSTALLED: "WeakSet[Recorder]" = WeakSet()


class Sink(Protocol):
    """Receives one MoE layer's routing as it happens, after every change to it."""

    def layer(self, layer: int, routes: Routes) -> None:
        """Called once per MoE layer and forward pass, before its experts run."""


class _Pass:
    """What one context's hooks have seen and not yet handed over."""

    def __init__(self, sinks: tuple[Sink, ...], interventions: tuple[Intervention, ...]) -> None:
        self.sinks, self.interventions = sinks, interventions
        self.names = tuple(name_of(each) for each in interventions)
        self.answers: dict[int, Any] = {}
        self.rows: dict[int, Tensor | None] = {}
        self.called: dict[int, dict[int, Tensor]] = {}


class Recorder:
    """Permanent hooks on the routers and experts of one model. Contexts may nest: every open sink is served."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._now: ContextVar[_Pass | None] = ContextVar("now", default=None)
        self._handles: list[Any] = []
        self._last: list[tuple[Any, int]] = []
        self._modules = _modules(sites)
        for site in sites:
            self._install(site)
        _INSTALLED.add(self)

    @staticmethod
    def on(sites: Sequence[Site]) -> "Recorder | None":
        """The hooks that are on these very modules already: interventions and sinks of one model must meet in one."""
        modules = _modules(sites)
        return next((each for each in list(_INSTALLED) if each._handles and each._modules == modules), None)

    @contextmanager
    def recording(self, sink: Sink) -> Iterator[None]:
        """Send everything this context's forward passes route to `sink`, beside the sinks already open."""
        with self._with(_Pass((*self._sinks, sink), self.interventions)):
            yield

    @contextmanager
    def changing(self, intervention: Intervention) -> Iterator[None]:
        """Change what this context's forward passes route, after the interventions already open."""
        with self._with(_Pass(self._sinks, (*self.interventions, intervention))):
            yield

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Those open in this context, in the order in which they act."""
        now = self._now.get()
        return now.interventions if now else ()

    @property
    def _sinks(self) -> tuple[Sink, ...]:
        now = self._now.get()
        return now.sinks if now else ()

    @contextmanager
    def _with(self, now: _Pass) -> Iterator[None]:
        self._move_hooks_to_end()
        token = self._now.set(now)
        try:
            yield
        finally:
            self._now.reset(token)

    def close(self) -> None:
        """Take the hooks off the model again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._last.clear()

    def _install(self, site: Site) -> None:
        if site.divider is not None:
            before = eagerly(self._on_divider(site))
            self._handles.append(site.divider.module.register_forward_pre_hook(before, with_kwargs=True))
        if isinstance(site.reading, ListReading):
            self._install_list(site, site.reading)
            return
        after = site.router.register_forward_hook(eagerly(self._on_router(site)))
        self._handles.append(after)
        self._last.append((site.router._forward_hooks, after.id))
        if site.experts is not None:
            call = site.experts.register_forward_pre_hook(eagerly(self._on_experts(site)), with_kwargs=True)
            self._handles.append(call)
            self._last.append((site.experts._forward_pre_hooks, call.id))

    def _install_list(self, site: Site, reading: ListReading) -> None:
        """Hooks on a router, on every expert of its list, and on the block, whose end completes the layer."""
        for number, expert in enumerate(site.experts_list):
            self._handles.append(expert.register_forward_pre_hook(eagerly(self._on_expert(site, number))))
        self._handles.append(site.router.register_forward_hook(eagerly(self._on_list_router(site))))
        self._handles.append(site.holder.register_forward_hook(eagerly(self._on_holder(site, reading))))

    def _move_hooks_to_end(self) -> None:
        """Behind the hooks that others registered since: what is recorded is what the module then runs with."""
        for hooks, key in self._last:
            if next(reversed(hooks)) != key:
                hooks.move_to_end(key)

    def _on_divider(self, site: Site) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            now = self._now.get()
            if now is not None and site.divider is not None:
                rows = site.divider.rows((*args, *kwargs.values()))
                now.rows[site.layer] = None if rows is None else rows[site.divider.child]

        return hook

    def _on_router(self, site: Site) -> Callable[..., Any]:
        def hook(module: nn.Module, _args: tuple[Any, ...], answer: Any) -> Any:
            now = self._now.get()
            if now is None or is_recomputed():
                return None
            if isinstance(site.reading, Reading):
                now.answers[site.layer] = answer
                return None
            if not isinstance(site.reading, AnswerReading):
                return None
            others = _dispatch(now, site, site.reading.routes(module, answer))
            return None if others is None else site.reading.answer(answer, *others)

        return hook

    def _on_experts(self, site: Site) -> Callable[..., Any]:
        reading = site.reading
        if not isinstance(reading, Reading):
            raise TypeError(f"{site.name} has an experts module and a reading that needs none")

        def hook(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            now = self._now.get()
            if now is None or is_recomputed():
                return None
            values = (*args, *kwargs.values())
            head, call = values[: reading.leading], values[reading.leading :]
            if site.layer not in now.answers:
                raise _no_logits(site)
            logits_ne = reading.logits(now.answers.pop(site.layer), site.logits_at)
            ids_nk, weights_nk = reading.ids(call, logits_ne)
            others = _dispatch(now, site, Routes(logits_ne, ids_nk, weights_nk))
            return None if others is None else ((*head, *reading.call(call, *others)), {})

        return hook

    def _on_list_router(self, site: Site) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], answer: Any) -> None:
            now = self._now.get()
            if now is not None and not is_recomputed():
                now.answers[site.layer] = (args[0], answer)
                now.called[site.layer] = {}

        return hook

    def _on_expert(self, site: Site, number: int) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            now = self._now.get()
            if now is not None and not is_recomputed() and args[0].numel():
                now.called.setdefault(site.layer, {})[number] = marks(args[0])

        return hook

    def _on_holder(self, site: Site, reading: ListReading) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
            now = self._now.get()
            if now is None or is_recomputed():
                return
            if site.layer not in now.answers:
                raise _no_logits(site)
            given, answer = now.answers.pop(site.layer)
            _dispatch(now, site, reading.routes(site.router, given, answer, now.called.pop(site.layer, {})))

        return hook


def _dispatch(now: _Pass, site: Site, routes: Routes) -> Changed | None:
    """One layer's routes, in the units of the block's output, changed and told to every sink; None if nobody changed.

    Errors: OptionError for a sink that hands something back; as `changed`.
    """
    weights_nk = routes.weights_nk.detach()
    own = scaled(Routes(routes.logits_ne.detach(), routes.ids_nk, weights_nk, now.rows.pop(site.layer, None)), site)
    routes = changed(now.interventions, now.names, site, own) if now.interventions else own
    told = routes if routes is own else routes._replace(weights_nk=routes.weights_nk.detach())
    for sink in now.sinks:
        if sink.layer(site.layer, told) is not None:  # type: ignore[func-returns-value]  # whoever expects more
            raise _not_changed_here(sink)
    is_same = routes.ids_nk is own.ids_nk and routes.weights_nk is own.weights_nk
    return None if is_same or routes.wanted is None else to_execute(routes, routes.wanted, site.output_scale)


def scaled(routes: Routes, site: Site) -> Routes:
    """A layer's routes with their weights in the units of its block's output."""
    if site.output_scale == 1.0:
        return routes
    return routes._replace(weights_nk=routes.weights_nk * site.output_scale)


def eagerly(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, left out of compiled graphs: there it runs as ordinary code between two of them, and is never skipped.

    A hook that is traced would be frozen as it was on the first call, with no sink, and stay silent ever after.
    """
    reason = "routing is recorded here: compile with fullgraph=False, or without recording"
    uncompiled = torch.compiler.disable(hook, reason=reason)

    def either(*args: Any) -> Any:
        return uncompiled(*args) if torch.compiler.is_compiling() else hook(*args)

    return either


def is_recomputed() -> bool:
    """Whether this pass repeats an earlier one inside a backward pass (gradient checkpointing)."""
    return torch._C._current_graph_task_id() != -1


def _no_logits(site: Site) -> RouterOutputError:
    return RouterOutputError(
        f"{site.experts_path or site.holder_path} ran, but its router {site.router_path} had not answered in this pass",
        expected="the router to run before its experts in every forward pass",
        do="run the model eagerly: compiled or fused kernels bypass modules",
    )


def _not_changed_here(sink: Sink) -> OptionError:
    return OptionError(
        f"{type(sink).__name__}.layer handed something back, as if to change the routes",
        expected="a sink, which only receives them",
        do="name the method `change` and open it with `Recorder.changing`",
    )


def _modules(sites: Sequence[Site]) -> list[tuple[nn.Module | None, ...]]:
    """The modules that hooks stand on."""
    return [(site.router, site.experts, *site.experts_list) for site in sites]

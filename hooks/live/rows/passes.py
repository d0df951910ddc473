"""Where the forward passes of a model begin and end, whoever runs them, and what each was called with.

A pass is one call of the model, or of a part of it that can be called alone (its body without the head, its encoder).
Hooks on all of these see it; the outermost call counts.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, Protocol

from torch import nn

from gatescope.hooks.recording.recorder import eagerly, is_recomputed

READ = (
    "input_ids",
    "inputs_embeds",
    "attention_mask",
    "position_ids",
    "past_key_values",
    "cu_seq_lens_q",
    "encoder_outputs",
    "decoder_input_ids",
    "decoder_inputs_embeds",
    "decoder_attention_mask",
    "decoder_position_ids",
)


class Call(NamedTuple):
    """One call of a module that takes tokens; `past` counts the places its cache held before."""

    path: str
    module: nn.Module
    given: Mapping[str, Any]
    past: int

    @property
    def takes_both(self) -> bool:
        """Whether the module reads with an encoder and writes with a decoder."""
        return "decoder_input_ids" in _parameters(self.module)


@dataclass
class Pass:
    """One forward pass: the calls of modules that take tokens, outermost first."""

    was_handling: BaseException | None
    calls: list[Call] = field(default_factory=list)


class Listener(Protocol):
    """Whoever wants to know of the passes in its context."""

    def began(self) -> None:
        """A pass begins; what was left of one that broke off is to be forgotten."""

    def ended(self, done: Pass, output: Any) -> None:
        """A pass is over, and this came out."""

    def failed(self) -> None:
        """A pass raised an exception."""


class _Open:
    """The listeners of one context, and the pass under way in it."""

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self.listeners = listeners
        self.under_way: Pass | None = None


class Passes:
    """Hooks on the modules of a model that take tokens. Like those of the routers, they serve only their context."""

    def __init__(self) -> None:
        self._open: ContextVar[_Open | None] = ContextVar("open", default=None)
        self._hooked: dict[nn.Module, tuple[int, list[Any]]] = {}

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Those of the current context."""
        now = self._open.get()
        return now.listeners if now else ()

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Tell `listener` of every pass that this context makes, beside those already told."""
        token = self._open.set(_Open((*self.listeners, listener)))
        try:
            yield
        finally:
            self._open.reset(token)

    def hook(self, path: str, module: nn.Module) -> None:
        """Watch a module; several may ask for the same."""
        users, handles = self._hooked.get(module, (0, []))
        if not users:
            enter = module.register_forward_pre_hook(eagerly(self._on_enter(path)), with_kwargs=True)
            leave = module.register_forward_hook(eagerly(self._on_leave), with_kwargs=True, always_call=True)
            handles = [enter, leave]
        self._hooked[module] = (users + 1, handles)

    def unhook(self, module: nn.Module) -> None:
        """Undo one `hook`; the last takes the hooks off."""
        users, handles = self._hooked.pop(module, (0, []))
        if users > 1:
            self._hooked[module] = (users - 1, handles)
            return
        for handle in handles:
            handle.remove()

    def _on_enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            now = self._open.get()
            if now is None or is_recomputed():
                return
            under_way = now.under_way
            if under_way is None or under_way.calls[0].module is module:  # the latter was broken off
                now.under_way = under_way = Pass(sys.exc_info()[1])
                for listener in now.listeners:
                    listener.began()
            given = arguments(module, args, kwargs)
            under_way.calls.append(Call(path, module, given, past_of(given.get("past_key_values"))))

        return hook

    def _on_leave(self, module: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
        now = self._open.get()
        if now is None or now.under_way is None or is_recomputed() or now.under_way.calls[0].module is not module:
            return
        done, now.under_way = now.under_way, None
        has_failed = sys.exc_info()[1] is not done.was_handling
        for listener in now.listeners:
            if has_failed:
                listener.failed()
            else:
                listener.ended(done, output)


def arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a module that takes tokens was given, by name, as far as it matters here."""
    names = _parameters(module)
    named = dict(zip(names, args, strict=False)) if names else dict(zip(READ[:1], args, strict=False))
    named |= kwargs
    return {name: named[name] for name in READ if named.get(name) is not None}


def _parameters(module: nn.Module) -> tuple[str, ...]:
    return _parameters_of(type(module))  # type: ignore[arg-type]  # classes hash


@cache
def _parameters_of(kind: type[nn.Module]) -> tuple[str, ...]:
    """Names of the arguments that may be given by place; empty where a wrapper takes whatever comes."""
    parameters = list(inspect.signature(kind.forward).parameters.values())[1:]
    return tuple(each.name for each in parameters if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)


def past_of(keeping: Any) -> int:
    """How many places a cache holds; 0 for none, or for one that does not say."""
    count = getattr(keeping, "get_seq_length", None)
    if count is None:
        return 0
    try:
        return int(count())
    except ValueError:  # a cache of recurrent states alone has no places
        return 0

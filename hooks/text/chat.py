"""A chat template around a text: a program that came with the model, which may fail or never end."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gatescope.routing.errors import OptionError

SECONDS = 2.0
"""Of processor time: a template that people use takes a thousandth of it."""
_SOURCE = "<template>"  # what jinja calls the code of a template that is in no file


class _OutOfTime(Exception):  # noqa: N818  # it never leaves this file
    """The template ran for longer than it may."""


def as_turn(tokenizer: Any, text: str) -> str:
    """The text as one user turn, ready for the model's answer. Errors: OptionError where the template gives none."""
    turn = [{"role": "user", "content": text}]
    try:
        with _in_time():
            rendered: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            return rendered
    except _OutOfTime as error:
        raise _no_turn(f"is not done after {SECONDS:g} s") from error
    except MemoryError:
        raise
    except Exception as error:  # a template is a program: it may raise anything
        raise _no_turn(f"fails: {type(error).__name__}: {error}") from error


@contextmanager
def _in_time() -> Iterator[None]:
    """End what a template does in this thread when its time is over."""
    until = time.thread_time() + SECONDS

    def at_line(_frame: FrameType, _event: str, _argument: object) -> Any:
        if time.thread_time() > until:
            raise _OutOfTime
        return at_line

    def at_call(frame: FrameType, _event: str, _argument: object) -> Any:
        return at_line if frame.f_code.co_filename == _SOURCE else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield
    finally:
        sys.settrace(before)


def _no_turn(how: str) -> OptionError:
    return OptionError(
        f"the model's chat template {how}"[:400], expected="a template that renders one message", do="turn chat off"
    )

"""Which tokens of two texts are the same ones: aligned by what stays, never by their numbers."""

from difflib import SequenceMatcher
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.routing.errors import OptionError

MOST_TOKENS = 4_000
"""Tokens of either text, between what both begin and end with, beyond which an alignment would take too long."""

What = Literal["same", "removed", "added"]


class Step(NamedTuple):
    """A run of tokens: the same in both texts, or in one only; the other text's run is then empty."""

    what: What
    first: slice
    second: slice


class Alignment(NamedTuple):
    """Two texts as one sequence of steps, and the tokens they share: `first_n[n]` is `second_n[n]`."""

    steps: tuple[Step, ...]
    first_n: NDArray[np.intp]
    second_n: NDArray[np.intp]

    @property
    def removed(self) -> int:
        """Tokens of the first text only."""
        return sum(step.first.stop - step.first.start for step in self.steps if step.what == "removed")

    @property
    def added(self) -> int:
        """Tokens of the second text only."""
        return sum(step.second.stop - step.second.start for step in self.steps if step.what == "added")

    @property
    def begun_alike(self) -> int:
        """Tokens before the first difference."""
        first = self.steps[0] if self.steps else None
        return first.first.stop if first is not None and first.what == "same" else 0


def align(first_t: NDArray[np.integer], second_t: NDArray[np.integer]) -> Alignment:
    """The tokens that two texts share, in order: what both begin and end with, then the longest runs between.

    Shapes      (tokens,) each, of token ids.
    Undefined   Errors: OptionError for more than MOST_TOKENS in between.
    Not this    The alignment with the most tokens: long runs come first, as readers see it. Nor a statement about
                meaning: a moved sentence is removed and added.
    Source      Ratcliff and Metzener 1988, as in `difflib`, without its shortcut for frequent tokens.

    >>> found = align(np.array([5, 6, 7, 9]), np.array([5, 7, 8, 9]))
    >>> found.first_n.tolist(), found.second_n.tolist(), found.removed, found.added
    ([0, 2, 3], [0, 1, 3], 1, 1)
    """
    shared = _same_run(first_t, second_t)
    tail = _same_run(first_t[shared:][::-1], second_t[shared:][::-1])
    ends = len(first_t) - tail, len(second_t) - tail
    middle = first_t[shared : ends[0]].tolist(), second_t[shared : ends[1]].tolist()
    if max(map(len, middle)) > MOST_TOKENS:
        raise OptionError(
            f"{len(middle[0]):,} and {len(middle[1]):,} tokens that differ",
            expected=f"texts of which at most {MOST_TOKENS:,} tokens lie between what both begin and end with",
            do="compare shorter documents",
        )
    steps = [_step("same", 0, shared, 0, shared)]
    for kind, *ends_of in SequenceMatcher(None, *middle, autojunk=False).get_opcodes():
        a, b, c, d = (at + shared for at in ends_of)
        steps += (
            [_step("same", a, b, c, d)]
            if kind == "equal"
            else [
                _step("removed", a, b, c, c),
                _step("added", b, b, c, d),
            ]
        )
    steps.append(_step("same", ends[0], len(first_t), ends[1], len(second_t)))
    return _alignment(_joined([step for step in steps if _size(step)]))


def _same_run(first_t: NDArray[np.integer], second_t: NDArray[np.integer]) -> int:
    """Tokens that both begin with."""
    size = min(len(first_t), len(second_t))
    differs = np.flatnonzero(first_t[:size] != second_t[:size])
    return int(differs[0]) if len(differs) else size


def _step(what: What, a: int, b: int, c: int, d: int) -> Step:
    return Step(what, slice(a, b), slice(c, d))


def _size(step: Step) -> int:
    return int(max(step.first.stop - step.first.start, step.second.stop - step.second.start))


def _joined(steps: list[Step]) -> tuple[Step, ...]:
    """Neighbours of one kind as one step."""
    joined: list[Step] = []
    for step in steps:
        if joined and joined[-1].what == step.what:
            last = joined.pop()
            step = _step(step.what, last.first.start, step.first.stop, last.second.start, step.second.stop)
        joined.append(step)
    return tuple(joined)


def _alignment(steps: tuple[Step, ...]) -> Alignment:
    same = [step for step in steps if step.what == "same"]
    none = [np.zeros(0, np.intp)]
    first_n = np.concatenate(none + [np.arange(step.first.start, step.first.stop) for step in same])
    second_n = np.concatenate(none + [np.arange(step.second.start, step.second.stop) for step in same])
    return Alignment(steps, first_n, second_n)

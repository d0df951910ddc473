"""Sentences that list layers, folded: what a metric says of a model of 60 layers may name nearly all of them."""

import re

from gatescope.routing.groups import span

_LISTED = re.compile(r"\b([Ll])ayers (?:\[(\d+(?:, \d+)*)\]|(\d+(?:, \d+)+)(?!\d|, \d))")


def fold_layers(text: str) -> str:
    """A sentence in which layers that follow one another are given as their first and last; all else as it was.

    >>> fold_layers("Not known in layers 0, 1, 2, 7: no scores."), fold_layers("too few in layers [3]")
    ('Not known in layers 0–2, 7: no scores.', 'too few in layer 3')
    """
    return _LISTED.sub(_folded, text)


def _folded(found: re.Match[str]) -> str:
    numbers = sorted({int(number) for number in (found[2] or found[3]).split(", ")})
    return f"{found[1]}ayer{'s' * (len(numbers) > 1)} {span(numbers)}"

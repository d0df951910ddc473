"""Numbers as sentences say them: from the least layer to the greatest, in how many layers, p, shares, bytes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatescope.app.charts.depth import number

SURE = 0.05
"""Largest q, or p where one thing is tested, that is called more than chance."""

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def over_layers(value_l: NDArray[np.floating], names: Sequence[str], unit: str = "") -> str:
    """From the least value to the greatest, each with its layer.

    >>> over_layers(np.array([0.3, 0.125, np.nan]), ["0", "1", "2"], "bits")
    '0.125 (layer 1) to 0.3 bits (layer 0)'
    >>> over_layers(np.array([0.5]), ["0 (block 1)"], "bits")
    '0.5 bits (layer 0, block 1)'
    """
    least, most = int(np.nanargmin(value_l)), int(np.nanargmax(value_l))
    last = f"{number(float(value_l[most]))}{f' {unit}' * bool(unit)} ({layer_words(names[most])})"
    return last if least == most else f"{number(float(value_l[least]))} ({layer_words(names[least])}) to {last}"


def percents(value_l: NDArray[np.floating], names: Sequence[str]) -> str:
    """The same of shares, in percent.

    >>> percents(np.array([0.3, 0.825]), ["0", "1"])
    '30 % (layer 0) to 82 % (layer 1)'
    """
    least, most = int(np.nanargmin(value_l)), int(np.nanargmax(value_l))
    last = f"{value_l[most]:.0%} ({layer_words(names[most])})".replace("%", " %")
    return (
        last if least == most else f"{value_l[least]:.0%} ({layer_words(names[least])}) to ".replace("%", " %") + last
    )


def layer_words(name: str) -> str:
    """A layer as it is called within brackets, without brackets of its own.

    >>> layer_words("1 (block 2)")
    'layer 1, block 2'
    """
    return "layer " + name.replace(" (", ", ").removesuffix(")")


def percent(value: float) -> str:
    """A share in percent, with a digit more where it is small.

    >>> percent(0.634), percent(0.0123), percent(float("nan"))
    ('63 %', '1.2 %', 'unknown')
    """
    if np.isnan(value):
        return "unknown"
    return f"{100 * value:.0f} %" if abs(value) >= 0.1 or value == 0 else f"{100 * value:.2g} %"


def chance_words(name: str, value: float) -> str:
    """p or q in words.

    >>> chance_words("q", 0.0204), chance_words("p", 0.00099), chance_words("p", float("nan"))
    ('q = 0.02', 'p = 0.00099', 'not tested')
    """
    return "not tested" if np.isnan(value) else f"{name} = {value:.2g}"


def in_layers(is_so_l: NDArray[np.bool_], known_l: NDArray[np.bool_]) -> str:
    """In how many of the layers where it is known something is so.

    >>> in_layers(np.array([True, False]), np.array([True, True]))
    'in 1 of 2 layers'
    """
    size = int(known_l.sum())
    return f"in {int((is_so_l & known_l).sum())} of {size} layer{'s' * (size != 1)}"


def bytes_words(size: float) -> str:
    """A number of bytes, in thousands.

    >>> bytes_words(999), bytes_words(1_250_000), bytes_words(0)
    ('999 bytes', '1.25 MB', '0 bytes')
    """
    step = 0
    while size >= 999.5 and step < len(UNITS) - 1:
        size, step = size / 1000, step + 1
    return f"{size:.3g} {UNITS[step]}"

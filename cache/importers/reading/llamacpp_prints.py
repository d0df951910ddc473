"""What llama.cpp's `llama-eval-callback` prints: every tensor of the graph, of each side the first and last three.

    common_debug_cb_eval:           ffn_moe_topk-1 = (i32)       VIEW(ffn_moe_argsort-1{8, 2, 1, 1}, }) = {2, 2, 1, 1}
        [
            [
                [      3.0000,       1.0000  ],
                [      0.0000,       7.0000  ],
            ],
        ]
        sum = 11.000000

`ffn_moe_topk-LAYER` holds k experts of each token, `ffn_moe_weights-LAYER` and what is made of it (`_softmax`, `_norm`,
`_scaled`) their weights, of which the last one counts. "..." stands for what was left out. Before, the tool prints the
number of input tokens and their ids.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Report
from gatescope.cache.importers.reading.llamacpp_passes import Chosen, LayerPass
from gatescope.cache.importers.reading.npz import explained
from gatescope.cache.importers.reading.rows import CELLS
from gatescope.routing.errors import TraceError

HEAD = re.compile(
    r"(?:ggml_debug|common_debug_cb_eval): +(ffn_moe_topk|ffn_moe_weights(?:_softmax|_norm|_scaled)?)-(\d{1,5})"
    r" = \((?:i32|f32)\) .*= \{(\d{1,9}), (\d{1,9}), (\d{1,9}), (\d{1,9})\}\s*$"
)
ANY_HEAD = re.compile(r"(?:ggml_debug|common_debug_cb_eval): ")
INPUTS = re.compile(r"number of input tokens = (\d{1,7})\s*$")
TOKEN = re.compile(r"\s+(\d{1,9})\s*$")
LEFT_OUT = "..."
LONGEST = 2**16  # characters of a line
BEGINS = 2**21  # bytes before the first layer with experts was printed


@dataclass
class _Print:
    """One printed tensor: its name, layer and sides, and what stands between its brackets."""

    name: str
    block: int
    sides: tuple[int, ...]
    line: int
    content: list[Any]


class _PrintError(Exception):
    """What was printed is not a tensor of these sides."""


def is_printed(path: Path) -> bool:
    """Whether chosen experts are printed near the beginning of a file. Raises only OSError."""
    with path.open("rb") as stream:
        text = stream.read(BEGINS).decode("utf-8", "replace")
    return any(HEAD.search(line) for line in text.splitlines() if "ffn_moe_topk-" in line)


def printed_passes(path: Path, given: Given, report: Report) -> Iterator[LayerPass]:
    """The passes of a file. Tensors that cannot be read are counted, or stopped at."""
    layers: list[Chosen] = []
    tokens: list[int] = []
    for found in _prints(path):
        if isinstance(found, list):
            tokens = found
            continue
        place = f"{path}, line {found.line}"
        try:
            shown, values_nk = _matrix(found)
        except _PrintError as error:
            expected = f"{found.sides} numbers in brackets"
            report.fault(given, f"a printed tensor that is not whole ({error})", place, expected=expected)
            continue
        if found.name == "ffn_moe_topk":
            if layers and found.block <= layers[-1].block:
                yield _pass(layers, tokens)
                layers, tokens = [], []
            if any(LEFT_OUT in row for row in values_nk):
                raise _too_many(place, found.sides[0])
            layers.append(_chosen(found, shown, values_nk, place))
        elif layers and layers[-1].block == found.block:
            layers[-1].weight_nk = _weights(layers[-1], shown, values_nk)
    if layers:
        yield _pass(layers, tokens)


def _pass(layers: list[Chosen], tokens: list[int]) -> LayerPass:
    return LayerPass(layers=layers, count=max(layer.count for layer in layers), place=layers[0].place, token_n=tokens)


def _chosen(found: _Print, shown: NDArray[np.intp], values_nk: Sequence[Sequence[float]], place: str) -> Chosen:
    """A tensor of experts. An id that is no whole number is none of an expert."""
    value_nk = np.array(values_nk, np.float64)
    is_id_nk = np.isfinite(value_nk) & (abs(value_nk) < 2**31)
    value_nk = np.where(is_id_nk, value_nk, -2)
    ids_nk = np.where(value_nk % 1 == 0, value_nk, -2).astype(np.int64)
    return Chosen(block=found.block, count=found.sides[1], shown=shown, ids_nk=ids_nk, place=place)


def _weights(layer: Chosen, shown: NDArray[np.intp], values_nk: Sequence[Sequence[Any]]) -> NDArray[np.float64] | None:
    """The weights of a layer's experts; none where they are not those of its tokens."""
    fits = np.array_equal(layer.shown, shown) and all(len(row) == layer.ids_nk.shape[1] for row in values_nk)
    return np.array(values_nk, np.float64) if fits and not any(LEFT_OUT in row for row in values_nk) else None


def _prints(path: Path) -> Iterator[_Print | list[int]]:
    """The printed tensors of experts and weights, and the ids of the input tokens."""
    lines = _lines(path)
    pending: tuple[int, str] | None = next(lines, None)
    while pending is not None:
        number, line = pending
        head, inputs = HEAD.search(line), INPUTS.search(line)
        if head:
            sides = tuple(int(side) for side in head.groups()[2:])
            content, pending = _content(lines, path)
            yield _Print(head[1], int(head[2]), sides, number, content)
        elif inputs:
            tokens, pending = _tokens(lines, int(inputs[1]))
            yield tokens
        else:
            pending = next(lines, None)


def _tokens(lines: Iterator[tuple[int, str]], count: int) -> tuple[list[int], tuple[int, str] | None]:
    """As many ids as were announced; none where they do not follow."""
    tokens: list[int] = []
    for number, line in lines:
        found = TOKEN.fullmatch(line)
        if found is None or len(tokens) == count:
            return tokens if len(tokens) == count else [], (number, line)
        tokens.append(int(found[1]))
    return [], None


def _content(lines: Iterator[tuple[int, str]], path: Path) -> tuple[list[Any], tuple[int, str] | None]:
    """What stands in the brackets behind a head, as lists in lists; and the line behind it."""
    whole: list[Any] = []
    open_lists = [whole]
    for cells, (number, line) in enumerate(lines, 1):
        text = line.strip()
        if ANY_HEAD.search(line) or text.startswith("sum"):
            return whole, (number, line)
        if text == "[":
            open_lists[-1].append([])
            open_lists.append(open_lists[-1][-1])
        elif text in ("]", "],"):
            if len(open_lists) > 1:
                open_lists.pop()
        elif text.startswith("["):
            open_lists[-1].append([_value(each) for each in text.strip("[], ").split(",") if each.strip()])
        elif text.rstrip(", ") == LEFT_OUT:
            open_lists[-1].append(LEFT_OUT)
        if cells > CELLS or len(open_lists) > 4:
            raise TraceError(
                f"{path}, line {number}: a tensor without end", expected="a sum behind each tensor", do="print it again"
            )
    return whole, None


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return LEFT_OUT if text.strip() == LEFT_OUT else "?"


def _matrix(found: _Print) -> tuple[NDArray[np.intp], list[list[Any]]]:
    """Which tokens are shown, and the k values of each. A row with a part left out holds LEFT_OUT."""
    if len(found.content) != 1 or found.sides[3] != 1:
        raise _PrintError("not one block")
    outer = found.content[0]
    if found.sides[0] == 1 and found.name != "ffn_moe_topk":
        count, k = found.sides[2], found.sides[1]
        tokens = [each if each == LEFT_OUT else _column(each) for each in outer]
    else:
        count, k = found.sides[1], found.sides[0]
        if len(outer) != 1 or not isinstance(outer[0], list):
            raise _PrintError("not one block")
        tokens = outer[0]
    shown = _places(tokens, count)
    rows = [each for each in tokens if each != LEFT_OUT]
    if not rows or any(not isinstance(row, list) or "?" in row for row in rows):
        raise _PrintError("something that is no number")
    if any(isinstance(cell, list) for row in rows for cell in row):
        raise _PrintError("a list where a number is expected")
    if any(len(row) != k for row in rows if LEFT_OUT not in row):
        raise _PrintError(f"rows that are not {k} long")
    return shown, rows


def _column(rows: Any) -> list[Any]:
    """Rows of one number each as one row."""
    if not isinstance(rows, list) or not all(
        row == LEFT_OUT or (isinstance(row, list) and len(row) == 1) for row in rows
    ):
        raise _PrintError("rows of more than one number")
    return [row if row == LEFT_OUT else row[0] for row in rows]


def _places(items: Sequence[Any], count: int) -> NDArray[np.intp]:
    """Which of `count` things are shown, where one "..." stands for all that are not."""
    gaps = [at for at, item in enumerate(items) if item == LEFT_OUT]
    if not gaps and len(items) == count:
        return np.arange(count)
    if len(gaps) != 1 or len(items) - 1 >= count:
        raise _PrintError(f"{len(items)} of {count} tokens")
    behind = len(items) - gaps[0] - 1
    return np.array([*range(gaps[0]), *range(count - behind, count)], np.intp)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with explained(str(path)), path.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST):
            number += 1
            yield number, line.decode("utf-8", "replace")


def _too_many(place: str, k: int) -> TraceError:
    return TraceError(
        f"{place}: {k} experts for each token, of which the tool prints six",
        expected="every expert of a token",
        do="trace the model with a tool that writes all of them, such as the moe-trace example",
    )

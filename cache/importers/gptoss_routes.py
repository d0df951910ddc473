"""Routes of GPT-OSS-20B over 703 benchmark questions, as the data set GPT-OSS-MoE-ExpertFingerprinting publishes them.

Two forms are read. The published one: a folder of `*_examples.json`, each an example with `generated_only`, the texts
of its generated tokens, and `router_data`, which holds for `token_N`, `layer_L` the `selected_experts` and
`selected_probs`. And the same as arrays: a folder of `gptoss20b_routes.npz` (expert_ids, expert_probs, offsets),
`examples.json` and `generated_tokens.json.gz`. Only generated tokens have routes; N counts from the prompt's beginning.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.importer import Given, Importer, Report
from gatescope.cache.importers.reading.digest import provenance_of
from gatescope.cache.importers.reading.layers import Seen, rules_of
from gatescope.cache.importers.reading.npz import AT_ONCE, Member, open_npz
from gatescope.cache.importers.reading.rows import Rows, Trace, tokens_at_once
from gatescope.cache.importers.reading.vocabulary import Vocabulary
from gatescope.routing.errors import TraceError
from gatescope.routing.record import Document, Flag, RoutingRecord

MODEL, LAYERS, EXPERTS, K = "gpt-oss-20b", 24, 32, 4  # the data set's one model, by its configuration
ARRAYS = "gptoss20b_routes.npz"
KEYS = (b'"row_index"', b'"finished_successfully"', b'"original_prompt"')  # what an example begins with
RULE = {
    "score": ("softmax",) * LAYERS,
    "is_renormalised": (True,) * LAYERS,
    "module": tuple(f"model.layers.{layer}.mlp" for layer in range(LAYERS)),
}
MISSING = (
    "prompts: only generated tokens have routes, so nothing can be said of how prompts are routed",
    "token ids: the data set holds texts of tokens, which were numbered in order of appearance; its authors "
    "tokenised the decoded answers anew, so they are the tokens that ran only where that gave the same ones",
    "scores of all experts: no margins, no entropy of the gate, no experts that were nearly chosen",
)

_TOKEN = re.compile(r"token_(\d{1,9})")


@dataclass(frozen=True, kw_only=True)
class Example:
    """The rows of one example, and what is said of it; `texts` are of its generated tokens, one more than rows."""

    name: str
    about: Mapping[str, Any]
    texts: Sequence[str]
    ids_tlk: NDArray[np.integer]
    weight_tlk: NDArray[np.floating]
    position_t: NDArray[np.integer]


def detect(path: Path) -> bool:
    """Whether this is a folder of the data set, in either form, or one of its examples."""
    try:
        if not path.is_dir():
            return _is_example(path)
        return (path / ARRAYS).is_file() or _is_example(next(_examples(path)))
    except (OSError, StopIteration):
        return False


def _examples(path: Path) -> Iterator[Path]:
    """The examples of a folder: data set, category, file, from whichever of these folders on."""
    for depth in range(4):
        yield from sorted(path.glob("*/" * depth + "*_examples.json"))


def _is_example(path: Path) -> bool:
    if not path.name.endswith("_examples.json"):
        return False
    with path.open("rb") as stream:
        begins = stream.read(65_536)
    return all(key in begins for key in KEYS)


def read(path: Path, given: Given, report: Report) -> Iterator[RoutingRecord]:
    """The records of a folder, of as many examples at once as fit into one."""
    is_arrays = path.is_dir() and (path / ARRAYS).is_file()
    files = [path / ARRAYS] if is_arrays else list(_examples(path)) if path.is_dir() else [path]
    if not files:
        raise _other_form(f"{path}: no example")
    seen = Seen(count=LAYERS, slots=K, experts=(EXPERTS,) * LAYERS, more=RULE)
    made = provenance_of(files, given, engine="transformers", about={"model": MODEL})
    trace = Trace(rules_of(seen, given, str(path)), made, given, report)
    report.missing += MISSING
    reader = _Reader(trace)
    for example in _of_arrays(path) if is_arrays else _of_examples(files, reader):
        if reader.tokens + len(example.ids_tlk) > tokens_at_once(LAYERS, K):
            yield from reader.records()
        reader.add(example)
    yield from reader.records()
    report.understood.append(
        f"{report.tokens:,} generated tokens of {report.documents:,} answers of GPT-OSS-20B, ids and weights of "
        f"{LAYERS} layers of {EXPERTS} experts; domains are the benchmarks' categories, sources their names"
    )


class _Reader:
    """Examples gathered until they make a record."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.words, self.tokens = trace, Vocabulary(), 0
        self._examples: list[Example] = []
        self._first = 0

    def add(self, example: Example) -> None:
        """One more example for the next record."""
        self._examples.append(example)
        self.tokens += len(example.ids_tlk)

    def records(self) -> Iterator[RoutingRecord]:
        """What was gathered, as one record, and a new beginning."""
        examples, first = self._examples, self._first
        if not examples:
            return
        document_t = np.repeat(first + np.arange(len(examples)), [len(each.ids_tlk) for each in examples])
        position_t = np.concatenate([each.position_t for each in examples])
        rows = Rows(
            ids_tlk=np.concatenate([each.ids_tlk for each in examples]),
            weight_tlk=np.concatenate([each.weight_tlk for each in examples]),
            token_t=np.concatenate([self._numbers(each) for each in examples]),
            document_t=document_t,
            position_t=position_t,
            flag_t=np.full(self.tokens, Flag.GENERATED),
            place=lambda row: f"{examples[document_t[row] - first].name}, token {position_t[row]}",
        )
        self._examples, self._first, self.tokens = [], first + len(examples), 0
        yield from self.trace.records(rows, lambda number: _document(examples[number - first]), self.words.texts)

    def _numbers(self, example: Example) -> NDArray[np.int64]:
        """Numbers of the texts of tokens; -1 where there are not as many as there must be."""
        count = len(example.ids_tlk)
        if len(example.texts) == count + 1:
            return self.words.numbers(example.texts[:count])
        reason = "texts of an answer's tokens, which are not one more than its rows (its routes are kept)"
        self.trace.report.leave_out(reason, f"{example.name}: {len(example.texts)} texts for {count} rows")
        return np.full(count, -1)


def _document(example: Example) -> Document:
    about = example.about
    return Document(
        "".join(example.texts),
        id=example.name,
        source=str(about.get("dataset", "")),
        domain=str(about.get("category", "")),
    )


def _of_arrays(folder: Path) -> Iterator[Example]:
    """The examples of the form in arrays."""
    abouts = _json(folder / "examples.json", list)
    texts = _json(folder / "generated_tokens.json.gz", list)
    with open_npz(folder / ARRAYS) as members:
        ids, probs, offsets = (_member(members, name, folder) for name in ("expert_ids", "expert_probs", "offsets"))
        start_d = offsets.whole()
        _check_arrays(ids, probs, start_d, [len(abouts), len(texts)], folder)
        for number, about in enumerate(abouts):
            rows = int(start_d[number + 1] - start_d[number])
            name = str(about.get("path", number)).removeprefix("data/")
            yield Example(
                name=f"{name} ({folder / ARRAYS}, rows from {start_d[number]})" if not about.get("path") else name,
                about=about,
                texts=_texts(texts[number], name),
                ids_tlk=ids.read(rows),
                weight_tlk=probs.read(rows),
                position_t=_whole(about.get("first_token", 0), name) + np.arange(rows),
            )


def _member(members: Mapping[str, Member], name: str, folder: Path) -> Member:
    if name not in members:
        raise _other_form(f"{folder / ARRAYS} without {name}")
    return members[name]


def _check_arrays(ids: Member, probs: Member, start_d: NDArray[Any], counts: Sequence[int], folder: Path) -> None:
    """Arrays, examples and texts belong together."""
    tokens = ids.shape[0] if ids.shape else 0
    if ids.shape != (tokens, LAYERS, K) or ids.dtype.kind not in "iu" or probs.dtype.kind != "f":
        raise _other_form(f"{ids.where}: {ids.dtype} of shape {ids.shape}, {probs.dtype} of shape {probs.shape}")
    rises = start_d.ndim == 1 and start_d.dtype.kind in "iu" and len(start_d) and (np.diff(start_d) >= 0).all()
    if not rises or start_d[0] != 0 or start_d[-1] != tokens or probs.shape != ids.shape:
        raise _other_form(f"{folder / ARRAYS}: offsets or probabilities that do not fit {tokens} rows")
    if set(counts) != {len(start_d) - 1}:
        raise _other_form(f"{folder}: {counts[0]} examples, texts of {counts[1]}, rows of {len(start_d) - 1}")


def _of_examples(files: Sequence[Path], reader: _Reader) -> Iterator[Example]:
    """The examples of the published form, a file each."""
    for file in files:
        about = _json(file, dict)
        kept = []
        for token, layers in _routes(about.get("router_data"), file):
            row = _row(token, layers)
            if row is None:
                reason, expected = "a token without routes of every layer", f"{K} experts in each of {LAYERS} layers"
                reader.trace.report.fault(reader.trace.given, reason, f"{file}, {token}", expected=expected)
            else:
                kept.append(row)
        yield Example(
            name="/".join(file.parts[-3:]),
            about=about,
            texts=_texts(about.get("generated_only"), str(file)),
            ids_tlk=np.array([ids for _, ids, _ in kept], np.int64).reshape(-1, LAYERS, K),
            weight_tlk=np.array([weights for _, _, weights in kept], np.float64).reshape(-1, LAYERS, K),
            position_t=np.array([position for position, _, _ in kept], np.int64),
        )


def _row(token: str, layers: Any) -> tuple[int, NDArray[np.integer], NDArray[np.float64]] | None:
    """Position, ids and weights of one token; None where something is not there."""
    found = _TOKEN.fullmatch(token)
    try:
        each = [layers[f"layer_{layer}"] for layer in range(LAYERS)]
        ids = np.array([layer["selected_experts"] for layer in each])
        weights = np.array([layer["selected_probs"] for layer in each], np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    fits = ids.shape == weights.shape == (LAYERS, K) and ids.dtype.kind == "i" and len(layers) == LAYERS
    return (int(found[1]), ids, weights) if found and fits else None


def _json(file: Path, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """A JSON file, packed or not, that fits into memory."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            data = stream.read(AT_ONCE + 1)
        value = json.loads(data) if len(data) <= AT_ONCE else None
    except (OSError, EOFError, ValueError, zlib.error, RecursionError) as error:
        raise _other_form(f"{file}: {error}") from error
    if not isinstance(value, kind) or (kind is list and not all(isinstance(each, dict | list) for each in value)):
        raise _other_form(f"{file}: no {kind.__name__} of examples, or more than {AT_ONCE:,} bytes")
    return value


def _routes(value: Any, file: Path) -> Iterator[tuple[str, Any]]:
    """The name and the layers of each token."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _other_form(f"{file}: router_data is no list of objects")
    for step in value:
        yield from step.items()


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _other_form(f"{where}: tokens that are no texts")
    return value


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**30:
        raise _other_form(f"{where}: first_token {value!r}")
    return value


def _other_form(found: str) -> TraceError:
    return TraceError(
        found,
        expected=f"the data set as published: {LAYERS} layers, {K} of {EXPERTS} experts, generated tokens only",
        do="copy the data set again; routes of other models fit the plain form, docs/importing.md",
    )


IMPORTER = Importer(name="gptoss_routes", title="the published routes of GPT-OSS-20B", detect=detect, read=read)

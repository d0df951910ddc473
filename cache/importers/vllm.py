"""Answers of vLLM with `--enable-return-routed-experts`, of `/v1/completions`, `/v1/chat/completions` and its kin.

The form changed from version to version and is told by what is there, never by a version:

    choices[i].routed_experts   base64 of a NumPy file, or nested lists; (tokens - 1, layers, k)
    prompt_routed_experts       beside it where prompt and generated tokens are told apart; nested lists, -1 for a
                                token that came out of the prefix cache

Routes of TensorRT-LLM, which lists MoE layers alone, are read when they are saved in the same fields.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gatescope.cache.importers.answers import (
    Exchange,
    count,
    first_answer,
    ids_or_unknown,
    mapping,
    note,
    objects,
    read_answers,
    token_ids,
    with_start,
)
from gatescope.cache.importers.importer import Given, Importer, Report
from gatescope.cache.importers.served import Served, forwarded
from gatescope.routing.errors import TraceError
from gatescope.routing.record import RoutingRecord

ENGINE = "vLLM"
ROUTES, PROMPT_ROUTES = "routed_experts", "prompt_routed_experts"
START = "routed_experts_prompt_start"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def served_by_vllm(exchange: Exchange, _k: int, report: Report) -> Iterator[Served]:
    """Every sequence of an answer, one for each choice; its routes say their k themselves."""
    choices = objects(exchange.answer.get("choices"))
    if not any(choice.get(ROUTES) is not None for choice in choices) and exchange.answer.get(PROMPT_ROUTES) is None:
        raise TraceError(
            "an answer without routed experts",
            expected="choices with routed_experts",
            do="start the server with --enable-return-routed-experts, and do not stream the answer",
        )
    if len(choices) > 1:
        note(report.understood, "several choices for a prompt: the prompt's routes stand in each one's document")
    for index, choice in enumerate(choices):
        yield _served(exchange, choices, index, choice, report)


def decoded(value: Any) -> NDArray[np.integer]:
    """Expert ids of the shape (tokens, layers, k), however they are written. TraceError where they are not."""
    if isinstance(value, str):
        return _from_npy(value)
    try:
        ids = np.array(value if value else np.zeros((0, 1, 1), int))
    except ValueError:
        ids = np.zeros(0)  # ragged lists
    return _checked(ids, "nested lists of one shape")


def _served(
    exchange: Exchange, choices: list[Mapping[str, Any]], index: int, choice: Mapping[str, Any], report: Report
) -> Served:
    prompts = _prompts(exchange, choices)
    prompt = index * prompts // len(choices)
    prompt_ids = _prompt_ids(exchange, choice, prompt=prompt, prompts=prompts)
    output_ids = ids_or_unknown(token_ids(choice.get("token_ids")), _generated(exchange, choices), "continuation")
    start = with_start(exchange, START)
    if PROMPT_ROUTES in exchange.answer:
        note(report.understood, "routes of the prompt apart from those of the generated tokens")
        ids_thk, start = _put_together(exchange, choice, prompts=prompts, prompt_tokens=len(prompt_ids))
    else:
        ids_thk = decoded(choice.get(ROUTES))
    note(report.understood, f"routes as {'a NumPy file' if isinstance(choice.get(ROUTES), str) else 'nested lists'}")
    return Served(
        document=exchange.document(index, prompt=prompt),
        ids_thk=forwarded(ids_thk, tokens=len(prompt_ids) + len(output_ids), start=start),
        prompt_ids=prompt_ids,
        output_ids=output_ids,
        start=start,
        name=str(exchange.answer.get("model") or ""),
    )


def _prompts(exchange: Exchange, choices: list[Mapping[str, Any]]) -> int:
    """How many prompts the choices continue; 0 where that is not known."""
    asked = exchange.request.get("prompt")
    if isinstance(asked, list) and asked and not isinstance(asked[0], int):
        return len(asked)
    id_lists = [choice.get("prompt_token_ids") for choice in choices]
    is_one = len(choices) == 1 or bool(asked) or "messages" in exchange.request or "message" in choices[0]
    return 1 if is_one or (id_lists[0] and id_lists.count(id_lists[0]) == len(id_lists)) else 0


def _prompt_ids(exchange: Exchange, choice: Mapping[str, Any], *, prompt: int, prompts: int) -> list[int]:
    asked = exchange.request.get("prompt", exchange.request.get("token_ids"))
    own = asked[prompt] if isinstance(asked, list) and prompts > 1 else asked
    found = (choice.get("prompt_token_ids"), exchange.answer.get("prompt_token_ids"), own)
    ids = next((ids for ids in map(token_ids, found) if ids is not None), None)
    usage = mapping(exchange.answer.get("usage"))
    return ids_or_unknown(ids, count(usage.get("prompt_tokens")) if prompts == 1 else None, "prompt")


def _generated(exchange: Exchange, choices: list[Mapping[str, Any]]) -> int | None:
    usage = mapping(exchange.answer.get("usage"))
    return count(usage.get("completion_tokens")) if len(choices) == 1 else None


def _put_together(
    exchange: Exchange, choice: Mapping[str, Any], *, prompts: int, prompt_tokens: int
) -> tuple[NDArray[np.integer], int]:
    """Routes of the prompt and of what follows as one, and the position of the first; the prompt's may be lacking."""
    if prompts != 1:
        raise TraceError(
            "routes of one prompt in an answer to several",
            expected="an answer for each prompt: where the two are told apart, only one prompt's are returned",
            do="ask for one prompt at a time",
        )
    before, after = (holder.get(name) for holder, name in ((exchange.answer, PROMPT_ROUTES), (choice, ROUTES)))
    if before is None:
        return decoded(after), prompt_tokens
    if not after:
        return decoded(before), 0
    parts = decoded(before), decoded(after)
    if parts[0].shape[1:] != parts[1].shape[1:]:
        raise TraceError(
            f"routes of other shapes before and after the prompt's end ({parts[0].shape} and {parts[1].shape})",
            expected="the same layers and slots",
            do="check how the answer was saved",
        )
    return np.concatenate(parts), 0


def _from_npy(text: str) -> NDArray[np.integer]:
    """The array of a NumPy file in base64; its header is held against its length before anything is made of it."""
    try:
        data = base64.b64decode(text, validate=True)
        stream = io.BytesIO(data)
        shape, is_fortran, dtype = _HEADERS[npy.read_magic(stream)](stream)
    except (ValueError, KeyError, EOFError, RecursionError) as error:
        raise TraceError(
            f"routed experts that are no NumPy file in base64 ({error})",
            expected="what vLLM writes, or nested lists",
            do="name the format, if another server wrote it",
        ) from error
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or size != len(data) - stream.tell():
        raise TraceError(
            f"a NumPy file that is not as long as it says ({shape} {dtype}, {len(data)} bytes)",
            expected="numbers of the shape in its header",
            do="check for a cut-off answer",
        )
    ids = np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if is_fortran else "C")
    return _checked(ids, "a NumPy file of integers")


def _checked(ids: NDArray[Any], expected: str) -> NDArray[np.integer]:
    if ids.ndim != 3 or ids.dtype.kind not in "iu":
        raise TraceError(
            f"routed experts of another form ({ids.dtype} {ids.shape})",
            expected=f"{expected}, of the shape (tokens, layers, experts of a token)",
            do="check how the answer was saved",
        )
    return ids


def _detect(path: Path) -> bool:
    answer = first_answer(path) if path.is_file() else {}
    choices = objects(answer.get("choices"))
    return PROMPT_ROUTES in answer or any(ROUTES in choice for choice in choices)


def _read(path: Path, given: Given, report: Report) -> Iterator[RoutingRecord]:
    return read_answers(path, given, report, engine=ENGINE, sequences=served_by_vllm)


IMPORTER = Importer(name="vllm", title="saved answers of vLLM", detect=_detect, read=_read)

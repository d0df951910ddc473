"""Answers of SGLang to requests with `return_routed_experts`, of `/generate` and of the OpenAI-like addresses.

    meta_info.routed_experts    of /generate, and of a choice of a chat that asked for meta_info
    sglext.routed_experts       of the others; choices[i].sgl_ext in older versions

Each is base64 of bare 32-bit integers, (tokens - 1, hidden layers, k), without any word on layers and k: the model's
layers (or k) must be given. A response-level field is that of the first choice alone.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.cache.importers.answers import (
    Exchange,
    count,
    first_answer,
    ids_or_unknown,
    mapping,
    objects,
    read_answers,
    token_ids,
    with_start,
)
from gatescope.cache.importers.importer import Given, Importer, Report
from gatescope.cache.importers.served import GIVE_LAYERS, Served, forwarded
from gatescope.routing.errors import TraceError
from gatescope.routing.record import RoutingRecord

ENGINE = "SGLang"
ROUTES, START = "routed_experts", "routed_experts_start_len"
EXTRAS = ("sglext", "sgl_ext")  # newer and older name


def served_by_sglang(exchange: Exchange, k: int, report: Report) -> Iterator[Served]:
    """Every sequence of an answer that has routes: the one of `/generate`, or its choices, with k experts a token."""
    choices = objects(exchange.answer.get("choices")) or [exchange.answer]
    found = [(index, choice, _routes(exchange, choice, index)) for index, choice in enumerate(choices)]
    if all(text is None for _, _, text in found):
        raise TraceError(
            "an answer without routed experts",
            expected="meta_info.routed_experts or sglext.routed_experts",
            do="start the server with --enable-return-routed-experts, and ask with return_routed_experts",
        )
    for index, choice, text in found:
        if text is None:
            report.leave_out("choice after the first, whose routes are not returned", f"choice {index}")
        else:
            yield _served(exchange, choice, index, text, k=k, choices=len(choices))


def decoded(text: Any, *, tokens: int, start: int, k: int) -> NDArray[np.int32]:
    """Expert ids (tokens, layers, k) out of bare integers: the number of layers follows from that of the tokens."""
    try:
        data = base64.b64decode(text, validate=True)
        ids_n = np.frombuffer(data, "<i4")
    except (TypeError, ValueError, binascii.Error) as error:
        raise TraceError(
            f"routed experts that are no 32-bit integers in base64 ({error})",
            expected="what SGLang writes",
            do="name the format, if another server wrote it",
        ) from error
    rows = tokens - 1 - start
    if rows < 0 or (rows == 0 and len(ids_n)) or (rows > 0 and (not len(ids_n) or len(ids_n) % (rows * k))):
        raise TraceError(
            f"ids that do not fit the tokens ({len(ids_n)} ids, {max(rows, 0)} tokens, {k} experts for each)",
            expected="as many ids for each token, but the last, as the model has blocks times experts of a token",
            do=f"{GIVE_LAYERS}; keep the request beside its answer if it skipped a beginning",
        )
    return ids_n.reshape(rows, -1, k) if rows else np.zeros((0, 1, k), np.int32)


def _routes(exchange: Exchange, choice: Mapping[str, Any], index: int) -> Any:
    """The field of a choice; that of the whole answer belongs to the first."""
    own = [mapping(choice.get(name)).get(ROUTES) for name in ("meta_info", *EXTRAS)]
    whole = [mapping(exchange.answer.get(name)).get(ROUTES) for name in EXTRAS] if index == 0 else []
    return next((text for text in (*own, *whole) if text is not None), None)


def _served(exchange: Exchange, choice: Mapping[str, Any], index: int, text: Any, *, k: int, choices: int) -> Served:
    extra = mapping(exchange.answer.get(EXTRAS[0]))
    meta, usage = mapping(choice.get("meta_info")), mapping(exchange.answer.get("usage"))
    usage = usage if choices == 1 else {}
    prompt = exchange.item // (count(mapping(exchange.request.get("sampling_params")).get("n")) or 1)
    prompt_ids = ids_or_unknown(
        _first_ids(
            choice.get("prompt_token_ids"), extra.get("input_ids"), _logged(meta, "input"), *_asked(exchange, prompt)
        ),
        count(meta.get("prompt_tokens", usage.get("prompt_tokens"))),
        "prompt",
    )
    outputs = extra.get("output_ids")
    own = outputs[index] if isinstance(outputs, list) and len(outputs) > index else None
    names = ("output_ids", "token_ids", "response_token_ids")
    output_ids = ids_or_unknown(
        _first_ids(*(choice.get(name) for name in names), own, _logged(meta, "output")),
        count(meta.get("completion_tokens", usage.get("completion_tokens"))),
        "continuation",
    )
    tokens, start = len(prompt_ids) + len(output_ids), with_start(exchange, START)
    ids_thk = decoded(text, tokens=tokens, start=start, k=k)
    return Served(
        document=exchange.document(index, prompt=prompt),
        ids_thk=forwarded(ids_thk, tokens=tokens, start=start),
        prompt_ids=prompt_ids,
        output_ids=output_ids,
        start=start,
        name=str(exchange.answer.get("model") or ""),
    )


def _first_ids(*found: Any) -> list[int] | None:
    return next((ids for ids in map(token_ids, found) if ids is not None), None)


def _logged(meta: Mapping[str, Any], side: str) -> list[Any] | None:
    """Token ids out of the log-probabilities, where they are there for every token of that side."""
    rows = meta.get(f"{side}_token_logprobs")
    number = meta.get({"input": "prompt_tokens", "output": "completion_tokens"}[side])
    if not isinstance(rows, list) or len(rows) != number:
        return None
    return [row[1] if isinstance(row, list) and len(row) > 1 else None for row in rows]


def _asked(exchange: Exchange, prompt: int) -> Iterator[Any]:
    """Token ids that were sent in place of a text."""
    for name in ("input_ids", "prompt"):
        asked = exchange.request.get(name)
        yield asked
        if isinstance(asked, list) and len(asked) > prompt:
            yield asked[prompt]


def _detect(path: Path) -> bool:
    answer = first_answer(path) if path.is_file() else {}
    choices = objects(answer.get("choices"))
    holders = [answer, *choices]
    return any(ROUTES in mapping(holder.get(name)) for holder in holders for name in ("meta_info", *EXTRAS))


def _read(path: Path, given: Given, report: Report) -> Iterator[RoutingRecord]:
    if not given.layers and not given.k:
        raise TraceError(
            f"{path.name}: bare ids of SGLang, without the model's layers",
            expected="the layers, or k: such answers say neither how many there are nor how many experts a token gets",
            do=GIVE_LAYERS,
        )
    yield from read_answers(path, given, report, engine=ENGINE, sequences=served_by_sglang)


IMPORTER = Importer(name="sglang_response", title="saved answers of SGLang", detect=_detect, read=_read)

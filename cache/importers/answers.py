"""Saved answers of servers: where in a file they stand, what was asked, and the records they give.

A file holds one answer (`.json`), a list of them, or one for each line (`.jsonl`). An answer stands alone, or under
`response` beside its `request`, as batch files have it (there under `body`), with what is known of the document beside
it: `id`, `source`, `domain`, `language`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from gatescope.cache.importers.importer import Given, Report
from gatescope.cache.importers.served import GIVE_LAYERS, UNKNOWN, Served, decoder_layers, inferred_layers, record_of
from gatescope.routing.errors import GatescopeError, RecordError, TraceError
from gatescope.routing.record import Document, Provenance, RoutingRecord
from gatescope.routing.router import RouterRule

LOOK_AT = 64 * 2**20  # bytes that are read to find out whose answers a file holds
LINES = (".jsonl", ".ndjson")
NO_KEPT_ROUTE = "token that the server had cached without its routes"
ALWAYS_MISSING = (
    "weights, scores and margins: servers return expert ids alone",
    "the order of weights within a token: slots stand as the server has them",
    "texts of tokens, and which of them are special: answers hold ids at best",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """One answer, what was asked (empty where it was not kept), and what stood beside them.

    `item` counts the answers of one request that asked for several.
    """

    answer: Mapping[str, Any]
    request: Mapping[str, Any]
    beside: Mapping[str, Any]
    item: int = 0

    def document(self, index: int, *, prompt: int = 0) -> Document:
        """The document of the answer's choice `index`, which continues the prompt of that number."""
        meta = mapping(self.answer.get("meta_info"))
        ids = (self.beside.get("id"), self.beside.get("custom_id"), self.answer.get("id"), meta.get("id"))
        own = next((str(id) for id in ids if id not in (None, "")), "")
        source, domain, language = (str(self.beside.get(name) or "") for name in ("source", "domain", "language"))
        id = f"{own}#{index + self.item}" if index + self.item else own
        return Document(self._text(prompt), id, source, domain, language)

    def _text(self, prompt: int) -> str:
        """What was sent, as far as it is known."""
        asked = self.request.get("prompt", self.request.get("text"))
        if isinstance(asked, list) and len(asked) > prompt:
            asked = asked[prompt]
        if isinstance(asked, str):
            return asked
        messages = self.request.get("messages")
        if isinstance(messages, list):
            return "\n".join(_spoken(mapping(message).get("content")) for message in messages)
        return str(self.answer.get("prompt_text") or "")


Sequences = Callable[[Exchange, int, Report], Iterator[Served]]  # the number is k, 0 where it is not known


def read_answers(
    path: Path, given: Given, report: Report, *, engine: str, sequences: Sequences
) -> Iterator[RoutingRecord]:
    """A record for each sequence of a file's answers, as `sequences` finds them, the report filling up meanwhile."""
    layers = decoder_layers(given.layers)
    report.missing += ALWAYS_MISSING
    if not layers:
        layers = inferred_layers(_all_served(path, given, sequences), experts=given.experts)
        _tell_inferred(report, layers)
    k = max(rule.k for rule in layers)
    for place, value in values(path):
        try:
            for exchange in exchanges(value):
                for served in sequences(exchange, k, report):
                    yield from told(served, layers, _provenance(served, given, engine), report, place)
        except GatescopeError as error:
            if given.on_fault != "skip":
                raise at(place, error) from error
            report.leave_out(reason(error), place)


def told(
    served: Served, layers: tuple[RouterRule, ...], provenance: Provenance, report: Report, place: str
) -> Iterator[RoutingRecord]:
    """The record of one sequence, if it has any routes, counted in the report."""
    record, lost = record_of(served, layers, provenance)
    for position in lost:
        report.leave_out(NO_KEPT_ROUTE, f"{place}, position {position}")
    if UNKNOWN in record.token_t:
        note(report.missing, f"token ids of some or all tokens: they stand as {UNKNOWN}; ask with return_token_ids")
    if record.tokens:
        report.documents += 1
        report.tokens += record.tokens
        yield record
    else:
        report.leave_out("answer without a single route", place)


def note(sentences: list[str], sentence: str) -> None:
    """Say something once."""
    if sentence not in sentences:
        sentences.append(sentence)


def reason(error: GatescopeError) -> str:
    """What went wrong without its figures, so that the same thing counts together."""
    return error.found.partition(" (")[0]


def at(place: str, error: GatescopeError) -> TraceError:
    """The error with the place of its answer; what breaks a record's rule is a matter of the layers given."""
    do = GIVE_LAYERS if isinstance(error, RecordError) else error.do
    return TraceError(f"{place}: {error.found}", expected=error.expected, do=do)


def values(path: Path) -> Iterator[tuple[str, Any]]:
    """Every saved value of a file with its place; a value that is no JSON is an error of its own when it is opened."""
    if path.suffix in LINES:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"{path.name}, line {number}", line
        return
    whole = parsed(path.read_bytes())
    if not isinstance(whole, list):
        yield path.name, whole
        return
    yield from ((f"{path.name}, answer {number}", value) for number, value in enumerate(whole, 1))


def parsed(text: bytes) -> Any:
    """JSON, or TraceError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(
            f"text that is no JSON ({error})", expected="an answer as the server sent it", do="check for a cut-off end"
        ) from error


def exchanges(value: Any) -> Iterator[Exchange]:
    """The answers that one saved value holds."""
    value = parsed(value) if isinstance(value, bytes) else value
    beside = mapping(value)
    answer = beside.get("response", value)
    if "response" not in beside:
        beside = {}
    request = mapping(beside.get("request"))
    if isinstance(answer, dict) and "body" in answer:
        answer = answer["body"]
    items = answer if isinstance(answer, list) else [answer]
    for item, one in enumerate(items):
        if not isinstance(one, dict):
            raise TraceError(
                f"no answer ({type(one).__name__})", expected="an object, as the server sent it", do="leave it out"
            )
        yield Exchange(answer=one, request=mapping(request.get("body", request)), beside=beside, item=item)


def first_answer(path: Path) -> Mapping[str, Any]:
    """The first answer of a file, empty where it holds none that can be read, or where it is very large."""
    try:
        with path.open("rb") as stream:
            head = stream.read(LOOK_AT) if path.suffix not in LINES else stream.readline(LOOK_AT)
        value = parsed(head)
        value = value[0] if isinstance(value, list) and value else value
        return next(exchanges(value)).answer
    except (GatescopeError, OSError, StopIteration):
        return {}


def mapping(value: Any) -> Mapping[str, Any]:
    """An object of JSON as it is; anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list of JSON; an empty list where it is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def token_ids(value: Any) -> list[int] | None:
    """A list of token ids; None where it is none."""
    is_ids = isinstance(value, list) and all(type(each) is int and 0 <= each < 2**31 for each in value)
    return value if is_ids and value else None


def count(value: Any) -> int | None:
    """A number of tokens; None where it is none."""
    return value if type(value) is int and value >= 0 else None


def ids_or_unknown(ids: list[int] | None, number: int | None, what: str) -> list[int]:
    """Token ids, or as many unknown ones as there were tokens. TraceError where neither is known."""
    if ids is not None:
        return ids
    if number is None:
        raise TraceError(
            f"an answer that does not say how many tokens its {what} has",
            expected="token ids, or a count of tokens for the one choice",
            do="ask with return_token_ids, and keep the whole answer and its request",
        )
    return [UNKNOWN] * number


def _spoken(content: Any) -> str:
    """The text of a chat message, which is a string or a list of parts."""
    return content if isinstance(content, str) else "\n".join(str(part.get("text") or "") for part in objects(content))


def _all_served(path: Path, given: Given, sequences: Sequences) -> Iterator[Served]:
    """Every sequence that can be read, without a word to the report."""
    for place, value in values(path):
        try:
            yield from chain.from_iterable(sequences(each, given.k, Report(format="")) for each in exchanges(value))
        except GatescopeError as error:
            if given.on_fault != "skip":
                raise at(place, error) from error


def _tell_inferred(report: Report, layers: tuple[RouterRule, ...]) -> None:
    blocks = [rule.block for rule in layers]
    report.understood.append(f"{len(layers)} layers with experts, told by the ids alone, at the places {blocks}")
    report.missing.append(
        "how the router scores; and whether the trace lists every block or MoE layers alone: where it lists those "
        "alone, a layer's block is its place among them"
    )


def _provenance(served: Served, given: Given, engine: str) -> Provenance:
    return Provenance(
        model=given.model or served.name, fingerprint=given.fingerprint, dtype="", device="", engine=engine
    )


def with_start(exchange: Exchange, *names: str) -> int:
    """How many tokens at the beginning the request asked to leave out."""
    sampling = mapping(exchange.request.get("sampling_params"))
    found = (count(holder.get(name)) for holder in (exchange.request, sampling) for name in names)
    return next((number for number in found if number is not None), 0)

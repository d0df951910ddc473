"""Documents through a running server of vLLM or SGLang: the experts it says each token went to, as records.

The server computes, this asks. Only expert ids come back, no weights and no scores; the last token of an answer is
never run and has none. A document of n tokens gives n rows, as from `hooks.capture`: one token more is asked for.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from gatescope.cache.importers.answers import ALWAYS_MISSING, Exchange, at, mapping, note, objects, told
from gatescope.cache.importers.importer import Report
from gatescope.cache.importers.served import Served, decoder_layers
from gatescope.cache.importers.sglang_response import served_by_sglang
from gatescope.cache.importers.vllm import served_by_vllm
from gatescope.engines.transport import KEY_VARIABLE, Reply, Transport
from gatescope.routing.errors import GatescopeError, OptionError, PromptError, TraceError
from gatescope.routing.record import Document, Provenance, RoutingRecord
from gatescope.routing.router import RouterRule

Pieces = Callable[[Sequence[int]], Mapping[int, str]]
REFUSED_DOCUMENT = (400, 413, 422)
REFUSED_KEY = (401, 403)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of the server for each document, the same for all.

    `max_new_tokens` continues each document greedily. `start` leaves out the routes of that many tokens at the
    beginning. `chat` sends the document as one user turn, which the server puts into its template.
    """

    max_new_tokens: int = 0
    start: int = 0
    chat: bool = False

    def __post_init__(self) -> None:
        for name, value in (("max_new_tokens", self.max_new_tokens), ("start", self.start)):
            if value < 0:
                raise OptionError(f"{name} is {value}", expected="0 or more", do=f"choose {name} within that range")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One kind of server: how it is asked, how its answers are read, and how it must have been started."""

    name: str
    launch: str
    path: Callable[[Asked], str]
    body: Callable[[str, Asked, str], dict[str, Any]]
    sequences: Callable[[Exchange, int, Report], Iterator[Served]]


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server that was recognised: its kind and version, its model, and how it should have been started.

    `dtype` is its number format where it says one.
    """

    engine: Engine
    version: str
    model: str
    launch: str
    dtype: str = ""


def capture_from_server(
    address: str,
    documents: Iterable[Document],
    *,
    layers: Sequence[RouterRule],
    model: str = "",
    fingerprint: str = "",
    max_new_tokens: int = 0,
    start: int = 0,
    chat: bool = False,
    concurrency: int = 8,
    timeout: float = 600.0,
    on_fault: str = "stop",
    pieces: Pieces | None = None,
    report: Report | None = None,
) -> Iterator[RoutingRecord]:
    """A record for each document, in their order, from a server of vLLM or SGLang; `concurrency` are asked at once.

    The texts go to `address`, and nowhere else; a key is read from GATESCOPE_SERVER_API_KEY. `layers` are the model's
    MoE layers (a server does not say them), `model` one of the names it serves, needed where it serves several.
    `pieces` gives the texts of token ids, `report` fills up meanwhile. Documents that the server refuses end the
    capture, or are left out where `on_fault` is "skip".
    Errors      OptionError; TraceError where the server cannot be reached or recognised, was started without routed
                experts, or has other layers; PromptError for a blank document.
    """
    asked = Asked(max_new_tokens=max_new_tokens, start=start, chat=chat)
    if concurrency < 1 or timeout <= 0 or on_fault not in ("stop", "skip"):
        raise OptionError(
            f"concurrency={concurrency}, timeout={timeout}, on_fault={on_fault!r}",
            expected="1 or more, more than 0 seconds, and 'stop' or 'skip'",
            do="choose them within those ranges",
        )
    rules = decoder_layers(layers)
    if not rules:
        raise OptionError("no layers", expected="the model's MoE layers", do="pass `layers` as its config has them")
    transport = Transport(address, timeout=timeout)
    try:
        serving = recognised(transport, model)
    finally:
        transport.close()
    session = _Session(transport, serving, asked, rules, fingerprint, report or Report(format=serving.engine.name))
    return session.records(documents, concurrency=concurrency, on_fault=on_fault, pieces=pieces)


def recognised(transport: Transport, model: str = "") -> Serving:
    """Which server stands at an address, and what it serves. TraceError where it is neither vLLM nor SGLang."""
    cards = objects(mapping(_asked_for(transport, "/v1/models")).get("data"))
    owners = {str(card.get("owned_by")) for card in cards if not card.get("parent")}
    version = mapping(_asked_for(transport, "/version")).get("version") if "sglang" not in owners else None
    if "vllm" in owners or version:
        name = _chosen(cards, model)
        return Serving(engine=VLLM, version=str(version or ""), model=name, launch=VLLM.launch.format(name))
    about = mapping(_asked_for(transport, "/server_info") or _asked_for(transport, "/get_server_info"))
    if "sglang" not in owners and "model_path" not in about:
        raise TraceError(
            f"{transport.address} is neither vLLM nor SGLang (it owns its models as {', '.join(owners) or 'nobody'})",
            expected="a server that answers /v1/models and /version, or /server_info, as those do",
            do="name the server itself, not a gateway before it, or import its saved answers",
        )
    name = _chosen(cards, model) or str(about.get("model_path") or "")
    launch = SGLANG.launch.format(about.get("model_path") or name)
    serving = Serving(
        engine=SGLANG,
        version=str(about.get("version") or ""),
        model=name,
        dtype=_text(about.get("dtype")),
        launch=launch,
    )
    if about.get("enable_return_routed_experts") is False:
        raise _without_routes(transport, serving)
    return serving


class _Session:
    """One capture from one server: what is asked, in how many threads, and how the answers become records."""

    def __init__(
        self,
        transport: Transport,
        serving: Serving,
        asked: Asked,
        rules: tuple[RouterRule, ...],
        fingerprint: str,
        report: Report,
    ) -> None:
        self.transport, self.serving, self.asked = transport, serving, asked
        self.rules, self.report = rules, report
        self.provenance = Provenance(
            model=serving.model,
            fingerprint=fingerprint,
            dtype=serving.dtype,
            device="",
            engine=serving.engine.name,
            versions={serving.engine.name.lower(): serving.version},
            options={"max_new_tokens": asked.max_new_tokens, "start": asked.start, "chat": asked.chat},
        )
        for sentence in ALWAYS_MISSING:
            note(report.missing, sentence)
        note(report.understood, f"{serving.engine.name} {serving.version}, serving {serving.model}")

    def records(
        self, documents: Iterable[Document], *, concurrency: int, on_fault: str, pieces: Pieces | None
    ) -> Iterator[RoutingRecord]:
        """The records of the documents, in order; left early, what is still asked is broken off."""
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="asking")
        waiting: deque[tuple[Document, Future[Reply]]] = deque()
        try:
            for document in documents:
                waiting.append((document, pool.submit(self._ask, document)))
                if len(waiting) > 2 * concurrency:
                    yield from self._told(*waiting.popleft(), on_fault=on_fault, pieces=pieces)
            while waiting:
                yield from self._told(*waiting.popleft(), on_fault=on_fault, pieces=pieces)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self.transport.stop()
            pool.shutdown()
            self.transport.close()

    def _ask(self, document: Document) -> Reply:
        if not document.text.strip():
            raise PromptError(
                f"document {document.id!r} is blank", expected="at least one visible character", do="leave it out"
            )
        reply = self.transport.ask(self.serving.engine.path(self.asked), self._body(document))
        if reply.status in REFUSED_DOCUMENT:
            raise PromptError(
                f"the server refused document {document.id!r} (HTTP {reply.status}: {_said(self.transport, reply)})",
                expected="a document that the server takes",
                do="cut it into shorter ones, or leave it out",
            )
        return reply

    def _body(self, document: Document) -> dict[str, Any]:
        return self.serving.engine.body(document.text, self.asked, self.serving.model)

    def _told(
        self, document: Document, future: Future[Reply], *, on_fault: str, pieces: Pieces | None
    ) -> Iterator[RoutingRecord]:
        """The record of one document, once it is answered."""
        place = f"document {document.id!r}"
        try:
            reply = future.result()
        except PromptError as error:
            if on_fault != "skip":
                raise
            self.report.leave_out("document that is blank, or that the server refused", f"{place}: {error.found}")
            return
        try:
            answer = _checked(self.transport, reply, self.serving)
            exchange = Exchange(answer=answer, request=self._body(document), beside={})
            for served in self.serving.engine.sequences(exchange, max(rule.k for rule in self.rules), self.report):
                own = replace(served, document=document)
                for record in told(own, self.rules, self.provenance, self.report, place):
                    yield _with_pieces(record, pieces)
        except GatescopeError as error:
            raise at(place, error) from error


def _with_pieces(record: RoutingRecord, pieces: Pieces | None) -> RoutingRecord:
    if pieces is None:
        return record
    return replace(record, pieces=pieces(sorted({int(token) for token in record.token_t if token >= 0})))


def _asked_for(transport: Transport, path: str) -> Any:
    """What stands under a path; None where nothing does. TraceError where a key is wanted."""
    reply = transport.ask(path)
    if reply.status in REFUSED_KEY:
        raise _refused_key(transport, reply)
    return reply.value if reply.status == 200 else None


def _chosen(cards: list[Mapping[str, Any]], model: str) -> str:
    """The name to ask for: the one given, which must be served, or the only one."""
    names = [str(card.get("id")) for card in cards]
    bases = [str(card.get("id")) for card in cards if not card.get("parent")]
    if (model and model not in names) or (not model and len(bases) > 1):
        raise TraceError(
            f"a server of {', '.join(names) or 'no model'}" + (f", not of {model}" if model else ""),
            expected="the name of a model that it serves",
            do="pass one of those names as `model`",
        )
    return model or (bases[0] if bases else "")


def _checked(transport: Transport, reply: Reply, serving: Serving) -> Mapping[str, Any]:
    """The answer, if it is one with routes in it."""
    if reply.status in REFUSED_KEY:
        raise _refused_key(transport, reply)
    answer = mapping(reply.value)
    if reply.status != 200 or not answer:
        raise TraceError(
            f"{transport.address} answered HTTP {reply.status}: {_said(transport, reply)}",
            expected="HTTP 200 and JSON",
            do="look into the server's log",
        )
    _check_finished(transport, answer)
    holders = [answer, *objects(answer.get("choices"))]
    holders += [mapping(holder.get(name)) for holder in list(holders) for name in ("meta_info", "sglext", "sgl_ext")]
    if not any(
        holder.get(name) is not None for holder in holders for name in ("routed_experts", "prompt_routed_experts")
    ):
        raise _without_routes(transport, serving)
    return answer


def _check_finished(transport: Transport, answer: Mapping[str, Any]) -> None:
    """An answer that the server itself gave up is told from one of a server without routes."""
    ends = [
        holder.get("finish_reason") for holder in (mapping(answer.get("meta_info")), *objects(answer.get("choices")))
    ]
    for end in ends:
        if "abort" in (end, mapping(end).get("type")):
            words = transport.without_key(str(mapping(end).get("message") or "no reason given"))
            raise TraceError(
                f"the server broke off its own work: {words}",
                expected="a finished answer",
                do="look into the server's log, or ask fewer at once (concurrency)",
            )


def _without_routes(transport: Transport, serving: Serving) -> TraceError:
    return TraceError(
        f"{transport.address} ({serving.engine.name} {serving.version}) returns no routed experts",
        expected="a Mixture-of-Experts model, and a server started to return them",
        do=f"start it with: {serving.launch}",
    )


def _refused_key(transport: Transport, reply: Reply) -> TraceError:
    return TraceError(
        f"{transport.address} refuses to answer (HTTP {reply.status}: {_said(transport, reply)})",
        expected="no key, or the right one",
        do=f"set the environment variable {KEY_VARIABLE} to the server's key",
    )


def _said(transport: Transport, reply: Reply) -> str:
    """A server's own words about what it refused."""
    value = mapping(reply.value)
    error = value.get("error", value.get("message", value.get("detail")))
    words = mapping(error).get("message") or error
    return transport.without_key(str(words)) if words else "no reason given"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _openai_path(asked: Asked) -> str:
    return "/v1/chat/completions" if asked.chat else "/v1/completions"


def _openai_body(text: str, asked: Asked, model: str) -> dict[str, Any]:
    """A question in OpenAI's form: one token more than wanted, since the last is never run."""
    request_body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]} if asked.chat else {"prompt": text}
    return {
        "model": model,
        **request_body,
        "max_tokens": asked.max_new_tokens + 1,
        "temperature": 0,
        "return_token_ids": True,
    }


def _vllm_body(text: str, asked: Asked, model: str) -> dict[str, Any]:
    body = _openai_body(text, asked, model)
    return body | ({"routed_experts_prompt_start": asked.start} if asked.start else {})


def _sglang_body(text: str, asked: Asked, model: str) -> dict[str, Any]:
    routes = {
        "return_routed_experts": True,
        "return_prompt_token_ids": True,
        **({"routed_experts_start_len": asked.start} if asked.start else {}),
    }
    if asked.chat:
        return _openai_body(text, asked, model) | routes
    sampling = {"max_new_tokens": asked.max_new_tokens + 1, "temperature": 0}
    return {"text": text, "sampling_params": sampling, **routes}


VLLM = Engine(
    name="vLLM",
    launch="vllm serve {} --enable-return-routed-experts",
    path=_openai_path,
    body=_vllm_body,
    sequences=served_by_vllm,
)
SGLANG = Engine(
    name="SGLang",
    launch="python -m sglang.launch_server --model-path {} --enable-return-routed-experts",
    path=lambda asked: "/v1/chat/completions" if asked.chat else "/generate",
    body=_sglang_body,
    sequences=served_by_sglang,
)

"""A small server on this machine that answers as vLLM and SGLang do, with routes that the bundled model really took.

Each form writes down what the engines document, with nothing of the readers under test: routes come from hooks on the
model, the arrays are written by numpy and `json`.
"""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.hooks import CaptureOptions, capture, load_model
from gatescope.routing import Flag

MODEL = Path(__file__).parents[2] / "models" / "sift-softmax"
NAME = "here/sift"
TEXTS = (
    "The router sends every token to four experts.",
    "Ein kurzer Satz, и ещё один.",
    "for n in range(9):\n    pass",
)
ONE_AT_A_TIME = threading.Lock()  # the stand-in answers in many threads
LONGEST = 2000  # characters that the stand-in takes


@dataclass(frozen=True)
class Run:
    """One text that the model ran: the record, its prompt's tokens, and those that follow, the last of them not run."""

    record: Any
    prompt_ids: list[int]
    output_ids: list[int]

    @property
    def ids_tlk(self):
        return self.record.ids_tlk.astype(int)


@lru_cache(maxsize=1)
def model():
    """The bundled model, loaded once."""
    return load_model(MODEL)


def run(text: str, max_tokens: int) -> Run:
    """What a server asked for `max_tokens` does: it samples that many, and runs all but the last."""
    with ONE_AT_A_TIME:
        return _run(text, max_tokens)


@lru_cache(maxsize=64)
def _run(text: str, max_tokens: int) -> Run:
    record = capture(model(), text, CaptureOptions(max_new_tokens=max_tokens - 1))
    is_new_t = (record.flag_t & Flag.GENERATED) > 0
    last = int(record.predicted_t[-1])
    return Run(record, record.token_t[~is_new_t].tolist(), [*record.token_t[is_new_t].tolist(), last])


def moved(layers, blocks):
    """The model's layers as if dense blocks stood between them."""
    return tuple(replace(rule, block=block) for rule, block in zip(layers, blocks, strict=True))


def among_zeros(ids_tlk, blocks, hidden):
    """The routes of every hidden layer, those without experts zero, as both engines return them."""
    ids_thk = np.zeros((len(ids_tlk), hidden, ids_tlk.shape[2]), int)
    ids_thk[:, blocks] = ids_tlk
    return ids_thk


def npy(ids_thk, dtype="uint8"):
    """A NumPy file in base64."""
    stream = io.BytesIO()
    np.save(stream, ids_thk.astype(dtype))
    return base64.b64encode(stream.getvalue()).decode()


def bare(ids_thk):
    """Bare 32-bit integers in base64."""
    return base64.b64encode(ids_thk.astype("<i4").tobytes()).decode()


def usage(one: Run):
    prompt, output = len(one.prompt_ids), len(one.output_ids)
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


def vllm_choice(one: Run, ids_thk, form, *, index=0, chat=False):
    """A choice: routes as a NumPy file ("npy"), as lists of all rows ("whole"), or of the generated ones ("split")."""
    rows = ids_thk if form != "split" else ids_thk[len(one.prompt_ids) :]
    said = {"message": {"role": "assistant", "content": "…"}} if chat else {"text": "…"}
    ids = {"token_ids": one.output_ids} | ({} if chat else {"prompt_token_ids": one.prompt_ids})
    routes = npy(rows) if form == "npy" else rows.tolist()
    return {"index": index, **said, "finish_reason": "length", **ids, "routed_experts": routes}


def vllm_answer(one: Run, ids_thk, form="npy", *, chat=False):
    """An answer of /v1/completions or /v1/chat/completions, with token ids."""
    kind = "chat.completion" if chat else "text_completion"
    answer = {"id": "cmpl-1", "object": kind, "model": NAME, "choices": [vllm_choice(one, ids_thk, form, chat=chat)]}
    if chat:
        answer["prompt_token_ids"] = one.prompt_ids
    if form == "split":
        answer["prompt_routed_experts"] = ids_thk[: len(one.prompt_ids)].tolist()
    return answer | {"usage": usage(one)}


def sglang_answer(one: Run, ids_thk):
    """An answer of /generate, with token ids."""
    counts = {name: usage(one)[name] for name in ("prompt_tokens", "completion_tokens")}
    meta = {"id": "f00", "finish_reason": {"type": "length"}, **counts, "routed_experts": bare(ids_thk)}
    return {"text": "…", "output_ids": one.output_ids, "prompt_token_ids": one.prompt_ids, "meta_info": meta}


def sglang_chat(one: Run, ids_thk, *, extra="sglext"):
    """An answer of SGLang's /v1/chat/completions; older versions called the extra part otherwise, in each choice."""
    choice = {"index": 0, "message": {"content": "…"}, "prompt_token_ids": one.prompt_ids}
    choice["response_token_ids"] = one.output_ids
    answer = {"id": "f00", "object": "chat.completion", "model": NAME, "choices": [choice], "usage": usage(one)}
    (answer if extra == "sglext" else choice)[extra] = {"routed_experts": bare(ids_thk)}
    return answer


@dataclass
class Manners:
    """How a stand-in behaves: which engine it is, which form it answers in, and what goes wrong.

    `busy` and `broken` count the answers that fail before one succeeds; `started` says what it was started with;
    `pause` are seconds before an answer, `trickle` after each of its bytes.
    """

    engine: str = "vllm"
    form: str = "npy"
    blocks: tuple[int, ...] = tuple(range(6))
    hidden: int = 6
    started: bool = True
    aborts: bool = False
    key: str = ""
    busy: int = 0
    status: int = 429
    retry_after: str = ""
    broken: int = 0
    pause: float = 0.0
    trickle: float = 0.0
    redirect: str = ""
    served: tuple[str, ...] = (NAME,)
    asked: list[dict] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class StandIn(BaseHTTPRequestHandler):
    """Speaks as one of the two engines."""

    protocol_version = "HTTP/1.1"
    manners: Manners

    def setup(self):
        super().setup()
        self.manners.connections += 1

    def do_GET(self):
        manners = self.manners
        manners.paths.append(self.path)
        cards = [{"id": name, "object": "model", "owned_by": manners.engine} for name in manners.served]
        about = {"version": "0.5.23", "model_path": "/srv/sift", "dtype": "bfloat16", "api_key": manners.key}
        pages: dict[tuple[str, str], Any] = {
            ("vllm", "/v1/models"): {"data": cards},
            ("vllm", "/version"): {"version": "0.33.0"},
            ("sglang", "/v1/models"): {"data": cards},
            ("sglang", "/get_server_info"): {**about, "enable_return_routed_experts": manners.started},
            ("other", "/v1/models"): {"data": cards},
        }
        if self._is_known():
            found = pages.get((manners.engine, self.path))
            self._answer(200 if found else 404, found or {"detail": "Not Found"})

    def do_POST(self):
        manners = self.manners
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with manners.lock:
            manners.asked.append(body)
            manners.at_once += 1
            manners.most_at_once = max(manners.most_at_once, manners.at_once)
            is_busy, is_broken = manners.busy > 0, manners.busy <= 0 < manners.broken
            manners.busy -= is_busy
            manners.broken -= is_broken
        time.sleep(manners.pause)
        with manners.lock:
            manners.at_once -= 1
        if not self._is_known():
            return
        if is_busy:
            extra = {"Retry-After": manners.retry_after} if manners.retry_after else {}
            self._answer(manners.status, {"error": {"message": "too many"}}, extra)
        else:
            self._route(body, cut=is_broken)

    def _route(self, body: Mapping[str, Any], *, cut: bool):
        text = body.get("prompt", body.get("text"))
        if text is None:
            text = body["messages"][0]["content"]
        if len(text) > LONGEST:
            self._answer(400, {"error": {"message": f"too long: {len(text)}", "code": 400}})
            return
        new = body["sampling_params"]["max_new_tokens"] if "sampling_params" in body else body["max_tokens"]
        one, start = run(text, new), body.get("routed_experts_prompt_start", body.get("routed_experts_start_len", 0))
        ids_thk = among_zeros(one.ids_tlk[start:], list(self.manners.blocks), self.manners.hidden)
        self._answer(200, self._in_form(one, ids_thk, body), cut=cut)

    def _in_form(self, one: Run, ids_thk, body: Mapping[str, Any]):
        chat = "messages" in body
        if self.manners.engine == "vllm":
            answer = vllm_answer(one, ids_thk, self.manners.form, chat=chat)
            if self.manners.aborts:
                answer["choices"][0]["finish_reason"] = "abort"
            if not self.manners.started:
                answer["choices"][0]["routed_experts"] = None
            return answer
        answer = sglang_chat(one, ids_thk) if chat else sglang_answer(one, ids_thk)
        if self.manners.aborts:
            answer["meta_info"] = {"finish_reason": {"type": "abort", "message": "out of memory"}}
        if not body.get("return_routed_experts"):
            answer.get("meta_info", answer.get("sglext", {})).pop("routed_experts")
        return answer

    def _is_known(self):
        if self.manners.redirect:
            self._answer(307, {}, {"Location": self.manners.redirect + self.path})
            return False
        given = self.headers.get("Authorization", "")
        if self.manners.key and given != f"Bearer {self.manners.key}":
            self._answer(401, {"error": {"message": f"Incorrect key provided: {given.removeprefix('Bearer ')}"}})
            return False
        return True

    def _answer(self, status, value, headers=None, *, cut=False):
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self._write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def _write(self, data: bytes):
        """The answer at once, or byte by byte where it trickles, until nobody reads any more."""
        with suppress(BrokenPipeError, ConnectionResetError):
            if not self.manners.trickle or self.command == "GET":
                self.wfile.write(data)
                return
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(self.manners.trickle)

    def log_message(self, *arguments):
        """Quiet."""


@contextmanager
def serving(manners: Manners) -> Iterator[str]:
    """The address of a stand-in with these manners."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("StandIn", (StandIn,), {"manners": manners}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

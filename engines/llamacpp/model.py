"""A GGUF opened with llama.cpp: its vocabulary, its routers, and passes over token ids with the routers copied."""

import ctypes
import os
import threading
import weakref
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from engines.llamacpp.header import Header, check_memory, check_routed, fingerprint, read_header
from engines.llamacpp.library import Library, load_library
from engines.llamacpp.readings import Reading, learn
from engines.llamacpp.structures import F32, ContextParams, ModelParams
from engines.llamacpp.tape import HEAD, KINDS, Tape
from engines.llamacpp.vocabulary import Vocabulary
from routing.errors import ModelError, ModelMemoryError, OptionError, PromptError, RouterOutputError
from routing.record import Provenance
from routing.router import RouterRule

PROBE = 32  # tokens of the short pass that finds the routers
CHUNK = 512  # most tokens of one pass
LOGITS = 2**25  # most scores over the vocabulary that one pass may put out: 128 MiB
STEP = 256  # contexts are made for a multiple of so many tokens
ATTENTIONS = ("auto", "float32")
NO_FLASH = 0  # llama.cpp's number for attention without its fused kernel
Attention = Literal["auto", "float32"]
FULL, NO_MEMORY = 1, -2  # what llama_decode answers where its cache or the memory is used up


class Pass(NamedTuple):
    """What one pass over N tokens gave: scores over the vocabulary, and the routers' tensors."""

    logits_nv: NDArray[np.float32]
    copied: Mapping[tuple[int, str], NDArray[Any]]


class GgufModel:
    """A Mixture-of-Experts model from a GGUF, run on the CPU; one text at a time, whichever thread asks.

    Leave it with `close()`, or use it in a `with` block; its memory is given back with the object otherwise.
    """

    def __init__(self, library: Library, header: Header, *, attention: Attention, threads: int) -> None:
        self.library, self.header, self.attention, self.threads = library, header, attention, threads
        self.fingerprint = fingerprint(header)
        self.lock = threading.RLock()  # guards the context, which holds one text, and the tape
        self._held: dict[str, int] = {}
        self._close = weakref.finalize(self, _free, library, self._held)
        self._held["model"] = _load(library, header)
        self.vocabulary = Vocabulary(library, self._held["model"])
        self.chunk = int(np.clip(LOGITS // max(self.vocabulary.size, 1), 1, CHUNK))
        self._tape, self._length = Tape(), 0
        self._batch = library.call.llama_batch_init(self.chunk, 0, 1)
        weakref.finalize(self, library.call.llama_batch_free, self._batch)
        self.readings = self._probed()

    @property
    def name(self) -> str:
        """What its maker called it, else the file's name."""
        return self.header.name

    @property
    def layers(self) -> tuple[RouterRule, ...]:
        """The routing rule of each MoE layer."""
        return tuple(reading.rule for reading in self.readings)

    @property
    def max_tokens(self) -> int:
        """Longest text the model was made for, prompt and generated tokens together."""
        return int(self.library.call.llama_model_n_ctx_train(self._model))

    @property
    def parameters(self) -> int:
        """All parameters, whether a token uses them or not."""
        return int(self.library.call.llama_model_n_params(self._model))

    @property
    def dtype(self) -> str:
        """How most of its weights are stored, as llama.cpp calls it: "Q4_0", "Q4_K - Medium", "F32"."""
        number = self.library.call.llama_model_ftype(self._model)
        return self.library.call.llama_ftype_name(number).decode().removeprefix("all ")

    def provenance(self, options: Mapping[str, Any] | None = None) -> Provenance:
        """What a capture of this model is made with."""
        return Provenance(
            model=self.name,
            fingerprint=self.fingerprint,
            dtype=self.dtype,
            device="cpu",
            attention=self.attention,
            engine="llama.cpp",
            versions=self.library.versions,
            options=dict(options or {}),
        )

    def begin(self, length: int) -> None:
        """Forget the text held, and make room for one of so many tokens. Errors: ModelMemoryError."""
        if length > self._length:
            self._make_context(length)
        call = self.library.call
        call.llama_memory_clear(call.llama_get_memory(self._held["context"]), True)

    def run(self, token_n: Sequence[int], position: int, kinds: Collection[str], words: int) -> Pass:
        """One pass over the tokens at `position` and behind it, copying `kinds` of nodes, at most `words` numbers.

        Every token asks for its scores, since llama.cpp runs the last block only for those that do. The scores are
        valid until the next pass. Errors: ModelMemoryError, ModelError.
        """
        self._tape.rewind(kinds, words)
        for place, token in enumerate(token_n):
            self._batch.token[place], self._batch.pos[place] = token, position + place
            self._batch.n_seq_id[place], self._batch.seq_id[place][0] = 1, 0
            self._batch.logits[place] = 1
        self._batch.n_tokens = len(token_n)
        context = self._held["context"]
        with self.library.complaints() as complaints:
            answer = self.library.call.llama_decode(context, self._batch)
            if answer:
                raise self._refused(answer, complaints())
        logits = self.library.call.llama_get_logits(context)
        logits_nv = np.ctypeslib.as_array(logits, (len(token_n), self.vocabulary.size))
        return Pass(logits_nv, self._tape.read())

    def close(self) -> None:
        """Give its memory back; it cannot be used any more."""
        with self.lock:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _model(self) -> int:
        if "model" not in self._held:
            raise ModelError(f"{self.name} was closed", expected="an open model", do="open the file again")
        return self._held["model"]

    def _make_context(self, length: int) -> None:
        """A context for so many tokens, in place of the one before."""
        call, self._length = self.library.call, 0
        if "context" in self._held:
            call.llama_free(self._held.pop("context"))
        params = self.library.defaults(ContextParams)
        own = params.own
        own.n_ctx = -(-length // STEP) * STEP
        own.n_batch = own.n_ubatch = self.chunk
        own.n_outputs_max = own.n_outputs_max_per_seq = 0  # no limit of their own
        own.n_threads = own.n_threads_batch = self.threads
        if self.attention == "float32":  # the fused kernel computes in half precision whatever it is given
            own.type_k, own.type_v, own.flash_attn_type = F32, F32, NO_FLASH
        own.cb_eval, own.cb_eval_user_data = self._tape.callback, self._tape.handed
        own.offload_kqv = own.op_offload = False
        with self.library.complaints() as complaints:
            context = call.llama_init_from_model(self._model, params)
            if not context:
                raise ModelMemoryError(
                    f"llama.cpp made no context for {length} tokens of {self.name}: {complaints()}",
                    expected="memory for the keys and values of the longest text",
                    do="cut long documents, or close other programs",
                )
        self._held["context"], self._length = context, own.n_ctx

    def _refused(self, answer: int, why: str) -> ModelError:
        """What an answer of llama_decode other than 0 means."""
        if answer in (FULL, NO_MEMORY):
            return ModelMemoryError(
                f"llama.cpp ran out of memory in a pass of {self.name}: {why or f'answer {answer}'}",
                expected="memory for one pass",
                do="cut long documents, or close other programs",
            )
        return ModelError(
            f"llama.cpp gave up a pass of {self.name} (answer {answer}): {why}",
            expected="a pass over token ids of its vocabulary",
            do="check the file with llama.cpp's own tools",
        )

    def _probed(self) -> tuple[Reading, ...]:
        """The reading of every layer, from a pass over tokens from all over the vocabulary."""
        tokens = min(PROBE, self.chunk, self.max_tokens)
        token_n = np.linspace(0, self.vocabulary.size - 1, tokens).astype(int).tolist()
        blocks = max(self.header.count("block_count"), 1)
        self.begin(tokens)
        words = blocks * len(KINDS) * (tokens * self.header.most_experts + HEAD)
        return learn(self.header, self.run(token_n, 0, KINDS, words).copied, tokens)


def open_gguf(
    path: str | Path, *, threads: int = 0, attention: Attention = "auto", library: str | Path = ""
) -> GgufModel:
    """Open a GGUF with llama.cpp, on the CPU, and find its routers.

    `path` is a file (of a model in parts, the first). `threads` is how many compute; 0 takes OMP_NUM_THREADS, else
    every core. `attention` is "auto", as llama.cpp does it unasked (keys and values as half floats, a fused kernel), or
    "float32". `library` is a shared library of llama.cpp to use in place of the one in xllamacpp.
    Errors: ModelNotFoundError, WeightsError, ModelMemoryError, DenseModelError, RouterOutputError, OptionError,
    ModelError (llama.cpp is missing, of another version, or refuses the file).
    """
    if attention not in ATTENTIONS:
        raise OptionError(
            f"attention {attention!r}", expected=f"one of {', '.join(ATTENTIONS)}", do="choose one of those"
        )
    if threads < 0:
        raise OptionError(f"{threads} threads", expected="0 (every core) or more", do="leave threads out")
    loaded = load_library(library)
    header = read_header(loaded, Path(path).expanduser())
    check_routed(header)
    _check_causal(header)
    check_memory(header)
    return GgufModel(loaded, header, attention=attention, threads=threads or _cores())


def _cores() -> int:
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdigit() and int(stated) else os.cpu_count() or 1


def _check_causal(header: Header) -> None:
    """Refuse what reads a text in both directions: it has no scores over the vocabulary, and no context."""
    if header.values.get(f"{header.architecture}.attention.causal") is False:
        raise RouterOutputError(
            f"{header.files[0]} is an encoder ({header.architecture}.attention.causal is false)",
            expected="a language model that reads from left to right",
            do="capture encoders with transformers",
        )


def _load(library: Library, header: Header) -> int:
    """The loaded model's address. Errors: ModelMemoryError, ModelError."""
    params = library.defaults(ModelParams)
    no_device = ctypes.c_void_p(None)  # the list of devices ends with it: none but the CPU
    params.own.devices = ctypes.addressof(no_device)
    params.own.use_extra_bufts = (
        False  # weights packed anew for this processor: quicker, but AMX's crash on some machines
    )
    with library.complaints() as complaints:
        model = library.call.llama_model_load_from_file(os.fsencode(header.files[0]), params)
        if model:
            return int(model)
        why = complaints()
    if "alloc" in why or "memory" in why:
        raise ModelMemoryError(
            f"llama.cpp found no memory for {header.name}: {why}",
            expected="weights that fit into free memory",
            do="choose a file of a smaller quantisation, or a machine with more memory",
        )
    raise ModelError(
        f"llama.cpp {library.versions['llama.cpp']} cannot load {header.files[0]}: {why}",
        expected="a model of an architecture that it knows, with all its tensors",
        do="check the file with llama.cpp's own tools; a newer model needs a newer xllamacpp",
    )


def _free(library: Library, held: dict[str, int]) -> None:
    """Give back the context, then the model."""
    if "context" in held:
        library.call.llama_free(held.pop("context"))
    if "model" in held:
        library.call.llama_model_free(held.pop("model"))


def check_length(model: GgufModel, tokens: int, new_tokens: int, name: str) -> None:
    """Refuse what does not fit the model's length. Errors: PromptError."""
    if tokens + new_tokens > model.max_tokens:
        raise PromptError(
            f"{name}: {tokens} tokens and {new_tokens} new ones",
            expected=f"at most {model.max_tokens} together, the length {model.name} was made for",
            do=f"cut it by {tokens + new_tokens - model.max_tokens} tokens, or generate fewer",
        )

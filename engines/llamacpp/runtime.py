"""A GGUF in llama.cpp's hands: its weights, a context that holds one text, and passes over token ids."""

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatescope.engines.llamacpp.header import Header
from gatescope.engines.llamacpp.library import Library
from gatescope.engines.llamacpp.structures import F32, ContextParams, ModelParams
from gatescope.routing.errors import ModelError, ModelMemoryError

CHUNK = 512  # most tokens of one pass
LOGITS = 2**25  # most scores over the vocabulary that one pass may put out: 128 MiB
STEP = 256  # contexts are made for a multiple of so many tokens
FULL, NO_MEMORY = 1, -2  # what llama_decode answers where its cache or the memory is used up
NO_FLASH = 0  # llama.cpp's number for attention without its fused kernel
ATTENTIONS = ("auto", "float32")
Attention = Literal["auto", "float32"]


class Runtime:
    """A loaded model on the CPU. `listen` is called for the callback and what it is handed when a context is made."""

    def __init__(
        self,
        library: Library,
        header: Header,
        *,
        attention: Attention,
        threads: int,
        listen: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._call, self._library, self._header = library.call, library, header
        self._attention, self._threads, self._listen = attention, threads, listen
        self._held: dict[str, int] = {}
        self.close = weakref.finalize(self, _free, library, self._held)
        self._held["model"] = _load(library, header)
        self.vocabulary_size: int = self._call.llama_vocab_n_tokens(self._call.llama_model_get_vocab(self.model))
        self.chunk = int(np.clip(LOGITS // max(self.vocabulary_size, 1), 1, CHUNK))
        self._length = 0
        self._batch = self._call.llama_batch_init(self.chunk, 0, 1)
        weakref.finalize(self, self._call.llama_batch_free, self._batch)

    @property
    def model(self) -> int:
        """Address of the model. Errors: ModelError once it was closed."""
        if "model" not in self._held:
            raise ModelError(f"{self._header.name} was closed", expected="an open model", do="open the file again")
        return self._held["model"]

    @property
    def max_tokens(self) -> int:
        """Longest text the model was made for."""
        return int(self._call.llama_model_n_ctx_train(self.model))

    def begin(self, length: int) -> None:
        """Forget the text held, and make room for one of so many tokens. Errors: ModelMemoryError."""
        if length > self._length or "context" not in self._held:
            self._make_context(length)
        self._call.llama_memory_clear(self._call.llama_get_memory(self._held["context"]), True)

    def decode(self, token_n: Sequence[int], position: int) -> NDArray[np.float32]:
        """Scores over the vocabulary behind each of these tokens, which stand at `position` and behind it.

        Every token asks for its scores, since llama.cpp runs the last block only for those that do. They are valid
        until the next pass. Errors: ModelMemoryError, ModelError.
        """
        for place, token in enumerate(token_n):
            self._batch.token[place], self._batch.pos[place] = token, position + place
            self._batch.n_seq_id[place], self._batch.seq_id[place][0] = 1, 0
            self._batch.logits[place] = 1
        self._batch.n_tokens = len(token_n)
        context = self._held["context"]
        with self._library.complaints() as complaints:
            answer = self._call.llama_decode(context, self._batch)
            if answer:
                raise self._refused(answer, complaints())
        return np.ctypeslib.as_array(self._call.llama_get_logits(context), (len(token_n), self.vocabulary_size))

    def _make_context(self, length: int) -> None:
        """A context for so many tokens, in place of the one before."""
        self._length = 0
        if "context" in self._held:
            self._call.llama_free(self._held.pop("context"))
        params = self._params(-(-length // STEP) * STEP)
        with self._library.complaints() as complaints:
            context = self._call.llama_init_from_model(self.model, params)
            if not context:
                raise ModelMemoryError(
                    f"llama.cpp made no context for {length} tokens of {self._header.name}: {complaints()}",
                    expected="memory for the keys and values of the longest text",
                    do="cut long documents, or close other programs",
                )
        self._held["context"], self._length = context, params.own.n_ctx

    def _params(self, length: int) -> Any:
        """How a context for so many tokens is made."""
        params = self._library.defaults(ContextParams)
        own = params.own
        own.n_ctx, own.n_batch, own.n_ubatch = length, self.chunk, self.chunk
        own.n_outputs_max = own.n_outputs_max_per_seq = 0  # no limit of their own
        own.n_threads = own.n_threads_batch = self._threads
        own.offload_kqv = own.op_offload = False
        if self._attention == "float32":  # the fused kernel computes in half precision whatever it is given
            own.type_k, own.type_v, own.flash_attn_type = F32, F32, NO_FLASH
        if self._listen is not None:
            own.cb_eval, own.cb_eval_user_data = self._listen()
        return params

    def _refused(self, answer: int, why: str) -> ModelError:
        """What an answer of llama_decode other than 0 means."""
        if answer in (FULL, NO_MEMORY):
            return ModelMemoryError(
                f"llama.cpp ran out of memory in a pass of {self._header.name}: {why or f'answer {answer}'}",
                expected="memory for one pass",
                do="cut long documents, or close other programs",
            )
        return ModelError(
            f"llama.cpp gave up a pass of {self._header.name} (answer {answer}): {why}",
            expected="a pass over token ids of its vocabulary",
            do="check the file with llama.cpp's own tools",
        )


def _load(library: Library, header: Header) -> int:
    """The loaded model's address. Errors: ModelMemoryError, ModelError."""
    params = library.defaults(ModelParams)
    no_device = ctypes.c_void_p(None)  # the list of devices ends with it: none but the CPU
    params.own.devices = ctypes.addressof(no_device)
    params.own.use_extra_bufts = False  # weights as stored: packed anew for this processor, AMX's kernels may crash
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

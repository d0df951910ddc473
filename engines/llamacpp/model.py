"""A Mixture-of-Experts model opened from a GGUF: its vocabulary, its routers, and passes with the routers copied."""

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gatescope.engines.llamacpp.callback import native_callback
from gatescope.engines.llamacpp.header import Header, check_causal, check_memory, check_routed, fingerprint, read_header
from gatescope.engines.llamacpp.library import Library, load_library
from gatescope.engines.llamacpp.proof import prove
from gatescope.engines.llamacpp.readings import Reading, learn
from gatescope.engines.llamacpp.runtime import ATTENTIONS, Attention, Runtime
from gatescope.engines.llamacpp.structures import HEAD, KINDS
from gatescope.engines.llamacpp.tape import Tape
from gatescope.engines.llamacpp.vocabulary import Vocabulary
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Provenance
from gatescope.routing.router import RouterRule

PROBE = 32  # tokens of the short pass that finds the routers


class Pass(NamedTuple):
    """What one pass over N tokens gave: scores over the vocabulary, and the routers' tensors by block and kind."""

    logits_nv: NDArray[np.float32]
    copied: Mapping[tuple[int, str], NDArray[Any]]


class GgufModel:
    """A Mixture-of-Experts model from a GGUF, run on the CPU; one text at a time, whichever thread asks.

    Leave it with `close()`, or use it in a `with` block; its memory is given back with the object otherwise.
    """

    def __init__(self, library: Library, header: Header, *, attention: Attention, threads: int) -> None:
        self.header, self.attention, self._library = header, attention, library
        self.lock = threading.RLock()  # guards the context, which holds one text, and the tape
        self.fingerprint = fingerprint(header)
        self._tape = tape = Tape(int(native_callback().address))
        self._runtime = Runtime(
            library, header, attention=attention, threads=threads, listen=lambda: (tape.callback, tape.handed)
        )
        self.vocabulary = Vocabulary(library, self._runtime.model)
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
        return self._runtime.max_tokens

    @property
    def chunk(self) -> int:
        """Most tokens of one pass."""
        return self._runtime.chunk

    @property
    def parameters(self) -> int:
        """All parameters, whether a token uses them or not."""
        return int(self._library.call.llama_model_n_params(self._runtime.model))

    @property
    def dtype(self) -> str:
        """How most of its weights are stored, as llama.cpp calls it: "Q4_0", "Q4_K - Medium", "F32"."""
        call = self._library.call
        name: bytes = call.llama_ftype_name(call.llama_model_ftype(self._runtime.model))
        return name.decode().removeprefix("all ")

    def provenance(self, options: Mapping[str, Any] | None = None) -> Provenance:
        """What a capture of this model is made with."""
        return Provenance(
            model=self.name,
            fingerprint=self.fingerprint,
            dtype=self.dtype,
            device="cpu",
            attention=self.attention,
            engine="llama.cpp",
            versions=self._library.versions,
            options=dict(options or {}),
        )

    def begin(self, length: int) -> None:
        """Forget the text held, and make room for one of so many tokens. Errors: ModelMemoryError."""
        self._runtime.begin(length)

    def run(self, token_n: Sequence[int], position: int, kinds: Collection[str], words: int) -> Pass:
        """One pass over the tokens at `position` and behind it, copying `kinds` of nodes, at most `words` numbers.

        The scores are valid until the next pass. Errors: ModelMemoryError, ModelError, RouterOutputError.
        """
        self._tape.rewind(kinds, words)
        logits_nv = self._runtime.decode(token_n, position)
        return Pass(logits_nv, self._tape.read())

    def close(self) -> None:
        """Give its memory back; it cannot be used any more."""
        with self.lock:
            self._runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _probed(self) -> tuple[Reading, ...]:
        """The reading of every layer, from a pass over tokens from all over the vocabulary."""
        tokens = min(PROBE, self.chunk, self.max_tokens)
        token_n = np.linspace(0, self.vocabulary.size - 1, tokens).astype(int).tolist()
        blocks = max(self.header.count("block_count"), 1)
        self.begin(tokens)
        words = blocks * len(KINDS) * (tokens * self.header.most_experts + HEAD)
        return learn(self.header, self.run(token_n, 0, KINDS, words).copied, tokens)


def open_gguf(
    path: str | Path, *, threads: int = 0, attention: Attention = "auto", library: str | Path = "", proof: bool = True
) -> GgufModel:
    """Open a GGUF with llama.cpp, on the CPU, and find its routers.

    `path` is a file (of a model in parts, the first). `threads` is how many compute; 0 takes OMP_NUM_THREADS, else
    every core. `attention` is "auto", as llama.cpp does it unasked (keys and values as half floats, a fused kernel), or
    "float32". `library` is a shared library of llama.cpp to use in place of the one in xllamacpp. With `proof`, the
    file is first tried in a process of its own, since some damaged files end the process that loads them.
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
    check_causal(header)
    check_memory(header)
    if proof:
        prove(header.files[0].resolve(), loaded.path if library else None)
    return GgufModel(loaded, header, attention=attention, threads=threads or _cores())


def _cores() -> int:
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdigit() and int(stated) else os.cpu_count() or 1

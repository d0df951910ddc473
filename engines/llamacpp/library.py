"""llama.cpp's shared library: found, loaded, and held against the layout that the rest of the package relies on.

The library is the one inside the package xllamacpp (nothing of that package's own Python is imported), or one of your
own. A library that does not fit is refused with an error before anything is passed to it.
"""

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ctypes import POINTER, Structure, c_bool, c_char_p, c_float, c_int32, c_int64, c_size_t, c_void_p
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gatescope.engines.llamacpp.structures import (
    DEFAULTS,
    F32,
    Batch,
    ContextParams,
    ModelParams,
    PoolParams,
    ReadParams,
    Tensor,
    padded,
)
from gatescope.routing.errors import ModelError

TESTED = "2026.10.11549"
INSTALL = f"pip install xllamacpp=={TESTED}"
ENDINGS = (".so", ".dylib", ".pyd", ".dll")
ERROR, CONTINUED = 4, 5  # llama.cpp's numbers for errors in its log, and for what continues a line
REMEMBERED = 20
PaddedModelParams, PaddedContextParams = padded(ModelParams), padded(ContextParams)

FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_version": (c_char_p, ()),
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (c_void_p, c_void_p)),
    "llama_model_default_params": (PaddedModelParams, ()),
    "llama_context_default_params": (PaddedContextParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, PaddedModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_n_params": (ctypes.c_uint64, (c_void_p,)),
    "llama_model_ftype": (c_int32, (c_void_p,)),
    "llama_ftype_name": (c_char_p, (c_int32,)),
    "llama_init_from_model": (c_void_p, (c_void_p, PaddedContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_batch_init": (Batch, (c_int32, c_int32, c_int32)),
    "llama_batch_free": (None, (Batch,)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits": (POINTER(c_float), (c_void_p,)),
    "llama_vocab_type": (c_int32, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_is_control": (c_bool, (c_void_p, c_int32)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool)),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
    "ggml_init": (c_void_p, (PoolParams,)),
    "ggml_free": (None, (c_void_p,)),
    "ggml_tensor_overhead": (c_size_t, ()),
    "ggml_new_tensor_2d": (POINTER(Tensor), (c_void_p, c_int32, c_int64, c_int64)),
    "ggml_set_name": (POINTER(Tensor), (POINTER(Tensor), c_char_p)),
    "gguf_init_from_file": (c_void_p, (c_char_p, ReadParams)),
    "gguf_free": (None, (c_void_p,)),
    "gguf_get_n_kv": (c_int64, (c_void_p,)),
    "gguf_get_key": (c_char_p, (c_void_p, c_int64)),
    "gguf_get_kv_type": (c_int32, (c_void_p, c_int64)),
    "gguf_get_arr_type": (c_int32, (c_void_p, c_int64)),
    "gguf_get_arr_n": (c_size_t, (c_void_p, c_int64)),
    "gguf_get_arr_data": (c_void_p, (c_void_p, c_int64)),
    "gguf_get_val_data": (c_void_p, (c_void_p, c_int64)),
    "gguf_get_val_str": (c_char_p, (c_void_p, c_int64)),
    "gguf_get_data_offset": (c_size_t, (c_void_p,)),
    "gguf_get_n_tensors": (c_int64, (c_void_p,)),
    "gguf_get_tensor_name": (c_char_p, (c_void_p, c_int64)),
    "gguf_get_tensor_offset": (c_size_t, (c_void_p, c_int64)),
    "gguf_get_tensor_size": (c_size_t, (c_void_p, c_int64)),
}
"""What is called, with the types of its answer and arguments."""


class Library:
    """llama.cpp, ready to be called: `library.call.llama_decode(…)`."""

    def __init__(self, path: Path, versions: Mapping[str, str]) -> None:
        self.path = path
        self.call = _declared(path)
        _check_parameters(self)
        _check_tensor(self)
        _check_batch(self)
        self._complaints: deque[str] = deque(maxlen=REMEMBERED)
        self._listener = _listener(self._complaints)  # held, for llama.cpp keeps its address
        self.call.llama_backend_init()
        self.call.llama_log_set(ctypes.cast(self._listener, c_void_p), None)
        self.versions = {**versions, "llama.cpp": self.call.llama_version().decode()}

    @contextmanager
    def complaints(self) -> Iterator[Callable[[], str]]:
        """What llama.cpp logs as errors meanwhile, as one line, instead of on the terminal."""
        self._complaints.clear()
        yield lambda: "; ".join(line.strip() for line in "".join(self._complaints).splitlines() if line.strip())

    def defaults(self, kind: type[Structure]) -> Any:
        """The library's own default parameters, to be changed in their field `own`."""
        ask = {ModelParams: "llama_model_default_params", ContextParams: "llama_context_default_params"}[kind]
        return getattr(self.call, ask)()


def load_library(path: str | Path = "") -> Library:
    """The library inside xllamacpp, or the one at `path`, loaded once per process. Errors: ModelError."""
    if path:
        return _loaded(Path(path).expanduser().resolve(), ())
    return _loaded(_installed(), (("xllamacpp", version("xllamacpp")),))


@lru_cache(maxsize=8)
def _loaded(path: Path, versions: tuple[tuple[str, str], ...]) -> Library:
    return Library(path, dict(versions))


def _installed() -> Path:
    """Where xllamacpp keeps its library."""
    try:
        version("xllamacpp")
        found = find_spec("xllamacpp")
    except PackageNotFoundError as absent:
        raise ModelError(
            "GGUF files are read by llama.cpp, and the package xllamacpp, which holds it, is not installed",
            expected="xllamacpp beside the other packages",
            do=INSTALL,
        ) from absent
    folder = Path(str(found.origin)).parent if found and found.origin else Path()
    files = sorted(file for file in folder.glob("*xllamacpp*") if file.suffix in ENDINGS)
    if not files:
        raise _unfit(folder, "holds no shared library")
    return files[0]


def _declared(path: Path) -> Any:
    """The library with the types of everything that is called."""
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as refusal:
        raise _unfit(path, f"does not load: {refusal}") from refusal
    missing = [name for name in FUNCTIONS if not hasattr(library, name)]
    if missing:
        raise _unfit(path, f"lacks {len(missing)} functions, the first is {missing[0]}")
    for name, (answer, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = answer, arguments
    return library


def _check_parameters(library: Library) -> None:
    """Every known default is where this package looks for it."""
    for kind, expected in DEFAULTS.items():
        found = {name: getattr(library.defaults(kind).own, name) for name in expected}
        wrong = next((name for name, value in expected.items() if found[name] != value), None)
        if wrong is not None:
            raise _unfit(library.path, f"has {wrong}={found[wrong]} by default where {expected[wrong]} was expected")


def _check_tensor(library: Library) -> None:
    """A tensor made by the library has its shape, strides and name where the callback reads them."""
    size = library.call.ggml_tensor_overhead() + 4096
    pool = library.call.ggml_init(PoolParams(mem_size=size, mem_buffer=None, no_alloc=True))
    if not pool:
        raise _unfit(library.path, "gives no memory for a tensor")
    try:
        tensor = library.call.ggml_new_tensor_2d(pool, F32, 3, 5)
        library.call.ggml_set_name(tensor, b"ffn_moe_topk-7")
        it = tensor.contents
        found = it.type, tuple(it.ne), tuple(it.nb), it.data, it.name
    finally:
        library.call.ggml_free(pool)
    expected = F32, (3, 5, 1, 1), (4, 12, 60, 60), None, b"ffn_moe_topk-7"
    if found != expected:
        raise _unfit(library.path, f"lays tensors out as {found} where {expected} was expected")


def _check_batch(library: Library) -> None:
    """A batch has room for tokens, positions, sequences and marks, and none for embeddings."""
    batch = library.call.llama_batch_init(2, 0, 1)
    arrays = (batch.token, batch.pos, batch.n_seq_id, batch.seq_id, batch.logits)
    is_known = batch.n_tokens == 0 and not batch.embd and all(map(bool, arrays))
    if not is_known:
        raise _unfit(library.path, "lays batches out in another way")
    library.call.llama_batch_free(batch)


def _listener(complaints: "deque[str]") -> Any:
    """A log that keeps errors and drops the rest."""
    heard = 0

    def listen(level: int, text: bytes | None, _: object) -> None:
        nonlocal heard
        heard = heard if level == CONTINUED else level
        if heard == ERROR and text:
            complaints.append(text.decode("utf-8", "replace"))

    return ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)(listen)


def _unfit(path: Path, why: str) -> ModelError:
    return ModelError(
        f"the llama.cpp library {path} {why}",
        expected=f"the layout of llama.cpp as in xllamacpp {TESTED}",
        do=INSTALL,
    )

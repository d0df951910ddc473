"""llama.cpp's structures as ctypes sees them, and the defaults that tell whether a library shares this layout.

Also the layout of the tape, on which `callback` writes what `tape` reads.

A field that was added, removed or moved in another version shifts what stands behind it, so that a default is no longer
where it is expected: `library` then refuses, before anything is passed.
"""

from collections.abc import Mapping
from ctypes import POINTER, Structure, c_bool, c_char, c_float, c_int8, c_int32, c_int64, c_size_t, c_uint32, c_void_p

F32, F16, I32 = 0, 1, 26  # ggml's numbers of types
NAME_BYTES = 64

KINDS = (
    "topk",
    "weights",
    "weights_softmax",
    "weights_norm",
    "weights_scaled",
    "logits",
    "logits_biased",
    "probs",
    "probs_biased",
    "probs_masked",
)
"""What may be copied, as the node is called behind "ffn_moe_"."""

HEAD = 4  # words before each copy: kind, block, type, number of words
CAPACITY, USED, LOST, WANTED, TAPE = range(5)
"""Words of what the callback is handed: the tape's length, how much of it is used, how many words did not fit, which
kinds are wanted (a bit each), and the tape's address."""


class ModelParams(Structure):
    """How a model is loaded (llama_model_params)."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(Structure):
    """How a model is run (llama_context_params)."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class Batch(Structure):
    """Tokens of one call, what sequence they belong to, and which of them shall give logits (llama_batch)."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


class Tensor(Structure):
    """A node of the graph (ggml_tensor); `tape` reads it by 8-byte words."""

    _fields_ = (
        ("type", c_int32),
        ("buffer", c_void_p),
        ("ne", c_int64 * 4),
        ("nb", c_size_t * 4),
        ("op", c_int32),
        ("op_params", c_int32 * 16),
        ("flags", c_int32),
        ("src", c_void_p * 10),
        ("view_src", c_void_p),
        ("view_offs", c_size_t),
        ("data", c_void_p),
        ("name", c_char * NAME_BYTES),
        ("extra", c_void_p),
        ("padding", c_char * 8),
    )


class PoolParams(Structure):
    """Memory for tensors (ggml_init_params)."""

    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


class ReadParams(Structure):
    """How a file's header is read (gguf_init_params)."""

    _fields_ = (("no_alloc", c_bool), ("ctx", c_void_p))


DEFAULTS: Mapping[type[Structure], Mapping[str, int | float]] = {
    ModelParams: {
        "n_gpu_layers": -1,
        "split_mode": 1,
        "load_mode": -1,
        "lazy_mode": 1,
        "main_gpu": 0,
        "vocab_only": False,
        "check_tensors": False,
        "use_extra_bufts": True,
        "no_host": False,
        "no_alloc": False,
        "load_mtp": False,
    },
    ContextParams: {
        "n_ctx": 512,
        "n_batch": 2048,
        "n_ubatch": 512,
        "n_seq_max": 1,
        "n_outputs_max_per_seq": 1,
        "rope_scaling_type": -1,
        "pooling_type": -1,
        "attention_type": -1,
        "flash_attn_type": -1,
        "yarn_ext_factor": -1.0,
        "yarn_attn_factor": -1.0,
        "yarn_beta_fast": -1.0,
        "yarn_beta_slow": -1.0,
        "defrag_thold": -1.0,
        "type_k": F16,
        "type_v": F16,
        "embeddings": False,
        "offload_kqv": True,
        "no_perf": True,
        "op_offload": True,
        "swa_full": True,
        "kv_unified": False,
    },
}
"""What the library's own default parameters must say, read through these layouts."""


def padded(kind: type[Structure]) -> type[Structure]:
    """The structure with room behind it: what a newer library adds at the end comes and goes with the rest."""
    return type(f"Padded{kind.__name__}", (Structure,), {"_fields_": (("own", kind), ("rest", c_char * 512))})

"""Mixture-of-Experts models of transformers as GGUF files: subjects of the drift figures, and of the reader's tests.

Whoever has a GGUF needs none of this. The files are laid out as llama.cpp's own converter does it: experts stacked,
Mixtral's queries and keys turned for interleaved rotation, DeepSeek's second key-value projection taken apart. Matrices
are quantised as its tools do by default: never the router, nor what has one dimension; the embedding, which is also the
output here, no further than Q8_0; rows that do not divide into blocks of 32 stay half floats.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray

KINDS = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
ARCHITECTURES = {
    "mixtral": "llama",
    "olmoe": "olmoe",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "qwen3": "qwen3",
    "deepseek_v3": "deepseek2",
    "gpt_oss": "gpt-oss",
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.sinks": "attn_sinks",
    "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.experts.down_proj": "ffn_down_exps",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
} | {
    f"mlp.{holder}.{part}_proj": f"ffn_{part}_shexp"
    for holder in ("shared_expert", "shared_experts")
    for part in ("gate", "up", "down")
}
WEIGHT, BIAS = "weight", "bias"
Tensors = Iterator[tuple[str, NDArray[np.float32]]]


def write_gguf(model: Any, path: Path, *, kind: str = "F32", tokenizer: Any = None) -> Path:
    """Write a transformers model of one of `ARCHITECTURES`; without a tokenizer, the file has no vocabulary."""
    config = model.config
    writer = gguf.GGUFWriter(path, ARCHITECTURES[config.model_type])
    writer.add_file_type(KINDS[kind])
    _add_shape(writer, config)
    _add_experts(writer, config)
    if tokenizer is None:
        writer.add_tokenizer_model("no_vocab")
    else:
        _add_tokenizer(writer, tokenizer)
    for name, tensor in _tensors(model):
        stored = _kind_of(name, tensor, kind)
        writer.add_tensor(name, quantize(tensor, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "deepseek_v3":
        _add_latent_attention(writer, config)
        return
    writer.add_head_count_kv(config.num_key_value_heads)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    if config.model_type == "gpt_oss":
        writer.add_sliding_window(config.sliding_window)


def _add_latent_attention(writer: gguf.GGUFWriter, config: Any) -> None:
    """Every head reads one latent vector of keys and values, beside a rotated part."""
    writer.add_head_count_kv(1)
    writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
    writer.add_value_length(config.kv_lora_rank)
    writer.add_key_length_mla(config.qk_nope_head_dim + config.qk_rope_head_dim)
    writer.add_value_length_mla(config.v_head_dim)
    writer.add_rope_dimension_count(config.qk_rope_head_dim)


def _add_experts(writer: gguf.GGUFWriter, config: Any) -> None:
    counts = (getattr(config, name, None) for name in ("num_local_experts", "num_experts", "n_routed_experts"))
    experts = next((count for count in counts if count), 0)
    if not experts:
        return
    writer.add_expert_count(experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_feed_forward_length(getattr(config, "moe_intermediate_size", None) or config.intermediate_size)
    if config.model_type == "qwen2_moe":
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if config.model_type == "deepseek_v3":
        writer.add_leading_dense_block_count(config.first_k_dense_replace)
        writer.add_expert_shared_count(config.n_shared_experts)
        writer.add_expert_weights_scale(config.routed_scaling_factor)
        writer.add_expert_weights_norm(config.norm_topk_prob)
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_expert_group_count(config.n_group)
        writer.add_expert_group_used_count(config.topk_group)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any) -> None:
    """Byte-level pairs with one token a digit, which is how "starcoder" parts a text."""
    core = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in core["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(True)


def _kind_of(name: str, tensor: NDArray, kind: str) -> gguf.GGMLQuantizationType:
    """The number format of one tensor in a file of a kind."""
    is_small = tensor.ndim == 1 or "_norm" in name or "ffn_gate_inp" in name or not name.endswith(WEIGHT)
    if kind == "F32" or is_small:
        return gguf.GGMLQuantizationType.F32
    if kind == "F16" or tensor.shape[-1] % 32:
        return gguf.GGMLQuantizationType.F16
    if name.startswith(("token_embd", "output")):
        return gguf.GGMLQuantizationType.Q8_0
    return gguf.GGMLQuantizationType[kind]


def _tensors(model: Any) -> Tensors:
    """Every tensor under its name in the file."""
    config = model.config
    for path, tensor in model.state_dict().items():
        if path == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = np.ascontiguousarray(tensor.detach().float().numpy())
        block, inner = _place(path)
        special = next((make for ending, make in TAKEN_APART.items() if inner.endswith(ending)), None)
        pairs = special(inner, values, config) if special else _renamed(inner, values, config)
        for name, part in pairs:
            yield f"{block}{name}", np.ascontiguousarray(part)


def _place(path: str) -> tuple[str, str]:
    """The block's prefix, empty outside blocks, and the rest of the path."""
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", path)
    return (f"blk.{found[1]}.", found[2]) if found else ("", path)


def _renamed(path: str, values: NDArray, config: Any) -> Tensors:
    name, _, ending = path.rpartition(".")
    if path == "self_attn.sinks":
        name, ending = path, WEIGHT
    if config.model_type == "gpt_oss" and name == "post_attention_layernorm":
        yield "post_attention_norm.weight", values
        return
    if config.model_type == "mixtral" and name in ("self_attn.q_proj", "self_attn.k_proj"):
        values = _interleaved(values, values.shape[0] // _head(config))
    yield f"{NAMES[name]}.{ending}", values.reshape(-1) if name == "mlp.shared_expert_gate" else values


def _head(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _interleaved(values: NDArray, heads: int) -> NDArray:
    """Rotation of halves as rotation of neighbours: the rows of each head take turns from its two halves."""
    return values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def _gate_up(path: str, values: NDArray, config: Any) -> Tensors:
    """The stacked first projections of all experts, (experts, both, width); in GPT-OSS transposed, and taking turns."""
    ending = BIAS if path.endswith(BIAS) else WEIGHT
    if config.model_type == "gpt_oss":
        halves = [values[..., offset::2] for offset in (0, 1)]
        gate, up = (half if ending == BIAS else half.swapaxes(1, 2) for half in halves)
    else:
        gate, up = np.split(values, 2, axis=1)
    yield f"ffn_gate_exps.{ending}", gate
    yield f"ffn_up_exps.{ending}", up


def _down(path: str, values: NDArray, config: Any) -> Tensors:
    ending = BIAS if path.endswith(BIAS) else WEIGHT
    yield (
        f"ffn_down_exps.{ending}",
        values.swapaxes(1, 2) if config.model_type == "gpt_oss" and ending == WEIGHT else values,
    )


def _keys_and_values(_path: str, values: NDArray, config: Any) -> Tensors:
    """Per head: what makes keys of the latent vector, transposed, and what makes values of it."""
    by_head = values.reshape(config.num_attention_heads, -1, config.kv_lora_rank)
    keys, own = np.split(by_head, [config.qk_nope_head_dim], axis=1)
    yield "attn_k_b.weight", keys.swapaxes(1, 2)
    yield "attn_v_b.weight", own


def _selection_bias(_path: str, values: NDArray, _config: Any) -> Tensors:
    yield "exp_probs_b.bias", values


TAKEN_APART: dict[str, Callable[[str, NDArray, Any], Tensors]] = {
    "mlp.experts.gate_up_proj": _gate_up,
    "mlp.experts.gate_up_proj_bias": _gate_up,
    "mlp.experts.down_proj": _down,
    "mlp.experts.down_proj_bias": _down,
    "kv_b_proj.weight": _keys_and_values,
    "e_score_correction_bias": _selection_bias,
}

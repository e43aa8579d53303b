"""Every architecture."""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

DEPTH, WIDTH, HEADS, VOCABULARY = 4, 32, 4, 320

# What a field's name says about it → the most that it may be. The first pattern that fits the whole name decides.
SIZES = {
    r".*(token_id|token_index|_index|_idx|offset)": None,
    r"(num_hidden_|num_|n_|encoder_|decoder_|num_encoder_|num_decoder_|conf_num_hidden_)layers?|depth|num_blocks": DEPTH,
    r"num_layers_per_stack": DEPTH,
    r".*(num_key_value_heads|num_kv_heads|num_query_groups)": 2,
    r".*(num_.*heads|n_.*heads|n_heads?|attention_heads|heads_per_ngram)": HEADS,
    r".*(head_dim|dim_head|d_head|head_size|headdim|kv_channels)|rotary_dim": WIDTH // HEADS,
    r".*vocab_size.*|encoder_hash_byte_group_vocab|vocab_size_base|n_words": VOCABULARY,
    r".*(num_.*experts|experts_num|n_.*experts|expert_num|num_experts)": 4,
    r"(num_experts_per_tok(en)?|.*top_?k|moe_k)": 2,
    r"(num_expert_group|n_group|topk_group|n_groups)": 1,
    r".*(window.*|local_attention|chunk_size|chunk_length|block_size)": 8,
    r"max_position_embeddings|n_positions|n_ctx|max_seq_len|.*max_length|context_length|max_.*positions": 64,
    r"hidden_size_.*|.*(size|dim|dims|width|rank|embd|inner|ff|dff|d_model|d_ssm|_channels?|conv_dim|extent|num_filters|scalar)": WIDTH,
}


def small(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    for pattern, most in SIZES.items():
        if re.fullmatch(pattern, name):
            return value if most is None else min(value, most)
    return value


def sizes(fields: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and "model_type" in value:
            changed[name] = {"model_type": value["model_type"], **sizes(value)}
        elif small(name, value) != value:
            changed[name] = small(name, value)
    heads, kv = fields.get("num_attention_heads"), fields.get("num_key_value_heads")
    if heads is not None and heads == kv and "num_key_value_heads" in changed:
        changed["num_key_value_heads"] = changed.get("num_attention_heads", heads)
    depth = next((fields[n] for n in ("num_hidden_layers", "num_layers", "n_layer", "n_layers") if fields.get(n)), None)
    if isinstance(depth, int) and depth > DEPTH:
        lists = {n: v for n, v in fields.items() if isinstance(v, list) and len(v) == depth}
        kinds = list(zip(*lists.values()))
        rows = [i for i, kind in enumerate(kinds) if kind not in kinds[:i]][:DEPTH]
        rows = sorted((rows + [i for i in range(depth) if i not in rows])[:DEPTH])
        for name, values in lists.items():
            changed[name] = [small(name, values[i]) for i in rows]
    tokens = [n for n in fields if re.fullmatch(r".*(token_id|token_index)", n) and isinstance(fields[n], int)]
    changed.update({name: i for i, name in enumerate(tokens) if fields[name] >= 20})
    return changed


QWEN4 = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 2,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_d_head": 16},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4}, "ffn_config": {"ffn_hidden_size": 32, "hidden_size": 32}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "gemma3n_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"mamba_d_head": 16},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"qk_head_dim": 16},
    "mamba2": {"head_dim": 16},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen4_exp_text": QWEN4,
    "qwen4_exp": {"text_config": QWEN4},
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8]},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, "layers_block_type": ["linear_attention", "linear_attention", "hybrid", "hybrid"]},
    "zamba2": {"mamba_headdim": 16, "attention_hidden_size": 64, "attention_head_dim": 16},
}


def config(model_type: str) -> Any:
    kind = CONFIG_MAPPING[model_type]
    try:
        default = kind().to_dict()
    except Exception:
        default = {}
    changed = sizes(default)
    changed.pop("model_type", None)
    for name, value in OVERRIDES.get(model_type, {}).items():
        if isinstance(value, dict) and isinstance(changed.get(name), dict):
            changed[name].update(value)
        else:
            changed[name] = value
    return kind(**changed)


def shrunk(model_type: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config(model_type), dtype=torch.float32).eval()

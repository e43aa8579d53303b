"""Every architecture: build each causal language model of transformers small, and steer it exactly.

    python -m tests.layers.architectures             # a table and one line of JSON
    python -m tests.layers.architectures --docs      # also writes the summary into docs/architectures.md

Configs are shrunk by what their fields are called; nothing of transformers is changed to make a model pass.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import torch
import transformers
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import emosteer
from emosteer import EmotionVectors
from emosteer.errors import IncompatibleModelError
from emosteer.layers import decoder_layers
from emosteer.vectors.types import Dose

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"

ROWS, TOKENS = 2, 10
DEPTH, WIDTH, HEADS, VOCABULARY = 4, 32, 4, 320

# What keeps a model from being built here, whatever its config says.
ASSISTANT = "it drafts for another model, whose cache all its layers share, and its config then refuses its layer types"
UNBUILT = {
    "gemma3n": "its vision tower needs the package timm, which is not installed; its text part is `gemma3n_text`",
    "gemma4_assistant": ASSISTANT,
    "gemma4_unified_assistant": ASSISTANT,
}

# What a field's name says about it → the most that it may be. The first pattern that fits the whole name decides.
SIZES = {
    r".*(token_id|token_index|_index|_idx|offset)": None,
    r"(num_hidden_|num_|n_|(num_)?encoder_|(num_)?decoder_|conf_num_hidden_)layers?|depth|num_blocks": DEPTH,
    r"num_layers_per_stack": DEPTH,
    r".*(num_key_value_heads|num_kv_heads|num_query_groups)": 2,
    r".*(num_.*heads|n_.*heads|n_heads?|attention_heads|heads_per_ngram)": HEADS,
    r".*(head_dim|dim_head|d_head|head_size|headdim|kv_channels)|rotary_dim": WIDTH // HEADS,
    r".*vocab_size.*|encoder_hash_byte_group_vocab|vocab_size_base|n_words": VOCABULARY,
    r".*(num_.*experts|experts_num|n_.*experts|expert_num|num_experts)": 4,
    r"(num_experts_per_tok(en)?|.*top_?k|moe_k)": 2,
    r"(num_expert_group|n_group|topk_group|n_groups)": 1,
    r".*(window.*|local_attention|chunk_size|chunk_length|block_size)": 8,
    r"max_position_embeddings|n_positions|n_ctx|max_seq_len|.*max_length|context_length|max_.*positions": 128,
    r"hidden_size_.*|.*(size|dims?|width|rank|embd|inner|ff|d_model|d_ssm|_channels?|extent|num_filters)": WIDTH,
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
        kinds = list(zip(*lists.values(), strict=True))
        rows = [i for i, kind in enumerate(kinds) if kind not in kinds[:i]][:DEPTH]
        rows = sorted((rows + [i for i in range(depth) if i not in rows])[:DEPTH])
        for name, values in lists.items():
            changed[name] = [small(name, values[i]) for i in rows]
    tokens = [n for n in fields if re.fullmatch(r".*(token_id|token_index)", n) and isinstance(fields[n], int)]
    changed.update({name: i for i, name in enumerate(tokens) if fields[name] >= 20})
    return changed


QWEN4 = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}
DRAFTING = {
    "model_type": "gemma4_text",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 8,
    "vocab_size": 320,
}
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_d_head": 16, "attn_layer_indices": [1, 3]},
    "blenderbot": {"encoder_layers": 4},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 32, "hidden_size": 32},
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "gemma3n_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma4_assistant": {
        "text_config": {**DRAFTING, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    },
    "gemma4_unified_assistant": {"text_config": {**DRAFTING, "model_type": "gemma4_unified_text"}},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"mamba_d_head": 16, "layer_types": ["mamba", "attention"] * 2},
    "hrm_text": {"num_hidden_layers": 32},  # of the cache: 4 blocks, run 8 times
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"qk_head_dim": 16},
    "mamba2": {"head_dim": 16},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen4_exp_text": QWEN4,
    "qwen4_exp": {"text_config": QWEN4},
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8]},
    "xmod": {"default_language": "en_XX"},
    "xlstm": {"hidden_size": 64, "embedding_dim": 64, "qk_dim_factor": 1.0},
    "zamba": {
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid", "hybrid"],
    },
    "zamba2": {"mamba_headdim": 16, "attention_hidden_size": 64, "attention_head_dim": 16},
}


def config(model_type: str, **others: Any) -> PreTrainedConfig:
    """The default config of a model type, made small, with other fields as given."""
    kind = CONFIG_MAPPING[model_type]
    try:
        changed = sizes(kind().to_dict())
    except Exception:  # the defaults of some contradict themselves
        changed = {}
    for name, value in OVERRIDES.get(model_type, {}).items():
        both = isinstance(value, dict) and isinstance(changed.get(name), dict)
        changed[name] = {**changed[name], **value} if both else value
    changed.pop("model_type", None)
    return kind(**{**changed, **others})


def shrunk(model_type: str) -> PreTrainedModel:
    """A small causal language model of a type, with random weights, as its config comes or told to be a decoder."""
    return built(config(model_type, is_decoder=True) if is_told(model_type) else config(model_type))


@cache
def is_told(model_type: str) -> bool:
    """Whether a model of a type reads in both directions unless its config is told that it is a decoder."""
    if getattr(config(model_type), "is_decoder", None) is not False or config(model_type).is_encoder_decoder:
        return False
    try:
        model = built(config(model_type))
    except AssertionError:  # it demands to be told
        return True
    return not is_causal(model)


def is_causal(model: PreTrainedModel) -> bool:
    """Whether what a model says to a token does not depend on those after it."""
    read = inputs(model)
    changed = {**read, "input_ids": read["input_ids"].clone()}
    changed["input_ids"][:, -1] = 3
    return torch.allclose(run(model, read)[:, :-1], run(model, changed)[:, :-1], atol=1e-5)


def built(small: PreTrainedConfig) -> PreTrainedModel:
    """The causal language model of a config, with random weights."""
    kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(small)]
    if not isinstance(small, kind.config_class):  # the decoder of something larger, which takes that part of the config
        small = small.get_text_config(decoder=True)
    torch.manual_seed(0)
    return kind(small).float().eval()


def inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """What a forward pass reads: `ROWS` rows of `TOKENS` tokens, none of them special."""
    generator = torch.Generator().manual_seed(0)
    text = model.config.get_text_config(decoder=True)
    rows = ROWS * getattr(text, "num_codebooks", 1) if model.config.model_type.startswith("musicgen") else ROWS
    read = {"input_ids": torch.randint(30, 60, (rows, TOKENS), generator=generator)}
    if model.config.is_encoder_decoder:
        read["decoder_input_ids"] = torch.randint(30, 60, (ROWS, TOKENS), generator=generator)
    if model.config.model_type.startswith("mllama"):  # some of its blocks run only where there is an image
        read["cross_attention_states"] = torch.randn(ROWS, 5, text.hidden_size, generator=generator)
    return read


@dataclass
class Call:
    """One run of a block: its output before and after steering."""

    layer: int
    plain: Tensor
    steered: Tensor | None = None


@contextmanager
def recorded(blocks: Iterable[nn.Module]) -> Iterator[list[Call]]:
    """Record every run of the blocks, in the order in which they run."""
    calls: list[Call] = []

    def before(layer: int, _module: nn.Module, _args: Any, output: Any) -> None:
        calls.append(Call(layer, stream(output).clone()))

    def after(layer: int, _module: nn.Module, _args: Any, output: Any) -> None:
        last = next(call for call in reversed(calls) if call.layer == layer)
        last.steered = stream(output).clone()

    handles = []
    for i, block in enumerate(blocks):
        handles.append(block.register_forward_hook(partial(before, i), prepend=True))
        handles.append(block.register_forward_hook(partial(after, i)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def stream(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def plus(plain: Tensor, delta: Tensor, rows: int = ROWS) -> Tensor:
    """A block's output with a delta added at every token but the first, laid out by nothing but its shape.

    Args:
        plain: `[rows, tokens, …]`, `[tokens, rows, width]` or `[streams, rows, tokens, width]`; `streams` streams run
            side by side. A single token is one more of a sequence, and is steered.
        delta: `[d_model]`, of all streams together.
    """
    sink = int(max(plain.shape[:3][:-1] if plain.dim() == 3 else plain.shape[1:3]) >= TOKENS)
    expected = plain.clone()
    if plain.dim() == 4 and plain.shape[1] == rows:
        expected[:, :, sink:] += delta.view(plain.shape[0], 1, 1, -1)
    elif plain.shape[0] == rows:
        expected[:, sink:] += delta.view(plain.shape[2:])
    else:
        expected[sink:] += delta
    return expected


@dataclass(frozen=True)
class Found:
    """What `check` saw of a model.

    Args:
        layers: How many blocks it has.
        repeated: Each block runs several times in a forward pass.
        recorded: The blocks' outputs are the hidden states that transformers records: True, False, or None where it
            records none.
        generates: `generate` runs on the model at all.
        causal: What it says to a token does not depend on those after it; None for an encoder-decoder model.
    """

    layers: int
    repeated: bool
    recorded: bool | None
    generates: bool
    causal: bool | None


def check(model: PreTrainedModel) -> Found:
    """Steer a model after its first, a middle and its last layer, and compare with the plain model to the bit.

    Raises:
        AssertionError: Something is not exactly as it should be.
    """
    blocks, read = decoder_layers(model), inputs(model)
    drawn = EmotionVectors.random(model, ["joy"], seed=0)
    # A power of two as norm, so that no order of the factors rounds.
    vectors = replace(
        drawn, residual_norm=2 ** drawn.residual_norm.log2().round(), doses={"joy": Dose(0.5, (0,), (1.0,))}
    )
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = count_hooks(model)
    with recorded(blocks) as plain:
        logits = run(model, read)
    assert sorted({call.layer for call in plain}) == list(range(len(blocks)))
    generates = can_generate(model, read)
    for layer in sorted({0, len(blocks) // 2, len(blocks) - 1}):
        delta = vectors.directions["joy"][layer] * (0.5 * float(vectors.residual_norm[layer]))
        with emosteer.steer(model, vectors, {"joy": 1.0}, layers=[layer]):
            with recorded(blocks) as steered:
                changed = run(model, read)
            assert_exact(plain, steered, layer, delta)
            assert not torch.equal(changed, logits), f"steering layer {layer} leaves the logits as they are"
            if generates:
                with recorded(blocks) as calls:
                    generate(model, read)
                assert_exact([], calls, layer, delta)
    with recorded(blocks) as again:
        assert torch.equal(run(model, read), logits), "the model says something else afterwards"
    assert all(torch.equal(one.plain, other.plain) for one, other in zip(plain, again, strict=True))
    assert count_hooks(model) == hooks
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    causal = None if model.config.is_encoder_decoder else is_causal(model)
    return Found(len(blocks), len(plain) > len(blocks), is_recorded(model, read, plain), generates, causal)


def assert_exact(plain: list[Call], steered: list[Call], layer: int, delta: Tensor) -> None:
    """A layer's output gets the delta and nothing else; what runs before it, and what it makes of it, is as it was."""
    first = next(i for i, call in enumerate(steered) if call.layer == layer)
    for before, call in zip(plain[: first + 1], steered[: first + 1], strict=False):
        assert torch.equal(call.plain, before.plain), f"layer {call.layer} changed, below layer {layer}"
    for call in steered:
        expected = plus(call.plain, delta) if call.layer == layer else call.plain
        assert torch.equal(call.steered, expected), f"layer {call.layer} is not exact when layer {layer} is steered"


def run(model: PreTrainedModel, read: dict[str, Tensor], **options: Any) -> Any:
    with torch.no_grad():
        output = model(**read, use_cache=False, **options)
    return output if options else output.logits


def generate(model: PreTrainedModel, read: dict[str, Tensor]) -> None:
    begin = {"decoder_start_token_id": 0} if model.config.is_encoder_decoder else {}
    model.generate(**read, **begin, max_new_tokens=3, do_sample=False, num_beams=1, pad_token_id=0, eos_token_id=None)


def can_generate(model: PreTrainedModel, read: dict[str, Tensor]) -> bool:
    try:
        generate(model, read)
    except Exception:
        return False
    return True


def is_recorded(model: PreTrainedModel, read: dict[str, Tensor], plain: list[Call]) -> bool | None:
    output = run(model, read, output_hidden_states=True)
    states = getattr(output, "decoder_hidden_states", None) or output.get("hidden_states")
    if not states:
        return None
    once = [call.plain for call in plain][:-1]  # the last recorded one is after the final norm
    return any(
        len(states) >= start + len(once) and all(torch.equal(a, b) for a, b in zip(once, states[start:], strict=False))
        for start in (0, 1)  # most record the embeddings first
    )


def count_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


class Row(NamedTuple):
    """What became of a model type.

    Args:
        model_type: Which.
        state: `"works"`, `"not built"`, `"not supported"` or `"not exact"`.
        reason: Why it does not work.
        found: What was seen of one that works.
    """

    model_type: str
    state: str
    reason: str = ""
    found: Found | None = None


def model_types() -> list[str]:
    """Every model type for which transformers has a causal language model."""
    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


@cache
def row(model_type: str) -> Row:
    """Build a model of a type and check it."""
    try:
        model = shrunk(model_type)
    except Exception as error:
        return Row(model_type, "not built", UNBUILT.get(model_type, f"{type(error).__name__}: {error}"))
    try:
        decoder_layers(model)
    except IncompatibleModelError as error:
        return Row(model_type, "not supported", str(error).rpartition(": ")[2])
    try:
        return Row(model_type, "works", found=check(model))
    except AssertionError as error:
        return Row(model_type, "not exact", str(error))


def walk() -> list[Row]:
    """All of them, with progress on a terminal."""
    return [row(one) for one in track(model_types(), "Steering", console=Console(stderr=True), transient=True)]


def summary(rows: list[Row]) -> str:
    """The generated part of the page, as Markdown."""
    works = [one for one in rows if one.state == "works"]
    found = [one.found for one in works]
    told = [one.model_type for one in works if is_told(one.model_type)]
    both_ways = [one.model_type for one in works if one.found.causal is False]
    recorded, generate = sum(one.recorded is True for one in found), sum(one.generates for one in found)
    lines = [
        f"Of the {len(rows)} model types that transformers {transformers.__version__} maps to causal language models, "
        f"**{len(works)} are built here and steered exactly** (torch {torch.__version__.partition('+')[0]}, float32, "
        "CPU, random weights, default configs made small): the output of each steered block is the plain output plus "
        "the delta, to the bit, at every token but the first; the layers below are bit-identical; the logits change; "
        f"and the model afterwards is bit for bit as before. {generate} of them also `generate`, steered as exactly; "
        f"{recorded} record the same hidden states as are steered. `make architectures` runs this and writes this "
        "page.",
        "",
        "## Model types that work as their configs come",
        "",
        _listed(one.model_type for one in works if one.model_type not in told),
        "",
        f"Of these, {_listed(both_ways)} read what they are given in both directions, as their configs come.",
        "",
        "## Model types that work once they are told to write",
        "",
        _listed(told),
        "",
        "These are encoders unless their config says otherwise: load them with `is_decoder=True`. As encoders they are "
        "refused.",
        "",
        "## Model types that are left out",
        "",
        "| model type | state | why |",
        "|---|---|---|",
        *(f"| `{one.model_type}` | {one.state} | {one.reason} |" for one in rows if one.state != "works"),
        "",
        "## Add a model type",
        "",
        "An architecture that is not found by the rule needs one line: `emosteer.register_layers(model_type, path)`.",
    ]
    return "\n".join(
        line if line.startswith(("|", "#", "`")) else fill(line, 120, break_on_hyphens=False) for line in lines
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def write_page(rows: list[Row], path: Path = PAGE) -> None:
    """Replace what stands between the marks."""
    begin, end = "<!-- architectures: begin -->", "<!-- architectures: end -->"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{summary(rows)}\n{end}{after}")


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    rows = walk()
    table = Table("model type", "", "layers", "recorded", "generates", "causal", "why not")
    for model_type, state, reason, found in rows:
        seen = (found.layers, found.recorded, found.generates, found.causal) if found else ("", "", "", "")
        table.add_row(model_type, state, *map(str, seen), reason)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if "--docs" in sys.argv[1:]:
        write_page(rows)
    counts = Counter(one.state for one in rows)
    print(json.dumps({"schema": 1, "transformers": transformers.__version__, "types": len(rows), **counts}))


if __name__ == "__main__":
    main()

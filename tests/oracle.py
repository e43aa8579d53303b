"""What steering is held against: hooks written by hand, on tiny models of many architectures.

The oracle knows nothing of the library's hooks: it works out the deltas from the public fields of the vectors, finds
the blocks by a path that is written down here, and adds to every token but the first of one row that stands alone,
without padding and without a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import emosteer
from emosteer.vectors.types import Dose
from tests.conftest import few

COMMON = {"vocab_size": 400, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
DEEP = {"num_hidden_layers": 4, "num_attention_heads": 4}
LLAMA = {**DEEP, "hidden_size": 32, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 256}
GPT = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256}
SPARSE = {"num_local_experts": 4, "num_experts_per_tok": 2}
GEMMA = {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"] * 2}

# Architecture → (where its blocks are, what is tiny about it).
ARCHITECTURES = {
    "llama": ("model.layers", LLAMA),
    "mixtral": ("model.layers", {**LLAMA, **SPARSE}),
    "gemma3_text": ("model.layers", {**LLAMA, **GEMMA}),
    "gpt_neox": ("gpt_neox.layers", {**DEEP, "hidden_size": 32, "intermediate_size": 64}),
    "gpt2": ("transformer.h", GPT),
    "gptj": ("transformer.h", {**GPT, "rotary_dim": 4}),
    "bloom": ("transformer.h", {"hidden_size": 32, "n_layer": 4, "n_head": 4}),
    "mpt": ("transformer.blocks", {"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 256}),
    "falcon": ("transformer.h", {**DEEP, "hidden_size": 32}),
    "opt": ("model.decoder.layers", {**DEEP, "hidden_size": 32, "ffn_dim": 64, "word_embed_proj_dim": 32}),
}
# These carry a state from token to token instead of keys and values, and know no padding.
STATEFUL = {
    "mamba": ("backbone.layers", {"hidden_size": 32, "num_hidden_layers": 4, "state_size": 4}),
    "rwkv": ("rwkv.blocks", {"hidden_size": 32, "num_hidden_layers": 4, "attention_hidden_size": 32}),
}
TUPLES = {"gptj", "bloom", "mpt", "falcon", "rwkv"}

# One of each kind for the quick run: tensors and tuples, rotary and learned positions, sliding windows.
QUICK = {"llama", "gemma3_text", "gpt2", "falcon", "mamba"}


def each(architectures: Iterable[str]) -> pytest.MarkDecorator:
    """A parameter `arch`: those of `QUICK` in every run, the others in the full one."""
    return pytest.mark.parametrize("arch", few(architectures, *QUICK))


every_architecture = each(ARCHITECTURES)
two_architectures = each(["llama", "falcon"])  # a tensor, a tuple
four_architectures = each(["llama", "gpt2", "gpt_neox", "falcon"])


@cache
def built(arch: str, dtype: torch.dtype = torch.float32):
    """A tiny model with weights large enough that what it says depends on what it reads."""
    sizes = (ARCHITECTURES | STATEFUL)[arch][1]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **COMMON, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4 if arch in ARCHITECTURES else 2)
    return model.to(dtype)


def blocks_of(arch: str, model) -> nn.ModuleList:
    return model.get_submodule((ARCHITECTURES | STATEFUL)[arch][0])


@cache
def made_for(arch: str) -> emosteer.EmotionVectors:
    """Joy and fear with doses of their own on overlapping layers, the first and the last among them; calm without."""
    vectors = emosteer.EmotionVectors.random(built(arch), ["joy", "fear", "calm"], seed=1)
    doses = {"joy": Dose(0.5, (1, 2), (1.0, -0.5)), "fear": Dose(0.375, (0, 1, 3), (0.5, 1.0, 0.25))}
    return replace(vectors, doses=doses)


def deltas(vectors, tone) -> dict[int, torch.Tensor]:
    """Layer → what is added: strength · dose · weight · norm · direction, in float64, summed over the emotions."""
    total: dict[int, torch.Tensor] = {}
    for emotion, strength in (tone or {}).items():
        dose = vectors.doses.get(emotion) or Dose(0.25, (1,), (1.0,))  # of four layers, the second is the middle third
        for layer, weight in zip(dose.layers, dose.weights, strict=True):
            row = vectors.layers.index(layer)
            size = strength * dose.dose * weight * vectors.residual_norm[row].item()
            total[layer] = total.get(layer, 0) + vectors.directions[emotion][row].double() * size
    return total


def along(vectors, places, begin: int, layers: int = 4) -> dict[int, Callable[[int], torch.Tensor]]:
    """Layer → tokens → what each gets, for a row whose token `begin` stands at place 0: `places(place)` is its tone."""
    none = torch.zeros(vectors.hidden_size, dtype=torch.float64)
    at = cache(lambda token: deltas(vectors, places(token - begin)))

    def rows(layer, tokens):
        return torch.stack([at(token).get(layer, none) for token in range(tokens)])

    return {layer: partial(rows, layer) for layer in range(layers)}


@contextmanager
def added(blocks, changes, *, since: int = 1):
    """The hand-written hooks: they add to the output of blocks, from token `since` of each pass on.

    Args:
        blocks: Of the model, in order.
        changes: Layer → what every token gets, `[d_model]`, or a function of the number of tokens that gives what each
            gets, `[tokens, d_model]`.
        since: The first token that is steered; the one before is the attention sink.
    """

    def hook(change):
        def add(_module, _args, output):
            stream = stream_of(output).clone()
            rows = change(stream.shape[1])[since:] if callable(change) else change
            stream[:, since:] += rows.to(stream)
            return (stream, *output[1:]) if isinstance(output, tuple) else stream

        return add

    # First in line, so that whoever else listens to a block hears the steered stream.
    handles = [blocks[layer].register_forward_hook(hook(change), prepend=True) for layer, change in changes.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def some_ids(length: int, *, seed: int = 3, rows: int = 1) -> torch.Tensor:
    return torch.randint(10, 400, (rows, length), generator=torch.Generator().manual_seed(seed))


def logits_of(model, ids, **options) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids, **options).logits


def expected_logits(arch: str, ids, tone, *, since: int = 1) -> torch.Tensor:
    """What the model says to each token of one row, steered by hand."""
    with added(blocks_of(arch, built(arch)), deltas(made_for(arch), tone), since=since):
        return logits_of(built(arch), ids, use_cache=False)


def block_outputs(arch: str, model, ids, **options) -> list:
    outputs: list = []
    handles = [block.register_forward_hook(lambda _m, _a, out: outputs.append(out)) for block in blocks_of(arch, model)]
    try:
        logits_of(model, ids, **options)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def stream_of(output) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def hooks_on(model) -> list:
    """Every hook of every module, with its options and in its order."""
    kinds = sorted(name for name in vars(nn.Module()) if "_hooks" in name)
    return [(name, kind, list(getattr(m, kind).items())) for name, m in model.named_modules() for kind in kinds]


@contextmanager
def left_as_it_was(model, ids):
    """Afterwards hooks, state_dict and outputs equal those of before to the bit."""
    hooks, logits = hooks_on(model), logits_of(model, ids)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    assert hooks_on(model) == hooks
    assert torch.equal(logits_of(model, ids), logits)
    after = model.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], state[name]) for name in state)


def padded(rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths with padding on the left, and their mask."""
    width = max(row.shape[1] for row in rows)
    ids = torch.cat([nn.functional.pad(row, (width - row.shape[1], 0)) for row in rows])
    mask = torch.cat([nn.functional.pad(torch.ones_like(row), (width - row.shape[1], 0)) for row in rows])
    return ids, mask


def generate(model, ids, mask=None, **options):
    """Six new tokens, never an early end, with the logits of each."""
    options = {"do_sample": False, "use_cache": True, "max_new_tokens": 6, "min_new_tokens": 6, **options}
    mask = torch.ones_like(ids) if mask is None else mask
    return model.generate(
        ids, attention_mask=mask, return_dict_in_generate=True, output_logits=True, pad_token_id=0, **options
    )

"""Names of architectures: what a file calls its model may be transformers' word, llama.cpp's, or people's."""

from __future__ import annotations

import re
from functools import cache

ALSO = {
    "bamba": ("granitehybrid",),
    "cohere": ("command-r",),
    "deepseek_v2": ("deepseek2",),
    "deepseek_v3": ("deepseek2",),
    "falcon_mamba": ("mamba",),
    "glm": ("chatglm",),
    "gpt_bigcode": ("starcoder",),
    "gpt_neox": ("pythia",),
    "granitemoehybrid": ("granitehybrid",),
    "granitemoeshared": ("granitemoe",),
    "hunyuan_v1_dense": ("hunyuan-dense",),
    "hunyuan_v1_moe": ("hunyuan-moe",),
    "llama": ("smollm", "smollm2", "tinyllama", "vicuna"),
    "ministral": ("llama",),
    "ministral3": ("llama", "mistral3"),
    "mistral": ("llama",),
    "mixtral": ("llama",),
    "olmo3": ("olmo2",),
    "phi": ("phi2",),
    "qwen2": ("qwen", "qwq"),
}
"""Model type of transformers → what llama.cpp and people call it beside that."""

__all__ = ["may_be"]


def may_be(said: str, model_type: str) -> bool:
    """Return whether what a file says of its model can mean this architecture.

    `qwen2.5`, `Qwen/Qwen2.5-7B-Instruct` and `qwen2` are all of the type `qwen2`: at the beginning of each word, the
    longest known name counts.

    Args:
        said: As in the file.
        model_type: As transformers calls it.
    """
    words = re.findall(r"[a-z0-9]+", said.lower())
    rests = ["".join(words[i:]) for i in range(len(words))]
    longest = (max(filter(rest.startswith, _types()), key=len, default="") for rest in rests)
    wanted = _plain(model_type)
    return wanted in rests or any(wanted in _types().get(name, ()) for name in longest)


@cache
def _types() -> dict[str, set[str]]:
    """Name → model types, both in small letters and digits."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    types: dict[str, set[str]] = {}
    for model_type in {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *ALSO}:
        for name in (model_type, *ALSO.get(model_type, ())):
            types.setdefault(_plain(name), set()).add(_plain(model_type))
    return types


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().removesuffix("_text"))

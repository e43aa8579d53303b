"""Names of cached results: digests of everything that a result depends on, so that an outdated one is not found."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError
from emosteer.layers import input_device

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["described", "digest_of", "model_digest", "own_decoding", "vectors_digest"]


def model_digest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return a digest of what a model computes from a text.

    That is every weight with its dtype, which adapters are active, the config, the kind of device, the tokenizer with
    its chat template, and the versions of emosteer, torch and transformers. How tokens are chosen is not part of it:
    see `own_decoding`.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.

    Returns:
        A hexadecimal digest; None for a model whose weights cannot be seen, such as those that lie on disk.
    """
    weights = hashlib.sha256()
    for name, tensor in _weights(model):
        if tensor is None or tensor.device.type == "meta" or tensor.is_quantized:
            return None
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        weights.update(_bytes(tensor))
    config = {name: value for name, value in model.config.to_dict().items() if name not in ("_name_or_path", "dtype")}
    parts = [
        weights.hexdigest(),
        [str(adapter) for adapter in _adapters(model)],
        any(module.training for module in model.modules()),
        config,
        getattr(model.config, "_attn_implementation", None),
        input_device(model).type,
        _tokenizer(tokenizer),
        [version(name) for name in ("emosteer", "torch", "transformers")],
    ]
    return digest_of(parts)


def own_decoding(model: PreTrainedModel) -> dict[str, Any]:
    """Return the settings of a model's own generation config that are not the defaults of transformers."""
    if model.generation_config is None:
        return {}
    settings = json.loads(_json(model.generation_config.to_diff_dict()))
    return {name: value for name, value in settings.items() if name != "transformers_version" and name[0] != "_"}


def vectors_digest(vectors: EmotionVectors) -> str:
    """Return a digest of what vectors add to a model: directions, norms and doses, but not what these cost."""
    tensors = {
        **vectors.directions,
        ".residual_norm": vectors.residual_norm,
        ".center": vectors.center,
        ".neutral_basis": vectors.neutral_basis,
    }
    doses = {name: vectors.dose(name) for name in vectors.emotions}
    added = {name: (dose.dose, dose.layers, dose.weights, dose.scope) for name, dose in doses.items()}
    return digest_of([described(list(tensors.items())), vectors.layers, added])


def described(value: Any) -> Any:
    """Return what tells an option of `generate` from others, as plain data.

    Args:
        value: Plain data, a tensor or array, a dataclass, a config of transformers, or any of these in a collection.

    Raises:
        InputError: It is something else, and says no more of itself than where it lies in memory.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    if isinstance(value, Mapping):
        return [[described(key), described(item)] for key, item in value.items()]
    kind, inside = type(value).__qualname__, repr(value)
    if is_dataclass(value):
        return [kind, described({field.name: getattr(value, field.name) for field in fields(value)})]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        import torch

        tensor = torch.as_tensor(value)
        inside = f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(_bytes(tensor)).hexdigest()}"
    elif hasattr(value, "to_dict"):
        inside = _json(value.to_dict())
    elif " at 0x" in inside or hasattr(
        value, "state_dict"
    ):  # an address, or a model, which tells nothing of its weights
        raise InputError(f"A way of steering with {inside[:200]} cannot be cached.", "Leave the cache out.")
    return [kind, inside]


def digest_of(value: Any) -> str:
    """Return a hexadecimal digest of plain data."""
    return hashlib.sha256(_json(value).encode()).hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor | None]]:
    """Yield the name and value of every weight; None for what is no tensor, as some quantised layers keep."""
    import torch

    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            yield from _inside(name, value.detach())
        else:
            yield name, None


def _inside(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor | None]]:
    """Yield a tensor, or those that a packed one consists of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield name, tensor
        return
    for inner in tensor.__tensor_flatten__()[0]:
        yield from _inside(f"{name}.{inner}", getattr(tensor, inner))


def _bytes(tensor: Tensor) -> Any:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()  # a buffer, not copied


def _adapters(model: PreTrainedModel) -> Iterator[tuple[Any, ...]]:
    """Yield which adapters are in force and how strongly, for each layer that has some."""
    peft = sys.modules.get("peft")
    if peft is None:
        return
    layer_type = peft.tuners.tuners_utils.BaseTunerLayer

    for name, module in model.named_modules():
        if isinstance(module, layer_type):
            state = (module.active_adapters, module.merged_adapters, module.disable_adapters)
            yield name, *state, getattr(module, "scaling", None)
    if isinstance(model, peft.PeftModel):  # virtual tokens belong to no layer
        yield model.active_adapter, model.peft_config[model.active_adapter].peft_type


def _tokenizer(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        how: Any = sorted(tokenizer.get_vocab().items())
    else:
        how = json.loads(backend.to_str())
        for changing in ("padding", "truncation"):  # of the last call
            how.pop(changing, None)
    special = tokenizer.special_tokens_map
    return [type(tokenizer).__name__, digest_of(how), special, tokenizer.chat_template]

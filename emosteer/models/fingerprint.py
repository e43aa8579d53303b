"""The identity of a model: how vector files describe it, and whether vectors fit it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from emosteer._util.names import is_repo_id
from emosteer.errors import IncompatibleModelError, warn
from emosteer.layers import decoder_layers, hidden_size
from emosteer.models.weights import modules_below, sampled, tensors_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["BaseModel", "base_model_of", "check_same"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseModel:
    """The model that vectors were made from.

    Args:
        model_type: Architecture, as named by transformers.
        num_hidden_layers: Number of decoder blocks.
        hidden_size: Width of the residual stream.
        repo_id: Repository on the Hub, or None for a local model.
        revision: Commit, or None.
        weights_variant: How the weights differ from those published under `repo_id`, or None.
        fingerprint: sha256 over a small fixed sample of the weights, or None.
    """

    model_type: str
    num_hidden_layers: int
    hidden_size: int
    repo_id: str | None = None
    revision: str | None = None
    weights_variant: str | None = None
    fingerprint: str | None = None


def base_model_of(model: PreTrainedModel) -> BaseModel:
    """Return the description of a model for vector files."""
    config, blocks = model.config, decoder_layers(model)
    name = str(getattr(config, "name_or_path", "") or "")
    return BaseModel(
        model_type=config.model_type,
        num_hidden_layers=len(blocks),
        hidden_size=hidden_size(model),
        repo_id=name if is_repo_id(name) and not Path(name).exists() else None,
        revision=getattr(config, "_commit_hash", None),
        weights_variant=getattr(config, "weights_variant", None),
        fingerprint=_fingerprint(blocks),
    )


@dataclass(frozen=True)
class _Sample:
    """The parameters that a fingerprint is taken of.

    Args:
        identity: Of all modules and tensors of the blocks.
        names: Names of the parameters.
        places: Their places in `tensors_of`.
    """

    identity: tuple[int, ...]
    names: tuple[bytes, ...]
    places: tuple[int, ...]


_samples: WeakKeyDictionary[nn.Module, _Sample] = WeakKeyDictionary()  # by blocks, while these are the same


def _fingerprint(blocks: nn.ModuleList) -> str | None:
    """Hash 16 weights of each of up to 64 parameters, rounded to bfloat16 so that a cast does not change the hash.

    The weights are read at every call, since writing through `parameter.data`, as PEFT does to merge an adapter, leaves
    no trace to tell that they changed. Which of them to read is looked up once.
    """
    import torch

    modules = modules_below(blocks)
    tensors = tensors_of(modules)
    sample, identity = _samples.get(blocks), (*map(id, modules), *map(id, tensors))
    if sample is None or sample.identity != identity:
        parameters = sorted(blocks.named_parameters())
        chosen = parameters[:: max(1, len(parameters) // 64)][:64]
        place = {id(tensor): i for i, tensor in enumerate(tensors)}
        names = tuple(name.encode() for name, _ in chosen)
        sample = _samples[blocks] = _Sample(identity, names, tuple(place[id(parameter)] for _, parameter in chosen))
    weights = [tensors[place] for place in sample.places]
    for weight in weights:
        if weight.device.type == "meta" or weight.dtype not in (torch.float64, torch.float32, torch.bfloat16):
            return None  # offloaded, packed, or float16, which rounds to bfloat16 differently
        if type(weight) is not torch.nn.Parameter and type(weight.detach()) is not torch.Tensor:
            return None  # packed in a tensor subclass, for example by torchao
    digest = hashlib.sha256()
    for name, values in zip(sample.names, sampled(weights), strict=True):
        digest.update(name + values)
    return digest.hexdigest()


def check_same(expected: BaseModel, actual: BaseModel) -> None:
    """Check that vectors made from one model fit another; warn if the two differ in architecture or weights.

    Args:
        expected: The model that the vectors were made from.
        actual: The model to steer.

    Raises:
        IncompatibleModelError: The numbers of layers or the widths differ.
    """
    if (expected.num_hidden_layers, expected.hidden_size) != (actual.num_hidden_layers, actual.hidden_size):
        raise IncompatibleModelError(
            f"These vectors are for {_described(expected)}, the model is {_described(actual)}.",
            "Use the model they were made for (--model), or extract vectors for this one: emosteer extract --model …",
        )
    if expected.model_type != actual.model_type:
        difference = f"another architecture ({actual.model_type} instead of {expected.model_type})"
    elif None in (expected.fingerprint, actual.fingerprint) or expected.fingerprint == actual.fingerprint:
        return
    elif expected.repo_id is not None and expected.repo_id == actual.repo_id:
        variants = expected.weights_variant or "as published", actual.weights_variant or "as published"
        _log.info("These vectors were made from other weights of %s (%s; here: %s).", expected.repo_id, *variants)
        return
    else:
        names = actual.repo_id or "a local model", expected.repo_id or "a local model"
        difference = "other weights ({} instead of {})".format(*names)
    warn(f"These vectors were made from a model like this one with {difference}: the tones may be weaker or mixed up.")


def _described(base: BaseModel) -> str:
    return f"{base.repo_id or base.model_type} ({base.num_hidden_layers} layers, width {base.hidden_size})"

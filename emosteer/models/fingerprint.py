"""The identity of a model: how vector files describe it, and whether vectors fit it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util.names import is_repo_id
from emosteer.errors import IncompatibleModelError, warn
from emosteer.layers import decoder_layers, hidden_size

if TYPE_CHECKING:
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
    config = model.config
    name = str(getattr(config, "name_or_path", "") or "")
    return BaseModel(
        model_type=config.model_type,
        num_hidden_layers=len(decoder_layers(model)),
        hidden_size=hidden_size(model),
        repo_id=name if is_repo_id(name) and not Path(name).exists() else None,
        revision=getattr(config, "_commit_hash", None),
        weights_variant=getattr(config, "weights_variant", None),
        fingerprint=_fingerprint(model),
    )


def _fingerprint(model: PreTrainedModel) -> str | None:
    """Hash 16 weights of each of up to 64 parameters, rounded to bfloat16 so that a cast does not change the hash."""
    import torch

    parameters = sorted(decoder_layers(model).named_parameters())
    digest = hashlib.sha256()
    for name, parameter in parameters[:: max(1, len(parameters) // 64)][:64]:
        if parameter.device.type == "meta" or parameter.dtype not in (torch.float64, torch.float32, torch.bfloat16):
            return None  # offloaded, packed, or float16, which rounds to bfloat16 differently
        if type(parameter.detach()) is not torch.Tensor:
            return None  # packed in a tensor subclass, for example by torchao
        flat = parameter.detach().reshape(-1)
        indices = torch.linspace(0, len(flat) - 1, 16, dtype=torch.float32, device="cpu").long()
        indices = indices.clamp(max=len(flat) - 1)  # float32 may round up
        sample = flat[indices.to(flat.device)].to(torch.bfloat16)
        digest.update(name.encode() + sample.cpu().view(torch.int16).numpy().astype("<i2").tobytes())
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

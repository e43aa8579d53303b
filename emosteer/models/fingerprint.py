"""Which model is this: what vector files say of it, and whether vectors belong to it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer.errors import IncompatibleModelError, warn
from emosteer.layers import decoder_layers, hidden_size
from emosteer.vectors.config import BaseModel, is_repo_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["base_model_of", "check_same"]

_log = logging.getLogger(__name__)


def base_model_of(model: PreTrainedModel) -> BaseModel:
    """How a model is named in vector files."""
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
    """sha256 over 16 weights of each of up to 64 parameters, rounded to bfloat16 so that a cast does not change it."""
    import torch

    parameters = sorted(decoder_layers(model).named_parameters())
    digest = hashlib.sha256()
    for name, parameter in parameters[:: max(1, len(parameters) // 64)][:64]:
        if parameter.device.type == "meta" or parameter.dtype not in (torch.float64, torch.float32, torch.bfloat16):
            return None  # offloaded, packed, or float16, from which bfloat16 rounds differently
        if type(parameter.detach()) is not torch.Tensor:
            return None  # packed in a tensor of its own kind, as by torchao
        flat = parameter.detach().reshape(-1)
        places = torch.linspace(0, len(flat) - 1, 16).long().clamp(max=len(flat) - 1)  # float32 may round up beyond
        sample = flat[places.to(flat.device)].to(torch.bfloat16)
        digest.update(name.encode() + sample.cpu().view(torch.int16).numpy().astype("<i2").tobytes())
    return digest.hexdigest()


def check_same(ours: BaseModel, theirs: BaseModel) -> None:
    """Do vectors made for one model belong to another?

    Args:
        ours: The model that the vectors were made from.
        theirs: The one that they are to steer.

    Raises:
        IncompatibleModelError: Depth or width differ.
    """
    if (ours.num_hidden_layers, ours.hidden_size) != (theirs.num_hidden_layers, theirs.hidden_size):
        raise IncompatibleModelError(
            f"These vectors are for {_described(ours)}, the model is {_described(theirs)}.",
            "Extract vectors for this model: emosteer extract --model …",
        )
    if ours.model_type != theirs.model_type:
        found = f"another architecture ({theirs.model_type} instead of {ours.model_type})"
    elif None in (ours.fingerprint, theirs.fingerprint) or ours.fingerprint == theirs.fingerprint:
        return
    elif ours.repo_id is not None and ours.repo_id == theirs.repo_id:
        variants = ours.weights_variant or "as published", theirs.weights_variant or "as published"
        _log.info("These vectors were made from other weights of %s (%s; here: %s).", ours.repo_id, *variants)
        return
    else:
        found = f"other weights ({theirs.repo_id or 'a local model'} instead of {ours.repo_id or 'a local model'})"
    warn(f"These vectors were made from a model like this one with {found}: the tones may be weaker or mixed up.")


def _described(base: BaseModel) -> str:
    return f"{base.repo_id or base.model_type} ({base.num_hidden_layers} layers, width {base.hidden_size})"

"""Vectors as the tensors of their file and back, and the check that their parts fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emosteer._util.names import EMOTION_NAME, NAME_RULE
from emosteer.errors import FormatError
from emosteer.vectors import format as fmt
from emosteer.vectors.config import Config
from emosteer.vectors.types import AXES, Readout

if TYPE_CHECKING:
    from torch import Tensor

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["check", "pack", "unpack"]


def check(vectors: EmotionVectors) -> None:
    """Check that shapes fit each other, rows are unit vectors and names are valid.

    Raises:
        FormatError: They do not, or are not.
    """
    if not vectors.directions:
        raise FormatError("A set of vectors has at least one emotion, here is none.", "Name one.")
    rows, width = len(vectors.layers), vectors.base_model.hidden_size
    for name, direction in vectors.directions.items():
        if not EMOTION_NAME.fullmatch(name):
            raise FormatError(f"{name!r} is not a name for an emotion.", NAME_RULE)
        if tuple(direction.shape) != (rows, width):
            raise FormatError(
                f"The direction of {name!r} has the shape {list(direction.shape)}, expected [{rows}, {width}]."
            )
        if not bool(((direction.norm(dim=-1) - 1).abs() < 5e-3).all()):
            raise FormatError(f"The rows of the direction of {name!r} are not finite or not of unit length.")
    if tuple(vectors.residual_norm.shape) != (rows,) or not 0 < float(vectors.residual_norm.min()) <= float(
        vectors.residual_norm.max()
    ) < float("inf"):
        raise FormatError(f"The residual norms must be {rows} positive numbers, one a layer.")
    if vectors.readout is not None and vectors.readout.emotions != vectors.emotions:
        raise FormatError(
            f"The readout is of {vectors.readout.emotions}, the directions are of {vectors.emotions}.",
            "Leave it out (readout=None), or fit it to these.",
        )


def pack(vectors: EmotionVectors) -> dict[str, Tensor]:
    """Return the tensors of vectors, float32, by their names in the file."""
    tensors = {fmt.DIRECTION + name: rows for name, rows in vectors.directions.items()}
    tensors[fmt.RESIDUAL_NORM] = vectors.residual_norm
    if vectors.center is not None:
        tensors[fmt.CENTER] = vectors.center
    if vectors.neutral_basis is not None:
        tensors[fmt.NEUTRAL_BASIS] = vectors.neutral_basis
    if (readout := vectors.readout) is not None:
        tensors |= {f"{fmt.READOUT_WEIGHTS}{layer}": weights for layer, weights in readout.weights.items()}
        tensors |= dict(zip(fmt.READOUT_PARTS, (readout.bias, readout.spread, readout.inertia), strict=True))
    return tensors


def unpack(config: Config, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the fields of `EmotionVectors`.

    Args:
        config: Of the file. Emotions without a direction among the tensors are left out.
        tensors: Name in the file → float32 tensor.
    """
    directions = {
        name.removeprefix(fmt.DIRECTION): rows for name, rows in tensors.items() if name.startswith(fmt.DIRECTION)
    }
    return {
        "directions": directions,
        "residual_norm": tensors[fmt.RESIDUAL_NORM],
        "layers": config.layers,
        "base_model": config.base_model,
        "info": {name: config.emotions[name] for name in directions},
        "doses": config.doses,
        "extraction": config.extraction,
        "measured": config.measured,
        "license": config.license,
        "center": tensors.get(fmt.CENTER),
        "neutral_basis": tensors.get(fmt.NEUTRAL_BASIS),
        "readout": _readout(config, tensors, tuple(directions)),
    }


def _readout(config: Config, tensors: Mapping[str, Tensor], emotions: tuple[str, ...]) -> Readout | None:
    if fmt.READOUT_PARTS[0] not in tensors:
        return None
    bias, spread, inertia = (tensors[name] for name in fmt.READOUT_PARTS)
    names = {layer: f"{fmt.READOUT_WEIGHTS}{layer}" for layer in config.layers}
    weights = {layer: tensors[name] for layer, name in names.items() if name in tensors}
    return Readout(emotions, AXES if len(bias) > len(emotions) else (), weights, bias, spread, inertia)

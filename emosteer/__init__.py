"""Emotional tone for any Hugging Face causal language model, at inference, without training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emosteer.calibration import Calibration, calibrate, extract
    from emosteer.concepts import ConceptSet
    from emosteer.errors import EmosteerError, EmosteerWarning
    from emosteer.export import bake
    from emosteer.extraction.transfer import transfer
    from emosteer.layers import register_layers
    from emosteer.model import SteeredModel
    from emosteer.steering import Affect, Keyframes, Thermostat, steer
    from emosteer.steering.logits_processor import EmotionLogitsProcessor
    from emosteer.steering.recipes import Recipe
    from emosteer.vectors.emotion_vectors import EmotionVectors

# Name → module that defines it. Resolved on first use, so that `import emosteer` loads neither torch nor transformers.
_HOME = {
    "Affect": "emosteer.steering",
    "Calibration": "emosteer.calibration",
    "ConceptSet": "emosteer.concepts",
    "EmosteerError": "emosteer.errors",
    "EmosteerWarning": "emosteer.errors",
    "EmotionLogitsProcessor": "emosteer.steering.logits_processor",
    "EmotionVectors": "emosteer.vectors.emotion_vectors",
    "Keyframes": "emosteer.steering",
    "Recipe": "emosteer.steering.recipes",
    "SteeredModel": "emosteer.model",
    "Thermostat": "emosteer.steering",
    "bake": "emosteer.export",
    "calibrate": "emosteer.calibration",
    "extract": "emosteer.calibration",
    "register_layers": "emosteer.layers",
    "steer": "emosteer.steering",
    "transfer": "emosteer.extraction.transfer",
}
_ROOMS = ("embedded", "eval", "export", "hub", "importing", "layers", "schedules", "serving")

__all__ = [
    "Affect",
    "Calibration",
    "ConceptSet",
    "EmosteerError",
    "EmosteerWarning",
    "EmotionLogitsProcessor",
    "EmotionVectors",
    "Keyframes",
    "Recipe",
    "SteeredModel",
    "Thermostat",
    "bake",
    "calibrate",
    "extract",
    "register_layers",
    "steer",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _ROOMS:
        return import_module(f"emosteer.{name}")
    raise AttributeError(f"module 'emosteer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])

"""Measuring: what a tone does to a text, and what it costs."""

from emosteer.eval.fluency import nats_per_token
from emosteer.eval.judges import ClassifierJudge, EmbeddingJudge
from emosteer.eval.prompts import load_prompts
from emosteer.eval.steering import SteeringReport, evaluate_steering

__all__ = [
    "ClassifierJudge",
    "EmbeddingJudge",
    "SteeringReport",
    "evaluate_steering",
    "load_prompts",
    "nats_per_token",
]

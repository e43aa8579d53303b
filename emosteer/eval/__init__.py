"""Evaluation: what a tone does to a text and costs, and how far a model's emotions agree with those of people."""

from emosteer.eval.alignment import AlignmentReport, evaluate_alignment
from emosteer.eval.fluency import nats_per_token
from emosteer.eval.judges import ClassifierJudge, EmbeddingJudge
from emosteer.eval.norms import Norms, load_category_norms, load_norms
from emosteer.eval.prompts import load_prompts
from emosteer.eval.steering import SteeringReport, evaluate_steering

__all__ = [
    "AlignmentReport",
    "ClassifierJudge",
    "EmbeddingJudge",
    "Norms",
    "SteeringReport",
    "evaluate_alignment",
    "evaluate_steering",
    "load_category_norms",
    "load_norms",
    "load_prompts",
    "nats_per_token",
]

"""Evaluation: what a tone does to a text and costs, and how far a model's emotions agree with those of people."""

from emosteer.eval.alignment import AlignmentReport, evaluate_alignment
from emosteer.eval.fluency import nats_per_token
from emosteer.eval.judges import ClassifierJudge, EmbeddingJudge
from emosteer.eval.norms import Norms, load_category_norms, load_norms
from emosteer.eval.prompts import Prompt, load_bench, load_prompts
from emosteer.eval.steering import (
    LanguagesReport,
    SteeringReport,
    TaskReport,
    evaluate_languages,
    evaluate_steering,
    evaluate_tasks,
)

__all__ = [
    "AlignmentReport",
    "ClassifierJudge",
    "EmbeddingJudge",
    "LanguagesReport",
    "Norms",
    "Prompt",
    "SteeringReport",
    "TaskReport",
    "evaluate_alignment",
    "evaluate_languages",
    "evaluate_steering",
    "evaluate_tasks",
    "load_bench",
    "load_category_norms",
    "load_norms",
    "load_prompts",
    "nats_per_token",
]

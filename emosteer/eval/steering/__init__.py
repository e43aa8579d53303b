"""Steering evaluation: what a tone does to the text, and what it costs."""

from emosteer.eval.steering.crossing import LanguagesReport, evaluate_languages
from emosteer.eval.steering.evaluation import evaluate_steering
from emosteer.eval.steering.kept import TaskReport, evaluate_tasks
from emosteer.eval.steering.results import SteeringReport

__all__ = [
    "LanguagesReport",
    "SteeringReport",
    "TaskReport",
    "evaluate_languages",
    "evaluate_steering",
    "evaluate_tasks",
]

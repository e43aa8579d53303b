"""Steering evaluation: what a tone does to the text, and what it costs."""

from emosteer.eval.steering.evaluation import SteeringReport, evaluate_steering

__all__ = ["SteeringReport", "evaluate_steering"]

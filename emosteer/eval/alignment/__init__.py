"""Alignment of a model's emotion space with human ratings, within and across languages."""

from emosteer.eval.alignment.battery import evaluate_alignment
from emosteer.eval.alignment.results import AlignmentReport

__all__ = ["AlignmentReport", "evaluate_alignment"]

"""Measuring: what a tone does to a text, and what it costs."""

from emosteer.eval.fluency import nats_per_token
from emosteer.eval.judges import ClassifierJudge, EmbeddingJudge
from emosteer.eval.prompts import load_prompts

__all__ = ["ClassifierJudge", "EmbeddingJudge", "load_prompts", "nats_per_token"]

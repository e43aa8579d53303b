"""Measuring: what a tone does to a text, and what it costs."""

from emosteer.eval.fluency import nats_per_token
from emosteer.eval.judges import EmbeddingJudge
from emosteer.eval.prompts import load_prompts

__all__ = ["EmbeddingJudge", "load_prompts", "nats_per_token"]

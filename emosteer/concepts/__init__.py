"""Concept sets: the texts from which emotions are learned, and how people rate those emotions."""

from emosteer.concepts.conceptset import ConceptSet, Emotion, Neutral, Texts

__all__ = ["ConceptSet", "Emotion", "Neutral", "Texts"]

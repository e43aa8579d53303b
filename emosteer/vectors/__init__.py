"""Emotion vectors: what they are, and the file, the folder and the card that hold them."""

from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["EmotionVectors"]

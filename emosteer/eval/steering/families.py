"""Families of emotions, by which a judge is asked about an emotion that it does not know by name."""

from __future__ import annotations

from collections.abc import Mapping

_FAMILIES = {
    "joy": "joy love pride gratitude admiration excitement amusement hope compassion optimism approval caring desire",
    "calm": "calm contentment relief",
    "surprise": "surprise awe interest confusion curiosity realization",
    "sadness": "sadness grief despair disappointment loneliness nostalgia boredom shame guilt embarrassment remorse",
    "fear": "fear anxiety nervousness",
    "anger": "anger hatred frustration jealousy contempt annoyance disapproval",
    "disgust": "disgust",
}

FAMILY_OF: Mapping[str, str] = {name: family for family, names in _FAMILIES.items() for name in names.split()}
"""Emotion of the built-in concept sets, or label of GoEmotions → the basic emotion, or calm, that it is most like: by
the sign of its valence and its arousal in human ratings, and among the unpleasant ones by what it is about."""

__all__ = ["FAMILY_OF"]

"""Does a model's emotion space have the structure of the human one, in several languages?

The battery: representational similarity, components against valence and arousal, held-out axes, Procrustes maps,
prediction of word ratings, transfer between languages, and what languages share; every figure beside its controls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import combinations, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emosteer.concepts import ConceptSet
from emosteer.errors import InputError
from emosteer.eval.alignment import statistics as st
from emosteer.eval.alignment.frames import MOODS, WORDS, frames_for
from emosteer.eval.alignment.ratings import (
    AXES,
    Prediction,
    Ridge,
    advantage,
    agreement,
    folds,
    held_out,
    held_out_best,
    stem_groups,
)
from emosteer.eval.alignment.results import AlignmentReport, Ceiling, Geometry, LanguagePair, Transfer, WordRatings
from emosteer.eval.alignment.states import States, embedded_words, layer_grid, word_shapes, word_states
from emosteer.eval.alignment.statistics import Measure, Points
from emosteer.eval.norms import Norms, load_category_norms, load_norms

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

FEWEST_CATEGORIES = 8
FEWEST_STEMS = 50
FEW_WORDS = 300
"""From which a note says that the figures are of few words."""

COMPONENTS = 10
"""Dimensions in which languages are mapped onto each other."""

HALVES = 50
"""Divisions of the categories in two for the layer that is chosen on one half and measured on the other."""

RANDOM_SETS = 10
OWN = "Glasgow Norms"

Ratings = Mapping[str, Mapping[str, tuple[float, float]]]

__all__ = ["evaluate_alignment"]

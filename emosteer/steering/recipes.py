"""Named ways of making more of a dose than adding it alone does.

A tone that is only added to the residual stream is carried by everything the model says, and breaks the rare tokens
first. A recipe adds it, rules out tokens that are far less likely than the favourite, and among those that remain
favours the emotion's vocabulary. What has been said once is not favoured again, so that the tone spreads instead of
circling around a word. It costs no forward pass beside the one of `generate`, and works token by token, so answers can
be streamed.

    steered.generate(**inputs, emotion={"joy": 1.0}, recipe="natural", do_sample=True)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer._util.numbers import is_finite_number
from emosteer.errors import InputError, ToneError
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.logits_processor import vocabulary
from emosteer.steering.plan import plan
from emosteer.steering.tones import Tone, copies_of_each, named

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["RECIPES", "Recipe", "Vocabulary", "recipe_named", "with_recipe"]


@dataclass(frozen=True)
class Recipe:
    """How much of what.

    Args:
        dose: Factor on the additive dose.
        bonus: Nats for a token that stands a standard deviation above the vocabulary's mean, at strength 1.0.
        plausibility: Share of the highest probability that a token needs, before and after the bonus; above 0, at
            most 1.
    """

    dose: float
    bonus: float
    plausibility: float

    def __post_init__(self) -> None:
        if not all(map(is_finite_number, (self.dose, self.bonus, self.plausibility))):
            raise InputError(f"{self!r} holds something that is not a finite number.")
        if not 0 < self.plausibility <= 1:
            raise InputError(f"The plausibility is {self.plausibility!r}, expected a number above 0 up to 1.")

    def scaled(self, vectors: EmotionVectors, tone: Tone | Affect | None) -> dict[str, float]:
        """The tone that is added.

        Raises:
            ToneError: An affect cannot be mixed from these vectors.
        """
        return {name: strength * self.dose for name, strength in named(vectors, tone).items()}


RECIPES: Mapping[str, Recipe] = {"natural": Recipe(dose=1.05, bonus=1.5, plausibility=0.1)}
"""Name → recipe. The numbers were chosen on development prompts with the embedded model."""


def recipe_named(recipe: str | Recipe) -> Recipe:
    """A recipe by its name, or itself.

    Raises:
        InputError: There is none of that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise InputError(f"There is no recipe {recipe!r}.", f"There are: {', '.join(RECIPES)}; or make a Recipe.")
    return RECIPES[recipe]


def with_recipe(
    recipe: str | Recipe,
    model: PreTrainedModel,
    vectors: EmotionVectors,
    tone: Any,
    schedule: Schedule | None,
    operation: str,
    length: int,
    options: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """Return what a recipe makes of a tone and of the options of `generate`.

    Args:
        recipe: Its name, or a recipe.
        model: The model that generates.
        vectors: Made for it.
        tone: One for all rows, or a list with one for each.
        schedule: The caller's, which must be None.
        operation: The caller's, which must be `"add"`.
        length: Tokens of the prompt.
        options: Of `generate`.

    Returns:
        The scaled tone, and the options with the logits processor that favours its vocabulary.

    Raises:
        InputError: There is no such recipe.
        ToneError: The tone is invalid, or not one that is added and stays the same along the answer.
    """
    recipe = recipe_named(recipe)
    plan(vectors, tone)  # an invalid tone or an unknown emotion is an error of its own
    one_for_all = tone is None or isinstance(tone, (Mapping, Affect))
    tones = list(tone) if isinstance(tone, Sequence) else [tone]
    steady = all(row is None or isinstance(row, (Mapping, Affect)) for row in tones)
    if not steady or schedule is not None or operation != "add":
        raise ToneError(
            "A recipe is made for a tone that is added, and the same along the answer.",
            "Leave out the recipe, or schedule, operation, keyframes and thermostat.",
        )
    scaled = [recipe.scaled(vectors, row) for row in tones]
    if any(any(named(vectors, row).values()) for row in tones):
        processor = Vocabulary(model, vectors, tones, recipe, length)
        options = {**options, "logits_processor": [*(options.get("logits_processor") or ()), processor]}
    return scaled[0] if one_for_all else scaled, dict(options)


class Vocabulary:
    """A logits processor: rules out what is implausible, and favours the vocabulary of a tone in what remains.

    Args:
        model: The model that generates, steered or not.
        vectors: Made for it.
        tones: One for all rows, or one for each.
        recipe: How much of what.
        length: Tokens of the prompt.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        vectors: EmotionVectors,
        tones: Sequence[Tone | Affect | None],
        recipe: Recipe,
        length: int,
    ) -> None:
        self._bonus = recipe.bonus * vocabulary(model, vectors, tones)
        self._toned = [any(named(vectors, tone).values()) for tone in tones]
        self._least = math.log(recipe.plausibility)
        self._length = length

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores in the tone.

        Args:
            ids: `[batch · beams, tokens]`, the prompt and what has been generated.
            scores: `[batch · beams, vocabulary]`.

        Returns:
            Like the scores; −inf is ruled out.

        Raises:
            ToneError: There is not one tone for each row.
        """
        import torch

        copies = copies_of_each(len(self._bonus), len(scores))
        bonus = self._bonus.repeat_interleave(copies, 0).to(scores)
        bonus = bonus.scatter(1, ids[:, self._length :], 0.0)
        favoured = self._plausible(self._plausible(scores) + bonus)
        toned = torch.tensor(self._toned, device=scores.device).repeat_interleave(copies).unsqueeze(1)
        return torch.where(toned, favoured, scores)  # a row without a tone is the plain model's

    def _plausible(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(scores < scores.amax(-1, keepdim=True) + self._least, -math.inf)

"""Named recipes that get more tone out of a dose than adding it alone does.

Adding a tone to the residual stream affects every token, and breaks the rare ones first. A recipe adds the tone, rules
out tokens that are far less probable than the most probable one, and favours the tone's vocabulary among those that
remain. Tokens that were generated already are not favoured again, so that the tone spreads instead of circling around
a word; what a negative strength avoids stays avoided. A recipe works token by token, so answers can be streamed. It
takes a short forward pass the first time that an emotion is used with a model, and none besides those of `generate`
after that.

    steered.generate(**inputs, emotion={"joy": 1.0}, recipe="natural", do_sample=True)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer._util.numbers import is_finite_number, is_whole_number
from emosteer.errors import InputError, ToneError
from emosteer.schedules import Schedule
from emosteer.steering.affect import Affect
from emosteer.steering.clean import CleanLanguage
from emosteer.steering.plan import rows_of
from emosteer.steering.tones import Tone, named, strengths
from emosteer.steering.vocabulary import RowTable, vocabulary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

MOST_DRAFTS = 64  # each is a row of the batch

__all__ = ["BEST", "DEFAULT", "RECIPES", "Recipe", "Vocabulary", "recipe_of", "with_recipe"]


@dataclass(frozen=True)
class Recipe:
    """The amounts of a recipe.

    Args:
        dose: Factor on the additive dose.
        bonus: Nats for a token one standard deviation above the vocabulary's mean, at strength 1.0.
        plausibility: Share of the highest probability that a token needs, before and after the bonus; above 0, at
            most 1.
        asks: Whether a system message asks for the tone, for which there have to be messages.
        coarse: Whether coarse words are let be, in anger for example. Else they are ruled out.
        drafts: Number of answers that are drawn at once; the one in which the readout hears most of the tone is kept.
            Without sampling they would be the same, and there is one.

    Raises:
        InputError: An amount is not a finite number, the plausibility is out of range, or there is no draft.
    """

    dose: float
    bonus: float
    plausibility: float
    asks: bool = False
    coarse: bool = False
    drafts: int = 1

    def __post_init__(self) -> None:
        if not all(map(is_finite_number, (self.dose, self.bonus, self.plausibility))):
            raise InputError(f"{self!r} contains a value that is not a finite number.")
        if not 0 < self.plausibility <= 1:
            raise InputError(f"The plausibility is {self.plausibility!r}, expected a number above 0 up to 1.")
        if not is_whole_number(self.drafts) or not 1 <= self.drafts <= MOST_DRAFTS:
            raise InputError(f"There are {self.drafts!r} drafts, expected a whole number from 1 to {MOST_DRAFTS}.")


RECIPES: Mapping[str, Recipe] = {
    "natural": Recipe(dose=1.05, bonus=1.5, plausibility=0.1),
    "asked": Recipe(dose=0.0, bonus=0.0, plausibility=0.1, asks=True),
    "asked_and_steered": Recipe(dose=0.3, bonus=0.4, plausibility=0.1, asks=True),
    "natural_best_of_4": Recipe(dose=0.8, bonus=1.1, plausibility=0.1, drafts=4),
    "asked_and_steered_best_of_4": Recipe(dose=0.3, bonus=0.4, plausibility=0.1, asks=True, drafts=4),
}
"""Name → recipe. The numbers were chosen on development prompts."""

BEST = "asked_and_steered"

DEFAULT = "default"
"""What conversations take for `BEST` where the tone is one that a recipe carries, and for the bare dose elsewhere."""


def recipe_of(recipe: str | Recipe | None, *, carried: bool) -> Recipe | None:
    """Return the recipe that a caller means, or None for the bare dose.

    Args:
        recipe: A recipe, the name of one, `DEFAULT` or None.
        carried: Whether a recipe can carry the tone.

    Raises:
        InputError: There is no such recipe.
    """
    if recipe == DEFAULT:
        recipe = BEST if carried else None
    if recipe is None or isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise InputError(f"There is no recipe {recipe!r:.60}.", f"There are: {', '.join(RECIPES)}; or make a Recipe.")
    return RECIPES[recipe]


def with_recipe(
    recipe: str | Recipe | None,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vectors: EmotionVectors,
    tone: Any,
    schedule: Schedule | None,
    operation: str,
    length: int,
    options: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """Apply a recipe to a tone and to the options of `generate`.

    Args:
        recipe: A recipe, the name of one, or None for the bare dose.
        model: The model that generates.
        tokenizer: Its tokenizer.
        vectors: Vectors made for the model.
        tone: One tone for all rows, or a list with one for each.
        schedule: The caller's schedule, which must be None.
        operation: The caller's operation, which must be `"add"`.
        length: Number of tokens of the prompt.
        options: Options for `generate`.

    Returns:
        The scaled tone, and the options with logits processors that keep language clean and favour the tone's
        vocabulary.

    Raises:
        InputError: The recipe is unknown, or asks for the tone.
        ToneError: The tone is invalid, or not one that is added and stays the same along the answer, or a strength is
            beyond ±10 with the recipe's factor.
    """
    recipe = recipe_of(recipe, carried=False)
    if recipe is None:
        return tone, dict(options)
    if recipe.asks:
        raise InputError(
            "A recipe that asks for the tone in a system message needs messages, and this call has none.",
            "Use chat() or chat_each(), or a recipe that only steers, such as natural.",
        )
    asked = rows_of(tone)
    rows = [row for row in asked if isinstance(row, (Mapping, Affect))]
    if len(rows) < len(asked) or schedule is not None or operation != "add":
        raise ToneError(
            "A recipe is made for a tone that is added, and the same along the answer.",
            "Leave out the recipe, or schedule, operation, keyframes and thermostat.",
        )
    tones = [named(vectors, row) for row in rows]
    scaled = [strengths(vectors, row, recipe.dose) for row in rows]
    for row in tones:
        for emotion in row:
            vectors.dose(emotion)  # reports an unknown emotion
    if (recipe.dose or recipe.bonus) and any(any(row.values()) for row in tones):
        processors = [
            *(options.get("logits_processor") or ()),
            *([] if recipe.coarse else [CleanLanguage(tokenizer, tones)]),
        ]
        options = {
            **options,
            "logits_processor": [*processors, Vocabulary(model, vectors, tones, recipe, length)],
        }
    return scaled if isinstance(tone, Sequence) else scaled[0], dict(options)


class Vocabulary:
    """A logits processor that rules out implausible tokens and favours the vocabulary of a tone among the others.

    Args:
        model: The model that generates, steered or not.
        vectors: Vectors made for the model.
        tones: One tone for all rows, or one for each.
        recipe: The amounts.
        length: Tokens of the prompt.
    """

    def __init__(
        self, model: PreTrainedModel, vectors: EmotionVectors, tones: Sequence[Tone], recipe: Recipe, length: int
    ) -> None:
        import torch

        bonus = recipe.bonus * vocabulary(model, vectors, tones)
        least = [[math.log(recipe.plausibility) if any(tone.values()) else -math.inf] for tone in tones]
        self._bonus = RowTable(bonus)
        self._least = RowTable(torch.tensor(least, dtype=torch.float32, device=bonus.device))
        # Of a model with an encoder, the ids are those of the answer alone.
        self._length = 0 if model.config.is_encoder_decoder else length

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores in the tone.

        Args:
            ids: `[batch · beams, tokens]`, the prompt and what has been generated.
            scores: `[batch · beams, vocabulary]`.

        Returns:
            Scores of the same shape; −inf where a token is ruled out. A row without a tone is returned as it is.

        Raises:
            ToneError: The number of tones does not fit the batch.
        """
        bonus, least = self._bonus.like(scores), self._least.like(scores)
        said = ids[:, self._length :]
        favoured = scores + bonus
        favoured.scatter_(1, said, scores.gather(1, said) + bonus.gather(1, said).clamp(max=0))
        favoured += _ruled_out(scores, least)
        favoured += _ruled_out(favoured, least)
        return favoured


def _ruled_out(scores: Tensor, least: Tensor) -> Tensor:
    """Return −inf where scores `[rows, vocabulary]` are below their maximum plus `least` `[rows, 1]`, 0 elsewhere.

    Arithmetic instead of a mask of booleans, which takes five times as long on a CPU.
    """
    import torch

    number = torch.finfo(scores.dtype)
    limit = (scores.amax(-1, keepdim=True) + least).clamp(min=number.min)  # −inf minus itself would be no number
    return torch.threshold(scores - limit, -number.tiny, -math.inf).clamp_(max=0)

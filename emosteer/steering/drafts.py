"""Drafts: of several answers that are drawn at once, the one in which the readout hears the tone most.

Every draft is what the model would say, though the one chosen is often among the less usual. It costs n answers instead
of one, made as one batch, and a pass that reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError
from emosteer.models.generation import option
from emosteer.reading.passages import read_passages
from emosteer.steering.affect import Affect
from emosteer.steering.plan import rows_of
from emosteer.steering.recipes import Recipe, recipe_of
from emosteer.steering.tones import Tone, named

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from emosteer.reading.reader import Reader
    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["best_rows", "drafts_of", "most_in_tone", "tones_in"]


def drafts_of(
    recipe: str | Recipe | None, model: PreTrainedModel, tones: Sequence[Tone], options: Mapping[str, Any]
) -> int:
    """Return how many drafts each row has: one where there is no tone to choose by, or nothing is sampled.

    Args:
        recipe: A recipe, the name of one, or None.
        model: The model that generates.
        tones: One tone for all rows, or one for each.
        options: Options for `generate`.

    Raises:
        InputError: An option stands against choosing among several answers.
    """
    found = recipe_of(recipe, carried=False)
    drafts = 1 if found is None else found.drafts
    if drafts == 1 or not any(any(tone.values()) for tone in tones) or not option(model, options, "do_sample"):
        return 1
    against = (("num_return_sequences", 1), ("num_beams", 1), ("return_dict_in_generate", False), ("streamer", None))
    for name, usual in against:
        if (given := option(model, options, name)) not in (usual, None):
            raise InputError(
                f"A recipe with {drafts} drafts chooses one of them at the end, and {name} is {given!r:.60}.",
                "Leave it out, or take a recipe of one draft, such as natural.",
            )
    return drafts


def tones_in(vectors: EmotionVectors, tone: Any) -> list[Tone]:
    """Return the tones that drafts are chosen by, one for all rows or one for each; none of a tone that changes."""
    return [named(vectors, row) if isinstance(row, Affect | Mapping) else {} for row in rows_of(tone)]


def most_in_tone(reader: Reader, drafts: Sequence[str], tone: Tone) -> int:
    """Return which of several drafts has most of a tone: its emotions' scores, weighted, above those of all emotions.

    Args:
        reader: Reads them with the plain model.
        drafts: One or more; one without anything to read is chosen only if all are so, and of equals the first is.
        tone: Emotion → strength; without any strength, the first draft is chosen.
    """
    total = sum(map(abs, tone.values()))
    if len(drafts) < 2 or not total:
        return 0
    readout = reader.readout
    scores = read_passages(readout, reader.model, reader.tokenizer, drafts)[:, : len(readout.emotions)]
    above = scores - scores.mean(1, keepdim=True)
    shares = above.new_zeros(len(readout.emotions))
    for name, strength in tone.items():
        shares[readout.emotions.index(name)] = strength / total
    ranked = [-math.inf if math.isnan(heard) else heard for heard in (above @ shares).tolist()]
    return ranked.index(max(ranked))


def best_rows(reader: Reader, output: Tensor, tones: Sequence[Tone], drafts: int, length: int) -> Tensor:
    """Return the best draft of every row.

    Args:
        reader: Reads them.
        output: What `generate` returned, `[rows · drafts, tokens]`.
        tones: One tone for all rows, or one for each.
        drafts: Number of drafts of a row, which are adjacent.
        length: Number of leading tokens of the output that are the prompt.

    Returns:
        `[rows, tokens]`.
    """
    texts = reader.tokenizer.batch_decode(output[:, length:], skip_special_tokens=True)
    rows = range(len(output) // drafts)
    chosen = []
    for row in rows:
        own = texts[row * drafts : (row + 1) * drafts]
        chosen.append(row * drafts + most_in_tone(reader, own, tones[row if len(tones) > 1 else 0]))
    return output[chosen]

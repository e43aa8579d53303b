"""Emotion scores of a text, token by token, with valence and arousal.

Scores are measured in standard deviations of neutral text: 0 is neutral, and about one neutral text in forty scores 2
or more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emosteer._util.names import ByName
from emosteer.layers import decoder, input_device
from emosteer.models.activations import Passage, encode
from emosteer.models.side_pass import side_pass
from emosteer.reading.token_text import pieces
from emosteer.reading.trace import Trace
from emosteer.vectors.types import Readout

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["EmotionReading", "read", "reading_of", "token_scores"]


@dataclass(frozen=True)
class EmotionReading:
    """The emotion that a model reads in a text.

    Args:
        tokens: The text of each token; joined they are the text. If several tokens form a character together, such as
            an emoji, the first has its text and the others have "".
        token_scores: Emotion → score of each token, in standard deviations of neutral text; NaN for attention sinks,
            of which the first token of a sequence is always one, and for control tokens.
        scores: Emotion → mean over tokens.
        uncertainty: Emotion → standard error of that mean, corrected for the autocorrelation of neighbouring tokens.
        valence: On the scale of human ratings, from −1 to 1, 0 being neutral text; None if the emotions have no
            ratings.
        arousal: Like valence.
        axis_uncertainty: Standard errors of valence and arousal.
        token_axes: Valence and arousal of each token.
    """

    tokens: tuple[str, ...]
    token_scores: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, float]
    uncertainty: Mapping[str, float]
    valence: float | None = None
    arousal: float | None = None
    axis_uncertainty: Mapping[str, float] = field(default_factory=dict)
    token_axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, as `emosteer read --json` prints it; NaN becomes null."""

        def plain(values: Mapping[str, tuple[float, ...]]) -> dict[str, list[float | None]]:
            return {name: [None if math.isnan(score) else score for score in row] for name, row in values.items()}

        return {
            "schema": 1,
            "tokens": list(self.tokens),
            "scores": dict(self.scores),
            "uncertainty": dict(self.uncertainty),
            "valence": self.valence,
            "arousal": self.arousal,
            "axis_uncertainty": dict(self.axis_uncertainty),
            "token_scores": plain(self.token_scores),
            "token_axes": plain(self.token_axes),
        }


def read(
    readout: Readout, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str | Passage
) -> EmotionReading:
    """Read the emotion in a text with the plain model, in evaluation mode.

    Args:
        readout: A readout fitted to the model.
        model: The model.
        tokenizer: Its tokenizer.
        text: The text, or a passage of one.

    Raises:
        InputError: The text is empty, a single token, or longer than the model's context.
    """
    ids, inside, content = encode(tokenizer, text, model, "The text")
    scores = token_scores(readout, model, ids)
    counted = {i for i in content if scores[i].isfinite().all()} or {*content}
    return reading_of(readout, tokenizer, [ids[i] for i in inside], scores[inside], [i in counted for i in inside])


def token_scores(readout: Readout, model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Return the scores `[tokens, columns]` of one sequence of token ids, in one forward pass; NaN for its sinks."""
    import torch

    read = torch.tensor([ids], dtype=torch.long, device=input_device(model))
    with side_pass(model), Trace(readout, model) as trace, torch.inference_mode():
        decoder(model)(input_ids=read, use_cache=False)
    return trace.scores[0].masked_fill(trace.sinks[0].unsqueeze(-1), torch.nan)


def reading_of(
    readout: Readout, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], scores: Tensor, counts: Sequence[bool]
) -> EmotionReading:
    """Summarise token scores as a reading.

    Args:
        readout: The readout of the scores.
        tokenizer: Decodes the tokens.
        ids: `[tokens]`, token ids.
        scores: `[tokens, columns]`.
        counts: `[tokens]`, whether each token enters the means; at least one must.
    """
    import torch

    kept = torch.tensor(counts, dtype=torch.bool, device="cpu")
    counted = scores[kept].double()
    means = counted.mean(0).tolist()
    # A single token has no standard deviation, so that of neutral tokens is used.
    spread = counted.std(0) if len(counted) > 1 else readout.spread.double()
    errors = (spread * (readout.inertia / len(counted)).sqrt()).tolist()
    columns = [tuple(column) for column in scores.masked_fill(~kept.unsqueeze(-1), math.nan).T.tolist()]
    n = len(readout.emotions)
    axes = dict(zip(readout.axes, means[n:], strict=True))
    return EmotionReading(
        tokens=pieces(tokenizer, ids),
        token_scores=ByName(zip(readout.emotions, columns[:n], strict=True)),
        scores=ByName(zip(readout.emotions, means[:n], strict=True)),
        uncertainty=ByName(zip(readout.emotions, errors[:n], strict=True)),
        valence=axes.get("valence"),
        arousal=axes.get("arousal"),
        axis_uncertainty=ByName(zip(readout.axes, errors[n:], strict=True)),
        token_axes=ByName(zip(readout.axes, columns[n:], strict=True)),
    )

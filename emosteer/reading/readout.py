"""Text → how strongly each emotion is read in it, token by token, with valence and arousal.

A score is a difference from neutral text in standard deviations between neutral texts: 0 reads as neutral text does, 2
as only one neutral text in forty. At each layer the residual stream's distance from its mean on neutral text is divided
by its variance, dimension by dimension, and projected on the emotion's direction (a linear discriminant with a diagonal
covariance, without which a few very large dimensions drown the others); layers are averaged. Valence and arousal are
linear in the scores, fitted by ridge regression to human ratings of the emotions that the built-in texts express.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emosteer.concepts import ConceptSet
from emosteer.errors import ConceptError
from emosteer.layers import decoder, decoder_layers, hidden_of, input_device
from emosteer.models import compile_stance
from emosteer.models.activations import Passage, collect, encode
from emosteer.reading.token_text import pieces
from emosteer.vectors.config import EmotionInfo

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

LAYERS = 8
"""At how many layers a readout reads unless it is told."""

TEXTS_AN_EMOTION = 4
"""Sentences, and as many situations, of each emotion that valence and arousal are fitted on."""

AXES = ("valence", "arousal")

__all__ = ["EmotionReading", "Readout", "Trace"]


@dataclass(frozen=True)
class EmotionReading:
    """What a model reads in a text.

    Args:
        tokens: The text in the model's pieces; joined they are the text. Where several tokens are text only together,
            as those of an emoji can be, the first has all of it and the others have "".
        token_scores: Emotion → one score a token, in standard deviations of neutral text; not a number for the first
            token of a sequence, the attention sink, and for control tokens.
        scores: Emotion → mean over tokens.
        uncertainty: Emotion → standard error of that mean, which allows for tokens that resemble their neighbours.
        valence: On the scale of human ratings, from −1 to 1, 0 being neutral text; None if there are no ratings of the
            emotions.
        arousal: As valence.
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
        """Plain data for JSON: what `emosteer read --json` prints. What has no score is null."""

        def plain(values: Mapping[str, tuple[float, ...]]) -> dict[str, list[float | None]]:
            return {name: [None if math.isnan(one) else one for one in row] for name, row in values.items()}

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


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear map from the residual stream to scores, fitted to a model on neutral text.

    Args:
        emotions: In the order of the columns, after which come the axes.
        axes: `("valence", "arousal")`, or empty where no human ratings are known.
        weights: Layer → `[d_model, columns]`, float32, its share of the mean over layers.
        bias: `[columns]`.
        spread: `[columns]`, standard deviation between neutral tokens.
        inertia: `[columns]`, how many neighbouring tokens say as much as one that stands alone, 1 or more.
    """

    emotions: tuple[str, ...]
    axes: tuple[str, ...]
    weights: Mapping[int, Tensor]
    bias: Tensor
    spread: Tensor
    inertia: Tensor

    @classmethod
    def fit(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        vectors: EmotionVectors,
        *,
        layers: Sequence[int] | None = None,
        progress: bool = True,
    ) -> Readout:
        """Read neutral text, and some texts of the emotions that have human ratings, with the plain model.

        Args:
            model: That the vectors were made for.
            tokenizer: Its tokenizer.
            vectors: Whose directions are read.
            layers: Read at these; by default at eight, spread over the middle of those that the vectors have.
            progress: Show a progress bar if standard error is a terminal.

        Raises:
            ToneError: The model or the vectors have no such layer.
        """
        import torch

        used = tuple(layers) if layers is not None else _spread_over(vectors.layers)
        concepts = _texts_for(vectors)
        neutral = [text for part in concepts.neutral.values() for text in part.sentences]
        rated = _rated(concepts, vectors)
        texts = [*neutral, *(text for text, _ in rated)]
        states = collect(model, tokenizer, texts, layers=used, batch_size=32, progress=progress).states
        center = states[: len(neutral)].mean(0)
        # Of all texts: an emotion's own share of the variance is small, and neutral texts alone are too few.
        variance = states.var(0).clamp_min(1e-12).unsqueeze(-1)
        rows = [vectors.layers.index(layer) for layer in used]
        weights = torch.stack([one[rows] for one in vectors.directions.values()], -1) / variance / len(used)
        weights = weights / torch.einsum("nld,ldc->nc", states[: len(neutral)] - center, weights).std(0)
        if rated:
            scores = torch.einsum("nld,ldc->nc", states[len(neutral) :] - center, weights)
            weights = torch.cat([weights, weights @ _ridge(scores, [info for _, info in rated])], -1)
        bias = -torch.einsum("ld,ldc->c", center, weights)
        still = torch.ones(len(bias))
        first = cls(vectors.emotions, AXES if rated else (), dict(zip(used, weights, strict=True)), bias, still, still)
        return first._calibrated(model, tokenizer, neutral)

    def select(self, emotions: Sequence[str]) -> Readout:
        """Only these emotions, in this order, and the axes."""
        columns = [self.emotions.index(name) for name in emotions]
        columns += range(len(self.emotions), len(self.bias))
        weights = {layer: one[:, columns] for layer, one in self.weights.items()}
        return Readout(
            tuple(emotions), self.axes, weights, self.bias[columns], self.spread[columns], self.inertia[columns]
        )

    def read(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str | Passage) -> EmotionReading:
        """Read a text.

        Args:
            model: That this was fitted to, steered or not.
            tokenizer: Its tokenizer.
            text: What to read; of a passage, the part that counts.

        Raises:
            InputError: It is empty, a single token, or longer than the model's context.
        """
        ids, inside, content = encode(tokenizer, text, model, "The text")
        scores = self.scores(model, ids)[inside]
        return self.reading(tokenizer, [ids[i] for i in inside], scores, [i in set(content) for i in inside])

    def scores(self, model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
        """Scores `[tokens, columns]` of one sequence of token ids."""
        import torch

        with Trace(self, model) as trace, torch.inference_mode():
            decoder(model)(input_ids=torch.tensor([ids], device=input_device(model)), use_cache=False)
        return trace.scores[0]

    def reading(
        self, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], scores: Tensor, counts: Sequence[bool]
    ) -> EmotionReading:
        """Put scores of tokens together.

        Args:
            tokenizer: For the text of the tokens.
            ids: `[tokens]`.
            scores: `[tokens, columns]`.
            counts: Which tokens count, at least one.
        """
        import torch

        kept = torch.tensor(counts)
        counted = scores[kept].double()
        means = counted.mean(0).tolist()
        # A single token has no spread of its own, so that of neutral tokens stands in for it.
        spread = counted.std(0) if len(counted) > 1 else self.spread.double()
        errors = (spread * (self.inertia / len(counted)).sqrt()).tolist()
        tokens = [tuple(column) for column in scores.masked_fill(~kept.unsqueeze(-1), math.nan).T.tolist()]
        n = len(self.emotions)
        axes = dict(zip(self.axes, means[n:], strict=True))
        return EmotionReading(
            tokens=pieces(tokenizer, ids),
            token_scores=dict(zip(self.emotions, tokens[:n], strict=True)),
            scores=dict(zip(self.emotions, means[:n], strict=True)),
            uncertainty=dict(zip(self.emotions, errors[:n], strict=True)),
            valence=axes.get("valence"),
            arousal=axes.get("arousal"),
            axis_uncertainty=dict(zip(self.axes, errors[n:], strict=True)),
            token_axes=dict(zip(self.axes, tokens[n:], strict=True)),
        )

    def _calibrated(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, neutral: Sequence[str]
    ) -> Readout:
        """With the spread and the inertia of neutral tokens: n of them vary as n / inertia independent ones would."""
        import torch

        texts = [self.scores(model, encode(tokenizer, text, model, "The text").ids)[1:] for text in neutral[:24]]
        tokens = torch.cat(texts)
        spread = tokens.std(0)
        means = torch.stack([text.mean(0) for text in texts])
        length = len(tokens) / len(texts)
        inertia = (means.var(0) * length / spread.square().clamp_min(1e-12)).clamp(1, length)
        return Readout(self.emotions, self.axes, self.weights, self.bias, spread, inertia)


class Trace:
    """Scores of every token that a model reads while a `with` block is open, steered or not, generated or not.

    It hears what is run in the thread or task that opened the block, and of blocks in blocks only the innermost does:
    what others read with the same model meanwhile, or a reading inside of it, is not its own.

    Where a tone is in force, the stream that is read has it in it: what the words alone carry is what the plain model
    reads in the finished text.

    Args:
        readout: What to read.
        model: Where.
    """

    def __init__(self, readout: Readout, model: PreTrainedModel) -> None:
        self._readout, self._model = readout, model
        self._handles: list[RemovableHandle] = []
        self._passes: list[Tensor] = []
        self._weights: dict[tuple[int, Any], Tensor] = {}
        self._outer: Trace | None = None

    def __enter__(self) -> Self:
        blocks = decoder_layers(self._model)
        compile_stance.enter()
        first = min(self._readout.weights)
        for layer in sorted(self._readout.weights):
            # Behind the hooks that steer, which stand first in line: what is read is what the next block reads.
            hook = partial(self._read, layer, layer == first)
            self._handles.append(blocks[layer].register_forward_hook(hook))
        self._outer = _open.get()
        _open.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        compile_stance.leave()
        _open.set(self._outer)

    @property
    def scores(self) -> Tensor:
        """`[rows, tokens, columns]`, float32 on the CPU, of all passes so far, one after the other."""
        import torch

        nothing = torch.empty(1, 0, len(self._readout.bias))
        return torch.cat([one.cpu() for one in self._passes], 1) if self._passes else nothing

    def _read(self, layer: int, first: bool, module: nn.Module, args: Any, output: Any) -> None:
        if _open.get() is not self:
            return
        hidden = hidden_of(output, module)
        key = layer, hidden.device
        if key not in self._weights:
            self._weights[key] = self._readout.weights[layer].to(hidden.device)
        share = hidden.detach().float() @ self._weights[key]
        if first:
            self._passes.append(share + self._readout.bias.to(share.device))
        else:
            self._passes[-1] += share.to(self._passes[-1].device)


_open: ContextVar[Trace | None] = ContextVar("emosteer_trace", default=None)
"""The innermost trace of this thread or task."""


def _spread_over(layers: Sequence[int]) -> tuple[int, ...]:
    """Up to eight layers between a seventh and six sevenths of the depth."""
    last = len(layers) - 1
    places = [round(last * (1 / 7 + 5 / 7 * i / (LAYERS - 1))) for i in range(LAYERS)]
    return tuple(layers[place] for place in sorted(set(places)))


def _texts_for(vectors: EmotionVectors) -> ConceptSet:
    """The built-in texts in the languages that the vectors were made from, English where none are known."""
    found: ConceptSet | None = None
    for language in vectors.extraction.get("languages") or ["en"]:
        try:
            one = ConceptSet.load(language)
        except ConceptError:  # a language of the user's own
            continue
        found = one if found is None else found.merge(one)
    return found or ConceptSet.load("en")


def _rated(concepts: ConceptSet, vectors: EmotionVectors) -> list[tuple[str, EmotionInfo]]:
    """Texts of the emotions that have human ratings and texts, with what is known of their emotion."""
    found = []
    for name in vectors.emotions:
        info = vectors.info[name]
        if info.valence is None or info.arousal is None or name not in concepts.emotions:
            continue
        for texts in concepts[name].texts.values():
            for part in (texts.sentences, texts.situations):
                found += [(text, info) for text in part[:TEXTS_AN_EMOTION]]
    return found


def _ridge(scores: Tensor, infos: Sequence[EmotionInfo]) -> Tensor:
    """`[columns, 2]`: from scores `[texts, columns]` to the human valence and arousal of their emotions.

    Without an intercept, since neutral text is 0. The penalty is that of as much noise as there is signal.
    """
    import torch

    wanted = torch.tensor([(info.valence, info.arousal) for info in infos], dtype=torch.float64)
    given = scores.double()
    gram = given.T @ given
    penalty = torch.eye(len(gram), dtype=torch.float64) * gram.diagonal().mean()
    solved: Tensor = torch.linalg.solve(gram + penalty, given.T @ wanted)
    return solved.float()

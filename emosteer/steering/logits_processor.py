"""A tone in the logits, held to what the plain model finds plausible: for `generate(logits_processor=[…])`.

Two sources of a tone, one limit. The tone is the steered model's own opinion of the next token (contrast), or a fixed
bonus for each token of the vocabulary (bias). Either way `plain + guidance · (toned − plain)`, in log-probabilities, is
what remains of tokens that the plain model gives at least `plausibility` times the probability of its favourite; all
others are ruled out. So a strong tone can choose among the things the model would say, and cannot make it say others.

After: Li et al. 2023, "Contrastive Decoding", arXiv 2210.15097 (the limit), and Sanchez et al. 2023, "Stay on Topic
with Classifier-Free Guidance", arXiv 2306.17806 (the guidance).
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from emosteer._util.numbers import is_finite_number
from emosteer.errors import IncompatibleModelError, InputError, ToneError
from emosteer.layers import decoder_layers, hidden_of, input_device, with_hidden
from emosteer.models.token_positions import CACHES
from emosteer.steering.affect import Affect
from emosteer.steering.hooks import Steering, unsteered
from emosteer.steering.plan import Plan, plan
from emosteer.steering.tones import Tone, copies_of_each, named

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

# Nats of bonus for a standard deviation of the vocabulary, at strength 1.0: of 1, 2, 3 and 5 the one from which more
# added no more tone, on development prompts and the embedded model.
BIAS = 3.0
MEDIA = ("image_token_id", "video_token_id", "audio_token_id")

__all__ = ["EmotionLogitsProcessor", "vocabulary"]


class EmotionLogitsProcessor:
    """Gives a tone to the scores of `generate`, and rules out what the plain model finds implausible.

        calm = emosteer.EmotionLogitsProcessor(model, vectors, {"calm": 2.0})
        model.generate(**inputs, logits_processor=[calm])

    Inside `emosteer.steer` (or `SteeredModel.generate(emotion=…)`) the scores come steered already: the processor adds
    its own tone to them, or, without one, limits them to what the plain model finds plausible.

    What it costs, in forward passes a token beside the one of `generate`, each over a cache of its own:

        method        alone   inside `steer`   inside `steer`, without a tone of its own
        "contrast"    1       2                1
        "bias"        0       1                1

    Use `"contrast"` for tones that should read as steering does, and be pushed further than steering bears. Use
    `"bias"` where a token may cost no more than it does: it knows words and no context, so it colours the vocabulary
    rather than the thought.

    It takes part in greedy search, sampling, beams and batches. Its state belongs to a thread, so threads may share
    one. The caches stay until its next call of `generate`, or until it is itself dropped. It is told no more than ids:
    give `generate` the whole text as `input_ids`, also beside a cache that holds the beginning.

    `generate` runs its own processors before those it is given. Tokens that they forbid stay forbidden, but what a
    repetition penalty takes away is taken from the plain scores alone: give such a one in the list, after this one.

    Args:
        model: The model that generates, as it is given to `emosteer.steer`.
        vectors: Made for it.
        tone: Emotion → strength, an `Affect`, or a list with one for each row of the batch; None for the tone in force
            around it alone. For `"contrast"` 1.0 is the calibrated dose. For `"bias"` it is 3 nats for a token that
            stands a standard deviation above the vocabulary's mean.
        method: `"contrast"` steers a second pass. `"bias"` reads each emotion's direction in the last layer that the
            vectors have through the model's final norm and head, once, and standardises it over the vocabulary.
        guidance: 0 is the plain model, 1 the toned one, more goes on in the same direction.
        plausibility: Share of the plain model's highest probability that a token needs, 0 to 1. The default is that of
            the literature; 0 rules out nothing.
        attention_mask: `[batch, tokens]`, as given to `generate`, which does not pass it on. By default tokens for
            padding at the beginning of a row are taken as such; say it for models whose configuration names none.

    Raises:
        ToneError: An emotion is not there, or a strength is not a finite number up to ±10.
        InputError: Another argument cannot be used.
        IncompatibleModelError: The vectors belong to a model of another shape, or the model has an encoder.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        vectors: EmotionVectors,
        tone: Tone | Affect | Sequence[Tone | Affect | None] | None = None,
        *,
        method: Literal["contrast", "bias"] = "contrast",
        guidance: float = 1.0,
        plausibility: float = 0.1,
        attention_mask: Tensor | None = None,
    ) -> None:
        vectors.check_model(model)
        if model.config.is_encoder_decoder:
            raise IncompatibleModelError(
                f"{type(model).__name__} has an encoder, whose text a logits processor is not told.",
                "Use emosteer.steer.",
            )
        if method not in ("contrast", "bias"):
            raise InputError(f"There is no method {method!r}.", "The methods are 'contrast' and 'bias'.")
        if not is_finite_number(guidance):
            raise InputError(f"The guidance is {guidance!r}, expected a finite number.", "1.0 is the toned model.")
        if not (is_finite_number(plausibility) and 0 <= plausibility <= 1):
            raise InputError(f"The plausibility is {plausibility!r}, expected a number from 0 to 1.")
        self.guidance = guidance
        self.plausibility = plausibility
        self._model = model
        tones = tone if isinstance(tone, Sequence) else [tone]
        toned = plan(vectors, tone)
        if any(curve.schedule for curve in toned.curves):
            raise ToneError(
                "A tone that changes along the answer cannot be given to the logits.", "Use emosteer.steer."
            )
        self._plain = _Branch(model, Plan({}), attention_mask)
        self._toned = _Branch(model, toned, attention_mask) if toned.deltas and method == "contrast" else None
        self._bias = BIAS * vocabulary(model, vectors, tones) if toned.deltas and method == "bias" else None

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """The scores with the tone in them.

        Args:
            ids: `[batch · beams, tokens]`, the prompt and what has been generated.
            scores: `[batch · beams, vocabulary]`, of the model as it runs around this call.

        Returns:
            Log-probabilities, not normalised, `[batch · beams, vocabulary]`; −inf is ruled out.

        Raises:
            InputError: The prompt was given as embeddings, holds an image or sound, or does not fit the mask.
            ToneError: There is not one tone for each row.
        """
        import torch

        with unsteered() as outer:
            plain = self._plain.logits(ids).to(scores) if outer else scores
        toned = self._toned.logits(ids, outer).to(scores) if self._toned else self._biased(scores)
        forbidden = scores == -math.inf  # by generate's own processors; also before a favourite is looked for
        plain = plain.masked_fill(forbidden, -math.inf).log_softmax(-1)
        toned = toned.masked_fill(forbidden, -math.inf).log_softmax(-1)
        least = plain.amax(-1, keepdim=True) + (math.log(self.plausibility) if self.plausibility else -math.inf)
        guided = torch.lerp(plain, toned, self.guidance)  # exactly the one at 0, exactly the other at 1
        return guided.masked_fill(forbidden | (plain < least), -math.inf)

    def _biased(self, scores: Tensor) -> Tensor:
        if self._bias is None:
            return scores
        copies = copies_of_each(len(self._bias), len(scores))
        return scores + self._bias.repeat_interleave(copies, 0).to(scores)


class _Branch(threading.local):
    """Forward passes beside those of `generate`, token by token over a cache of their own.

    What it remembers is a thread's own: `threading.local` calls `__init__` again in each.

    Args:
        model: The model.
        plan: What it is steered by, on top of what steers it around the call.
        attention_mask: Of the prompts, `[batch, tokens]`, or None to go by leading tokens for padding.
    """

    def __init__(self, model: PreTrainedModel, plan: Plan, attention_mask: Tensor | None) -> None:
        self._model = model
        self._steering = Steering(model, plan)
        self._attention_mask = attention_mask
        self._prepare = cast("Callable[..., dict[str, Any]]", model.prepare_inputs_for_generation)
        self._takes = inspect.signature(model.forward).parameters
        self._outer: tuple[Steering, ...] = ()
        self._seen: Tensor | None = None  # what the cache holds: ids `[batch · beams, tokens]`, -1 for padding
        self._cache: dict[str, Any] = {}  # under the name that the model gives it

    def logits(self, ids: Tensor, outer: tuple[Steering, ...] = ()) -> Tensor:
        """What the model says to the last token, `[batch · beams, vocabulary]`.

        Args:
            ids: `[batch · beams, tokens]`.
            outer: What steers the model around this call. When it changes, earlier tokens are read again.

        Raises:
            InputError: This is no prompt that can be read again.
            ToneError: There is not one tone for each row.
        """
        import torch

        ids = ids.to(input_device(self._model))
        order = self._order(ids, outer) if outer == self._outer else None
        seen, cache, self._seen, self._cache = self._seen, self._cache, None, {}  # a pass that fails leaves nothing
        if seen is None or order is None:
            seen, cache = self._prompt(ids), {}
        else:
            if order.numel():
                seen = seen[order]
                for one in cache.values():
                    one.reorder_cache(order)
            seen = torch.cat([seen, ids[:, -1:]], 1)
        mask = (seen >= 0).long()
        options = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": 1}  # as generate has them
        inputs = self._prepare(
            ids,
            next_sequence_length=1 if cache else None,
            is_first_iteration=not cache,
            attention_mask=mask,
            use_cache=True,
            **{name: value for name, value in options.items() if name in self._takes},
            **cache,
        )
        with torch.no_grad(), self._steering:
            output = self._model(**inputs, return_dict=True)
        # A memory whose rows cannot be put in another order, as the state of RWKV, is not kept: all is read each time.
        kept = {name: output[name] for name in CACHES if hasattr(output.get(name), "reorder_cache")}
        if kept:
            self._outer, self._seen, self._cache = outer, seen, kept
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _order(self, ids: Tensor, outer: tuple[Steering, ...]) -> Tensor | None:
        """Which cached row each row goes on from by one token: none for the same, None if one goes on from none.

        Beams change places, but only among those of one prompt: a row with another tone may begin with the same words.
        """
        import torch

        seen = self._seen
        if seen is None or ids.shape != (seen.shape[0], seen.shape[1] + 1):
            return None
        before = ids[:, :-1].masked_fill(seen < 0, -1)  # a prompt's beams have the same padding
        if torch.equal(before, seen):
            return ids.new_empty(0)
        tones = max(one.plan.rows or 1 for one in (self._steering, *outer))
        of_tone = torch.arange(len(ids), device=ids.device) * tones // len(ids)
        same = (before.unsqueeze(1) == seen).all(-1) & (of_tone.unsqueeze(1) == of_tone)
        return same.int().argmax(1) if same.any(1).all() else None

    def _prompt(self, ids: Tensor) -> Tensor:
        """The ids with -1 where they are padding."""
        import torch

        if not ids.shape[1]:
            raise InputError(
                "The prompt was given as inputs_embeds, which a logits processor is not told.", "Give ids."
            )
        special = [getattr(self._model.config, name, None) for name in MEDIA]
        if any(one is not None and bool((ids == one).any()) for one in special):
            raise InputError("The prompt holds an image, video or sound, which a logits processor is not told.")
        if self._attention_mask is None:
            return ids.masked_fill(self._leading(ids), -1)
        mask = self._attention_mask.to(ids.device)
        copies, rest = divmod(len(ids), len(mask))
        if rest or not copies or mask.shape[1] > ids.shape[1]:
            raise InputError(
                f"The attention mask has the shape {list(mask.shape)}, the prompt {list(ids.shape)}.",
                "A processor with a mask serves the batch it was made for.",
            )
        mask = mask.repeat_interleave(copies, 0)
        generated = mask.new_ones(len(ids), ids.shape[1] - mask.shape[1])
        return ids.masked_fill(torch.cat([mask, generated], 1) == 0, -1)

    def _leading(self, ids: Tensor) -> Tensor:
        """True where a token is padding before the text."""
        import torch

        config: Any = self._model.generation_config
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        pad = ends[0] if config.pad_token_id is None else config.pad_token_id  # as generate has it
        count = (ids == (-1 if pad is None else pad)).long().cumprod(1).sum(1, keepdim=True)
        if pad in (config.bos_token_id, *ends):  # the longest row has no padding: what it begins with is text
            count = count - count.min()
        return torch.arange(ids.shape[1], device=ids.device) < count


def vocabulary(model: PreTrainedModel, vectors: EmotionVectors, tones: Sequence[Tone | Affect | None]) -> Tensor:
    """How much each token of the vocabulary belongs to a tone.

    Each emotion's direction in the last layer that the vectors have is read through the model's final norm and head.

    Args:
        model: The model.
        vectors: Made for it.
        tones: One for all rows, or one for each.

    Returns:
        `[tones, vocabulary]`, in standard deviations from the vocabulary's mean, times the strength, summed over
        emotions.

    Raises:
        ToneError: An emotion is not there.
    """
    import torch

    wanted = [named(vectors, one) for one in tones]
    names = sorted(set().union(*wanted))
    strengths = torch.tensor([[float(one.get(name, 0)) for name in names] for one in wanted])
    directions = torch.stack([vectors.directions[name][-1] for name in names])
    standard: Tensor = strengths @ _read_out(model, directions * vectors.residual_norm[-1])
    return standard


def _read_out(model: PreTrainedModel, streams: Tensor) -> Tensor:
    """What the model's own norm and head make of directions in the residual stream after its last block.

    The one less the opposite direction, so that what the norm and head add to anything drops out, standardised over the
    vocabulary.

    Args:
        model: The model.
        streams: `[n, d_model]`, as long as the stream is after that block.

    Returns:
        `[n, vocabulary]`, each row of mean 0 and standard deviation 1.
    """
    import torch

    both = torch.cat([streams, -streams]).unsqueeze(1)
    here = threading.get_ident()

    def put(block: nn.Module, _args: Any, output: Any) -> Any:
        if threading.get_ident() != here:
            return None
        return with_hidden(output, both.to(hidden_of(output, block)), block)

    handle = decoder_layers(model)[-1].register_forward_hook(put)
    try:
        with torch.no_grad(), unsteered():
            ids = torch.zeros((len(both), 1), dtype=torch.long, device=input_device(model))
            logits = model(input_ids=ids, use_cache=False).logits[:, -1].float().cpu()
    finally:
        handle.remove()
    difference = logits[: len(streams)] - logits[len(streams) :]
    standard: Tensor = (difference - difference.mean(1, keepdim=True)) / difference.std(1, keepdim=True)
    return standard

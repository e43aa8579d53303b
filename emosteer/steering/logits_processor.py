"""A tone in the logits, limited to what the plain model finds plausible: for `generate(logits_processor=[…])`.

The toned scores come from a steered forward pass (contrast), or from a fixed bonus for each token of the vocabulary
(bias). Scores become `plain + guidance · (toned − plain)`, in log-probabilities. Tokens to which the plain model gives
less than `plausibility` times the probability of its most probable token are ruled out. A strong tone can therefore
choose among what the model would say, and cannot make it say anything else.

After: Li et al. 2023, "Contrastive Decoding", arXiv 2210.15097 (the limit), and Sanchez et al. 2023, "Stay on Topic
with Classifier-Free Guidance", arXiv 2306.17806 (the guidance).
"""

from __future__ import annotations

import inspect
import math
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from emosteer._util.numbers import is_finite_number
from emosteer.errors import IncompatibleModelError, InputError, ToneError
from emosteer.layers import input_device
from emosteer.models.presence import suspended
from emosteer.models.token_positions import CACHES, prompt, unwatch, virtual_tokens, watch
from emosteer.steering.affect import Affect
from emosteer.steering.hooks import Steering, unsteered
from emosteer.steering.plan import Plan, plan
from emosteer.steering.tones import Tone
from emosteer.steering.vocabulary import RowTable, vocabulary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

# Nats per standard deviation of the vocabulary at strength 1.0. Of 1, 2, 3 and 5, the value beyond which the tone grew
# no further on development prompts with the embedded model.
BIAS = 3.0
MEDIA = ("image_token_id", "video_token_id", "audio_token_id")

__all__ = ["EmotionLogitsProcessor"]


class EmotionLogitsProcessor:
    """A logits processor that gives `generate` a tone and rules out what the plain model finds implausible.

        calm = emosteer.EmotionLogitsProcessor(model, vectors, {"calm": 2.0})
        model.generate(**inputs, logits_processor=[calm])

    Inside `emosteer.steer` (or `SteeredModel.generate(emotion=…)`) the scores arrive steered. The processor then adds
    its own tone to them; without one, it only limits them to what the plain model finds plausible.

    Cost, in forward passes per token besides the one of `generate`, each with its own cache:

        method        alone   inside `steer`   inside `steer`, without a tone of its own
        "contrast"    1       2                1
        "bias"        0       1                1

    Use `"contrast"` for tones that read as steering does and can be pushed further. Use `"bias"` where a token may not
    cost more: it knows no context, so it colours the choice of words rather than the thought.

    Greedy search, sampling, beams and batches are supported. State is kept per thread, so threads may share a
    processor. Its caches last until the next call of `generate`, or until it is deleted. Pass the whole text to
    `generate` as `input_ids`, even beside a cache that holds its beginning, because the processor sees only ids.

    As long as a processor exists, the model's `generate` tells it when a call begins and ends: its hooks are on the
    model, and models compiled with `torch.compile` run eagerly, from the first token of a call to its end.

    `generate` runs its own processors before those it is given. Tokens that they forbid stay forbidden, but a
    repetition penalty would apply to the plain scores alone: put such a processor in the list, after this one. Put one
    that forbids tokens (a grammar, a list of answers) before this one, because after it, it may forbid all that are
    left. `generate` then ends with an `InputError`.

    Args:
        model: The model that generates, as passed to `emosteer.steer`.
        vectors: Vectors made for the model.
        tone: Emotion → strength, an `Affect`, or a list with one for each row of the batch; None for no tone of its
            own. With `"contrast"`, strength 1.0 is the calibrated dose; with `"bias"`, 3 nats for a token one standard
            deviation above the vocabulary's mean.
        method: `"contrast"` runs a steered forward pass. `"bias"` passes each emotion's direction at the last layer of
            the vectors through the model's final norm and head, once, and standardises it over the vocabulary.
        guidance: 0 is the plain model, 1 the toned one, more extrapolates beyond it.
        plausibility: Share of the plain model's highest probability that a token needs, from 0 (rules out nothing) to
            1. The default is that of Li et al.
        attention_mask: `[batch, tokens]`, as passed to `generate`, which does not pass it on. By default, leading
            padding tokens are taken as padding; pass it for models whose configuration names no padding token.

    Raises:
        ToneError: An emotion is unknown, or a strength is not a finite number up to ±10.
        InputError: Another argument is invalid.
        IncompatibleModelError: The vectors belong to a model of another shape, or the model has an encoder or
            virtual tokens.
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
                f"{type(model).__name__} has an encoder, whose input a logits processor does not see.",
                "Use emosteer.steer.",
            )
        if virtual_tokens(model):
            raise IncompatibleModelError(
                "The model's adapter puts virtual tokens before the prompt, which a logits processor does not see.",
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
        tones = tone if isinstance(tone, Sequence) else [tone]
        toned = plan(vectors, tone)
        if any(curve.schedule for curve in toned.curves):
            raise ToneError(
                "A tone that changes along the answer cannot be given to the logits.", "Use emosteer.steer."
            )
        self._plain = _Branch(model, Plan({}), attention_mask)
        self._toned = _Branch(model, toned, attention_mask) if toned.deltas and method == "contrast" else None
        biased = bool(toned.deltas) and method == "bias"
        self._bias = RowTable(BIAS * vocabulary(model, vectors, tones)) if biased else None
        generating = self._plain.generating
        watch(generating, _guarded)
        weakref.finalize(self, unwatch, generating, _guarded).atexit = False

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores in the tone.

        Args:
            ids: `[batch · beams, tokens]`, the prompt and what has been generated.
            scores: `[batch · beams, vocabulary]`, from the model as it is steered around this call.

        Returns:
            Log-probabilities `[batch · beams, vocabulary]`, not normalised; −inf where a token is ruled out.

        Raises:
            InputError: The prompt was given as embeddings, contains an image or sound, or does not fit the mask.
            ToneError: The number of tones does not fit the batch.
        """
        import torch

        with unsteered() as outer:
            plain = self._plain.logits(ids).to(scores) if outer else scores
        toned = self._toned.logits(ids, outer).to(scores) if self._toned else self._biased(scores)
        forbidden = scores == -math.inf  # by generate's own processors; excluded before the maximum is taken
        plain = plain.masked_fill(forbidden, -math.inf).log_softmax(-1)
        toned = toned.masked_fill(forbidden, -math.inf).log_softmax(-1)
        least = plain.amax(-1, keepdim=True) + (math.log(self.plausibility) if self.plausibility else -math.inf)
        guided = torch.lerp(plain, toned, self.guidance)  # exact at 0 and 1
        return guided.masked_fill(forbidden | (plain < least), -math.inf)

    def _biased(self, scores: Tensor) -> Tensor:
        return scores if self._bias is None else scores + self._bias.like(scores)


@dataclass(frozen=True)
class _Guard:
    """A logits processor that checks that some token is left.

    Args:
        beams: Rows of each prompt, one of which must go on.
    """

    beams: int

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        if bool((scores == -math.inf).view(-1, self.beams * scores.shape[1]).all(1).any()):
            raise InputError(
                "No token is left: a logits processor after EmotionLogitsProcessor forbids all that it left.",
                "Put it before EmotionLogitsProcessor in logits_processor.",
            )
        return scores


def _guarded(model: PreTrainedModel, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return processors that end with a check, if others follow one that rules tokens out."""
    processors = list(arguments.get("logits_processor") or ())
    ours = [isinstance(processor, EmotionLogitsProcessor) for processor in processors]
    if method != "generate" or True not in ours or all(ours[ours.index(True) :]):
        return None
    config = arguments.get("generation_config") or model.generation_config
    beams = arguments.get("num_beams") or getattr(config, "num_beams", None) or 1
    return {"logits_processor": [*processors, _Guard(beams)]}


class _Branch(threading.local):
    """Forward passes beside those of `generate`, token by token, with a cache of their own.

    The plan applies on top of whatever steers the model around the call. Each thread has its own state, because
    `threading.local` calls `__init__` again in each.
    """

    def __init__(self, model: PreTrainedModel, plan: Plan, attention_mask: Tensor | None) -> None:
        self._model = model
        self._steering = Steering(model, plan, copies=True)
        self.generating = self._steering.model  # without the wrappers around it
        self._attention_mask = attention_mask
        self._prepare = cast("Callable[..., dict[str, Any]]", model.prepare_inputs_for_generation)
        self._parameters = inspect.signature(model.forward).parameters
        self._outer: tuple[Steering, ...] = ()
        self._seen: Tensor | None = None  # ids in the cache, `[batch · beams, tokens]`, -1 for padding
        self._cache: dict[str, Any] = {}  # keyed by the model's name for it

    def logits(self, ids: Tensor, outer: tuple[Steering, ...] = ()) -> Tensor:
        """Return the logits `[batch · beams, vocabulary]` after the last token of ids `[batch · beams, tokens]`.

        When `outer`, the steerings around this call, changes, earlier tokens are read again.
        """
        import torch

        ids = ids.to(input_device(self._model))
        order = self._order(ids) if outer == self._outer else None
        seen, cache, self._seen, self._cache = self._seen, self._cache, None, {}  # a failed pass leaves nothing
        if seen is None or order is None:
            seen, cache = self._masked(ids), {}
        else:
            if order.numel():
                seen = seen[order]
                for memory in cache.values():
                    memory.reorder_cache(order)
            seen = torch.cat([seen, ids[:, -1:]], 1)
        mask = (seen >= 0).long()
        options = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": 1}  # as generate does
        inputs = self._prepare(
            ids,
            next_sequence_length=1 if cache else None,
            is_first_iteration=not cache,
            attention_mask=mask,
            use_cache=True,
            **{name: value for name, value in options.items() if name in self._parameters},
            **cache,
        )
        with ExitStack() as this_pass:
            if not self._steering.installed:  # until the call of generate ends; it acts in the passes of this branch
                self._steering.install()
                call = prompt.get()
                ((call and call.until_end) or this_pass).callback(self._steering.remove)
            with torch.no_grad(), suspended(keep=outer), self._steering.acting():
                output = self._model(**inputs, return_dict=True)
        # A cache that cannot be reordered, such as the state of RWKV, is not kept: every pass reads all tokens.
        cache = {name: output[name] for name in CACHES if hasattr(output.get(name), "reorder_cache")}
        if cache:
            self._outer, self._seen, self._cache = outer, seen, cache
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _order(self, ids: Tensor) -> Tensor | None:
        """Return the cached row that each row extends by one token: empty if none moved, None if some row extends none.

        Beams change places only among those of one prompt: a row with another tone may begin with the same words.
        """
        import torch

        seen = self._seen
        if seen is None or ids.shape != (seen.shape[0], seen.shape[1] + 1):
            return None
        before = ids[:, :-1].masked_fill(seen < 0, -1)  # a prompt's beams have the same padding
        if torch.equal(before, seen):
            return ids.new_empty(0)
        tones = max(steering.plan.rows or 1 for steering in (self._steering, *self._outer))
        tone = torch.arange(len(ids), device=ids.device) * tones // len(ids)
        same = (before.unsqueeze(1) == seen).all(-1) & (tone.unsqueeze(1) == tone)
        return same.int().argmax(1) if same.any(1).all() else None

    def _masked(self, ids: Tensor) -> Tensor:
        """Return the ids of a prompt with -1 for padding."""
        import torch

        if not ids.shape[1]:
            raise InputError(
                "The prompt was given as inputs_embeds, which a logits processor does not see.", "Give input_ids."
            )
        media = [getattr(self._model.config, name, None) for name in MEDIA]
        if any(token is not None and bool((ids == token).any()) for token in media):
            raise InputError("The prompt contains an image, video or sound, which a logits processor does not see.")
        if self._attention_mask is None:
            return ids.masked_fill(self._leading_padding(ids), -1)
        mask = self._attention_mask.to(ids.device)
        copies, remainder = divmod(len(ids), len(mask))
        if remainder or not copies or mask.shape[1] > ids.shape[1]:
            raise InputError(
                f"The attention mask has the shape {list(mask.shape)}, the prompt {list(ids.shape)}.",
                "A processor with a mask serves the batch it was made for.",
            )
        mask = mask.repeat_interleave(copies, 0)
        generated = mask.new_ones(len(ids), ids.shape[1] - mask.shape[1])
        return ids.masked_fill(torch.cat([mask, generated], 1) == 0, -1)

    def _leading_padding(self, ids: Tensor) -> Tensor:
        """Return a mask `[batch · beams, tokens]`, True for padding before the text."""
        import torch

        config: Any = self._model.generation_config
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        pad = ends[0] if config.pad_token_id is None else config.pad_token_id  # as generate does
        count = (ids == (-1 if pad is None else pad)).long().cumprod(1).sum(1, keepdim=True)
        if pad in (config.bos_token_id, *ends):  # the longest row has no padding, so its first tokens are text
            count = count - count.min()
        return torch.arange(ids.shape[1], device=ids.device) < count

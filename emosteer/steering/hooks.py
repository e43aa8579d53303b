"""The hooks that add a plan to a running model, and nothing else of it.

A `Steering` puts one forward hook on each block it steers and one pre-hook on the decoder, which works out for every
forward pass which tokens are to be steered: all but the first of each sequence, the attention sink, and the padding
before it. Positions are absolute, counted by the model's own cache, so that cached, uncached, chunked and rolled-back
decoding are all steered alike.

A hook acts only where its `with` block was entered: `_active` is a context variable, so another thread or task that
runs the same model at the same time passes through it untouched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emosteer.errors import ToneError
from emosteer.layers import decoder, decoder_layers, hidden_of, with_hidden
from emosteer.steering.plan import Plan, Tone, plan

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

    from emosteer.vectors import EmotionVectors

__all__ = ["Steering", "steer", "unsteered"]

CACHES = ("past_key_values", "cache_params", "state")  # what architectures call the memory of earlier tokens

_active: ContextVar[tuple[Steering, ...]] = ContextVar("emosteer_active", default=())


def steer(
    model: PreTrainedModel,
    vectors: EmotionVectors,
    tone: Tone | Sequence[Tone | None] | None,
    *,
    layers: Sequence[int] | None = None,
) -> Steering:
    """Give a plain transformers model a tone while a `with` block is open.

        with emosteer.steer(model, vectors, {"joy": 0.8, "calm": -0.2}):
            model.generate(**inputs)

    Blocks may be nested: their tones add up. The tone holds in the thread or task that opened the block; a thread that
    is started inside it must be given its context (`contextvars.copy_context().run`), as for every context variable.

    Args:
        model: Any causal language model of transformers.
        vectors: Made for it.
        tone: Emotion → strength in calibrated doses (1.0 is the strongest tone that still reads naturally, 0 is off and
            bit-identical to the plain model, negative steers away), or a list with one tone for each row of the batch.
        layers: Steer after these layers instead of those of the dose.

    Returns:
        A context manager. Outside its `with` block the model is as it was.

    Raises:
        ToneError: An emotion or a layer is not there, or a strength is not a finite number up to ±10.
        IncompatibleModelError: The vectors belong to a model of another shape.
    """
    vectors.check_model(model)
    return Steering(model, plan(vectors, tone, layers=layers))


@contextmanager
def unsteered() -> Iterator[tuple[Steering, ...]]:
    """Within this block models run plainly, whatever steers them around it; gives what that is."""
    outer = _active.get()
    token = _active.set(())
    try:
        yield outer
    finally:
        _active.reset(token)


class Steering:
    """A plan on a model, in force while its `with` block is open.

    Args:
        model: The model.
        plan: What to add; an empty one installs nothing.
    """

    def __init__(self, model: PreTrainedModel, plan: Plan) -> None:
        self.plan = plan
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._pass = threading.local()  # what the pre-hook found out about the forward pass under way in a thread
        self._ready: dict[tuple[int, torch.dtype, torch.device, int], Tensor] = {}

    def __enter__(self) -> Self:
        if self._handles:
            raise ToneError("This steering is already in force.", "Make another one to add to it.")
        if self.plan.deltas:
            blocks = decoder_layers(self._model)
            try:
                self._handles.append(
                    decoder(self._model).register_forward_pre_hook(self._before, prepend=True, with_kwargs=True)
                )
                for layer in self.plan.deltas:
                    # First in line, so that whoever else reads the block's output reads what the next block will.
                    hook = partial(self._after, layer)
                    self._handles.append(blocks[layer].register_forward_hook(hook, prepend=True))
            except BaseException:
                self.__exit__(None, None, None)
                raise
            _active.set((*_active.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._ready.clear()
        self._pass = threading.local()
        _active.set(tuple(one for one in _active.get() if one is not self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a model that is copied inside the block brings its hooks along; they end with this block

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """Which tokens of this pass are steered: `[batch, tokens, 1]` bool, or None for all.

        torch leaves out `kwargs` when another thread removes the hook in the middle of this pass, which then is not
        steered by it.
        """
        if kwargs is None or self not in _active.get():
            return
        given = (kwargs.get("input_ids"), *args[:1], kwargs.get("inputs_embeds"))
        tokens = next((one for one in given if one is not None), None)
        if tokens is None:
            raise ToneError(f"{type(module).__name__} was called without input_ids or inputs_embeds.")
        start = _tokens_before(kwargs)
        if start and tokens.shape[1] == 1 and not getattr(self._pass, "waiting", False):
            self._pass.steered = None  # one more token of every row: the common case, in which nothing is worked out
        else:
            self._pass.steered, self._pass.waiting = _after_sink(tokens, start, kwargs.get("attention_mask"))

    def _after(self, layer: int, module: nn.Module, args: Any, output: Any) -> Any:
        if self not in _active.get():
            return None
        hidden = hidden_of(output)
        delta = self._delta(layer, hidden)
        try:
            steered = self._pass.steered
        except AttributeError:
            raise ToneError("A block was run outside of its model, so it is not known which tokens to steer.") from None
        if steered is not None:
            delta = delta * steered.to(hidden)
        return with_hidden(output, hidden + delta)

    def _delta(self, layer: int, hidden: Tensor) -> Tensor:
        """The delta of a layer as the stream wants it: its dtype, its device, `[d_model]` or `[batch, 1, d_model]`."""
        key = layer, hidden.dtype, hidden.device, hidden.shape[0]
        if (ready := self._ready.get(key)) is not None:
            return ready
        delta = self.plan.deltas[layer]
        if self.plan.rows is not None:
            # Beams and returned sequences stand next to each other: row 0 k times, row 1 k times, …
            copies, rest = divmod(hidden.shape[0], self.plan.rows)
            if rest or not copies:
                raise ToneError(
                    f"There are {self.plan.rows} tones for a batch of {hidden.shape[0]} rows.", "Give one for each row."
                )
            delta = delta.repeat_interleave(copies, 0).unsqueeze(1)
        ready = self._ready[key] = delta.to(hidden.device, hidden.dtype)
        return ready


def _tokens_before(kwargs: dict[str, Any]) -> int:
    """The absolute position of the first token of a pass: how many the model's cache holds already."""
    cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except AttributeError:  # a bare recurrent state, which is passed only to go on from it: some
        return 1
    except ValueError:  # a cache of recurrent states alone counts no tokens: none or some
        return int(cache.has_previous_state())


def _after_sink(tokens: Tensor, start: int, mask: Any) -> tuple[Tensor, bool]:
    """True where a token stands after the first real one of its row, `[batch or 1, tokens, 1]`.

    Also whether some row has had no real token yet, as in the first chunks of a prompt with padding on the left.
    """
    import torch

    positions = torch.arange(start, start + tokens.shape[1], device=tokens.device).unsqueeze(0)
    if not (isinstance(mask, torch.Tensor) and mask.dim() == 2):
        return (positions > 0).unsqueeze(-1), False
    seen = mask.to(torch.int)
    begun = seen.any(1, keepdim=True)
    sink = seen.argmax(1, keepdim=True).masked_fill(~begun, start + tokens.shape[1])  # the first that the mask shows
    return (positions > sink).unsqueeze(-1), not bool(begun.all())

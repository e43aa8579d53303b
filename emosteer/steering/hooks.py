"""The hooks that carry a plan out on a running model, and nothing else of it.

A `Steering` puts one forward hook on each block it steers and one pre-hook on the decoder, which works out for every
forward pass how much of the tone each token gets: none before and at the first of each sequence, the attention sink,
and at the others what the plan's curves say of their place.

A hook acts only where its `with` block was entered: `_active` is a context variable, so another thread or task that
runs the same model at the same time passes through it untouched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emosteer.errors import ToneError
from emosteer.layers import decoder, decoder_layers, hidden_of, with_hidden
from emosteer.models import compile_stance
from emosteer.models.token_positions import after_sink, prompt, tokens_before, unwatch, watch
from emosteer.schedules import Schedule
from emosteer.steering.operations import OPERATIONS, Site
from emosteer.steering.plan import Plan, plan
from emosteer.steering.thermostat import Control, Thermostat
from emosteer.steering.tones import Wanted, copies_of_each

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["Steering", "steer", "unsteered"]

_active: ContextVar[tuple[Steering, ...]] = ContextVar("emosteer_active", default=())


def steer(
    model: PreTrainedModel,
    vectors: EmotionVectors,
    tone: Wanted,
    *,
    layers: Sequence[int] | None = None,
    scope: str | None = None,
    schedule: Schedule | None = None,
    operation: str = "add",
) -> Steering:
    """Give a plain transformers model a tone while a `with` block is open.

        with emosteer.steer(model, vectors, {"joy": 0.8, "calm": -0.2}):
            model.generate(**inputs)

    Blocks may be nested: their tones add up. The tone holds in the thread or task that opened the block; a thread that
    is started inside it must be given its context (`contextvars.copy_context().run`), as for every context variable.

    The answer begins where the prompt of `generate` ends. In forward passes outside of `generate`, the prompt is what
    the first pass of a sequence holds.

    While any block is open, models compiled with `torch.compile` run eagerly, in the whole process: compiled code would
    pass hooks by.

    Args:
        model: Any causal language model of transformers.
        vectors: Made for it.
        tone: Emotion → strength in calibrated doses (1.0 is the strongest tone that still reads naturally, 0 is off and
            bit-identical to the plain model, negative steers away), `Keyframes`, or a list with one of them for each
            row of the batch.
        layers: Steer after these layers instead of those of the dose.
        scope: Steer `"all"` tokens, those of the `"prompt"` or those that are `"generated"`, instead of what the dose
            says. The first of a sequence, the attention sink, never is.
        schedule: Factor on the strengths along the answer, from `emosteer.schedules`.
        operation: What is done with the stream: `"add"`; `"norm_preserving"`, which adds and keeps the stream's length;
            `"ablate"`, which takes the share `strength` of the emotion out of every layer; `"project"`, which sets the
            emotion to the level that the strength would have given neutral text, 0 being neutral itself.

    Returns:
        A context manager. Outside its `with` block the model is as it was.

    Raises:
        ToneError: An emotion, a layer, a scope or an operation is not there, or a strength is not a finite number up
            to ±10.
        IncompatibleModelError: The vectors belong to a model of another shape.
    """
    if isinstance(tone, Thermostat):
        raise ToneError("A thermostat reads what is written.", "Use SteeredModel, which knows the tokenizer.")
    vectors.check_model(model)
    options = {"layers": layers, "scope": scope, "schedule": schedule, "operation": operation}
    return Steering(model, plan(vectors, tone, **options))  # type: ignore[arg-type]


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
        plan: What to do; an empty one installs nothing.
        control: What sets the strengths of the plan's columns as the answer grows, for a thermostat.
    """

    def __init__(self, model: PreTrainedModel, plan: Plan, control: Control | None = None) -> None:
        self.plan = plan
        self.control = control
        self.model = _unwrapped(model)
        self._operation = OPERATIONS[plan.operation]
        self._handles: list[RemovableHandle] = []
        self._pass = threading.local()  # what the pre-hook found out about the forward pass under way in a thread
        self._ready: dict[tuple[int, torch.dtype, torch.device, int], Site] = {}

    def __enter__(self) -> Self:
        if self._handles:
            raise ToneError("This steering is already in force.", "Make another one to add to it.")
        if self.plan.sites:
            blocks = decoder_layers(self.model)
            compile_stance.enter()  # refused by torch inside of what it compiles, so before anything else is changed
            watch(self.model, _refuse)
            try:
                self._handles.append(
                    decoder(self.model).register_forward_pre_hook(self._before, prepend=True, with_kwargs=True)
                )
                for layer in self.plan.sites:
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
        if self.plan.sites:
            unwatch(self.model)
            compile_stance.leave()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._ready.clear()
        self._pass = threading.local()
        _active.set(tuple(one for one in _active.get() if one is not self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a model that is copied inside the block brings its hooks along; they end with this block

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """Work out the gain of each column at each token of this pass.

        torch leaves out `kwargs` when another thread removes the hook in the middle of this pass, which then is not
        steered by it.
        """
        if kwargs is None or self not in _active.get():
            return
        given = (kwargs.get("input_ids"), *args[:1], kwargs.get("inputs_embeds"))
        tokens = next((one for one in given if one is not None), None)
        if tokens is None:
            raise ToneError(f"{type(module).__name__} was called without input_ids or inputs_embeds.")
        now, start, length = self._pass, tokens_before(kwargs), tokens.shape[1]
        if start is None:  # a recurrent state does not know how many tokens it has seen: it goes on from the last pass
            start = getattr(now, "end", 1)
        now.end = start + length
        now.gains = {}
        if start and length == 1 and self.plan.steady and not getattr(now, "waiting", False):
            now.gain = None  # one more token of every row: the common case, in which nothing is worked out
            return
        begun = prompt.get()
        if begun is not None and not begun.length:
            begun.length = start + length
        mask = kwargs.get("attention_mask")
        if getattr(mask, "ndim", 0) != 2:  # as for static caches; generate was given the plain one, before beams
            mask = None if begun is None or begun.mask is None or start >= begun.length else begun.mask
            mask = mask if mask is None else mask.repeat_interleave(max(1, tokens.shape[0] // mask.shape[0]), 0)
        steered, now.waiting = after_sink(start, length, mask)
        if start == 0 or not hasattr(now, "prompt"):
            now.prompt = start or length
        answer = (now.prompt if begun is None else begun.length) - start
        gain = self._gain(steered, answer)
        if self.control is not None:
            if tokens.ndim != 2:
                raise ToneError("A thermostat needs the token ids of the answer, this pass has embeddings.")
            with unsteered():
                gain = gain * self.control.gain(tokens, answer)
        now.gain = gain

    def _gain(self, steered: Tensor, answer: int) -> Tensor:
        """`[batch or 1, tokens, columns]` on the CPU; the answer begins at token `answer` of the pass."""
        import torch

        places = torch.arange(-answer, steered.shape[1] - answer, dtype=torch.float32)
        scopes = {"all": torch.ones_like(places), "prompt": places < 0, "generated": places >= 0}
        columns = []
        for scope, schedule in self.plan.curves:
            factor = torch.ones_like(places) if schedule is None else schedule(places)
            columns.append(factor * scopes[scope])
        return steered.unsqueeze(-1) * torch.stack(columns, -1)

    def _after(self, layer: int, module: nn.Module, args: Any, output: Any) -> Any:
        if self not in _active.get():
            return None
        hidden = hidden_of(output, module)
        try:
            gain = self._pass.gain
        except AttributeError:
            raise ToneError("A block was run outside of its model, so it is not known which tokens to steer.") from None
        if gain is not None:
            gains = self._pass.gains
            if hidden.device not in gains:
                gains[hidden.device] = gain.to(hidden.device) if bool(gain.any()) else None
            gain = gains[hidden.device]
            if gain is None:
                return None
        return with_hidden(output, self._operation(hidden, self._site(layer, hidden), gain), module)

    def _site(self, layer: int, hidden: Tensor) -> Site:
        """What the plan has for a layer, on the stream's device, with one row for each of the batch."""
        key = layer, hidden.dtype, hidden.device, hidden.shape[0]
        if (ready := self._ready.get(key)) is not None:
            return ready
        import torch

        # A steady tone is rounded to the stream's dtype once; what changes from token to token stays exact until added.
        dtype = hidden.dtype if self.plan.steady and self.plan.operation == "add" else torch.float32
        copies = 1 if self.plan.rows is None else copies_of_each(self.plan.rows, hidden.shape[0])
        site = self.plan.sites[layer]
        tensors: dict[str, Any] = {field.name: getattr(site, field.name) for field in fields(site)}
        for name, tensor in tensors.items():
            if tensor is not None:
                tensors[name] = tensor.repeat_interleave(copies, 0).to(hidden.device, dtype)
        ready = self._ready[key] = Site(**tensors)
        return ready


def _unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """What torch.compile and PEFT wrap: its `generate` is the one that runs, whichever is called."""
    model = getattr(model, "_orig_mod", model)
    inside = getattr(model, "get_base_model", None)
    return model if inside is None else inside()


def _refuse(model: PreTrainedModel, method: str, given: Mapping[str, Any]) -> None:
    """What cannot be steered as asked is refused before it runs."""
    steering = [one for one in _active.get() if one.model is model]
    if steering and method == "init_continuous_batching":
        raise ToneError(
            "Continuous batching runs the model in a thread of its own, in which no tone is in force.",
            "Use generate with a batch: each row can have its own tone.",
        )
    if any(one.control is not None for one in steering):
        config = given.get("generation_config") or model.generation_config
        guesses = (("assistant_model", None), ("prompt_lookup_num_tokens", None), ("assistant_early_exit", None))
        for name, usual in (("num_beams", 1), *guesses, ("use_mtp", False)):
            if given.get(name, getattr(config, name, usual)) not in (usual, None):
                raise ToneError(
                    f"A thermostat follows one answer a row as it grows, {name} goes back and forth.", "Leave it out."
                )

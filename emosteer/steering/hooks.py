"""Hooks that apply a plan to a running model.

A `Steering` registers one forward hook on each steered block and one pre-hook on the decoder. For each forward pass the
pre-hook computes the gain of every token: 0 up to and including the first of each sequence, the attention sink, and
after it what the plan's curves give for the token's position.

A hook acts only where its `with` block holds (`emosteer.models.presence`), so another thread or task that runs the same
model at the same time is unaffected.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from emosteer.errors import ToneError
from emosteer.layers import decoder, decoder_layers, hidden_of, with_hidden
from emosteer.models import compile_stance
from emosteer.models.presence import Presence, present, suspended
from emosteer.models.token_positions import Prompt, after_sink, prompt, tokens_before, unwatch, virtual_tokens, watch
from emosteer.schedules import Schedule
from emosteer.steering.operations import OPERATIONS, Site
from emosteer.steering.plan import Plan, plan
from emosteer.steering.thermostat import Control, Thermostat
from emosteer.steering.thought_scope import ThoughtScope
from emosteer.steering.tones import ToneLike, copies_of_each

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["Steering", "steer", "unsteered"]


def steer(
    model: PreTrainedModel,
    vectors: EmotionVectors,
    tone: ToneLike,
    *,
    layers: Sequence[int] | None = None,
    scope: str | None = None,
    schedule: Schedule | None = None,
    operation: str = "add",
) -> Steering:
    """Give a plain transformers model a tone while a `with` block is open.

        with emosteer.steer(model, vectors, {"joy": 0.8, "calm": -0.2}):
            model.generate(**inputs)

    Tones of nested blocks add up. A tone applies in the thread or task that opened the block. A thread started inside
    the block needs its context (`contextvars.copy_context().run`), as for every context variable. A tone that a
    generator opened applies while the generator runs, in whatever thread, and not in the code that iterates over it.
    Whatever measures (`extract`, `calibrate`, `read`, …) measures the plain model, also inside the block.

    The answer begins where the prompt of `generate` ends. In forward passes outside `generate`, the first pass of a
    sequence is the prompt.

    While any block is open, models compiled with `torch.compile` run eagerly in the whole process, because compiled
    code bypasses hooks.

    Args:
        model: Any causal language model of transformers.
        vectors: Vectors made for the model.
        tone: Emotion → strength in calibrated doses (1.0 is the strongest tone that still reads naturally, 0 is off and
            bit-identical to the plain model, negative steers away), an `Affect`, `Keyframes`, or a list with one of
            them for each row of the batch: of what `generate` is given (its beams and returned sequences have the tone
            of their row), or of a forward pass outside it.
        layers: Layers to steer after, instead of those of the dose.
        scope: Tokens to steer, instead of those of the dose: `"all"`, `"prompt"` or `"generated"`. The first token of
            a sequence, the attention sink, is never steered.
        schedule: Factor on the strengths along the answer, from `emosteer.schedules`.
        operation: `"add"`; `"norm_preserving"`, which adds and keeps the norm of the stream; `"ablate"`, which removes
            the share `strength` of the emotion's component at every layer; `"project"`, which sets the component to
            the level that the strength would give neutral text, 0 being neutral itself.

    Returns:
        A context manager. Outside its `with` block the model is unchanged.

    Raises:
        ToneError: An emotion, layer, scope or operation is unknown, or a strength is not a finite number up to ±10.
        IncompatibleModelError: The vectors belong to a model of another shape.
    """
    if isinstance(tone, Thermostat):
        raise ToneError("A thermostat reads what is written.", "Use SteeredModel, which knows the tokenizer.")
    vectors.check_model(model)
    return Steering(model, plan(vectors, tone, layers=layers, scope=scope, schedule=schedule, operation=operation))


@contextmanager
def unsteered() -> Iterator[tuple[Steering, ...]]:
    """Suspend all steering and recording in a `with` block, and yield the steerings that it suspends."""
    outer = _steerings()
    with suspended():
        yield outer


def _steerings() -> tuple[Steering, ...]:
    return tuple(owner for owner in present() if isinstance(owner, Steering))


class Steering:
    """A plan applied to a model while its `with` block is open.

    Args:
        model: The model.
        plan: The plan; an empty one installs nothing.
        control: Sets the strengths of the plan's columns as the answer grows: a thermostat, or a part of the reply.
        copies: Whether consecutive rows of a pass outside `generate` may share a tone, being beams of one prompt.
    """

    def __init__(
        self, model: PreTrainedModel, plan: Plan, control: Control | ThoughtScope | None = None, *, copies: bool = False
    ) -> None:
        self.plan = plan
        self.control = control
        self.model = _unwrapped(model)
        self._spoken = model  # its wrapper, which may put virtual tokens before the prompt
        self._copies = copies
        self._presence = Presence(self, "tone")
        self._operation = OPERATIONS[plan.operation]
        self._handles: list[RemovableHandle] = []
        self._pass = threading.local()  # state of the forward pass under way in each thread
        self._sites: dict[tuple[int, torch.dtype, torch.device, int], Site] = {}

    def __enter__(self) -> Self:
        if self.installed and self.plan.sites:
            raise ToneError("This steering is already in force.", "Make another one to add to it.")
        self.install()
        if self.plan.sites:
            self._presence.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self._presence.leave()
        self.remove()

    @property
    def installed(self) -> bool:
        """Whether all hooks that the plan needs are on the model."""
        return bool(self._handles) or not self.plan.sites

    def install(self) -> None:
        """Put the hooks on the model, where they do nothing except in blocks of `acting`."""
        if not self.plan.sites:
            return
        blocks = decoder_layers(self.model)
        compile_stance.enter()  # first, because torch refuses it inside compiled code
        watch(self.model, _refuse)
        try:
            self._handles.append(
                decoder(self.model).register_forward_pre_hook(self._before, prepend=True, with_kwargs=True)
            )
            if virtual_tokens(self._spoken):
                self._handles.append(self._spoken.register_forward_pre_hook(self._virtual))
                self._handles.append(self._spoken.register_forward_hook(self._virtual, always_call=True))
            for layer in self.plan.sites:
                # Prepended, so that other hooks read the same output as the next block.
                hook = partial(self._after, layer)
                self._handles.append(blocks[layer].register_forward_hook(hook, prepend=True))
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take the hooks off the model."""
        if self.plan.sites:
            unwatch(self.model, _refuse)
            compile_stance.leave()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._sites.clear()
        self._pass = threading.local()

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let the installed hooks act in a `with` block."""
        self._presence.enter()
        try:
            yield
        finally:
            self._presence.leave()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a model copied inside the block carries the hooks along; they end with this block

    def _virtual(self, module: nn.Module, args: tuple[Any, ...], *output: Any) -> None:
        """Count the virtual tokens of the pass of an adapter that begins, and forget them when it ends."""
        self._pass.virtual = 0 if output else virtual_tokens(self._spoken)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """Compute the gain of each column at each token of this pass.

        torch omits `kwargs` if another thread removes the hook during the pass, which then stays unsteered.
        """
        if kwargs is None or not self._presence.here():
            return
        inputs = (kwargs.get("input_ids"), *args[:1], kwargs.get("inputs_embeds"))
        tokens = next((tensor for tensor in inputs if tensor is not None), None)
        if tokens is None:
            raise ToneError(f"{type(module).__name__} was called without input_ids or inputs_embeds.")
        state, start, length = self._pass, tokens_before(kwargs), tokens.shape[1]
        if start is None:  # a recurrent state does not count its tokens: continue from the last pass
            start = getattr(state, "end", 1)
        state.end = start + length
        state.gains = {}
        call = prompt.get()
        self._check_rows(tokens.shape[0], call)
        # Positions are those of the text: an adapter's virtual tokens come before 0.
        virtual = call.virtual if call is not None and call.virtual else getattr(state, "virtual", 0)
        start -= virtual
        if start > 0 and length == 1 and self.plan.steady and not getattr(state, "waiting", False):
            state.gain = None  # the common case, one more token of every row: every gain is 1
            return
        if call is not None and not call.length:
            call.length = start + length
        mask: Any = kwargs.get("attention_mask")
        if getattr(mask, "ndim", 0) == 2:
            mask = mask[:, virtual:]
        else:  # as for static caches: use the mask of generate, expanded for beams
            mask = None
            if call is not None and call.mask is not None and start < call.length:
                mask = call.mask.repeat_interleave(max(1, tokens.shape[0] // call.mask.shape[0]), 0)
        steered, state.waiting = after_sink(start, length, mask)
        if start <= 0 or not hasattr(state, "prompt"):
            state.prompt = start if start > 0 else start + length
        answer = (state.prompt if call is None else call.length) - start
        gain = self._gain(steered, answer)
        if self.control is not None:
            if tokens.ndim != 2:
                raise ToneError("This tone follows the token ids of the answer, and this pass has embeddings.")
            with unsteered():
                gain = gain * self.control.gain(tokens, answer)
        state.gain = gain

    def _check_rows(self, batch: int, call: Prompt | None) -> None:
        """Check that there is a tone for each row of what `generate` was given, or else of this pass.

        Raises:
            ToneError: There is not.
        """
        if (tones := self.plan.rows) is None:
            return
        copies_of_each(tones, batch)
        given = call.rows if call is not None else None if self._copies else batch
        if given not in (None, tones):
            raise ToneError(f"There are {tones} tones for a batch of {given} rows.", "Give one for each row.")

    def _gain(self, steered: Tensor, answer: int) -> Tensor:
        """Return gains `[batch or 1, tokens, columns]` on the CPU; the answer begins at token `answer` of the pass."""
        import torch

        positions = torch.arange(-answer, steered.shape[1] - answer, dtype=torch.float32, device="cpu")
        return steered.unsqueeze(-1) * self.plan.gains(positions)

    def _after(self, layer: int, module: nn.Module, args: Any, output: Any) -> Any:
        """Apply the operation to a block's output."""
        if not self._presence.here():
            return None
        hidden = hidden_of(output, module)
        try:
            gain = self._pass.gain
        except AttributeError:
            raise ToneError("A block was run outside its model, so the positions of its tokens are unknown.") from None
        if gain is not None:
            gains = self._pass.gains
            if hidden.device not in gains:
                gains[hidden.device] = gain.to(hidden.device) if bool(gain.any()) else None
            gain = gains[hidden.device]
            if gain is None:
                return None
        return with_hidden(output, self._operation(hidden, self._site(layer, hidden), gain), module)

    def _site(self, layer: int, hidden: Tensor) -> Site:
        """Return the plan's site for a layer, on the stream's device, with one row for each of the batch."""
        key = layer, hidden.dtype, hidden.device, hidden.shape[0]
        if (site := self._sites.get(key)) is not None:
            return site
        import torch

        # A steady tone is rounded to the stream's dtype once; varying gains stay exact until they are added.
        dtype = hidden.dtype if self.plan.steady and self.plan.operation == "add" else torch.float32
        copies = 1 if self.plan.rows is None else copies_of_each(self.plan.rows, hidden.shape[0])
        tensors = {field.name: getattr(self.plan.sites[layer], field.name) for field in fields(Site)}
        for name, tensor in tensors.items():
            if tensor is not None:
                tensors[name] = tensor.repeat_interleave(copies, 0).to(hidden.device, dtype)
        site = self._sites[key] = Site(**tensors)
        return site


def _unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model inside the wrappers of torch.compile and PEFT, whose `generate` is the one that runs."""
    model = getattr(model, "_orig_mod", model)
    get_base_model = getattr(model, "get_base_model", None)
    return model if get_base_model is None else get_base_model()


def _refuse(model: PreTrainedModel, method: str, arguments: Mapping[str, Any]) -> None:
    """Raise if a method of the model is about to run in a way that cannot be steered as asked."""
    steerings = [steering for steering in _steerings() if steering.model is model]
    if steerings and method == "init_continuous_batching":
        raise ToneError(
            "Continuous batching runs the model in a thread of its own, in which no tone is in force.",
            "Use generate with a batch: each row can have its own tone.",
        )
    if any(steering.control is not None for steering in steerings):
        config = arguments.get("generation_config") or model.generation_config
        assisted = (("assistant_model", None), ("prompt_lookup_num_tokens", None), ("assistant_early_exit", None))
        for name, default in (("num_beams", 1), *assisted, ("use_mtp", False)):
            if arguments.get(name, getattr(config, name, default)) not in (default, None):
                raise ToneError(
                    "A thermostat, or a tone in the thoughts or the answer alone, follows one answer a row as it "
                    f"grows, {name} goes back and forth.",
                    "Leave it out.",
                )

"""Token positions in a forward pass: absolute positions, the attention sink of each row, the start of the answer.

Positions come from the model's own cache, so that cached, uncached, chunked and rolled-back decoding agree. Only
`generate` knows where the prompt ends, because its last chunk may be a single token. `watch` therefore wraps the
model's `generate` to record it. Learned vectors that an adapter puts before the tokens are no part of the text: its
first token is at position 0, and they are before it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["Prompt", "after_sink", "answering", "prompt", "tokens_before", "unwatch", "virtual_tokens", "watch"]

CACHES = ("past_key_values", "cache_params", "state", "mems")  # names of the cache among architectures

Check = Callable[["PreTrainedModel", str, Mapping[str, Any]], Mapping[str, Any] | None]


@dataclass
class Prompt:
    """The prompt of a call of `generate`.

    Args:
        length: Number of tokens, padding included, which is the position of the first token of the answer. For an
            encoder-decoder model 0 until its first pass, since `generate` may prepend a start token.
        mask: `[rows, tokens]`, 0 for padding, or None.
        rows: Number of rows that `generate` was given, or None if it was given no tokens.
        virtual: Number of virtual tokens that an adapter puts before the prompt.
        until_end: Closed when the call ends, with an error or without; None afterwards.
    """

    length: int
    mask: Tensor | None
    rows: int | None = None
    virtual: int = 0
    until_end: ExitStack | None = None


@dataclass
class _Watch:
    checks: list[Check] = field(default_factory=list)  # one for each watcher
    replaced: dict[str, Any] = field(default_factory=dict)  # method name → the instance attribute, or None


prompt: ContextVar[Prompt | None] = ContextVar("emosteer_prompt", default=None)
"""The prompt of the `generate` that runs in this context; None outside `generate`."""

_watched: WeakKeyDictionary[PreTrainedModel, _Watch] = WeakKeyDictionary()
_lock = threading.RLock()  # garbage collection may end a watch at any time


@contextmanager
def answering(length: int) -> Iterator[None]:
    """Make forward passes over a prompt and its answer be steered token for token as in `generate`.

    Args:
        length: Number of tokens of the prompt, which has no padding.
    """
    with _running(Prompt(length, None, rows=1)):
        yield


@contextmanager
def _running(call: Prompt) -> Iterator[None]:
    token = prompt.set(call)
    try:
        with ExitStack() as call.until_end:
            yield
    finally:
        call.until_end = None
        prompt.reset(token)


def watch(model: PreTrainedModel, check: Check) -> None:
    """Record the prompt of each call of the model's `generate`, until `unwatch` has been called as often.

    Args:
        model: The model, which gets a `generate` of its own.
        check: Called before each run with the model, the method's name and its arguments; raises to refuse the run, or
            returns keyword arguments to run it with instead.
    """
    with _lock:
        watched = _watched.setdefault(model, _Watch())
        watched.checks.append(check)
        for name in ("generate", "init_continuous_batching") if not watched.replaced else ():
            if hasattr(type(model), name):
                watched.replaced[name] = own = model.__dict__.get(name)
                # A bound method, so that a copy of the model gets one bound to the copy.
                setattr(model, name, MethodType(_recording(name, own, getattr(type(model), name)), model))


def unwatch(model: PreTrainedModel, check: Check) -> None:
    """Undo one `watch` with this check; the last one restores the model's own methods."""
    with _lock:
        _watched[model].checks.remove(check)
        if not _watched[model].checks:
            for name, own in _watched.pop(model).replaced.items():
                delattr(model, name)
                if own is not None:
                    setattr(model, name, own)


def _recording(name: str, own: Any, of_class: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(of_class)
    def method(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        arguments = dict(zip(("inputs", "generation_config"), args, strict=False)) | kwargs
        watched = _watched.get(self)  # None in a copy of a watched model
        for check in dict.fromkeys(watched.checks if watched else ()):
            kwargs |= check(self, name, arguments) or {}
        with _running(_prompt_of(self, arguments)):
            return own(*args, **kwargs) if own is not None else of_class(self, *args, **kwargs)

    return method


def _prompt_of(model: PreTrainedModel, arguments: Mapping[str, Any]) -> Prompt:
    names = ("inputs_embeds", "input_ids", "inputs")
    tokens = next((arguments[name] for name in names if arguments.get(name) is not None), None)
    if model.config.is_encoder_decoder:
        read = arguments.get(model.main_input_name) if tokens is None else tokens  # of speech, its features
        return Prompt(0, None, None if read is None else len(read))
    rows = None if tokens is None else len(tokens)
    mask = arguments.get("attention_mask")
    length = 1 if tokens is None else int(tokens.shape[1])  # without a prompt, generate starts from one token
    if mask is not None:
        length = max(length, int(mask.shape[1]))  # beside a cache, the ids may be only the new ones
    else:
        ids = next((arguments[name] for name in ("input_ids", "inputs") if arguments.get(name) is not None), None)
        mask = None if ids is None else _inferred_mask(model, ids, arguments)
    return Prompt(length, mask, rows, virtual_tokens(model))


def _inferred_mask(model: PreTrainedModel, ids: Tensor, arguments: Mapping[str, Any]) -> Tensor | None:
    """Return the mask that `generate` infers from padding tokens if it is given none, or None if it infers none."""

    def token(name: str) -> Any:
        configs = arguments.get("generation_config"), model.generation_config
        own = (getattr(config, name, None) for config in configs)
        return arguments[name] if name in arguments else next((value for value in own if value is not None), None)

    padding, ends = token("pad_token_id"), token("eos_token_id")
    ends = ends if isinstance(ends, (list, tuple)) else [ends]
    known = padding is not None and padding not in ends and ids.ndim == 2 and not ids.is_floating_point()
    return ids.ne(padding).long() if known and bool((ids == padding).any()) else None


def virtual_tokens(model: PreTrainedModel) -> int:
    """Return the number of learned vectors that an adapter puts before the tokens of the text, as prompt tuning does.

    Args:
        model: The model of peft, or while that generates the model inside it, which then prepares its inputs with it.
    """
    speaker = getattr(getattr(model, "prepare_inputs_for_generation", None), "__self__", None)
    adapter: Any = getattr(speaker, "active_peft_config", None)
    return int(adapter.num_virtual_tokens) if getattr(adapter, "is_prompt_learning", False) else 0


def tokens_before(kwargs: Mapping[str, Any]) -> int | None:
    """Return the absolute position of the first token of a pass, which is the number of tokens in the cache.

    Returns:
        None if the cache is a recurrent state, which does not count its tokens.
    """
    cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except AttributeError:  # a bare recurrent state, which is passed only to continue from it
        return None
    except ValueError:  # a cache of recurrent states only
        return None if cache.has_previous_state() else 0


def after_sink(start: int, tokens: int, mask: Any) -> tuple[Tensor, bool]:
    """Return which tokens of a pass come after the attention sink, the first real token of their row.

    Args:
        start: Position of the first token of the pass, negative for virtual tokens.
        tokens: Number of tokens in the pass.
        mask: `[batch, positions]`, 0 for padding, or None.

    Returns:
        A mask `[batch or 1, tokens]` on the CPU, and whether some row has had only padding so far, as in the first
        chunks of a left-padded prompt.
    """
    import torch

    positions = torch.arange(start, start + tokens, device="cpu").unsqueeze(0)
    if mask is None:
        return positions > 0, False
    seen = mask[:, : start + tokens].to("cpu", torch.int)
    started = seen.any(1, keepdim=True)
    sink = seen.argmax(1, keepdim=True).masked_fill(~started, start + tokens)
    return positions > sink, not bool(started.all())

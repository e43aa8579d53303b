"""Which tokens a forward pass holds: their absolute positions, the attention sink of each row, where the answer begins.

Positions are counted by the model's own cache, so that cached, uncached, chunked and rolled-back decoding agree. Where
the prompt ends only `generate` knows, as the last chunk of a prompt may be a single token: a watched model's tells.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["Prompt", "after_sink", "answering", "prompt", "tokens_before", "unwatch", "watch"]

CACHES = ("past_key_values", "cache_params", "state", "mems")  # what architectures call the memory of earlier tokens

Check = Callable[["PreTrainedModel", str, Mapping[str, Any]], None]


@dataclass
class Prompt:
    """What a call of `generate` begins with.

    Args:
        length: Tokens, padding included: the position of the first token of the answer. 0 until the first pass has been
            seen of an encoder-decoder model, whose `generate` may put a start token before what it is given.
        mask: `[rows, tokens]`, 0 where there is padding, or None.
    """

    length: int
    mask: Tensor | None


@dataclass
class _Watch:
    replaced: dict[str, Any]  # the model's own attributes of those names, None where it only has its class's
    watchers: int = 0


prompt: ContextVar[Prompt | None] = ContextVar("emosteer_prompt", default=None)
"""What the `generate` that runs in this context began with; None outside of any."""

_watched: WeakKeyDictionary[PreTrainedModel, _Watch] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def answering(length: int) -> Iterator[None]:
    """In this block a pass over a prompt and its answer has the tone that `generate` gives them, token for token.

    Args:
        length: Tokens of the prompt, without padding: where the answer begins.
    """
    token = prompt.set(Prompt(length, None))
    try:
        yield
    finally:
        prompt.reset(token)


def watch(model: PreTrainedModel, check: Check) -> None:
    """Let the model's `generate` say what it begins with, until `unwatch` has been called as often.

    Args:
        model: Gets a `generate` of its own.
        check: Called with the model, the method's name and its arguments before each run; raises to refuse it.
    """
    with _lock:
        if model not in _watched:
            names = [name for name in ("generate", "init_continuous_batching") if hasattr(type(model), name)]
            _watched[model] = _Watch({name: model.__dict__.get(name) for name in names})
            for name, own in _watched[model].replaced.items():
                # A bound method, so that a copy of the model gets one that is bound to the copy.
                setattr(model, name, MethodType(_telling(name, own, getattr(type(model), name), check), model))
        _watched[model].watchers += 1


def unwatch(model: PreTrainedModel) -> None:
    """End a `watch`; after the last the model's methods are what they were."""
    with _lock:
        _watched[model].watchers -= 1
        if not _watched[model].watchers:
            for name, own in _watched.pop(model).replaced.items():
                delattr(model, name)
                if own is not None:
                    setattr(model, name, own)


def _telling(name: str, own: Any, of_class: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @wraps(of_class)
    def told(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(("inputs", "generation_config"), args, strict=False)) | kwargs
        check(self, name, given)
        token = prompt.set(_begun(self, given))
        try:
            return own(*args, **kwargs) if own is not None else of_class(self, *args, **kwargs)
        finally:
            prompt.reset(token)

    return told


def _begun(model: PreTrainedModel, given: Mapping[str, Any]) -> Prompt:
    if model.config.is_encoder_decoder:
        return Prompt(0, None)
    names = ("inputs_embeds", "input_ids", "inputs")
    started = next((given[name] for name in names if given.get(name) is not None), None)
    mask = given.get("attention_mask")
    length = 1 if started is None else int(started.shape[1])  # without a prompt, one token to begin with
    if mask is not None:
        length = max(length, int(mask.shape[1]))  # of a conversation that goes on, the ids may be only what is new
    return Prompt(length, mask)


def tokens_before(kwargs: Mapping[str, Any]) -> int | None:
    """The absolute position of the first token of a pass: how many the model's cache holds already.

    None if it holds some but counts none, as recurrent states do.
    """
    cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except AttributeError:  # a bare recurrent state, which is passed only to go on from it
        return None
    except ValueError:  # a cache of recurrent states alone
        return None if cache.has_previous_state() else 0


def after_sink(start: int, tokens: int, mask: Any) -> tuple[Tensor, bool]:
    """True where a token stands after the first real one of its row, `[batch or 1, tokens]`, on the CPU.

    Also whether some row has had no real token yet, as in the first chunks of a prompt with padding on the left.

    Args:
        start: Position of the first token of the pass.
        tokens: How many it has.
        mask: `[batch, positions]`, 0 where there is padding, or None.
    """
    import torch

    positions = torch.arange(start, start + tokens).unsqueeze(0)
    if mask is None:
        return positions > 0, False
    seen = mask[:, : start + tokens].to("cpu", torch.int)
    begun = seen.any(1, keepdim=True)
    sink = seen.argmax(1, keepdim=True).masked_fill(~begun, start + tokens)  # the first that the mask shows
    return positions > sink, not bool(begun.all())

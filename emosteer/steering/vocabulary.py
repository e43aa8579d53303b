"""The vocabulary of a tone: how strongly each token of the model's vocabulary expresses it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from emosteer.layers import decoder_layers, hidden_of, input_device, with_hidden
from emosteer.models.side_pass import side_pass
from emosteer.models.weights import head_state
from emosteer.steering.affect import Affect
from emosteer.steering.tones import Tone, copies_of_each, named

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

TOGETHER = 8
"""Directions that are passed through the model together, always as many, since their number may change the rounding."""
KEPT = 128
"""Directions of which each model's logits are kept."""

__all__ = ["KEPT", "RowTable", "vocabulary"]


@dataclass
class _Kept:
    """The logits of directions, while the model's norm and head are the same.

    Args:
        state: Of norm and head.
        logits: Bytes of a direction → `[vocabulary]`, those used last at the end.
    """

    state: object
    logits: OrderedDict[bytes, Tensor] = field(default_factory=OrderedDict)


_kept: WeakKeyDictionary[PreTrainedModel, _Kept] = WeakKeyDictionary()
_lock = threading.Lock()


def vocabulary(model: PreTrainedModel, vectors: EmotionVectors, tones: Sequence[Tone | Affect | None]) -> Tensor:
    """Return how strongly each token of the vocabulary expresses each tone.

    Each emotion's direction at the last layer of the vectors is passed through the model's final norm and head, which
    takes a forward pass of one token the first time, and again after the model's norm or head has changed.

    Args:
        model: The model.
        vectors: Vectors made for the model.
        tones: One tone for all rows, or one for each.

    Returns:
        `[tones, vocabulary]`, float32, on the device of the model's logits: standard deviations from the vocabulary's
        mean, times strength, summed over emotions.
    """
    import torch

    mixtures = [named(vectors, tone) for tone in tones]
    names = sorted(set().union(*mixtures))
    streams = [vectors.directions[name][-1] * vectors.residual_norm[-1] for name in names]
    logits = dict(zip(names, _logits_of(model, streams), strict=True))
    sums = torch.stack([torch.zeros_like(logits[names[0]])] * len(mixtures))
    for row, mixture in zip(sums, mixtures, strict=True):
        for name in sorted(mixture):
            row.add_(logits[name], alpha=float(mixture[name]))
    return sums


class RowTable:
    """A table with one row for each tone, as the rows of a batch need it.

    Args:
        table: `[tones, columns]`.
    """

    def __init__(self, table: Tensor) -> None:
        self._table = table
        self._like: tuple[Any, Tensor] = None, table

    def like(self, scores: Tensor) -> Tensor:
        """Return `[rows, columns]` for scores `[rows, vocabulary]`, in their dtype and on their device.

        The last one is kept, so that nothing is copied while a batch goes on.

        Raises:
            ToneError: The number of tones does not fit the batch.
        """
        wanted = len(scores), scores.dtype, scores.device
        made_for, table = self._like
        if made_for != wanted:
            copies = copies_of_each(len(self._table), len(scores))
            table = self._table.to(scores)
            table = table.expand(copies, -1) if len(table) == 1 else table.repeat_interleave(copies, 0)
            self._like = wanted, table
        return table


def _logits_of(model: PreTrainedModel, streams: Sequence[Tensor]) -> list[Tensor]:
    """Return the standardised logits `[vocabulary]` of each direction `[d_model]` after the last block."""
    import torch

    state = head_state(model)
    keys = [stream.cpu().numpy().tobytes() for stream in streams]
    found: dict[bytes, Tensor] = {}
    with _lock:
        kept = _kept.get(model)
        if kept is None or kept.state != state:
            kept = _kept[model] = _Kept(state)
        for key in keys:
            if key in kept.logits:
                kept.logits.move_to_end(key)
                found[key] = kept.logits[key]
    missing = {key: stream for key, stream in zip(keys, streams, strict=True) if key not in found}
    for start in range(0, len(missing), TOGETHER):  # outside the lock: two threads may do the same work
        some = list(missing)[start : start + TOGETHER]
        rows = _probe(model, torch.stack([missing[key] for key in some]))
        found.update(zip(some, rows, strict=True))
    with _lock:
        for key in missing:
            kept.logits[key] = found[key]
        while len(kept.logits) > KEPT:
            kept.logits.popitem(last=False)
    return [found[key] for key in keys]


def _probe(model: PreTrainedModel, streams: Tensor) -> list[Tensor]:
    """Return the standardised logits `[vocabulary]` of up to `TOGETHER` directions `[n, d_model]`.

    The logits of the opposite directions are subtracted, which cancels what norm and head add to every input.
    """
    import torch

    filled = streams.repeat(-(-TOGETHER // len(streams)), 1)[:TOGETHER]
    both = torch.cat([filled, -filled]).unsqueeze(1)
    thread = threading.get_ident()

    def replace(block: nn.Module, _args: Any, output: Any) -> Any:
        if threading.get_ident() != thread:  # another thread is running the same model
            return None
        return with_hidden(output, both.to(hidden_of(output, block)), block)

    handle = decoder_layers(model)[-1].register_forward_hook(replace)
    try:
        with torch.no_grad(), side_pass(model):
            ids = torch.zeros((len(both), 1), dtype=torch.long, device=input_device(model))
            inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})}
            logits = model(**inputs, use_cache=False).logits[:, -1].float()
    finally:
        handle.remove()
    difference = logits[: len(streams)] - logits[TOGETHER:][: len(streams)]
    standard = (difference - difference.mean(1, keepdim=True)) / difference.std(1, keepdim=True)
    return [row.clone() for row in standard]  # each may be let go alone

"""The vocabulary of a tone: how strongly each token of the model's vocabulary expresses it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emosteer.layers import decoder_layers, hidden_of, input_device, with_hidden
from emosteer.models.side_pass import side_pass
from emosteer.steering.affect import Affect
from emosteer.steering.tones import Tone, named

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["vocabulary"]


def vocabulary(model: PreTrainedModel, vectors: EmotionVectors, tones: Sequence[Tone | Affect | None]) -> Tensor:
    """Return how strongly each token of the vocabulary expresses each tone.

    Each emotion's direction at the last layer of the vectors is passed through the model's final norm and head.

    Args:
        model: The model.
        vectors: Vectors made for the model.
        tones: One tone for all rows, or one for each.

    Returns:
        `[tones, vocabulary]`: standard deviations from the vocabulary's mean, times strength, summed over emotions.

    Raises:
        ToneError: An emotion is unknown.
    """
    import torch

    mixtures = [named(vectors, tone) for tone in tones]
    names = sorted(set().union(*mixtures))
    strengths = torch.tensor(
        [[float(mixture.get(name, 0)) for name in names] for mixture in mixtures], dtype=torch.float32, device="cpu"
    )
    directions = torch.stack([vectors.directions[name][-1] for name in names])
    scores: Tensor = strengths @ _logits_of(model, directions * vectors.residual_norm[-1])
    return scores


def _logits_of(model: PreTrainedModel, streams: Tensor) -> Tensor:
    """Return the standardised logits `[n, vocabulary]` of directions `[n, d_model]` after the last block.

    The logits of the opposite directions are subtracted, which cancels what norm and head add to every input.
    """
    import torch

    both = torch.cat([streams, -streams]).unsqueeze(1)
    thread = threading.get_ident()

    def replace(block: nn.Module, _args: Any, output: Any) -> Any:
        if threading.get_ident() != thread:  # another thread is running the same model
            return None
        return with_hidden(output, both.to(hidden_of(output, block)), block)

    handle = decoder_layers(model)[-1].register_forward_hook(replace)
    try:
        with torch.no_grad(), side_pass(model):
            ids = torch.zeros((len(both), 1), dtype=torch.long, device=input_device(model))
            logits = model(input_ids=ids, use_cache=False).logits[:, -1].float().cpu()
    finally:
        handle.remove()
    difference = logits[: len(streams)] - logits[len(streams) :]
    standard: Tensor = (difference - difference.mean(1, keepdim=True)) / difference.std(1, keepdim=True)
    return standard

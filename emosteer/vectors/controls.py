"""Random directions, the control for what vectors without any meaning do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from emosteer._util.numbers import checked_seed
from emosteer.layers import decoder_layers, hidden_of, run_blocks
from emosteer.models.side_pass import side_pass

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel

TOKENS = 64

__all__ = ["generator_of", "random_units", "residual_norms"]


def generator_of(seed: int) -> torch.Generator:
    """Return a random state of its own on the CPU.

    Raises:
        InputError: The seed is none.
    """
    import torch

    return torch.Generator("cpu").manual_seed(checked_seed(seed))


def residual_norms(model: PreTrainedModel, generator: torch.Generator) -> Tensor:
    """Measure the mean L2 norm of the residual stream after each block on 64 random tokens, the first left out.

    Args:
        model: Any causal language model.
        generator: Draws the tokens.

    Returns:
        `[n_layers]`, float32.
    """
    import torch

    blocks = decoder_layers(model)
    vocabulary = cast("Tensor", model.get_input_embeddings().weight).shape[0]
    tokens = torch.randint(vocabulary, (1, TOKENS), generator=generator, dtype=torch.long, device="cpu")
    norms = torch.zeros(len(blocks), dtype=torch.float32, device="cpu")

    def measure(layer: int, block: nn.Module, _args: Any, output: Any) -> None:
        norms[layer] = hidden_of(output, block)[0, 1:].float().norm(dim=-1).mean()

    handles = [block.register_forward_hook(partial(measure, layer), prepend=True) for layer, block in enumerate(blocks)]
    try:
        with side_pass(model):
            run_blocks(model, tokens)
    finally:
        for handle in handles:
            handle.remove()
    for layer in (norms == 0).nonzero().flatten().tolist():  # a block that runs only where there is an image
        norms[layer] = norms[layer - 1]
    return norms


def random_units(rows: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw rows of unit length, uniform on the sphere, `[rows, width]`."""
    import torch

    drawn = torch.randn(rows, width, generator=generator, dtype=torch.float32, device="cpu")
    return torch.nn.functional.normalize(drawn, dim=-1)

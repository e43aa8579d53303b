"""Where a model's decoder blocks are, and what a block's output looks like.

Layer i is the output of decoder block i, 0-based: what transformers records as `hidden_states[i + 1]` for every block
but the last, whose recorded state is after the final norm.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

from emosteer.errors import IncompatibleModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel

__all__ = ["decoder", "decoder_layers", "hidden_of", "hidden_size", "input_device", "with_hidden"]


def decoder(model: PreTrainedModel) -> nn.Module:
    """The part of a causal language model that runs the blocks, without the language-model head.

    Raises:
        IncompatibleModelError: The model has none, as an encoder or a diffusion model.
    """
    if not (hasattr(model, "get_decoder") and hasattr(model, "config") and model.can_generate()):
        raise IncompatibleModelError(
            f"{type(model).__name__} is not a causal language model of transformers.",
            "Load it with AutoModelForCausalLM.from_pretrained.",
        )
    found: nn.Module = model.get_decoder()
    return found


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder blocks in the order in which they run.

    They are the list of modules nearest to the decoder's root that is as long as the text config says the model is
    deep; among lists that stand beside each other, the one of transformers' decoder layers. Searching by name
    ("layers") would also hit vision towers and encoders.

    Raises:
        IncompatibleModelError: No such list exists.
    """
    from torch import nn
    from transformers.modeling_layers import GradientCheckpointingLayer

    root, depth = decoder(model), _text_config(model).num_hidden_layers
    queue: deque[nn.Module] = deque([root])
    while queue:
        children = list(queue.popleft().children())
        lists = [child for child in children if isinstance(child, nn.ModuleList) and len(child) == depth]
        if len(lists) > 1:
            lists = [one for one in lists if isinstance(one[0], GradientCheckpointingLayer)]
        if len(lists) == 1:
            return lists[0]
        queue.extend(children)
    raise IncompatibleModelError(
        f"No list of {depth} decoder blocks was found in {type(model).__name__}.",
        "emosteer steers causal language models whose blocks stand in one list.",
    )


def hidden_size(model: PreTrainedModel) -> int:
    """Width of the residual stream."""
    return int(_text_config(model).hidden_size)


def input_device(model: PreTrainedModel) -> torch.device:
    """The device on which the model expects its token ids."""
    import torch

    weight = cast("Tensor", model.get_input_embeddings().weight)
    return (
        weight.device if weight.device.type != "meta" else torch.device("cpu")
    )  # accelerate moves the inputs of offloaded weights


def hidden_of(output: Any) -> Tensor:
    """The residual stream `[batch, tokens, d_model]` in a block's output, which is a tensor or begins with one."""
    hidden: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """The same block output with another residual stream in it."""
    if isinstance(output, (tuple, list)):
        return type(output)((hidden, *output[1:]))
    return hidden


def _text_config(model: PreTrainedModel) -> Any:
    return model.config.get_text_config(decoder=True)

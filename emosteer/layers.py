"""Where a model's decoder blocks are, and what a block's output looks like.

Layer i is the output of decoder block i, 0-based: what transformers records as `hidden_states[i + 1]` for every block
but the last, whose recorded state is after the final norm.

One rule finds the blocks of nearly every architecture, and one shape holds their residual streams. What does not follow
is named in the tables at the top, one line each; `register_layers` adds to them.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from emosteer.errors import IncompatibleModelError, InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel

__all__ = [
    "check_blocks",
    "decoder",
    "decoder_layers",
    "hidden_of",
    "hidden_size",
    "input_device",
    "register_layers",
    "run_blocks",
    "with_hidden",
]

# Model type → where its blocks are, for those that the rule of `decoder_layers` would not find.
_paths = {
    "blt": "model.local_decoder.layers",  # between two stacks that run on bytes, one that runs on patches of them
    "hrm_text": "model.H_module.layers",  # of two stacks that take turns, the one whose stream ends in the head
    "longcat_flash": "model.layers",  # the config counts the two attentions of each
    "xlm": "transformer.layer_norm2",  # no blocks, but lists of their parts: the stream is what the last of them gives
}
# Class of a block → its module, and which axes of its output are batch, tokens and the rest, if they are not 0, 1, 2.
_AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "DecoderLayer": ("modeling_fsmt", (1, 0, 2)),
    "Gemma3nTextDecoderLayer": ("modeling_gemma3n", (1, 2, 0, 3)),
    "XLNetLayer": ("modeling_xlnet", (1, 0, 2)),
}
# What configs call the number of residual streams that run side by side. Steering takes them as one wide stream.
_STREAMS = ("hc_mult", "hc_count", "altup_num_inputs")
# What configs of encoder-decoder models call the depth of the decoder.
_DEPTHS = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")
# Model type → why it cannot be steered.
_REFUSED = {
    "cpmant": "it puts learned prompts before the tokens inside the decoder",
    "gemma4_assistant": "it drafts for another model, whose keys and values it reads: steer that one",
    "gemma4_unified_assistant": "it drafts for another model, whose keys and values it reads: steer that one",
    "prophetnet": "it predicts from streams of n-grams that stand beside that of the tokens",
    "reformer": "its blocks are reversible, and fill the tokens up to whole chunks",
}


def register_layers(model_type: str, path: str) -> None:
    """Say where the blocks of an architecture are, for models in which `decoder_layers` does not find them.

        emosteer.register_layers("my_model", "backbone.stack")

    Args:
        model_type: The `model_type` of its config.
        path: Name of the `nn.ModuleList` within the model, as in `model.named_modules()`. Each module in it is run
            once or more in a forward pass, and its output is the residual stream `[batch, tokens, d_model]` or a tuple
            that begins with it.

    Raises:
        InputError: The model type is registered already.
    """
    if model_type in _paths:
        raise InputError(f"The layers of {model_type!r} are registered already, as {_paths[model_type]!r}.")
    _paths[model_type] = path


def decoder(model: PreTrainedModel) -> nn.Module:
    """The part of a causal language model that runs the blocks, without the language-model head.

    Raises:
        IncompatibleModelError: The model has none, as an encoder or a diffusion model, or it cannot be steered.
    """
    if not (hasattr(model, "get_decoder") and hasattr(model, "config") and model.can_generate()):
        raise IncompatibleModelError(
            f"{type(model).__name__} is not a causal language model of transformers.",
            "Load it with AutoModelForCausalLM.from_pretrained.",
        )
    reason = _REFUSED.get(model.config.model_type)
    gives: tuple[str, ...] = getattr(type(model), "output_modalities", ("text",))
    if reason is None and "text" not in gives:
        reason = f"it gives {' and '.join(gives)}, not text"
    if reason is not None:
        raise IncompatibleModelError(f"{type(model).__name__} cannot be steered: {reason}.")
    found: nn.Module = model.get_decoder()
    if found is model.get_output_embeddings():  # get_decoder goes by names, and some heads are called "decoder"
        found = model.base_model
    while (inner := cast("Any", found).get_decoder() if hasattr(found, "get_decoder") else found) is not found:
        found = inner  # of an encoder-decoder model within one that also sees
    both_ways = getattr(model.config, "is_decoder", None) is False and not model.config.is_encoder_decoder
    if both_ways and not any(getattr(module, "is_causal", False) for module in found.modules()):
        raise IncompatibleModelError(
            f"{type(model).__name__} reads its text in both directions: its config says that it is no decoder.",
            "If it was trained to write, load it with is_decoder=True.",
        )
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

    root = decoder(model)
    if path := _paths.get(model.config.model_type):
        return _registered(model, path)
    config = _text_config(model)
    depth = next(value for name in _DEPTHS if (value := getattr(config, name, None)) is not None)
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
        f"Say where they are: emosteer.register_layers({model.config.model_type!r}, 'path.to.the.blocks').",
    )


def _registered(model: PreTrainedModel, path: str) -> nn.ModuleList:
    from torch import nn

    try:
        found = model.get_submodule(path)
    except AttributeError:
        found = None
    if not isinstance(found, nn.ModuleList):
        raise IncompatibleModelError(
            f"{type(model).__name__} has no list of blocks at {path!r}, where they are registered for "
            f"{model.config.model_type!r}."
        )
    return found


def hidden_size(model: PreTrainedModel) -> int:
    """Width of the residual stream; of all together where several run side by side."""
    config = _text_config(model)
    streams = next((value for name in _STREAMS if (value := getattr(config, name, None)) is not None), 1)
    return int(config.hidden_size * streams)


def input_device(model: PreTrainedModel) -> torch.device:
    """The device on which the model expects its token ids."""
    import torch

    weight = cast("Tensor", model.get_input_embeddings().weight)
    # accelerate moves the inputs of offloaded weights
    return weight.device if weight.device.type != "meta" else torch.device("cpu")


def run_blocks(model: PreTrainedModel, ids: Tensor) -> None:
    """Run token ids `[batch, tokens]` through the decoder blocks, for whoever listens there."""
    import torch

    ids = ids.to(input_device(model))
    with torch.inference_mode():
        if model.config.is_encoder_decoder:
            model(input_ids=ids, decoder_input_ids=ids, use_cache=False)
        else:  # without what else a model that also sees may ask for
            decoder(model)(input_ids=ids, use_cache=False)


def check_blocks(model: PreTrainedModel) -> None:
    """Run three tokens: does every block that runs give a residual stream of the width that the config names?

    Raises:
        IncompatibleModelError: One does not, or none runs.
    """
    import torch

    shapes: dict[int, Any] = {}
    checker = threading.get_ident()

    def look(index: int, block: nn.Module, _args: Any, output: Any) -> None:
        if threading.get_ident() != checker:  # another thread runs the same model meanwhile
            return
        first = output[0] if isinstance(output, (tuple, list)) else output
        shapes[index] = tuple(hidden_of(output, block).shape) if isinstance(first, torch.Tensor) else type(first)

    handles = [block.register_forward_hook(partial(look, i)) for i, block in enumerate(decoder_layers(model))]
    try:
        run_blocks(model, torch.zeros((1, 3), dtype=torch.long))
    finally:
        for handle in handles:
            handle.remove()
    expected = (1, 3, hidden_size(model))
    # A block that runs only where there is an image gives nothing here.
    found = {index: shape for index, shape in shapes.items() if shape != expected} if shapes else {0: "nothing"}
    for index, shape in found.items():
        raise IncompatibleModelError(
            f"Block {index} of {type(model).__name__} gives {shape}, expected a residual stream of shape {expected}.",
            f"If that is no block: emosteer.register_layers({model.config.model_type!r}, 'path.to.the.blocks').",
        )


def hidden_of(output: Any, block: nn.Module | None = None) -> Tensor:
    """The residual stream `[batch, tokens, d_model]` in a block's output, which is a tensor or begins with one.

    Args:
        output: What the block returned.
        block: The block, which a few architectures need for the order of the axes.
    """
    hidden: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    if axes := _axes(block):
        hidden = hidden.permute(axes)
    return hidden if hidden.dim() == 3 else hidden.flatten(2)


def with_hidden(output: Any, hidden: Tensor, block: nn.Module | None = None) -> Any:
    """The same block output with another residual stream in it.

    Args:
        output: What the block returned.
        hidden: The new stream, as `hidden_of` gives it.
        block: The block, which a few architectures need for the order of the axes.
    """
    old: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    if axes := _axes(block):
        turned = hidden.reshape([old.shape[axis] for axis in axes])
        hidden = turned.permute([axes.index(axis) for axis in range(len(axes))])
    elif old.dim() != 3:  # streams side by side
        hidden = hidden.reshape(old.shape)
    if isinstance(output, (tuple, list)):
        return type(output)((hidden, *output[1:]))
    return hidden


def _axes(block: nn.Module | None) -> tuple[int, ...] | None:
    kind = type(block)
    found = _AXES.get(kind.__qualname__)
    return found[1] if found is not None and kind.__module__.endswith(found[0]) else None


def _text_config(model: PreTrainedModel) -> Any:
    """The config of the decoder, where it is not the model's own."""
    text = model.config.get_text_config(decoder=True)
    if type(text) is type(model.config):  # perhaps a copy that has forgotten how deep the decoder is
        text = model.config
    return getattr(text, "decoder_config", text)

"""The decoder blocks of a model, and the residual stream in their outputs.

Layer i is the output of decoder block i, 0-based. transformers records it as `hidden_states[i + 1]`, except for the
last block, whose recorded state is after the final norm.

One rule finds the blocks of nearly every architecture, and one shape holds their residual streams. The tables at the
top list the exceptions; `register_layers` adds to them.
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

# Model type → path of its blocks, where the rule of `decoder_layers` would not find them.
_paths = {
    "blt": "model.local_decoder.layers",  # the last of three stacks: bytes, patches of bytes, bytes
    "hrm_text": "model.H_module.layers",  # of two alternating stacks, the one whose stream enters the head
    "longcat_flash": "model.layers",  # the config counts two attentions per block
    "xlm": "transformer.layer_norm2",  # has lists of parts instead of blocks; this part ends each of them
}
# Class of a block → its module, and the axes of its output that hold batch, tokens and the rest, if not 0, 1, 2.
_AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "DecoderLayer": ("modeling_fsmt", (1, 0, 2)),
    "Gemma3nTextDecoderLayer": ("modeling_gemma3n", (1, 2, 0, 3)),
    "XLNetLayer": ("modeling_xlnet", (1, 0, 2)),
}
# Names of the number of parallel residual streams in configs. Steering treats them as one wide stream.
_STREAMS = ("hc_mult", "hc_count", "altup_num_inputs")
# Names of the depth of the decoder in configs.
_DEPTHS = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")
# Model type → why it cannot be steered.
_REFUSED = {
    "cpmant": "it puts learned prompts before the tokens inside the decoder",
    **dict.fromkeys(
        ("gemma4_assistant", "gemma4_unified_assistant"),
        "it drafts for another model, whose keys and values it reads: steer that one",
    ),
    "prophetnet": "it predicts from n-gram streams parallel to that of the tokens",
    "reformer": "its blocks are reversible, and fill the tokens up to whole chunks",
}


def register_layers(model_type: str, path: str) -> None:
    """Register the decoder blocks of an architecture in which `decoder_layers` does not find them.

        emosteer.register_layers("my_model", "backbone.stack")

    Args:
        model_type: The `model_type` of its config.
        path: Name of the `nn.ModuleList` in `model.named_modules()`. Each of its modules runs at least once per forward
            pass, and returns the residual stream `[batch, tokens, d_model]` or a tuple that begins with it.

    Raises:
        InputError: The model type is registered already, with another path.
    """
    if _paths.setdefault(model_type, path) != path:
        raise InputError(
            f"The layers of {model_type!r} are registered already, as {_paths[model_type]!r}.",
            "Restart Python to register others.",
        )


def decoder(model: PreTrainedModel) -> nn.Module:
    """Return the part of a causal language model that runs the blocks, without the language-model head.

    Raises:
        IncompatibleModelError: The model is no causal language model (an encoder, a diffusion model), or cannot be
            steered.
    """
    if not (hasattr(model, "get_decoder") and hasattr(model, "config") and model.can_generate()):
        raise IncompatibleModelError(
            f"{type(model).__name__} is not a causal language model of transformers.",
            "Load it with AutoModelForCausalLM.from_pretrained.",
        )
    reason = _REFUSED.get(model.config.model_type)
    modalities: tuple[str, ...] = getattr(type(model), "output_modalities", ("text",))
    if reason is None and "text" not in modalities:
        reason = f"it gives {' and '.join(modalities)}, not text"
    if reason is not None:
        raise IncompatibleModelError(f"{type(model).__name__} cannot be steered: {reason}.")
    module: nn.Module = model.get_decoder()
    if module is model.get_output_embeddings():  # get_decoder goes by names, and some heads are called "decoder"
        module = model.base_model
    while (inner := cast("Any", module).get_decoder() if hasattr(module, "get_decoder") else module) is not module:
        module = inner  # an encoder-decoder model inside a multimodal one
    encoder = getattr(model.config, "is_decoder", None) is False and not model.config.is_encoder_decoder
    # Of the classes that can be either, some part asks for `is_decoder`; the others are causal by themselves.
    parts = list(module.modules()) if encoder else []
    if any(hasattr(part, "is_decoder") for part in parts) and not any(getattr(p, "is_causal", False) for p in parts):
        raise IncompatibleModelError(
            f"{type(model).__name__} reads its text in both directions: its config says that it is not a decoder.",
            "If it was trained to write, load it with is_decoder=True.",
        )
    return module


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder blocks in the order in which they run.

    The blocks are the `nn.ModuleList` nearest to the decoder's root whose length equals the depth in the text config.
    Of several siblings, it is the one that holds transformers' decoder layers. A search by name ("layers") would also
    match vision towers and encoders.

    Raises:
        IncompatibleModelError: There is no such list.
    """
    from torch import nn
    from transformers.modeling_layers import GradientCheckpointingLayer

    root = decoder(model)
    if path := _paths.get(model.config.model_type):
        try:
            registered = model.get_submodule(path)
        except AttributeError:
            registered = None
        if isinstance(registered, nn.ModuleList):
            return registered
        raise IncompatibleModelError(
            f"{type(model).__name__} has no list of blocks at {path!r}, where they are registered for "
            f"{model.config.model_type!r}."
        )
    config = _text_config(model)
    depth = next(value for name in _DEPTHS if (value := getattr(config, name, None)) is not None)
    queue: deque[nn.Module] = deque([root])
    while queue:
        children = list(queue.popleft().children())
        lists = [child for child in children if isinstance(child, nn.ModuleList) and len(child) == depth]
        if len(lists) > 1:
            lists = [blocks for blocks in lists if isinstance(blocks[0], GradientCheckpointingLayer)]
        if len(lists) == 1:
            return lists[0]
        queue.extend(children)
    raise IncompatibleModelError(
        f"No list of {depth} decoder blocks was found in {type(model).__name__}.",
        f"Say where they are: emosteer.register_layers({model.config.model_type!r}, 'path.to.the.blocks').",
    )


def hidden_size(model: PreTrainedModel) -> int:
    """Return the width of the residual stream, or the total width of parallel streams."""
    config = _text_config(model)
    streams = next((value for name in _STREAMS if (value := getattr(config, name, None)) is not None), 1)
    return int(config.hidden_size * streams)


def input_device(model: PreTrainedModel) -> torch.device:
    """Return the device on which the model expects its token ids."""
    import torch

    weight = cast("Tensor", model.get_input_embeddings().weight)
    # For offloaded weights, accelerate moves the inputs itself.
    return weight.device if weight.device.type != "meta" else torch.device("cpu")


def run_blocks(model: PreTrainedModel, ids: Tensor) -> None:
    """Run token ids `[batch, tokens]` through the decoder blocks, for the sake of their hooks."""
    import torch

    ids = ids.to(input_device(model))
    with torch.inference_mode():
        if model.config.is_encoder_decoder:
            model(input_ids=ids, decoder_input_ids=ids, use_cache=False)
        else:  # the decoder alone, since a multimodal model may require other inputs
            decoder(model)(input_ids=ids, use_cache=False)


def check_blocks(model: PreTrainedModel) -> None:
    """Run three tokens, and check that the blocks return a residual stream of the width in the config.

    Raises:
        IncompatibleModelError: A block returns something else, or no block runs.
    """
    import torch

    shapes: dict[int, Any] = {}
    checker = threading.get_ident()

    def record(index: int, block: nn.Module, _args: Any, output: Any) -> None:
        if threading.get_ident() != checker:  # another thread is running the same model
            return
        first = output[0] if isinstance(output, (tuple, list)) else output
        shapes[index] = tuple(hidden_of(output, block).shape) if isinstance(first, torch.Tensor) else type(first)

    handles = [block.register_forward_hook(partial(record, i)) for i, block in enumerate(decoder_layers(model))]
    try:
        run_blocks(model, torch.zeros((1, 3), dtype=torch.long, device="cpu"))
    finally:
        for handle in handles:
            handle.remove()
    expected = (1, 3, hidden_size(model))
    # A block that does not run is fine, such as one that needs an image, unless none runs.
    for index, shape in (shapes or {0: "nothing"}).items():
        if shape != expected:
            raise IncompatibleModelError(
                f"Block {index} of {type(model).__name__} gives {shape}, "
                f"expected a residual stream of shape {expected}.",
                f"If that is no block: emosteer.register_layers({model.config.model_type!r}, 'path.to.the.blocks').",
            )


def hidden_of(output: Any, block: nn.Module | None = None) -> Tensor:
    """Return the residual stream `[batch, tokens, d_model]` in a block's output.

    Args:
        output: What the block returned.
        block: The block, whose class decides the order of the axes in a few architectures.
    """
    hidden: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    if axes := _axes(block):
        hidden = hidden.permute(axes)
    return hidden if hidden.dim() == 3 else hidden.flatten(2)


def with_hidden(output: Any, hidden: Tensor, block: nn.Module | None = None) -> Any:
    """Return a block's output with its residual stream replaced.

    Args:
        output: What the block returned.
        hidden: The new stream, in the shape that `hidden_of` returns.
        block: The block, whose class decides the order of the axes in a few architectures.
    """
    old: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    if axes := _axes(block):
        hidden = hidden.reshape([old.shape[axis] for axis in axes])
        hidden = hidden.permute([axes.index(axis) for axis in range(len(axes))])
    elif old.dim() != 3:  # parallel streams
        hidden = hidden.reshape(old.shape)
    if isinstance(output, (tuple, list)):
        return type(output)((hidden, *output[1:]))
    return hidden


def _axes(block: nn.Module | None) -> tuple[int, ...] | None:
    kind = type(block)
    module, axes = _AXES.get(kind.__qualname__, ("", None))
    return axes if kind.__module__.endswith(module) else None


def _text_config(model: PreTrainedModel) -> Any:
    """Return the config of the decoder, which may be nested in that of the model."""
    text = model.config.get_text_config(decoder=True)
    if type(text) is type(model.config):  # it may be a copy that lacks the depth of the decoder
        text = model.config
    return getattr(text, "decoder_config", text)

"""Baking: a constant tone added to biases, so that a plain model speaks in it without hooks and without emosteer.

Steering adds the same delta to the output of a block at every token. So does a bias that is a summand of that output:
in most architectures that have one, the bias of the last linear layer that writes to the residual stream. Such biases
are found by their derivative, not by a table of models. Where a config can switch on biases that the model lacks
(Llama's `mlp_bias`), they are switched on, as zeros.

Everything is tried on twins that share the model's weights. The model itself, which may be answering in another thread,
is neither run nor changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from emosteer.errors import IncompatibleModelError
from emosteer.export.constant import constant
from emosteer.layers import decoder_layers, hidden_of, hidden_size, with_hidden
from emosteer.models.token_positions import virtual_tokens
from emosteer.steering.affect import Affect
from emosteer.steering.tones import Tone, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.nn import Parameter
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

_INSTEAD = "Steer it with emosteer.steer or SteeredModel instead."

__all__ = ["bake"]


def bake(
    model: PreTrainedModel, vectors: EmotionVectors, tone: Tone | Affect | None, *, layers: Sequence[int] | None = None
) -> PreTrainedModel:
    """Make a plain model that always speaks in a tone.

        glad = emosteer.bake(model, vectors, {"joy": 0.8})
        glad.save_pretrained("glad-model")  # AutoModelForCausalLM.from_pretrained reads it, without emosteer

    At each block this equals steering, up to rounding. But a bias has no scope: it acts on every token, also on the
    first one, the attention sink, which steering leaves out. At layers after the sink has formed, later tokens are
    hardly affected. With the default dose of SmolLM2-135M the difference is less than 0.001 nats (KL divergence from
    the steered model), that of the tone itself more than 0.1. At earlier layers it is larger.

    Models whose blocks end in a bias can be baked (GPT-2, GPT-NeoX, GPT-J, OPT, BLOOM, Phi, StarCoder2, …), and those
    whose config can give them one (Llama, SmolLM3, Granite, Nemotron, Cohere, Falcon, Mamba, …). Models cannot be baked
    that have no place for a bias (Mistral, Qwen, Phi-3, MPT, most mixtures of experts) or normalise what they add
    (Gemma, OLMo 2). A baked model can be baked again, and the tones add up; `config.emosteer_baked` lists them.

    Args:
        model: A causal language model of transformers, with plain weights on one device. It is not changed.
        vectors: Vectors made for the model.
        tone: Emotion → strength in calibrated doses, or an `Affect`. None and strength 0 are no tone.
        layers: Steer after these layers instead of those of the dose.

    Returns:
        A model of the same class. It shares all weights with `model` except the changed biases; deepcopy it before you
        train either.

    Raises:
        ToneError: The tone is not the same for all rows, an emotion or a layer does not exist, or a strength is not a
            finite number up to ±10.
        IncompatibleModelError: The vectors belong to a model of another shape, the architecture has no bias that does
            what steering does, the model is wrapped in an adapter, or the weights are quantised, offloaded, or on
            several devices.
    """
    import torch

    _check_class(model)
    vectors.check_model(model)
    deltas = constant(vectors, tone, layers=layers, scope="all", done="baked")  # a bias acts on every token
    _check_weights(model)
    plain = _twin(model)
    if plain is None:
        raise IncompatibleModelError(
            f"This {type(model).__name__} has other parameters than its config says.",
            "Merge adapters into it first (merge_and_unload), or undo what was changed in its modules.",
        )
    baked, biases = _with_biases(model, deltas)
    for layer, (bias, gain) in biases.items():
        delta = deltas[layer].to(bias.device) / gain
        bias.data = (bias.detach() + delta).to(bias.dtype)  # not in place: the memory may be the model's
    steered = _logits(plain, deltas)
    error = float((_logits(baked) - steered).norm() / steered.norm())
    rounding = max(torch.finfo(weight.dtype).eps for weight in model.parameters() if weight.is_floating_point())
    if not error <= rounding**0.5:
        raise IncompatibleModelError(
            f"A {type(model).__name__} with the tone in its biases is off by {error:.2g} of the logits.", _INSTEAD
        )
    record = {
        "tone": {name: float(strength) for name, strength in named(vectors, tone).items()},
        "layers": list(deltas),
        "emosteer_version": version("emosteer"),
    }
    baked.config.emosteer_baked = [*getattr(model.config, "emosteer_baked", ()), record]
    baked.train(model.training)
    return baked


def _check_class(model: PreTrainedModel) -> None:
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise IncompatibleModelError(
            f"{type(model).__name__} is a wrapper around a model, and a bias cannot hold what it adds.",
            _INSTEAD
            if virtual_tokens(model)
            else "Bake the model inside; merge an adapter first (merge_and_unload()).",
        )


def _check_weights(model: PreTrainedModel) -> None:
    name = type(model).__name__
    if getattr(model.config, "quantization_config", None) is not None:
        raise IncompatibleModelError(
            f"The weights of this {name} are quantised.", "Bake the model in full precision, and quantise the result."
        )
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if len(devices) > 1 or devices == ["meta"]:
        raise IncompatibleModelError(
            f"The weights of this {name} are offloaded or on several devices ({', '.join(devices)}).",
            "Load it on one device, such as the CPU.",
        )


def _with_biases(
    model: PreTrainedModel, layers: Iterable[int]
) -> tuple[PreTrainedModel, dict[int, tuple[Parameter, float]]]:
    """Return a twin in which the block of each layer has a bias that steers, and these biases with their gains.

    Raises:
        IncompatibleModelError: The model has no such biases, and no switch of its config gives it any.
    """
    settings = model.config.get_text_config(decoder=True).to_dict()
    switches = [name for name, value in settings.items() if "bias" in name and value is False]
    for turned_on in ([], *([switch] for switch in switches), switches):
        twin = _twin(model, turned_on)
        biases = {} if twin is None else _biases(twin, layers)
        if twin is not None and biases.keys() == set(layers):
            return twin, biases
    raise IncompatibleModelError(
        f"A {type(model).__name__} cannot be baked: not every block has a bias that is added straight to its output, "
        "and no setting of the config brings it.",
        _INSTEAD,
    )


def _twin(model: PreTrainedModel, switches: Sequence[str] = ()) -> PreTrainedModel | None:
    """Return a model of the same class that shares the weights, in evaluation mode.

    Args:
        model: The model.
        switches: Settings of its config to turn on. Biases that come with them are zeros.

    Returns:
        The twin, or None if the settings are invalid or bring parameters other than biases.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError

    config = copy.deepcopy(model.config)
    text = config.get_text_config(decoder=True)
    for switch in switches:
        setattr(text, switch, True)
    try:
        text.validate()
    except StrictDataclassError:  # the settings contradict each other, and could not be saved
        return None
    with torch.device("meta"):
        twin: PreTrainedModel = type(model)(config)
    state = model.state_dict()
    for name, expected in twin.state_dict().items():
        weight = state.get(f"{name.removesuffix('.bias')}.weight")
        if name not in state and weight is not None:
            state[name] = torch.zeros(expected.shape, dtype=weight.dtype, device=weight.device)
    if _shapes(state) != _shapes(twin.state_dict()):
        return None
    twin.load_state_dict(state, assign=True)
    twin.tie_weights()
    for name, buffer in twin.named_buffers():
        if buffer.is_meta:  # not in the state dict, such as the frequencies of rotary embeddings
            parent, _, attribute = name.rpartition(".")
            setattr(twin.get_submodule(parent), attribute, model.get_buffer(name))
    twin.generation_config = copy.deepcopy(model.generation_config)
    twin.eval()
    return twin


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _biases(model: PreTrainedModel, layers: Iterable[int]) -> dict[int, tuple[Parameter, float]]:
    """Return the bias and the gain of each layer whose block has one; see `_summand`."""
    import torch

    blocks = decoder_layers(model)
    outputs: dict[int, Tensor] = {}
    with torch.inference_mode(False), torch.enable_grad():
        with _hooked(model, layers, outputs.setdefault):
            model(input_ids=_some_ids(model), use_cache=False)
        biases = {layer: _summand(blocks[layer], output, hidden_size(model)) for layer, output in outputs.items()}
    return {layer: bias for layer, bias in biases.items() if bias is not None}


def _summand(block: nn.Module, output: Tensor, width: int) -> tuple[Parameter, float] | None:
    """Return the last parameter of a block that is a summand of the block's output.

    At every token, the derivative of the output by such a parameter is the identity, or a multiple of it. A vector of
    signs passes back through it unchanged to the bit, in any dtype. A norm, a gate or an MLP in between changes it.

    Args:
        block: A decoder block.
        output: Its output, `[1, tokens, d_model]`, with the graph of its gradients.
        width: Width of the residual stream.

    Returns:
        The parameter and its gain, which is 1.0 unless the model scales what its blocks add.
    """
    import torch

    signs = torch.randint(2, (width,), generator=torch.Generator("cpu").manual_seed(0), device="cpu") * 2 - 1
    probe, summand = signs.to(output), None
    for parameter in block.parameters():
        if not parameter.shape == output.shape[2:] == probe.shape:  # some models have several streams
            continue
        gradients = [
            torch.autograd.grad(token, parameter, probe, retain_graph=True, materialize_grads=True)[0]
            for token in output[0]
        ]
        gains = torch.stack(gradients) * probe
        if (gain := float(gains[0, 0])) and bool((gains == gain).all()):
            summand = parameter, gain
    return summand


def _logits(model: PreTrainedModel, deltas: Mapping[int, Tensor] | None = None) -> Tensor:
    """Return the logits for a few tokens, with deltas added to the outputs of the blocks."""
    import torch

    added = deltas or {}
    with torch.no_grad(), _hooked(model, added, lambda layer, hidden: hidden + added[layer].to(hidden)):
        logits: Tensor = model(input_ids=_some_ids(model), use_cache=False).logits
    return logits


@contextmanager
def _hooked(model: PreTrainedModel, layers: Iterable[int], hook: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """Replace the output of the blocks of some layers by what the hook returns for it."""

    def after(layer: int) -> Any:
        return lambda block, _args, output: with_hidden(output, hook(layer, hidden_of(output, block)), block)

    handles = [decoder_layers(model)[layer].register_forward_hook(after(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _some_ids(model: PreTrainedModel) -> Tensor:
    """Return random token ids `[1, 4]`, always the same."""
    import torch

    weight = cast("Tensor", model.get_input_embeddings().weight)
    draw = torch.Generator("cpu").manual_seed(0)
    return torch.randint(int(weight.shape[0]), (1, 4), generator=draw, dtype=torch.long, device="cpu").to(weight.device)

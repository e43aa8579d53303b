"""Baking: a constant tone folded into biases, so that a plain model speaks in it without hooks and without emosteer.

Steering adds one delta to what a block puts out, the same at every token. So does a bias that is a plain summand of
the block's output: that of the last linear that writes to the residual stream, in most architectures that have one.
Such biases are found by their derivative, not by a table of models. Where a config can switch biases on that the model
does without (Llama's `mlp_bias`), they are switched on, as zeros.

Everything is tried on twins that share the model's weights, so the model itself, which may be answering in another
thread, is neither run nor changed.
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
from emosteer.steering.affect import Affect
from emosteer.steering.tones import Tone, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.nn import Parameter
    from transformers import PreTrainedModel

    from emosteer.vectors.emotion_vectors import EmotionVectors

INSTEAD = "Steer it with emosteer.steer or SteeredModel instead."

__all__ = ["bake"]


def bake(
    model: PreTrainedModel, vectors: EmotionVectors, tone: Tone | Affect | None, *, layers: Sequence[int] | None = None
) -> PreTrainedModel:
    """Make a plain model that always speaks in a tone.

        glad = emosteer.bake(model, vectors, {"joy": 0.8})
        glad.save_pretrained("glad-model")  # AutoModelForCausalLM.from_pretrained reads it, without emosteer

    Block for block this is steering, exact up to rounding, but a bias knows no scope: it acts on every token, also on
    the first one, the attention sink, which steering leaves out. Later tokens hardly hear of that at layers after the
    sink has formed, as those of the default dose of SmolLM2-135M: less than 0.001 nats (KL divergence from the steered
    model), where the tone itself makes more than 0.1; at layers before it they hear more.

    Models whose blocks end in a bias can be baked (GPT-2, GPT-NeoX, GPT-J, OPT, BLOOM, Phi, StarCoder2, …), and those
    whose config can give them one (Llama, SmolLM3, Granite, Nemotron, Cohere, Falcon, Mamba, …). Not so those that
    have no place for one (Mistral, Qwen, Phi-3, MPT, most mixtures of experts) or normalise what they add (Gemma,
    OLMo 2). A baked model can be baked again, and the tones add up; `config.emosteer_baked` lists them.

    Args:
        model: A causal language model of transformers, its weights plain and on one device. It stays as it is.
        vectors: Made for it.
        tone: Emotion → strength in calibrated doses, or an `Affect`; None and strength 0 are no tone.
        layers: Steer after these layers instead of those of the dose.

    Returns:
        A model of the same class. In memory it shares all weights with `model` but the biases that changed, so deepcopy
        it before you train either.

    Raises:
        ToneError: The tone is not the same for all rows, an emotion or a layer is not there, or a strength is not a
            finite number up to ±10.
        IncompatibleModelError: The vectors belong to a model of another shape, the architecture has no bias that does
            what steering does, or the weights are quantised, offloaded, or on several devices.
    """
    import torch

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
    rounding = max(torch.finfo(one.dtype).eps for one in model.parameters() if one.is_floating_point())
    if not error <= rounding**0.5:
        raise IncompatibleModelError(
            f"A {type(model).__name__} with the tone in its biases is off by {error:.2g} of the logits.", INSTEAD
        )
    record = {
        "tone": {name: float(strength) for name, strength in named(vectors, tone).items()},
        "layers": list(deltas),
        "emosteer_version": version("emosteer"),
    }
    baked.config.emosteer_baked = [*getattr(model.config, "emosteer_baked", ()), record]
    baked.train(model.training)
    return baked


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
    """A twin in which the block of each layer has a bias that steers, and these biases as of `_summand`.

    Raises:
        IncompatibleModelError: Neither the model nor a twin by any switch of its config has them.
    """
    settings = model.config.get_text_config(decoder=True).to_dict()
    switches = [name for name, value in settings.items() if "bias" in name and value is False]
    for turned in ([], *([switch] for switch in switches), switches):
        twin = _twin(model, turned)
        biases = {} if twin is None else _biases(twin, layers)
        if twin is not None and biases.keys() == set(layers):
            return twin, biases
    raise IncompatibleModelError(
        f"A {type(model).__name__} cannot be baked: not every block has a bias that is added straight to its output, "
        "and no setting of the config brings it.",
        INSTEAD,
    )


def _twin(model: PreTrainedModel, switches: Sequence[str] = ()) -> PreTrainedModel | None:
    """A model of the same class that shares the weights, in evaluation mode.

    Args:
        model: The model.
        switches: Settings of its config to turn on. Biases that come with them are zeros.

    Returns:
        The twin, or None if there is no such model, or its parameters are not those of the model and biases.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError

    config = copy.deepcopy(model.config)
    text = config.get_text_config(decoder=True)
    for switch in switches:
        setattr(text, switch, True)
    try:
        text.validate()
    except StrictDataclassError:  # the settings do not go together, and could not be saved
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
        if buffer.is_meta:  # those that no state dict holds, such as the frequencies of rotary embeddings
            parent, _, own = name.rpartition(".")
            setattr(twin.get_submodule(parent), own, model.get_buffer(name))
    twin.generation_config = copy.deepcopy(model.generation_config)
    twin.eval()
    return twin


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _biases(model: PreTrainedModel, layers: Iterable[int]) -> dict[int, tuple[Parameter, float]]:
    """Layer → what `_summand` finds in its block, for the layers where it finds something."""
    import torch

    blocks = decoder_layers(model)
    outputs: dict[int, Tensor] = {}
    with torch.inference_mode(False), torch.enable_grad():
        with _hooked(model, layers, outputs.setdefault):
            model(input_ids=_some_ids(model), use_cache=False)
        found = {layer: _summand(blocks[layer], output, hidden_size(model)) for layer, output in outputs.items()}
    return {layer: bias for layer, bias in found.items() if bias is not None}


def _summand(block: nn.Module, output: Tensor, width: int) -> tuple[Parameter, float] | None:
    """The last parameter of a block that is a plain summand of the block's output.

    At every token the output's derivative by such a parameter is the identity, or a multiple of it. A vector of signs
    passes back through that unchanged to the bit, in any dtype; a norm, a gate or an MLP in between would change it.

    Args:
        block: A decoder block.
        output: What it gave, `[1, tokens, d_model]`, with the graph of its gradients.
        width: Of the residual stream.

    Returns:
        The parameter and its gain, which is 1.0 unless the model scales what its blocks add.
    """
    import torch

    signs = torch.randint(2, (width,), generator=torch.Generator().manual_seed(0)) * 2 - 1
    probe, found = signs.to(output), None
    for parameter in block.parameters():
        if not parameter.shape == output.shape[2:] == probe.shape:  # some models have several streams
            continue
        passed = [
            torch.autograd.grad(token, parameter, probe, retain_graph=True, materialize_grads=True)[0]
            for token in output[0]
        ]
        gains = torch.stack(passed) * probe
        if (gain := float(gains[0, 0])) and bool((gains == gain).all()):
            found = parameter, gain
    return found


def _logits(model: PreTrainedModel, deltas: Mapping[int, Tensor] | None = None) -> Tensor:
    """What a model says to a few tokens, with deltas added after its blocks by hand."""
    import torch

    given = deltas or {}
    with torch.no_grad(), _hooked(model, given, lambda layer, hidden: hidden + given[layer].to(hidden)):
        logits: Tensor = model(input_ids=_some_ids(model), use_cache=False).logits
    return logits


@contextmanager
def _hooked(model: PreTrainedModel, layers: Iterable[int], hook: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """While the block is open, what the hook makes of a layer's residual stream takes its place."""

    def after(layer: int) -> Any:
        return lambda block, _args, output: with_hidden(output, hook(layer, hidden_of(output, block)), block)

    handles = [decoder_layers(model)[layer].register_forward_hook(after(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _some_ids(model: PreTrainedModel) -> Tensor:
    """Token ids `[1, 4]` drawn at random, always the same."""
    import torch

    weight = cast("Tensor", model.get_input_embeddings().weight)
    draw = torch.Generator().manual_seed(0)
    return torch.randint(int(weight.shape[0]), (1, 4), generator=draw).to(weight.device)

"""The names of arrays: which emotion, and which layer. A number is a layer only where the name says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from emosteer.errors import FormatError

_STACK = (
    r"(?:(?:(?:base_model|language_model|model|transformer|gpt_neox|backbone|decoder)\.)*"
    r"(?:(?i:layers?|blocks?|decoder_(?:layer|block)|directions?|vectors?|steering_vectors?|control_vectors?|"
    r"(?:hook_)?resid_post)[._/ ]?|h[._/]|L))"
)
_NUMBER = r"(?P<layer>-?\d{1,6})"
_OUTPUT = r"(?:[._/](?:hook_)?resid_post)?"
_EMOTION = r"(?P<emotion>[A-Za-z][\w -]*?)"
_SPELLINGS = tuple(
    re.compile(spelling, re.ASCII)
    for spelling in (
        _NUMBER,
        f"{_STACK}{_NUMBER}{_OUTPUT}",
        f"{_EMOTION}[./]{_NUMBER}",
        f"{_EMOTION}[._/ -]{_STACK}{_NUMBER}{_OUTPUT}",
    )
)
_KNOWN = "direction.7, layer.7, model.layers.7, blocks.7.hook_resid_post, 7, or with an emotion joy.7, joy/layer.7"

_UNNAMED = re.compile(r"(?i:|directions?|layers?|blocks?|h|vectors?|(steering|control)_vectors?|tensor|data|d|v|arr_0)")
"""Names that name no emotion: the file does."""

_BEFORE = {"pre", "input", "inputs", "hidden", "embed", "embeddings"}  # of a block: what another block put out
_SITES = {
    *("attn", "attention", "mlp", "ffn", "ff", "moe", "mid", "q", "k", "v", "z", "o", "qkv", "proj", "gate", "router"),
    *("norm", "ln", "layernorm", "logits", "unembed", "lm", "resid", "residual"),
    *_BEFORE,
}
_COUNTED = {
    *("pc", "pca", "component", "components", "head", "heads", "expert", "experts", "feature", "features", "latent"),
    *("neuron", "neurons", "rank", "sae", "probe", "cluster", "dim", "position", "pos", "token", "sample", "seed"),
    *("fold", "row", "arr", "mean", "std", "bias", "weight", "weights", "scale", "basis", "svd", "eigenvector"),
}
"""Words whose number counts something else than layers."""

__all__ = ["Place", "emotion_of", "is_block_output", "names_site", "places"]


class Place(NamedTuple):
    """What the name of an array of one layer says.

    Args:
        emotion: Its emotion, or None if the file names it.
        layer: Its layer, or None if the caller names it.
    """

    emotion: str | None
    layer: int | None

    def __str__(self) -> str:
        layer = "one layer" if self.layer is None else f"layer {self.layer}"
        return f"{layer} of {self.emotion}" if self.emotion else layer


class _UnclearError(Exception):
    """A name that does not say, or not clearly, which layer's output it is of."""


def places(names: Iterable[str], file: str) -> dict[str, Place]:
    """Tell the emotion and the layer of arrays of one layer each by their names.

    Args:
        names: Of all such arrays of a file.
        file: Its name, for errors.

    Raises:
        FormatError: A name is of another site than block outputs, or does not clearly name a layer.
    """
    understood: dict[str, Place] = {}
    unclear: dict[str, str] = {}
    for name in names:
        try:
            understood[name] = _place(name)
        except _UnclearError as error:
            unclear[name] = str(error)
    if unclear:
        name, reason = next(iter(unclear.items()))
        examples = [f"{known[:40]!r} as {place}" for known, place in list(understood.items())[:3]]
        others = f"Understood: {', '.join(examples)}. " if examples else ""
        raise FormatError(
            f"The array {name[:70]!r} of {file} {reason}.",
            f"{others}Known names are {_KNOWN}; to give it one: "
            "safetensors.torch.save_file({'joy.7': tensor}, 'NAME.safetensors')",
        )
    return understood


def emotion_of(name: str, file: str) -> str | None:
    """Return the emotion of an array of all layers by its name, or None if the file names it.

    Raises:
        FormatError: It names another site than block outputs.
    """
    if _UNNAMED.fullmatch(name):
        return None
    if sites := [word for word in _words(name) if word in _SITES]:
        raise FormatError(
            f"The array {name[:70]!r} of {file} is of {' '.join(sites)}, expected block outputs.",
            "If that is not what the name says, save it under the name of an emotion.",
        )
    return name


def is_block_output(text: str) -> bool:
    """Return whether a text, such as `blocks.7.hook_resid_post`, names the output of a block."""
    return any(spelling.fullmatch(_plain(text)) for spelling in _SPELLINGS[:2])


def names_site(text: str) -> bool:
    """Return whether a text names another site than block outputs."""
    return not is_block_output(text) and not _SITES.isdisjoint(_words(text))


def _place(name: str) -> Place:
    match = next(filter(None, (spelling.fullmatch(_plain(name)) for spelling in _SPELLINGS)), None)
    found = match.groupdict() if match else {}
    emotion = found.get("emotion")
    words = _words((emotion or "") if match else name)
    if match is None and _UNNAMED.fullmatch(name):
        return Place(None, None)
    if sites := [word for word in words if word in _SITES]:
        before = " (the input of block N is the output of block N - 1)" if _BEFORE & set(sites) else ""
        raise _UnclearError(f"is of {' '.join(sites)}, expected block outputs{before}")
    if (counted := [word for word in words if word in _COUNTED]) and re.search(r"\d", name):
        raise _UnclearError(f"has a number, which is that of {' '.join(counted)}, not of a layer")
    if match is None:
        if re.search(r"\d", name):
            raise _UnclearError("has a number in its name that may be a layer or not")
        return Place(name, None)
    if found["layer"].startswith("-"):
        raise _UnclearError(f"is of layer {found['layer']}, expected one that is counted from 0 up")
    return Place(None if emotion is None or _UNNAMED.fullmatch(emotion) else emotion, int(found["layer"]))


def _plain(name: str) -> str:
    """The name with `layers[7]` as `layers.7`."""
    return re.sub(r"\[(-?\d+)\]", r".\1", name)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.lower())

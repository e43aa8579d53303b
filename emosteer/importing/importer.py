"""Emotion vectors from the arrays of foreign files: their emotions, their layers, and what strength 1.0 adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer._util.names import EMOTION_NAME, NAME_RULE
from emosteer._util.numbers import layer_numbers
from emosteer.concepts import ConceptSet
from emosteer.errors import FormatError, IncompatibleModelError, InputError, ToneError, warn
from emosteer.importing.architectures import may_be
from emosteer.importing.declared import check_factor
from emosteer.importing.files import ForeignFile, read
from emosteer.importing.names import Place, emotion_of, places
from emosteer.layers import decoder_layers, hidden_size
from emosteer.models.activations import collect
from emosteer.models.fingerprint import base_model_of
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.types import Dose

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_DOSE = 1_000.0  # the most that a vector file may hold

__all__ = ["convert", "load"]

Rows = dict[int, "Tensor"]
"""Layer → vector `[d_model]`, as in the file."""


def load(
    files: str | Path | Sequence[str | Path],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    emotion: str | Sequence[str] | None = None,
    coefficient: float = 1.0,
    layers: Sequence[int] | None = None,
) -> EmotionVectors:
    """Read steering vectors of other libraries as one set of emotion vectors.

    Strength 1.0 of an emotion adds `coefficient` times the vector of the file to the output of each block, as repeng,
    llama.cpp and steering-vectors do. It does so at every token but the first of a sequence, which is never steered.

    Args:
        files: One file, or several that become one set. See `read` for the formats.
        model: The model that the vectors were made for.
        tokenizer: Its tokenizer.
        emotion: Names of the emotions, in the order of the files. By default, the name of the array; where it has none,
            that of the file.
        coefficient: The factor that the producer would apply to the vectors. A negative one reverses them.
        layers: The layers to keep, 0-based; by default all that have a vector. Where a file does not say which layer
            its one direction is of, the one layer that is named here is its layer.

    Returns:
        The vectors, with the producer's dose for each emotion.

    Raises:
        FormatError: A file cannot be read, its arrays are not clearly vectors of layers, or it says that they are not
            for adding to the output of blocks.
        IncompatibleModelError: The vectors differ from the model in width or in number of layers.
        InputError: No file is named, the coefficient is 0 or not a finite number, or the names do not match the
            emotions in the files.
        ToneError: A layer has no vector, or is not a whole number.
    """
    paths = [files] if isinstance(files, (str, Path)) else list(files)
    foreign = [read(path) for path in paths]
    return convert(foreign, model, tokenizer, emotion=emotion, coefficient=coefficient, layers=layers)


def convert(
    files: Sequence[ForeignFile],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    emotion: str | Sequence[str] | None = None,
    coefficient: float = 1.0,
    layers: Sequence[int] | None = None,
) -> EmotionVectors:
    """Turn files that have been read into one set of emotion vectors; see `load`.

    Doses are in units of the residual norm. As in extraction, it is measured on the neutral texts of the English
    concept set.

    Args:
        files: Results of `read`.
        model: As for `load`.
        tokenizer: As for `load`.
        emotion: As for `load`.
        coefficient: As for `load`.
        layers: As for `load`.

    Returns:
        As `load`.

    Raises:
        FormatError: As for `load`.
        IncompatibleModelError: As for `load`.
        InputError: As for `load`.
        ToneError: As for `load`.
    """
    import torch

    if not files:
        raise InputError("No file to import is named.", "Name at least one file of steering vectors.")
    factor, chosen = _coefficient(coefficient), _layers(layers)
    depth, width = len(decoder_layers(model)), hidden_size(model)
    sets: list[tuple[str, Rows, ForeignFile]] = []
    for file in files:
        check_factor(file.contents, file.name, factor)
        said = file.contents.model_type
        if said is not None and not may_be(said, model.config.model_type):
            warn(f"{file.name} says that it is for {said}, the model is {model.config.model_type}.")
        sets += [
            (name, _kept(rows, chosen, name), file) for name, rows in _emotions(file, depth, width, chosen).items()
        ]
    names = _names([name for name, _, _ in sets], emotion)
    kept = tuple(sorted(sets[0][1]))
    for name, (_, rows, _) in zip(names, sets, strict=True):
        if tuple(sorted(rows)) != kept:
            raise FormatError(
                f"{names[0]!r} has vectors at the layers {_listed(kept)}, {name!r} at {_listed(rows)}.",
                "Name layers that all of them have, or import each into a folder of its own.",
            )
    concepts = ConceptSet.load("en")
    texts = concepts.neutral["en"].sentences
    norms = collect(model, tokenizer, texts, layers=kept).norms.mean(0)
    directions: dict[str, Tensor] = {}
    doses: dict[str, Dose] = {}
    for name, (_, rows, _) in zip(names, sets, strict=True):
        deltas = factor * torch.stack([rows[layer] for layer in kept]).double()
        lengths = deltas.norm(dim=-1, keepdim=True)
        directions[name] = (deltas / lengths).float()
        doses[name] = _dose(name, lengths.squeeze(-1) / norms.double(), kept)
    return EmotionVectors(
        directions=directions,
        residual_norm=norms,
        layers=kept,
        base_model=base_model_of(model),
        doses=doses,
        extraction={
            "method": "imported",
            "sources": {
                name: {
                    "format": file.format,
                    "producer": file.contents.producer,
                    "sha256": file.sha256,
                    "coefficient": factor,
                }
                for name, (_, _, file) in zip(names, sets, strict=True)
            },
            "norms_from": {"concepts": concepts.name, "concepts_digest": concepts.digest, "neutral": len(texts)},
        },
    )


def _coefficient(value: object) -> float:
    factor = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(factor) or factor == 0:
        raise InputError(
            f"The coefficient is {str(value)[:20]!r}, it must be a finite number other than 0.",
            "1.0 takes the vectors as they are.",
        )
    return factor


def _layers(layers: Any) -> tuple[int, ...] | None:
    """Return the layers to keep, one or several, as plain numbers, or None for all."""
    if layers is None:
        return None
    chosen = layer_numbers(layers)
    if not chosen:
        raise ToneError("No layer is to be kept.", "Name at least one, or leave layers out for all.")
    return chosen


def _emotions(file: ForeignFile, depth: int, width: int, layers: Sequence[int] | None = None) -> dict[str, Rows]:
    """Sort the arrays of a file by emotion and layer.

    An array `[n_layers, d_model]` is an emotion, one of `[d_model]` or `[1, d_model]` is one layer of an emotion.
    """
    import torch

    known = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    single = file.contents.single
    emotions: dict[str, Rows] = {}
    for key, array in file.contents.arrays.items():
        called = _called(key, file)
        if array.dtype not in known:
            raise FormatError(f"{called} holds {str(array.dtype)[6:]}, expected floating-point numbers.")
        shape = list(array.shape)
        if array.ndim not in (1, 2):
            raise FormatError(
                f"{called} has the shape {shape}, expected [{depth}, {width}] or, for one layer, [{width}]."
            )
        if shape[-1] != width:
            raise IncompatibleModelError(
                f"{called} is {shape[-1]} wide, the residual stream of the model is {width} wide.",
                "Name the model that the vectors were made for.",
            )
        if not bool(array.isfinite().all()):
            raise FormatError(f"{called} holds numbers that are not finite.")
        if key in single:
            continue
        if shape[0] != depth:
            raise IncompatibleModelError(
                f"{called} has {shape[0]} rows, the model has {depth} layers.",
                "There must be one row a layer, the output of each block; hidden states have the embeddings as row "
                "0, which must be left out."
                if shape[0] == depth + 1
                else "There must be one row a layer; rows of zeros stand for layers without a vector.",
            )
        emotion = emotion_of(key, file.name) or file.name
        if emotion in emotions:
            raise FormatError(f"{called} is of {emotion[:70]!r}, as is another.")
        emotions[emotion] = dict(enumerate(array.unbind()))
    for key, place in places(single, file.name).items():
        called, emotion, layer = _called(key, file), place.emotion or file.name, _layer(key, place, file, depth, layers)
        rows = emotions.setdefault(emotion, {})
        if layer in rows:
            raise FormatError(f"{called} is of layer {layer}, as is another of {emotion[:70]!r}.")
        rows[layer] = single[key].reshape(width)
    return emotions


def _called(key: str, file: ForeignFile) -> str:
    return f"The array {key[:70]!r} of {file.name}" if key else f"The array of {file.name}"


def _layer(key: str, place: Place, file: ForeignFile, depth: int, layers: Sequence[int] | None) -> int:
    """Return the layer of an array, by its name or else the caller's only one."""
    called, layer = _called(key, file), place.layer
    if layer is None:
        if layers is None or len(layers) != 1:
            said = file.contents.declared.get("layer")
            raise FormatError(
                f"{called} is of one layer, and "
                f"{'does not say of which' if said is None else f'the file says layer {str(said)[:20]}'}.",
                "Name it, counted from 0, which is the output of the first block: layers=[15], or --layers 15.",
            )
        (layer,) = layers
    if not 0 <= layer < depth:
        raise IncompatibleModelError(
            f"{called} is of layer {layer}, the model has layers 0 to {depth - 1}.",
            "Name the model that the vectors were made for."
            if place.layer is not None
            else "Name one of them: layers=[15], or --layers 15.",
        )
    return layer


def _kept(rows: Rows, layers: Sequence[int] | None, name: str) -> Rows:
    """Return the rows of the layers to keep. A row of zeros stands for a layer without a vector."""
    nonzero = {layer: row for layer, row in rows.items() if bool(row.any())}
    if not nonzero:
        raise FormatError(f"All vectors of {name[:70]!r} are zero.")
    if layers is None:
        return nonzero
    if missing := sorted(set(layers) - nonzero.keys()):
        raise ToneError(f"{name[:70]!r} has no vector at layer {missing[0]}.", f"It has: {_listed(nonzero)}.")
    return {layer: nonzero[layer] for layer in layers}


def _names(own: Sequence[str], chosen: str | Sequence[str] | None) -> list[str]:
    """Return the caller's names for the emotions, or by default those of the files."""
    names = list(own) if chosen is None else [chosen] if isinstance(chosen, str) else list(chosen)
    listed = ", ".join(repr(name[:70]) for name in own[:40])
    if len(names) != len(own):
        raise InputError(
            f"{len(names)} names are given for what is found: {listed}.", "Give one name for each, in this order."
        )
    for name in names:
        if not EMOTION_NAME.fullmatch(name):
            raise InputError(
                f"{name[:70]!r} is not a name for an emotion.",
                f"{NAME_RULE} Name each emotion with --emotion: {listed}.",
            )
        if names.count(name) > 1:
            raise InputError(f"Two emotions are called {name!r}.", f"Name each emotion with --emotion: {listed}.")
    return names


def _dose(name: str, shares: Tensor, layers: tuple[int, ...]) -> Dose:
    """Return the dose that adds `shares[l]` residual norms at layer l. As in other doses, the weights sum to 1."""
    total = float(shares.sum())
    if not total <= MAX_DOSE:
        raise InputError(
            f"The vectors of {name!r} would add {total:.3g} times the residual norm, at most {MAX_DOSE:g} is a dose.",
            "Give a smaller coefficient.",
        )
    return Dose(total, layers, tuple(float(share) / total for share in shares))


def _listed(layers: Mapping[int, Any] | Sequence[int]) -> str:
    return ", ".join(map(str, sorted(layers)))

"""Arrays of a foreign file → emotion vectors: which array is which emotion and layer, and what strength 1.0 adds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer._util.names import NAME_RULE
from emosteer.concepts import ConceptSet
from emosteer.concepts.conceptset import NAME
from emosteer.errors import FormatError, IncompatibleModelError, InputError, ToneError, warn
from emosteer.importing.files import ForeignFile, read
from emosteer.layers import decoder_layers, hidden_size
from emosteer.models.activations import collect
from emosteer.models.fingerprint import base_model_of
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.types import Dose

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_DOSE = 1_000.0  # what a vector file may hold

_ONE_LAYER = re.compile(r"(?:(?P<emotion>[A-Za-z][\w.-]*?)[._/-]?)?(?P<layer>\d{1,6})", re.ASCII)
_UNNAMED = {"direction", "layer", "layers"}  # before a number, these name no emotion

__all__ = ["convert", "load"]

Rows = dict[int, "Tensor"]
"""Layer → `[d_model]`, as the file has it."""


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

    Strength 1.0 of an emotion adds `coefficient` times the vector of the file to each block's output, as repeng,
    llama.cpp and steering-vectors do, at every token but the first of a sequence, which emosteer never steers.

    Args:
        files: One file, or several that become one set. See `read` for the formats.
        model: The model they were made for.
        tokenizer: Its tokenizer.
        emotion: What to call what is found, one name each in its order; by default what the file calls it or, where
            it calls it nothing, what the file is called.
        coefficient: What the producer would multiply the vectors with; negative turns them round.
        layers: Keep only these, 0-based; by default all that have a vector.

    Raises:
        FormatError: A file cannot be read, or holds no vectors for each layer of a model.
        IncompatibleModelError: The vectors have another width or number of layers than the model.
        InputError: The coefficient is not a finite number other than 0, or the names do not fit what was found.
        ToneError: A layer is not there.
    """
    paths = [files] if isinstance(files, (str, Path)) else files
    found = [read(path) for path in paths]
    return convert(found, model, tokenizer, emotion=emotion, coefficient=coefficient, layers=layers)


def convert(
    files: Sequence[ForeignFile],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    emotion: str | Sequence[str] | None = None,
    coefficient: float = 1.0,
    layers: Sequence[int] | None = None,
) -> EmotionVectors:
    """As `load`, for files that have been read.

    The residual norms, in whose units a dose is, are measured as extraction does: on the neutral texts of the English
    concept set.

    Args:
        files: From `read`.
        model: As for `load`.
        tokenizer: As for `load`.
        emotion: As for `load`.
        coefficient: As for `load`.
        layers: As for `load`.

    Raises:
        FormatError: As for `load`.
        IncompatibleModelError: As for `load`.
        InputError: As for `load`.
        ToneError: As for `load`.
    """
    import torch

    factor = _coefficient(coefficient)
    depth, width = len(decoder_layers(model)), hidden_size(model)
    sets: list[tuple[str, Rows, ForeignFile]] = []
    for file in files:
        if file.contents.model_type not in (None, model.config.model_type):
            warn(f"{file.name} says that it is for {file.contents.model_type}, the model is {model.config.model_type}.")
        sets += [(name, _kept(rows, layers, name), file) for name, rows in _emotions(file, depth, width).items()]
    names = _names([name for name, _, _ in sets], emotion)
    kept = tuple(sorted(sets[0][1]))
    for name, (_, rows, _) in zip(names, sets, strict=True):
        if tuple(sorted(rows)) != kept:
            raise FormatError(
                f"{names[0]!r} has vectors at the layers {_told(kept)}, {name!r} at {_told(rows)}.",
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


def _coefficient(given: object) -> float:
    factor = float(given) if isinstance(given, Real) and not isinstance(given, bool) else math.nan
    if not math.isfinite(factor) or factor == 0:
        raise InputError(
            f"The coefficient is {str(given)[:20]!r}, it must be a finite number other than 0.",
            "1.0 takes the vectors as they are.",
        )
    return factor


def _emotions(file: ForeignFile, depth: int, width: int) -> dict[str, Rows]:
    """Sort the arrays of a file: `[n_layers, d_model]` is an emotion, `[d_model]` one layer of an emotion.

    Arrays of one layer are called by its number alone, `direction.7`, `layer.7`, or `joy.7` where there are several
    emotions.
    """
    import torch

    known = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    found: dict[str, Rows] = {}
    for key, array in file.contents.arrays.items():
        called = f"The array {key[:70]!r} of {file.name}"
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
        if array.ndim == 2:
            if shape[0] != depth:
                raise IncompatibleModelError(
                    f"{called} has {shape[0]} rows, the model has {depth} layers.",
                    "There must be one row a layer, the output of each block; hidden states have the embeddings as row "
                    "0, which must be left out."
                    if shape[0] == depth + 1
                    else "There must be one row a layer; rows of zeros stand for layers without a vector.",
                )
            emotion, rows = key or file.name, dict(enumerate(array.unbind()))
        else:
            emotion, layer = _one_layer(key, called, file.name)
            if layer >= depth:
                raise IncompatibleModelError(
                    f"{called} is of layer {layer}, the model has layers 0 to {depth - 1}.",
                    "Name the model that the vectors were made for.",
                )
            rows = {layer: array}
        if not bool(array.isfinite().all()):
            raise FormatError(f"{called} holds numbers that are not finite.")
        if twice := sorted(found.get(emotion, {}).keys() & rows.keys()):
            raise FormatError(f"{called} is of layer {twice[0]}, as is another of {emotion[:70]!r}.")
        found.setdefault(emotion, {}).update(rows)
    return found


def _one_layer(key: str, called: str, file: str) -> tuple[str, int]:
    """`joy.7` → joy and 7; where the array names no emotion, the file does."""
    match = _ONE_LAYER.fullmatch(key)
    if match is None:
        raise FormatError(
            f"{called} is of one layer, and its name does not end in the number of a layer.",
            "Call it direction.7, or joy.7, for the output of block 7, counted from 0.",
        )
    emotion = match["emotion"]
    return (file if emotion is None or emotion in _UNNAMED else emotion), int(match["layer"])


def _kept(rows: Rows, layers: Sequence[int] | None, name: str) -> Rows:
    """The rows that steer, among those asked for: a row of zeros stands for a layer without a vector."""
    there = {layer: row for layer, row in rows.items() if bool(row.any())}
    if not there:
        raise FormatError(f"All vectors of {name[:70]!r} are zero.")
    if layers is None:
        return there
    if not layers:
        raise ToneError("No layer is to be kept.", "Name at least one, or leave layers out for all.")
    if missing := sorted(set(layers) - there.keys()):
        raise ToneError(f"{name[:70]!r} has no vector at layer {missing[0]}.", f"It has: {_told(there)}.")
    return {layer: there[layer] for layer in layers}


def _names(found: Sequence[str], given: str | Sequence[str] | None) -> list[str]:
    """What the emotions are called: as the caller says, else as the files do."""
    names = list(found) if given is None else [given] if isinstance(given, str) else list(given)
    told = ", ".join(repr(name[:70]) for name in found[:40])
    if len(names) != len(found):
        raise InputError(
            f"{len(names)} names are given for what is found: {told}.", "Give one name for each, in this order."
        )
    for name in names:
        if not NAME.fullmatch(name):
            raise InputError(
                f"{name[:70]!r} is not a name for an emotion.", f"{NAME_RULE} Name each emotion with --emotion: {told}."
            )
        if names.count(name) > 1:
            raise InputError(f"Two emotions are called {name!r}.", f"Name each emotion with --emotion: {told}.")
    return names


def _dose(name: str, shares: Tensor, layers: tuple[int, ...]) -> Dose:
    """The dose of which layer l gets `shares[l]` residual norms; its weights sum to 1, as those of other doses do."""
    total = float(shares.sum())
    if not total <= MAX_DOSE:
        raise InputError(
            f"The vectors of {name!r} would add {total:.3g} times the residual norm, at most {MAX_DOSE:g} is a dose.",
            "Give a smaller coefficient.",
        )
    return Dose(total, layers, tuple(float(share) / total for share in shares))


def _told(layers: Mapping[int, Any] | Sequence[int]) -> str:
    return ", ".join(map(str, sorted(layers)))

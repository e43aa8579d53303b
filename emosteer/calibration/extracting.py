"""Extraction with doses: what `emosteer.extract` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer import extraction
from emosteer._util.layout import VECTORS_FILE
from emosteer.calibration.quick import quick_doses
from emosteer.concepts import ConceptSet
from emosteer.errors import InputError, warn
from emosteer.model import SteeredModel
from emosteer.models.activations import Progress
from emosteer.models.fingerprint import base_model_of
from emosteer.vectors.emotion_vectors import EmotionVectors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["extract", "extract_languages", "with_quick_doses"]


def extract(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    concepts: ConceptSet,
    *,
    method: str = "mean_difference",
    layers: Sequence[int] | None = None,
    pooling: str = "mean",
    batch_size: int = 32,
    progress: bool | Progress = True,
) -> EmotionVectors:
    """Extract emotion vectors from the activations of a model that reads a concept set, and their doses.

    The model reads every word in a short frame, every sentence, every situation and the neutral texts. At each layer
    the method contrasts the texts of an emotion with those of the other emotions (with neutral text if there is only
    one). The principal components that carry half of the variance of neutral text are projected out, and the rest is
    scaled to unit length. Held-out texts are not read.

    Then a quick calibration finds the dose at which each emotion moves the model by the same divergence, so that
    strength 1.0 means the same on every model; `emosteer.calibrate` refines it. Where that fails, a warning says why,
    and the doses are the fallback.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.
        concepts: The emotions and their texts.
        method: A key of `emosteer.extraction.METHODS`: `"mean_difference"`, `"pca"` or `"logistic"`.
        layers: Layers to keep, 0-based; all by default.
        pooling: `"mean"` over content tokens, or `"last"`.
        batch_size: Number of texts that are read at a time.
        progress: Whether to show progress on standard error, or a function to report the texts read to, as for
            `collect`.

    Returns:
        Vectors with doses, residual norms, neutral mean and basis, and the split-half stability of each emotion. This
        is the cosine between the directions of two halves of its texts, averaged over layers (none with too few texts).

    Raises:
        InputError: The method or pooling is unknown, or a text cannot be read.
        ToneError: A layer does not exist.
        ConceptError: The set has no emotions, or the model cannot tell two of them apart.
    """
    vectors = extraction.extract(
        model,
        tokenizer,
        concepts,
        method=method,
        layers=layers,
        pooling=pooling,
        batch_size=batch_size,
        progress=progress,
    )
    return with_quick_doses(model, tokenizer, vectors, progress=progress is True)


def extract_languages(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    languages: Sequence[str],
    folder: Path,
    *,
    progress: bool = True,
) -> dict[str, EmotionVectors]:
    """Extract vectors from the concept set of each language, and from all of them together, each into a folder.

    What is there already is not extracted again.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.
        languages: Codes of built-in concept sets.
        folder: Where the folders of the vectors are: `vectors-en`, `vectors-zh`, `vectors-en-zh`.
        progress: Whether to show progress on standard error.

    Returns:
        What they were made from, as `"en"` or `"en,zh"` → vectors.

    Raises:
        InputError: A folder holds vectors of another model or of other texts, or it cannot be written.
        ConceptError: A language has no concept set.
    """
    sources = {made_from: ConceptSet.load(made_from) for made_from in (*languages, ",".join(languages))}
    vectors = {}
    for made_from, concepts in sources.items():
        place = folder / f"vectors-{made_from.replace(',', '-')}"
        if not (place / VECTORS_FILE).is_file():
            extract(model, tokenizer, concepts, progress=progress).save_pretrained(place)
        kept = EmotionVectors.from_pretrained(place)  # also new ones, so that they are the same to the digit next time
        if (kept.base_model, kept.extraction.get("concepts_digest")) != (base_model_of(model), concepts.digest):
            raise InputError(
                f"{place} holds vectors of another model, or of other texts than {concepts.name}.",
                "Name another folder, or move them away.",
            )
        vectors[made_from] = kept
    return vectors


def with_quick_doses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vectors: EmotionVectors, *, progress: bool = True
) -> EmotionVectors:
    """Return vectors with the doses of the quick calibration, or as they are, with a warning, where it fails.

    Args:
        model: The model that they are for.
        tokenizer: Its tokenizer.
        vectors: The vectors.
        progress: Whether to show progress on standard error.
    """
    try:
        return replace(vectors, doses=quick_doses(SteeredModel(model, tokenizer, vectors), progress=progress))
    except Exception as error:  # whatever a model may raise: the vectors took minutes, and can be used without doses
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        warn(f"The doses could not be measured, so strength 1.0 is the fallback. {reason[:500]}")
        return vectors

"""The model's states after words: read at the end of frames and cached on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emosteer._util.atomic import write_folder
from emosteer._util.text import checked
from emosteer.errors import InputError
from emosteer.eval.cache import digest_of, model_digest
from emosteer.layers import decoder_layers, input_device
from emosteer.models.activations import collect

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.model import SteeredModel

States = NDArray[np.float32]

BATCH = 64

__all__ = ["Run", "embedded_words", "layer_grid", "word_shapes", "word_states"]


@dataclass(frozen=True)
class Run:
    """Settings that all parts of one battery share.

    Args:
        steered: The model, its tokenizer and its emotion vectors.
        layers: Grid of the layers that are read.
        permutations: Number of permutations for every p.
        seed: Seed of everything that is drawn.
        cache: Folder of cached states, or None.
        progress: Whether to show progress on standard error, as for `collect`.
    """

    steered: SteeredModel
    layers: tuple[int, ...]
    permutations: int
    seed: int
    cache: Path | None
    progress: bool

    @property
    def effort(self) -> dict[str, Any]:
        """Permutations and seed for statistics that only shuffle."""
        return {"permutations": self.permutations, "seed": self.seed}

    @property
    def less_effort(self) -> dict[str, Any]:
        """Permutations and seed for statistics that refit for each permutation."""
        return {"permutations": self.permutations // 5, "seed": self.seed}

    def states(self, words: Sequence[str], frame: str) -> States:
        """Return `word_states` of this model at the grid."""
        model, tokenizer = self.steered.model, self.steered.tokenizer
        options: dict[str, Any] = {"layers": self.layers, "cache": self.cache, "progress": self.progress}
        return word_states(model, tokenizer, words, frame, digest=self._digest if self.cache else None, **options)

    @cached_property
    def _digest(self) -> str | None:
        """Every weight is read for it, so once a battery."""
        return model_digest(self.steered.model, self.steered.tokenizer)

    def inputs(self, words: Sequence[str]) -> NDArray[np.float64]:
        """Return `embedded_words` of this model."""
        return embedded_words(self.steered.model, self.steered.tokenizer, words).astype(np.float64)


def layer_grid(model: PreTrainedModel) -> tuple[int, ...]:
    """Return six or seven layers from a third of the depth to the last but one."""
    n = len(decoder_layers(model))
    return tuple(range(n // 3, max(n - 1, n // 3 + 1), max(1, n // 9)))


def word_states(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    words: Sequence[str],
    frame: str,
    *,
    layers: Sequence[int],
    cache: Path | None = None,
    digest: str | None = None,
    progress: bool = True,
) -> States:
    """Read the residual stream at the last token of a frame, for each word put into it.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.
        words: Words to put into the frame.
        frame: Text with `{}` where the word goes.
        layers: Layers to read.
        cache: Folder of earlier states, by model, tokenizer, frame, layers and words; None keeps nothing.
        digest: `model_digest` of the two, if it is known.
        progress: Whether to show progress on standard error, as for `collect`.

    Returns:
        `[n_words, n_layers, d_model]`, float32.

    Raises:
        InputError: A word makes the frame longer than the model's context, or the cache cannot be read or written.
    """
    from safetensors.numpy import save

    file = None
    if cache and (digest := digest or model_digest(model, tokenizer)):
        file = cache / f"{digest_of([digest, list(words), frame, list(layers)])[:32]}.safetensors"
        if file.is_file():
            return _load(file)
    texts = [frame.replace("{}", word) for word in words]
    states: States = collect(
        model, tokenizer, texts, layers=layers, pooling="last", batch_size=BATCH, progress=progress
    ).states.numpy()
    if file:
        write_folder(file.parent, {file.name: save({"states": states})})
    return states


def embedded_words(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> States:
    """Return the mean input embedding of each word's tokens, `[n_words, d]`: what is known before any block."""
    import torch

    table = model.get_input_embeddings()
    rows = []
    with torch.inference_mode():
        for ids in _token_ids(tokenizer, words):
            rows.append(table(torch.tensor(ids, dtype=torch.long, device=input_device(model))).float().mean(0).cpu())
    return np.asarray(torch.stack(rows))


def word_shapes(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> States:
    """Return length and frequency, `[n_words, 4]`: characters, tokens, mean and highest logarithm of the token ids.

    Vocabularies are built from the most frequent pieces up, so an id is a rank of frequency.
    """
    rows = []
    for word, ids in zip(words, _token_ids(tokenizer, words), strict=True):
        ranks = np.log1p(np.asarray(ids, dtype=float))
        rows.append((len(word), len(ids), ranks.mean(), ranks.max()))
    return np.asarray(rows, dtype=np.float32)


def _token_ids(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[list[int]]:
    return [tokenizer(f" {checked(word, 'A word')}", add_special_tokens=False)["input_ids"] for word in words]


def _load(file: Path) -> States:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        states: States = load_file(file)["states"]
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"The cached states {file} cannot be read ({error}).", "Delete the file.") from error
    return states

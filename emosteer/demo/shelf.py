"""The models that are loaded: the first one always, and a few others, of which those not used for longest go."""

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
"""Pairs beside the first."""

__all__ = ["KEPT", "Shelf"]


class Shelf:
    """Holds models with their vectors. Two pairs of the same model share its weights.

    Args:
        first: Never put away.
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
        """A pair that is held; it counts as used."""
        with self._lock:
            if pair in self._held:
                self._held.move_to_end(pair)
            return self._held.get(pair)

    def put(self, pair: Pair, steered: SteeredModel) -> None:
        """Hold one more pair."""
        if pair != self._first:
            self.make_room()
        with self._lock:
            self._held[pair] = steered

    def make_room(self) -> None:
        """Put away what is too much for one more pair."""
        with self._lock:
            others = [pair for pair in self._held if pair != self._first]
            gone = others[: max(0, len(others) - KEPT + 1)]
            for pair in gone:
                del self._held[pair]
        if gone:
            gc.collect()  # modules refer to each other in circles

    def note(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Remember a model for as long as somebody uses it."""
        with self._lock:
            self._tokenizers[model] = tokenizer
            self._models[name] = model

    def model(self, name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase] | None:
        """A model that is in use, with its tokenizer."""
        with self._lock:
            model = self._models.get(name)
            return None if model is None else (model, self._tokenizers[model])

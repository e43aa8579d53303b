"""What all visitors share: the models that are loaded, with their vectors, and what is still being waited for."""

from __future__ import annotations

import html
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer import ConceptSet, storage
from emosteer.errors import EmosteerError, InputError
from emosteer.loading import EMBEDDED
from emosteer.quickstart import embedded_folder

if TYPE_CHECKING:
    from emosteer import EmotionVectors, SteeredModel

Places = Mapping[str, tuple[float, float] | None]
"""Emotion → where people place it, in valence and arousal, or None where nobody was asked."""

__all__ = ["Pair", "Places", "Studio", "on_circumplex", "places_of"]


@dataclass(frozen=True)
class Pair:
    """A model and its vectors, by the names that they are loaded by.

    Args:
        model: `"embedded"`, a Hub id, a folder or a GGUF file.
        vectors: A folder, a `.safetensors` file or `user/name` on the Hub; None for those of the embedded model.
    """

    model: str = EMBEDDED
    vectors: str | None = None

    def source(self) -> str:
        """Where its vectors are."""
        return self.vectors or str(embedded_folder())


class Studio:
    """Loads models in the background and hands them out.

    Args:
        first: What every visitor begins with.
    """

    def __init__(self, first: Pair | None = None) -> None:
        self.first = first or Pair()
        self._loaded: dict[Pair, SteeredModel] = {}
        self._reading: set[Pair] = set()  # those whose readout is fitted
        self._stage = "Starting"
        self._failure: EmosteerError | None = None
        self._changed = threading.Condition()

    def places(self) -> Places:
        """The emotions of the first vectors, known before any model is.

        Raises:
            FormatError: The vectors are damaged.
            HubError: The Hub does not give them.
        """
        source = self.first.source()
        if self.first.vectors is None and not Path(source).is_dir():  # yet to be built, from these
            concepts = ConceptSet.load("en")
            return {name: _place(concepts[name]) for name in concepts.emotions}
        with storage.opened(source) as file:
            return {name: _place(info) for name, info in file.config.emotions.items()}

    def open(self) -> None:
        """Begin to load the first model, in a thread of its own."""
        threading.Thread(target=self._load_first, name="studio", daemon=True).start()

    def first_model(self) -> SteeredModel:
        """The first model, as soon as it is there.

        Raises:
            EmosteerError: It cannot be loaded.
        """
        for _ in self.stages(self.first):
            pass
        return self.get(self.first)

    def told(self, pair: Pair) -> Iterator[str]:
        """A line of HTML for the top of the page: what it waits for, until there is nothing to wait for."""
        try:
            for stage in self.stages(pair):
                yield f"<p role='status' class='em-waiting'>{html.escape(stage)} … You can set a tone meanwhile.</p>"
        except EmosteerError as error:
            yield f"<p role='alert' class='em-failed'>{html.escape(str(error))}</p>"
        else:
            yield ""

    def reads(self, pair: Pair) -> bool:
        """Whether emotion can be read at once, without fitting the readout first."""
        return pair in self._reading

    def stages(self, pair: Pair) -> Iterator[str]:
        """What a model is waited for, in words, each time that it changes; ends when the model is there.

        Raises:
            EmosteerError: It cannot be loaded, or has been put away.
        """
        said = ""
        while True:
            with self._changed:
                while self._stage == said and not self._settled(pair):
                    self._changed.wait()
                if self._settled(pair):
                    break
                said = self._stage
            yield said
        self.get(pair)

    def get(self, pair: Pair) -> SteeredModel:
        """A model that is loaded.

        Raises:
            EmosteerError: It could not be loaded, has been put away, or is not there yet.
        """
        with self._changed:
            if pair in self._loaded:
                return self._loaded[pair]
            if pair == self.first and self._failure is not None:
                raise self._failure
            if pair == self.first:
                raise InputError(f"The model is not there yet. {self._stage} …", "Try again in a few seconds.")
        raise InputError(f"{pair.model} has been put away to make room for others.", "Load it again.")

    def _settled(self, pair: Pair) -> bool:
        return pair in self._loaded or pair != self.first or self._failure is not None

    def _load_first(self) -> None:
        try:
            self._say("Loading PyTorch and transformers")
            from emosteer import EmotionVectors, SteeredModel
            from emosteer.loading import load_model
            from emosteer.quickstart import embedded_vectors

            self._say(f"Reading the weights of {self.first.model} (half a minute the first time)")
            model, tokenizer = load_model(self.first.model)
            self._say("Reading the vectors")
            if self.first.vectors is None:
                vectors, _ = embedded_vectors(model, tokenizer)
            else:
                vectors = EmotionVectors.from_pretrained(self.first.vectors)
            steered = SteeredModel(model, tokenizer, vectors)
        except EmosteerError as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
            return
        with self._changed:
            self._loaded[self.first] = steered
            self._changed.notify_all()
        _ = steered.readout  # fitted now, so that nobody waits for it later
        self._reading.add(self.first)

    def _say(self, stage: str) -> None:
        with self._changed:
            self._stage = stage
            self._changed.notify_all()


def places_of(vectors: EmotionVectors) -> Places:
    """The emotions of vectors, where people place them."""
    return {name: _place(info) for name, info in vectors.info.items()}


def on_circumplex(places: Places) -> dict[str, tuple[float, float]]:
    """Those that people have placed."""
    return {name: place for name, place in places.items() if place is not None}


def _place(emotion: Any) -> tuple[float, float] | None:
    rated = emotion.valence is not None and emotion.arousal is not None
    return (float(emotion.valence), float(emotion.arousal)) if rated else None

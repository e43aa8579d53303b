"""What all visitors share: the loaded models with their vectors, and those being loaded."""

from __future__ import annotations

import html
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from emosteer.demo.fetching import watched
from emosteer.demo.pairs import Concepts, Pair, Places, display_name, on_circumplex, place_of, places_of
from emosteer.demo.shelf import Shelf
from emosteer.demo.work import Say, Step, Work
from emosteer.errors import EmosteerError, InputError
from emosteer.models.loading import EMBEDDED
from emosteer.vectors import storage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer import EmotionVectors, SteeredModel

__all__ = ["Pair", "Places", "Studio", "on_circumplex", "places_of"]


class Studio:
    """Loads models in the background and hands them out.

    Args:
        first: The model and vectors that every visitor begins with.
    """

    def __init__(self, first: Pair | None = None) -> None:
        self.first = first or Pair()
        self._shelf = Shelf(self.first)
        self._under_way: dict[Pair, Work] = {self.first: self._work(self.first, None)}
        self._lock = threading.Lock()
        self._one = threading.Lock()  # one model is loaded at a time
        self._building = threading.Lock()  # and one set of vectors built at a time
        self._reading: weakref.WeakSet[SteeredModel] = weakref.WeakSet()  # models whose readout is fitted

    def places(self) -> Places:
        """Return the emotions of the first vectors, without loading a model.

        Raises:
            FormatError: The vectors are damaged.
            HubError: The Hub does not give them.
        """
        with storage.opened(self.first.source()) as file:
            return {name: place_of(info) for name, info in file.config.emotions.items()}

    def open(self) -> None:
        """Start loading the first model in a thread, unless that has started."""
        self._under_way[self.first].start()

    def first_model(self) -> SteeredModel:
        """Wait for the first model, and return it.

        Raises:
            EmosteerError: It cannot be loaded.
        """
        self.open()
        for _ in self.stages(self.first):
            pass
        return self.get(self.first)

    def status(self, pair: Pair) -> Iterator[str]:
        """Yield the HTML of the line at the top of the page: what a pair waits for, until it is loaded."""
        self.open()
        try:
            for stage in self.stages(pair):
                yield f"<p role='status' class='em-waiting'>{html.escape(stage)} … You can set a tone meanwhile.</p>"
        except EmosteerError as error:
            yield f"<p role='alert' class='em-failed'>{html.escape(str(error))}</p>"
        else:
            yield ""

    def reads(self, pair: Pair) -> bool:
        """Return whether emotion can be read at once, without fitting the readout first."""
        return self._shelf.get(pair) in self._reading

    def learn_to_read(self, pair: Pair) -> None:
        """Wait until the readout is fitted, if the model is loaded."""
        if (steered := self._shelf.get(pair)) is not None:
            _ = steered.readout

    def stages(self, pair: Pair) -> Iterator[str]:
        """Yield what the loading of a pair is doing, in words, until it is loaded.

        Raises:
            EmosteerError: It cannot be loaded, or has been dropped.
        """
        if (work := self._under_way.get(pair)) is not None:
            for step in work.watch():
                yield step.words
        self.get(pair)

    def get(self, pair: Pair) -> SteeredModel:
        """Return a loaded pair.

        Raises:
            EmosteerError: It could not be loaded, has been dropped, or is still being loaded.
        """
        with self._lock:
            work = self._under_way.get(pair)
        if (steered := self._shelf.get(pair)) is not None:
            return steered
        if work is not None and work.failure is not None:
            raise work.failure
        if work is not None:
            raise InputError(f"The model is not there yet. {work.step.words} …", "Try again in a few seconds.")
        raise InputError(f"{display_name(pair.model)} has been put away to make room for others.", "Load it again.")

    def load(self, pair: Pair, brought: EmotionVectors | None = None) -> Iterator[Step]:
        """Load or build a pair, unless it is loaded. Everybody who asks for the same pair waits for the same work.

        Building stops when the iterator is closed; loading continues.

        Args:
            pair: The pair.
            brought: The vectors of an uploaded file.

        Yields:
            The steps.

        Raises:
            EmosteerError: It cannot be loaded or built. Nothing of it is kept.
        """
        with self._lock:
            if self._shelf.get(pair) is not None:
                return
            work = self._under_way.get(pair)
            if work is None or work.stopped:
                work = self._under_way[pair] = self._work(pair, brought)
                work.start()
        try:
            yield from work.watch()
        finally:
            self.stop(pair)

    def stop(self, pair: Pair) -> None:
        """Stop building a pair, if it is being built."""
        if (work := self._under_way.get(pair)) is not None and pair.concepts is not None:
            work.stop()

    def has(self, model: str) -> bool:
        """Return whether the weights of a model are loaded, or come with emosteer."""
        return model == EMBEDDED or self._shelf.model(model) is not None

    def _work(self, pair: Pair, brought: EmotionVectors | None) -> Work:
        def task(say: Say) -> None:
            try:
                steered = self._made(pair, brought, say)
                self._shelf.put(pair, steered)
                threading.Thread(target=self._fit, args=(steered,), name="readout", daemon=True).start()
            finally:
                with self._lock:  # the failure of the first one is kept for later visitors
                    if pair != self.first and self._under_way.get(pair) is work:
                        del self._under_way[pair]

        work = Work(task)
        return work

    def _made(self, pair: Pair, brought: EmotionVectors | None, say: Say) -> SteeredModel:
        say(Step("Loading PyTorch and transformers"))
        import torch

        from emosteer import EmotionVectors, SteeredModel

        # Two voices generate at once, each with half of the cores; with all, they would wait for each other.
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
        if pair.concepts is not None:
            if self._building.locked():
                say(Step("Waiting until other vectors have been built"))
            with self._building:
                model, tokenizer = self._model(pair.model, None, say)
                return SteeredModel(model, tokenizer, _built(model, tokenizer, pair.concepts, say))
        vectors = brought
        if vectors is None:
            say(Step("Reading the vectors"))
            vectors = EmotionVectors.from_pretrained(pair.source())
        return SteeredModel(*self._model(pair.model, vectors, say), vectors)

    def _fit(self, steered: SteeredModel) -> None:
        """Fit the readout in advance."""
        with suppress(EmosteerError):  # raised again when somebody reads
            _ = steered.readout
            self._reading.add(steered)

    def _model(
        self, name: str, vectors: EmotionVectors | None, say: Say
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return a model, loaded now unless it is in use. Vectors of another shape are refused before that."""
        from emosteer.demo.skeleton import skeleton
        from emosteer.models.loading import load_model

        if self._one.locked():
            say(Step("Waiting until another model has been read"))
        with self._one:
            if (loaded := self._shelf.model(name)) is not None:
                return loaded
            if name not in (self.first.model, EMBEDDED):
                say(Step(f"Looking at the shape of {name}"))
                shape = skeleton(name)
                if vectors is not None:
                    vectors.check_model(shape)
                self._shelf.make_room()
            with watched(name, say):
                # Only the weights of the first model, chosen by the operator, may be pickled.
                loaded = load_model(name) if name == self.first.model else load_model(name, use_safetensors=True)
            self._shelf.note(name, *loaded)
            return loaded


def _built(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, concepts: Concepts, say: Say) -> EmotionVectors:
    from emosteer import extract

    def report(read: int, texts: int) -> None:
        words = "Trying how strong to make them" if read == texts else f"Reading {texts} texts"
        say(Step(words, read / texts))

    say(Step("Reading texts", 0.0))
    return extract(model, tokenizer, concepts.load(), progress=report)

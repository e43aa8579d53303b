"""What all visitors share: the models that are loaded, with their vectors, and what is still being waited for."""

from __future__ import annotations

import html
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from emosteer.demo.fetching import watched
from emosteer.demo.pairs import Concepts, Pair, Places, called, on_circumplex, place_of, places_of
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
        first: What every visitor begins with.
    """

    def __init__(self, first: Pair | None = None) -> None:
        self.first = first or Pair()
        self._shelf = Shelf(self.first)
        self._under_way: dict[Pair, Work] = {self.first: self._work(self.first, None)}
        self._lock = threading.Lock()
        self._one = threading.Lock()  # weights are read one model after the other
        self._building = threading.Lock()  # and vectors built one set after the other
        self._reading: weakref.WeakSet[SteeredModel] = weakref.WeakSet()  # those whose readout is fitted

    def places(self) -> Places:
        """The emotions of the first vectors, known before any model is.

        Raises:
            FormatError: The vectors are damaged.
            HubError: The Hub does not give them.
        """
        with storage.opened(self.first.source()) as file:
            return {name: place_of(info) for name, info in file.config.emotions.items()}

    def open(self) -> None:
        """Begin to load the first model, in a thread of its own, unless that has begun."""
        self._under_way[self.first].start()

    def first_model(self) -> SteeredModel:
        """The first model, as soon as it is there.

        Raises:
            EmosteerError: It cannot be loaded.
        """
        self.open()
        for _ in self.stages(self.first):
            pass
        return self.get(self.first)

    def told(self, pair: Pair) -> Iterator[str]:
        """A line of HTML for the top of the page: what it waits for, until there is nothing to wait for."""
        self.open()
        try:
            for stage in self.stages(pair):
                yield f"<p role='status' class='em-waiting'>{html.escape(stage)} … You can set a tone meanwhile.</p>"
        except EmosteerError as error:
            yield f"<p role='alert' class='em-failed'>{html.escape(str(error))}</p>"
        else:
            yield ""

    def reads(self, pair: Pair) -> bool:
        """Whether emotion can be read at once, without fitting the readout first."""
        return self._shelf.get(pair) in self._reading

    def learn_to_read(self, pair: Pair) -> None:
        """Wait until emotion can be read at once; not at all for a model that is not there."""
        if (steered := self._shelf.get(pair)) is not None:
            _ = steered.readout

    def stages(self, pair: Pair) -> Iterator[str]:
        """What a model is waited for, in words, each time that it changes; ends when the model is there.

        Raises:
            EmosteerError: It cannot be loaded, or has been put away.
        """
        if (work := self._under_way.get(pair)) is not None:
            for step in work.watch():
                yield step.words
        self.get(pair)

    def get(self, pair: Pair) -> SteeredModel:
        """A model that is loaded.

        Raises:
            EmosteerError: It could not be loaded, has been put away, or is not there yet.
        """
        with self._lock:
            work = self._under_way.get(pair)
        if (steered := self._shelf.get(pair)) is not None:
            return steered
        if work is not None and work.failure is not None:
            raise work.failure
        if work is not None:
            raise InputError(f"The model is not there yet. {work.step.words} …", "Try again in a few seconds.")
        raise InputError(f"{called(pair.model)} has been put away to make room for others.", "Load it again.")

    def load(self, pair: Pair, brought: EmotionVectors | None = None) -> Iterator[Step]:
        """Load, or build, a pair unless that has been done; whoever asks for the same one meanwhile waits for it too.

        Building ends when the iterator is closed; loading goes on.

        Args:
            pair: What is wanted.
            brought: The vectors of a file that a visitor brought.

        Yields:
            What is being done.

        Raises:
            EmosteerError: It cannot be; nothing of it is kept.
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
        """Stop building a pair, if that is under way."""
        if (work := self._under_way.get(pair)) is not None and pair.concepts is not None:
            work.stop()

    def has(self, model: str) -> bool:
        """Whether a model's weights are here already."""
        return model == EMBEDDED or self._shelf.model(model) is not None

    def _work(self, pair: Pair, brought: EmotionVectors | None) -> Work:
        def task(say: Say) -> None:
            try:
                steered = self._made(pair, brought, say)
                self._shelf.put(pair, steered)
                threading.Thread(target=self._fit, args=(steered,), name="readout", daemon=True).start()
            finally:
                with self._lock:  # why the first one failed is told to everybody who comes
                    if pair != self.first and self._under_way.get(pair) is work:
                        del self._under_way[pair]

        work = Work(task)
        return work

    def _made(self, pair: Pair, brought: EmotionVectors | None, say: Say) -> SteeredModel:
        say(Step("Loading PyTorch and transformers"))
        import torch

        from emosteer import EmotionVectors, SteeredModel

        # Two voices speak at once: each takes half of the cores, or they would wait for each other at every layer.
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
        """Fit the readout now, so that nobody waits for it later."""
        with suppress(EmosteerError):  # told to whoever reads
            _ = steered.readout
            self._reading.add(steered)

    def _model(
        self, name: str, vectors: EmotionVectors | None, say: Say
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """A model, from the shelf or read now; not before it is known that the vectors fit it."""
        from emosteer.demo.skeleton import skeleton
        from emosteer.models.loading import load_model

        if self._one.locked():
            say(Step("Waiting until another model has been read"))
        with self._one:
            if (held := self._shelf.model(name)) is not None:
                return held
            if name not in (self.first.model, EMBEDDED):
                say(Step(f"Looking at the shape of {name}"))
                shape = skeleton(name)
                if vectors is not None:
                    vectors.check_model(shape)
                self._shelf.make_room()
            with watched(name, say):
                # A stranger's weights are never unpickled, which a folder on this machine may need.
                loaded = load_model(name) if name == self.first.model else load_model(name, use_safetensors=True)
            self._shelf.note(name, *loaded)
            return loaded


def _built(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, concepts: Concepts, say: Say) -> EmotionVectors:
    from emosteer import extract

    def told(read: int, texts: int) -> None:
        say(Step(f"Reading {texts} texts", read / texts))

    say(Step("Reading texts", 0.0))
    return extract(model, tokenizer, concepts.load(), progress=told)

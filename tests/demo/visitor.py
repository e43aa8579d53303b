"""What tests of the demo share: a tiny model that speaks, whose emotions are rated, and a studio that has only it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from tokenizers import decoders

import emosteer
from emosteer.demo.pairs import Pair, places_of
from emosteer.vectors.types import Dose, EmotionInfo
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer

Made = TypeVar("Made")

RATED = {"joy": (0.8, 0.5), "fear": (-0.6, 0.6), "calm": (0.5, -0.6), "sadness": (-0.7, -0.4)}
EMOTIONS = (*RATED, "awe")  # nobody has rated awe
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{1}}</style>"


def speaking(**changes) -> emosteer.SteeredModel:
    """A model that depends on what it reads and says printable ASCII; `changes` are to its vectors."""
    model, tokenizer = tiny_model(tiny_config(max_position_embeddings=1024)), tiny_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    said = {tokenizer.convert_tokens_to_ids(token) for token in (*map(chr, range(33, 127)), "Ġ")}
    model.generation_config.suppress_tokens = sorted(set(range(model.config.vocab_size)) - said)
    vectors = emosteer.EmotionVectors.random(model, EMOTIONS, seed=1)
    info = {name: EmotionInfo(valence=valence, arousal=arousal) for name, (valence, arousal) in RATED.items()}
    doses = {name: Dose(0.5, (1, 2), (1.0, 0.5)) for name in EMOTIONS}
    return emosteer.SteeredModel(model, tokenizer, replace(vectors, **{"info": info, "doses": doses, **changes}))


class Held:
    """A studio with one model."""

    def __init__(self, steered: emosteer.SteeredModel) -> None:
        self.first, self._steered = Pair(), steered

    def get(self, _pair: Pair) -> emosteer.SteeredModel:
        return self._steered

    def places(self):
        return places_of(self._steered.vectors)

    def stages(self, _pair: Pair):
        yield "Reading <b>"

    def reads(self, _pair: Pair) -> bool:
        return True

    def learn_to_read(self, _pair: Pair) -> None:
        pass

    def first_model(self) -> emosteer.SteeredModel:
        return self._steered


def voices() -> list[str]:
    """Threads that still speak."""
    return [one.name for one in threading.enumerate() if one.name.startswith(("voice-", "emosteer-stream"))]


def laid_out(make: Callable[[], Made]) -> Made:
    """What is built of gradio's components, in an event loop that ends: where none runs, gradio leaves two open."""

    async def inside() -> Made:
        return make()

    return asyncio.run(inside())

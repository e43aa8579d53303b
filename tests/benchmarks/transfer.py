"""What of an emotion vector survives the way to another model: SmolLM2-135M-Instruct and Gemma 3 270M, both ways.

Three questions, all asked of emotions whose texts had no part in the map. Which map is best is found on a development
half of the emotions (the others are not looked at); how good it is, on the held-out half, with maps that are fitted on
all emotions but the fifth that is measured. And whether a transferred direction steers: how much likelier sentences of
an emotion become to the target under it, minus the same for as many sentences of other emotions, at the same dose,
beside the target's own directions, random ones and those of another emotion. Controls: a random map, a map fitted on
texts paired at random, a target with random weights. The readings are kept in emosteer's cache; without them each model
takes some minutes.

    make bench-transfer
    PYTHONPATH=.venv/gemma python -m tests.benchmarks.transfer [--part maps|held-out|likelihood]
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from transformers import AutoModelForCausalLM

import emosteer
from emosteer import embedded
from emosteer.embedded import cache_dir
from emosteer.extraction.extractor import Corpus
from emosteer.extraction.linear_map import HeldOut, Reading, held_out, ridge_map, same_depth
from emosteer.extraction.transfer import LEAST_COSINE
from emosteer.models.fingerprint import base_model_of
from emosteer.vectors.emotion_vectors import EmotionVectors
from tests.benchmarks import gemma
from tests.benchmarks.report import bootstrap, show

CONCEPTS = emosteer.ConceptSet.load("en")
PAIRS = (("embedded", "gemma"), ("gemma", "embedded"))
ORDER = torch.randperm(len(CONCEPTS.emotions), generator=torch.Generator().manual_seed(0)).tolist()
DEVELOPMENT = sorted(ORDER[: len(ORDER) // 2])
HELD_OUT = sorted(ORDER[len(ORDER) // 2 :])
SENTENCES = 4
"""Held-out sentences and situations of each emotion."""


def load(name: str):
    """A model and its tokenizer; `random` is the embedded one made smaller, with random weights."""
    if name == "gemma":
        return gemma.load()
    model, tokenizer = embedded.load()
    if name == "random":
        config = copy.deepcopy(model.config)
        sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "num_key_value_heads": 3}
        for size, value in {**sizes, "intermediate_size": 1024, "head_dim": 64}.items():
            setattr(config, size, value)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return model, tokenizer


def reading(name: str) -> Reading:
    """What a model reads in the built-in texts, from the cache if it is there."""
    file, corpus = cache_dir() / "benchmarks" / "transfer" / f"{name}-{CONCEPTS.digest[:16]}.pt", Corpus.of(CONCEPTS)
    if not file.exists():
        found = Reading.of(*load(name), corpus, batch_size=32)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({part: getattr(found, part) for part in ("states", "norms", "center", "basis")}, file)
    return Reading(**torch.load(file), corpus=corpus)


def development(read: Reading, layers: list[int]) -> Reading:
    """Only the development emotions and neutral text, at some of the layers."""
    neutral = len(CONCEPTS.emotions)
    rows = [i for i, label in enumerate(read.corpus.labels) if label == neutral or label in DEVELOPMENT]
    corpus = Corpus.of(CONCEPTS.subset([CONCEPTS.emotions[i] for i in DEVELOPMENT]))
    kept = [part[layers] for part in (read.norms, read.center, read.basis)]
    return Reading(read.states[rows][:, layers], *kept, corpus)


# Maps: what the source reads, what the target reads → matrix.


def plain_ridge(given, told, *, penalty):
    """Without standardising."""
    x, y = given - given.mean(0), told - told.mean(0)
    left, spread, right = torch.linalg.svd(x, full_matrices=False)
    return right.T @ ((spread / (spread**2 + penalty * (spread**2).mean())).unsqueeze(-1) * (left.T @ y))


def averaged(given, told, *, penalty):
    """Of means over five texts that stand together, nearly always of one emotion."""
    five = [torch.stack([part.mean(0) for part in side.split(5)]) for side in (given, told)]
    return ridge_map(*five, penalty=penalty)


def reduced_rank(given, told, *, rank):
    matrix = ridge_map(given, told)
    _, _, right = torch.linalg.svd((given - given.mean(0)) @ matrix, full_matrices=False)
    return matrix @ right[:rank].T @ right[:rank]


def procrustes(given, told, *, rank):
    """A rotation between the first principal components of both."""
    centred = [side - side.mean(0) for side in (given, told)]
    ours, theirs = (torch.linalg.svd(side, full_matrices=False)[2][:rank] for side in centred)
    left, _, right = torch.linalg.svd((centred[0] @ ours.T).T @ (centred[1] @ theirs.T), full_matrices=False)
    return ours.T @ left @ right @ theirs


MAPS = {
    **{f"ridge, penalty {penalty:g}": partial(ridge_map, penalty=penalty) for penalty in (0.05, 0.3, 0.5, 1.0, 5.0)},
    "ridge 0.5, with neutral components": ridge_map,
    "ridge 0.3, not standardised": partial(plain_ridge, penalty=0.3),
    "ridge 0.5, means of five texts": partial(averaged, penalty=0.5),
    "reduced rank 20": partial(reduced_rank, rank=20),
    "reduced rank 80": partial(reduced_rank, rank=80),
    "Procrustes, 80 components": partial(procrustes, rank=80),
    "Procrustes, 320 components": partial(procrustes, rank=320),
}


class Whole(Reading):
    """The reading whose neutral components stay in what the map is fitted on."""

    def contrasts(self, layer):
        return self.states[:, layer]


def compare_maps(step: int) -> list[dict]:
    """Each map on the development emotions, at every so many layers of the target, by relative depth."""
    rows = [{"map": name} for name in MAPS]
    for pair in PAIRS:
        source, target = map(reading, pair)
        layers = list(range(2, len(target.norms), step))
        feeds = same_depth(range(len(source.norms)), len(source.norms), len(target.norms))
        sides = development(source, [feeds[layer] for layer in layers]), development(target, layers)
        for row, (name, fit) in zip(rows, MAPS.items(), strict=True):
            given, told = (Whole(**vars(side)) for side in sides) if "with neutral" in name else sides
            found = held_out(given, told, range(len(layers)), fit)
            way = " to ".join(pair)
            row[f"{way}: cosine"] = float(found.cosines["cosine"].mean())
            row[f"{way}: halves"] = float(found.cosines["halves"].mean())
    return rows


@cache
def measured(pair: tuple[str, str]) -> HeldOut:
    source, target = map(reading, pair)
    return held_out(source, target, same_depth(range(len(source.norms)), len(source.norms), len(target.norms)))


def of_held_out(pair: tuple[str, str]) -> dict:
    """The map that the library fits, on the held-out emotions, at all layers of the target."""
    found = measured(pair)
    row = {"pair": " to ".join(pair), "n": len(HELD_OUT), "r2": float(found.r2.mean())}
    for what, cosines in found.cosines.items():
        values = cosines[HELD_OUT].mean(1).numpy()
        row[what] = (float(values.mean()), *bootstrap(values))
    values = [found.cosines[what][HELD_OUT].mean(1).numpy() for what in ("halves", "ceiling")]
    draws = np.random.default_rng(0).integers(len(HELD_OUT), size=(2_000, len(HELD_OUT)))
    shares = values[0][draws].mean(1) / values[1][draws].mean(1)
    if found.cosines["ceiling"].mean() < LEAST_COSINE:  # a share of nothing
        return row | {"share": None}
    row["share"] = (float(values[0].mean() / values[1].mean()), *map(float, np.percentile(shares, [2.5, 97.5])))
    return row


def likelihood(pair: tuple[str, str]) -> list[dict]:
    """How much likelier the sentences of an emotion become, more than those of others: nats a token."""
    target = reading(pair[1])
    model, tokenizer = load(pair[1])
    native = target.directions(target.corpus.all)
    transferred = measured(pair).directions
    shape = (tuple(range(len(target.norms))), base_model_of(model))
    sets = {
        name: EmotionVectors(dict(zip(CONCEPTS.emotions, found, strict=True)), target.norms, *shape)
        for name, found in (("native", native), ("transferred", transferred))
    }
    sets["random"] = EmotionVectors.random_like(sets["native"], seed=0)
    # The control for whether it is this emotion that steers, or any.
    names = [CONCEPTS.emotions[i] for i in HELD_OUT]
    moved = dict(zip(names, names[1:] + names[:1], strict=True))
    sets["transferred, of another emotion"] = replace(
        sets["transferred"], directions={name: sets["transferred"].directions[moved[name]] for name in names}
    )
    texts = {name: _sentences(name) for name in names}
    plain = {name: _nats(model, tokenizer, texts[name]) for name in names}
    gains: dict[str, list[float]] = {name: [] for name in sets}
    for i, name in enumerate(names):
        others = [names[(i + step) % len(names)] for step in range(2, 2 + SENTENCES)]
        asked = [*texts[name], *(texts[other][k] for k, other in enumerate(others))]
        before = np.concatenate([plain[name], [plain[other][k] for k, other in enumerate(others)]])
        for kind, vectors in sets.items():
            with emosteer.steer(model, vectors, {name: 1.0}):
                gain = before - _nats(model, tokenizer, asked)
            gains[kind].append(float(gain[:SENTENCES].mean() - gain[SENTENCES:].mean()))
    about = {"pair": " to ".join(pair), "emotions": len(names), "sentences": len(names) * SENTENCES}
    rows = [{**about, "directions": kind, "gain": np.mean(g), "interval": bootstrap(g)} for kind, g in gains.items()]
    ratio = [gains["transferred"], gains["native"]]
    draws = np.random.default_rng(0).integers(len(names), size=(2_000, len(names)))
    shares = np.array(ratio[0])[draws].mean(1) / np.array(ratio[1])[draws].mean(1)
    share = {"directions": "transferred / native", "gain": np.mean(ratio[0]) / np.mean(ratio[1])}
    return [*rows, {**about, **share, "interval": tuple(map(float, np.percentile(shares, [2.5, 97.5])))}]


def _sentences(name: str) -> list[str]:
    texts = CONCEPTS[name].texts["en"]
    return [*texts.held_out_sentences[: SENTENCES // 2], *texts.held_out_situations[: SENTENCES - SENTENCES // 2]]


@torch.inference_mode()
def _nats(model, tokenizer, texts: list[str]) -> np.ndarray:
    """Mean surprise of each text, nats a token."""
    tokenizer.padding_side = "right"
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    lost = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none") * mask[:, 1:]
    return (lost.sum(1) / mask[:, 1:].sum(1)).numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=("maps", "held-out", "likelihood"))
    parser.add_argument("--step", type=int, default=6, help="Compare maps at every so many layers.")
    options = parser.parse_args()
    if options.part in (None, "held-out"):
        for pair in (*PAIRS, ("embedded", "random")):
            show("Held-out emotions", [of_held_out(pair)], seed=0)
    if options.part in (None, "likelihood"):
        for pair in reversed(PAIRS):
            show("Likelihood", likelihood(pair), seed=0)
    if options.part in (None, "maps"):
        show("Maps, development emotions", compare_maps(options.step), n=len(DEVELOPMENT), seed=0)

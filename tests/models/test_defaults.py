"""Global defaults of torch for dtype and device, which a program may have set for its own ends, change nothing here."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

import emosteer
from emosteer.eval import nats_per_token
from emosteer.eval.sampling import Cell, generate_cells
from emosteer.extraction.extractor import Corpus, principal_components
from emosteer.extraction.linear_map import Reading, held_out
from emosteer.importing import load
from emosteer.vectors.types import EmotionInfo
from tests.conftest import few, small_concepts, tiny_config, tiny_model, tiny_tokenizer

JOY, ROWS = {"joy": 1.0}, [{"joy": 1.0}, {"fear": 0.7, "calm": -0.3}]
GREEDY = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
RATINGS = {"joy": (0.8, 0.5), "fear": (-0.7, 0.7), "calm": (0.4, -0.7), "gloom": (-0.6, -0.3)}


DEFAULTS = {
    "both": (torch.bfloat16, "meta"),
    "float64": (torch.float64, None),
    "bfloat16": (torch.bfloat16, None),
    "meta": (torch.float32, "meta"),
}


@contextmanager
def default(dtype, device):
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


@pytest.fixture(scope="module")
def steered():
    model = tiny_model(tiny_config(max_position_embeddings=512))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    drawn = emosteer.EmotionVectors.random(model, list(RATINGS), seed=1)
    info = {name: EmotionInfo({}, *rating) for name, rating in RATINGS.items()}
    return emosteer.SteeredModel(model, tiny_tokenizer(), replace(drawn, info=info))


def spoken(s, tone, **options):
    return s.generate(**s.prompt("Well?"), emotion=tone, **{**GREEDY, **options})


def by_rows(s, **options):
    prompt = {name: value.repeat(2, 1) for name, value in s.prompt("Well?").items()}
    return s.generate(**prompt, emotion=ROWS, **GREEDY, **options)


def steered_logits(s, tone, **options):
    with s.steer(tone, **options), torch.no_grad():
        return s.model(torch.arange(7, 14, device="cpu")[None]).logits


def processed(s, method):
    calm = emosteer.EmotionLogitsProcessor(s.model, s.vectors, {"calm": 1.0}, method=method)
    return spoken(s, JOY, logits_processor=[calm])


def moved(s):
    corpus = Corpus.of(emosteer.ConceptSet.load("en").subset(["joy", "fear", "anger", "sadness", "calm", "awe"]))
    states = torch.randn(
        len(corpus.passages), 2, 16, generator=torch.Generator("cpu").manual_seed(0), dtype=torch.float32, device="cpu"
    )
    neutral = states[corpus.neutral :]
    center = neutral.mean(0)
    basis = principal_components(neutral - center, 0.5)
    reading = Reading(states, neutral.norm(dim=-1).mean(0), center, basis, corpus)
    result = held_out(reading, reading, range(2))
    return torch.stack([result.cosines["cosine"], result.cosines["random_map"], result.cosines["shuffled_texts"]])


def extracted(s):
    found = emosteer.extract(s.model, s.tokenizer, small_concepts(), progress=False)
    return torch.cat([*found.directions.values(), found.residual_norm[:, None], found.center], 1)


def imported(s, folder):
    from safetensors.torch import save_file

    save_file({"direction": torch.ones(4, 32, device="cpu", dtype=torch.float32)}, folder / "d.safetensors")
    return load(folder / "d.safetensors", s.model, s.tokenizer, emotion="joy").residual_norm


def kept(s, folder):
    s.vectors.save_pretrained(folder / "vectors")
    return emosteer.EmotionVectors.from_pretrained(folder / "vectors").directions["joy"]


def answered(s):
    cells = {Cell("joy", 1.0, "additive"): [("Well?", 0)], Cell(None, 0.0, control="unsteered"): [("Well?", 0)]}
    answers = generate_cells(s, cells, ways={"additive": {}}, max_new_tokens=6, progress=False)
    return [(answer.tokens, answer.nats) for answer in answers]


PATH = {
    "random vectors": lambda s, _: emosteer.EmotionVectors.random(s.model, ["joy"]).residual_norm,
    "random like": lambda s, _: emosteer.EmotionVectors.random_like(s.vectors).directions["joy"],
    "extract": lambda s, _: extracted(s),
    "transfer": lambda s, _: moved(s),
    "import": imported,
    "save and load": kept,
    "read": lambda s, _: emosteer.SteeredModel(s.model, s.tokenizer, s.vectors).read("I am glad!").to_dict()["scores"],
    "monitor": lambda s, _: monitored(s),
    "one tone": lambda s, _: steered_logits(s, {"joy": 0.7}),
    "a fading tone": lambda s, _: steered_logits(s, {"joy": 0.7}, schedule=emosteer.schedules.decay(20)),
    "project": lambda s, _: steered_logits(s, {"joy": 0.7, "fear": 0.2}, operation="project"),
    "ablate": lambda s, _: steered_logits(s, {"joy": 0.7}, operation="ablate"),
    "keyframes": lambda s, _: steered_logits(s, emosteer.Keyframes({0: JOY, 3: {"calm": 1.0}})),
    "affect": lambda s, _: steered_logits(s, emosteer.Affect(0.5, 0.3)),
    "rows": lambda s, _: by_rows(s),
    "recipe": lambda s, _: by_rows(s, recipe="natural"),
    "seed": lambda s, _: spoken(s, JOY, do_sample=True, seed=3),
    "thermostat": lambda s, _: spoken(s, emosteer.Thermostat({"joy": 1.0})),
    "contrast": lambda s, _: processed(s, "contrast"),
    "bias": lambda s, _: processed(s, "bias"),
    "chat": lambda s, _: s.chat("Well?", emotion=JOY, seed=3, do_sample=True, max_new_tokens=5),
    "stream": lambda s, _: "".join(s.chat("Well?", emotion=JOY, stream=True, seed=3, max_new_tokens=5)),
    "explain": lambda s, _: s.explain("Well?", "Yes it is.", emotion=JOY, recipe="natural").to_dict(),
    "nats": lambda s, _: nats_per_token(s, "Well?", "Yes it is."),
    "answers in cells": lambda s, _: answered(s),
    "bake": lambda s, _: emosteer.bake(s.model, s.vectors, JOY).state_dict()["model.layers.1.mlp.down_proj.bias"],
}


def monitored(s):
    with s.monitor() as live:
        spoken(s, JOY)
    return live.scores


@pytest.mark.parametrize("kind", few(DEFAULTS, "both"))
@pytest.mark.parametrize("name", PATH)
def test_a_default_of_torch_changes_nothing(steered, name, kind, tmp_path):
    (tmp_path / "before").mkdir()
    expected = PATH[name](steered, tmp_path / "before")
    with default(*DEFAULTS[kind]):
        found = PATH[name](steered, tmp_path)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        assert found == expected

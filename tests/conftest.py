"""Models and vectors that many tests share. Tiny ones have random weights; `embedded` is the real small model."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

import emosteer
from emosteer import cli
from emosteer import embedded as embedded_model
from emosteer.concepts import ConceptSet, Emotion, Neutral, Texts
from emosteer.reading.fit import fit_readout
from emosteer.vectors import storage
from emosteer.vectors.packing import pack

transformers_logging.disable_progress_bar()

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that of two processes neither is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def few(values: Iterable[Any], *quick: object) -> list[Any]:
    """Values for `parametrize`: the quick ones in every run, the others in the full one."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.full) for value in values]


def tiny_config(**changes) -> LlamaConfig:
    sizes = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return LlamaConfig(**{**sizes, **changes})


def tiny_model(config=None, *, seed: int = 0):
    """A random-weight model of any causal config, in evaluation mode."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config or tiny_config()).eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, with padding on the left, specials and a chat template."""
    specials = ["<pad>", "<s>", "</s>", "<unk>", "<user>", "<assistant>", "<end>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=specials[4:],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )


def talkative(config=None):
    """A tiny model whose answers are text and depend on what it reads, and its tokenizer, which decodes bytes."""
    model, tokenizer = tiny_model(config), tiny_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
        model.lm_head.weight[263:] = 0  # no text
    return model, tokenizer


def small_concepts() -> ConceptSet:
    """Three emotions with a handful of texts each."""
    spoken = {
        "joy": (
            ["glad", "happy", "merry", "cheer"],
            ["What joy this is!", "My joy is loud."],
            ["We danced in the rain."],
        ),
        "fear": (["afraid", "scared", "dread", "panic"], ["Fear has me now.", "I shook with fear."], ["Who is there?"]),
        "calm": (["still", "quiet", "peace", "rest"], ["All is calm in me.", "I am calm now."], ["The lake lay flat."]),
    }
    concepts = {
        name: Emotion(
            name,
            {"en": Texts(tuple(words), tuple(sentences), (*situations, f"{situations[0]} Again, and once more."))},
            {"en": name},
        )
        for name, (words, sentences, situations) in spoken.items()
    }
    neutral = Neutral(
        tuple(f"The {noun} stands at number {i}." for i, noun in enumerate(["table", "bus", "desk", "shop", "mill"]))
    )
    return ConceptSet("small", concepts, {"en": neutral}, "Apache-2.0")


def in_threads(*works) -> None:
    """Run each in a thread of its own; the first error of any is raised here."""
    errors: list[BaseException] = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])


def files_of(vectors: emosteer.EmotionVectors) -> dict[str, bytes]:
    """The files of a folder with vectors."""
    return storage.files_of(vectors.config, pack(vectors))


@pytest.fixture(scope="session")
def model():
    """A tiny Llama. Tests leave it as it was."""
    return tiny_model()


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def concepts():
    return small_concepts()


@pytest.fixture
def vectors(model):
    """Random directions for the tiny model, with three emotions."""
    return emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)


@pytest.fixture(scope="session")
def reading_vectors(model, tokenizer):
    """Random directions for the tiny model, with a fitted readout."""
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    return replace(vectors, readout=fit_readout(model, tokenizer, vectors, progress=False))


@pytest.fixture(scope="session")
def embedded():
    """The real embedded model and its tokenizer."""
    return embedded_model.load()


@pytest.fixture(scope="session")
def real(embedded):
    """The real embedded model with the vectors that are shipped; its readout is fitted once, when first needed."""
    vectors = emosteer.EmotionVectors.from_pretrained("vectors/smollm2-135m-instruct-en")
    return emosteer.SteeredModel(*embedded, vectors)


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Run the command line in this process → exit status, standard output, standard error."""

    def go(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        monkeypatch.setattr(sys, "argv", ["emosteer", *map(str, args)])
        monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return go

"""Coarse words are ruled out where a recipe steers, and words that only contain them are not."""

from __future__ import annotations

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import emosteer
from emosteer import Recipe
from emosteer.steering.clean import CleanLanguage
from tests.conftest import talkative, tiny_config, tiny_tokenizer

JOY = {"joy": 1.0}
MERGES = [("Ġ", "a"), ("Ġa", "s"), ("Ġas", "s"), ("a", "s"), ("as", "s"), ("Ġ", "f"), ("c", "k"), ("u", "ck")]


def merged() -> PreTrainedTokenizerFast:
    """Bytes, and a few of their merges: " ass" and "ass" are one token each, " f" + "uck" are two."""
    alphabet = ["<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def ruled_out(tokenizer, *texts, tones=(JOY,), scores=None):
    """The tokens that are ruled out after each text, as text."""
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    ids = torch.tensor([[0] * (max(map(len, rows)) - len(row)) + row for row in rows])
    before = torch.zeros(len(rows), len(tokenizer)) if scores is None else scores
    kept = before.clone()
    after = CleanLanguage(tokenizer, list(tones))(ids, before)
    assert torch.equal(before, kept)
    return [{tokenizer.decode([i]) for i in (row == -math.inf).nonzero().flatten().tolist()} for row in after]


def test_a_word_of_one_token_is_ruled_out_where_a_word_begins():
    tokenizer = merged()
    begun, inside = ruled_out(tokenizer, "What an", "gr")
    assert begun == inside == {" ass"}
    assert ruled_out(tokenizer, "Well.\n") == [{" ass", "ass"}]
    assert ruled_out(tokenizer, "Well, ") == [{" ass", "ass"}]


def test_the_last_token_of_a_word_is_ruled_out_after_the_others():
    tokenizer = merged()
    assert "uck" in ruled_out(tokenizer, "oh f")[0]
    assert "uck" not in ruled_out(tokenizer, "oh d")[0]
    assert "uck" not in ruled_out(tokenizer, "tur f")[0] - {"uck"}


@pytest.mark.parametrize(
    ("text", "last"),
    [("What a bastar", "d"), ("\nBastar", "d"), ("You BASTAR", "D"), ("those bastard", "s"), ("What bullshi", "t")],
)
def test_words_that_are_spelt_are_found_in_every_case_and_form(text, last):
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    assert last in ruled_out(tokenizer, text)[0]


@pytest.mark.parametrize(
    "text", ["gr", "a s", "The cla", "a sh", "the sp", "The xbastar", "el negr", "spi", "the spice"]
)
def test_what_only_looks_like_it_is_let_be(text):
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    assert ruled_out(tokenizer, text) == [set()]


def test_chinese_words_are_found_anywhere():
    tokenizer = tiny_tokenizer()
    end = tokenizer("混蛋", add_special_tokens=False)["input_ids"]
    ids = tokenizer("你这个", add_special_tokens=False)["input_ids"] + end[:-1]
    after = CleanLanguage(tokenizer, [JOY])(torch.tensor([ids]), torch.zeros(1, len(tokenizer)))
    assert (after == -math.inf).nonzero()[:, 1].tolist() == [end[-1]]


def test_rows_without_a_tone_and_rows_with_nothing_else_stay_as_they_are():
    tokenizer = merged()
    scores = torch.full((4, len(tokenizer)), -math.inf)
    scores[:, tokenizer.convert_tokens_to_ids("Ġass")] = 1.0  # all that a constraint lets through
    scores[0] = 0.0
    after = CleanLanguage(tokenizer, [JOY, {"joy": 0.0}])(torch.ones((4, 2), dtype=torch.long), scores)  # two beams
    assert (after[0] == -math.inf).sum() > 0
    assert torch.equal(after[1:], scores[1:])


@pytest.mark.parametrize("coarse", [False, True])
def test_a_recipe_lets_the_model_be_coarse_if_it_says_so(coarse):
    """A model that wants to say one word."""
    model, tokenizer = talkative(tiny_config(max_position_embeddings=1024))
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, ["joy"], seed=1))
    word = "what bastards"
    wanted = tokenizer(word, add_special_tokens=False)["input_ids"]
    start = steered.prompt("Hi")["input_ids"].shape[1]

    def insist(ids, scores):
        said = ids[0, start:].tolist()
        pushed = scores.clone()
        if said == wanted[: len(said)] and len(said) < len(wanted):
            pushed[:, wanted[len(said)]] = 1e4
        return pushed

    recipe = Recipe(dose=0.1, bonus=0.1, plausibility=1e-30, coarse=coarse)
    options = {"do_sample": False, "max_new_tokens": len(wanted), "logits_processor": [insist]}
    answer = steered.chat("Hi", emotion=JOY, recipe=recipe, **options)
    assert (answer == word) is coarse
    assert answer.startswith("what bastar")
    assert steered.chat("Hi", emotion=JOY, recipe=None, **options) == word

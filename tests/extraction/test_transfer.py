"""Vectors that move from one model to another: what comes through, what is refused, what is written."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import emosteer
from emosteer.calibration import with_quick_doses
from emosteer.cli import printing
from emosteer.concepts import ConceptSet
from emosteer.errors import ConceptError, IncompatibleModelError
from emosteer.extraction import transfer as transferring
from emosteer.extraction.linear_map import ridge_map, same_depth
from emosteer.extraction.transfer import _described, transfer
from tests.conftest import small_concepts, tiny_config, tiny_model, tiny_tokenizer

NAMES = ("joy", "sadness", "anger", "fear", "disgust", "love", "pride", "awe", "calm", "shame")


def ten() -> ConceptSet:
    return ConceptSet.load("en").subset(list(NAMES))


def turned(model, seed: int = 1):
    """The same model with its residual stream in another orthonormal basis, and the basis: an exact oracle."""
    other, width = copy.deepcopy(model), model.config.hidden_size
    basis = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]
    reads = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
    with torch.no_grad():
        for name, weight in other.named_parameters():
            if name.split(".")[-2] in reads:
                weight.copy_(weight @ basis)
            elif name.split(".")[-2] in ("o_proj", "down_proj"):
                weight.copy_(basis.T @ weight)
    return other, basis


def stranger():
    """A model with random weights that reads words, of which one that reads bytes knows nothing, and its tokenizer."""
    concepts = ten()
    lists = [(*one.words, *one.sentences, *one.situations) for name in NAMES for one in concepts[name].texts.values()]
    lists += [(*one.sentences, *one.frames) for one in concepts.neutral.values()]
    split = pre_tokenizers.Whitespace()
    words = sorted({word for texts in lists for text in texts for word, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    return tiny_model(tiny_config(vocab_size=len(vocabulary), hidden_size=48), seed=3), wrapped


@pytest.fixture(scope="module")
def moved(model, tokenizer):
    """Vectors of the tiny model, moved to itself in another basis, which they were never extracted from."""
    vectors = emosteer.extract(model, tokenizer, ten(), progress=False)
    other, basis = turned(model)
    return vectors, transfer(vectors, model, tokenizer, other, tokenizer, ten(), progress=False), other, basis


def test_in_another_basis_of_the_same_model_every_direction_arrives(moved):
    vectors, arrived, _, basis = moved
    assert arrived.emotions == vectors.emotions
    cosines = [(vectors.directions[name] @ basis * arrived.directions[name]).sum(-1) for name in NAMES]
    assert float(torch.stack(cosines).min()) > 0.93
    assert float(torch.stack(cosines).mean()) > 0.97


def test_an_emotion_that_the_texts_do_not_have_arrives_too(model, tokenizer):
    custom = emosteer.extract(model, tokenizer, ConceptSet.load("en").subset(["hope", "guilt", "joy"]), progress=False)
    custom = custom.select(["hope", "guilt"])
    other, basis = turned(model)
    arrived = transfer(custom, model, tokenizer, other, tokenizer, ten(), progress=False)
    for name in ("hope", "guilt"):
        assert float((custom.directions[name] @ basis * arrived.directions[name]).sum(-1).mean()) > 0.9


def test_norms_center_and_model_are_the_targets_and_doses_stay_behind(moved, tokenizer):
    vectors, arrived, other, _ = moved
    native = emosteer.extract(other, tokenizer, ten(), progress=False)
    assert arrived.base_model == native.base_model != vectors.base_model
    for part in ("residual_norm", "center", "neutral_basis"):
        assert torch.equal(getattr(arrived, part), getattr(native, part))
    assert arrived.doses == {}
    assert arrived.info == vectors.info
    assert arrived.license == vectors.license


def test_what_was_lost_stands_in_the_file(moved, tmp_path):
    vectors, arrived, _, _ = moved
    arrived.save_pretrained(tmp_path / "moved")
    made = emosteer.EmotionVectors.from_pretrained(tmp_path / "moved").extraction
    assert made["method"] == "transferred"
    assert made["source"]["fingerprint"] == vectors.base_model.fingerprint
    assert made["source"]["digest"] == _described(vectors)["digest"] != _described(vectors.select(NAMES[:3]))["digest"]
    assert made["map"]["source_layers"] == [0, 1, 2, 3]
    held_out = made["held_out"]
    assert held_out["cosine"]["value"] > 0.9
    assert held_out["cosine"]["low"] <= held_out["cosine"]["value"] <= held_out["cosine"]["high"]
    assert abs(held_out["random_map"]["value"]) < 0.15
    assert abs(held_out["shuffled_texts"]["value"]) < 0.3
    assert held_out["halves"]["value"] == pytest.approx(held_out["ceiling"]["value"], abs=0.05)
    assert len(held_out["r2"]) == 4
    assert min(held_out["r2"]) > 0.9
    assert set(held_out["cosine_by_emotion"]) == set(NAMES)


def test_vectors_of_another_model_are_refused(moved, tokenizer):
    vectors, _, other, _ = moved
    wider = tiny_model(tiny_config(hidden_size=48))
    with pytest.raises(IncompatibleModelError, match="the model is llama"):
        transfer(vectors, wider, tokenizer, other, tokenizer, ten(), progress=False)


def test_too_few_emotions_to_hold_some_out_are_refused(moved, model, tokenizer):
    with pytest.raises(ConceptError, match="has 3 emotions: too few"):
        transfer(moved[0], model, tokenizer, moved[2], tokenizer, small_concepts(), progress=False)


@pytest.mark.parametrize(("n", "d"), [(80, 12), (12, 80)])
def test_ridge_is_that_of_scikit_learn(n, d):
    """On standardised dimensions, with the penalty in units of the mean squared singular value; wide or tall."""
    from sklearn.linear_model import Ridge

    generator = torch.Generator().manual_seed(0)
    given = torch.randn(n, d, generator=generator) * torch.logspace(0, 3, d) + 5
    told = torch.randn(n, 7, generator=generator)
    standard = ((given - given.mean(0)) / given.std(0)).double().numpy()
    squares = torch.linalg.svdvals(torch.from_numpy(standard))[: min(n, d)] ** 2
    expected = Ridge(alpha=0.7 * float(squares.mean())).fit(standard, told.numpy()).coef_.T
    found = ridge_map(given, told, penalty=0.7) * given.std(0).unsqueeze(-1)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-5)


def test_layers_are_fed_by_those_of_the_same_relative_depth():
    assert same_depth(range(30), 30, 18)[::17] == [0, 29]
    assert same_depth(range(4), 4, 10) == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert same_depth((10, 20), 30, 3) == [0, 0, 1]  # the nearest that there is
    assert same_depth(range(1), 1, 2) == [0, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, moved):
    """Two models, texts and vectors on disk."""
    vectors, _, other, _ = moved
    root = tmp_path_factory.mktemp("transfer")
    bytewise = tiny_tokenizer()
    for name, parts in (("source", (tiny_model(), bytewise)), ("target", (other, bytewise)), ("stranger", stranger())):
        for part in parts:
            part.save_pretrained(root / name)
    (root / "concepts.json").write_text(json.dumps(ten().to_dict()))
    vectors.save_pretrained(root / "vectors")
    return root


def asked(folder, target: str):
    models = ("--from", folder / "source", "--to", folder / target)
    return ("transfer", folder / "vectors", *models, "--concepts", folder / "concepts.json")


def test_the_command_writes_the_same_bytes_and_says_what_was_lost(command_line, folder, tmp_path, moved):
    status, out, err = command_line(*asked(folder, "target"), "--output", tmp_path / "moved", "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["extraction"]["held_out"]["cosine"]["value"] > 0.9
    with_quick_doses(moved[2], tiny_tokenizer(), moved[1], progress=False).save_pretrained(tmp_path / "expected")
    for name in ("vectors.safetensors", "config.json", "README.md"):
        assert (tmp_path / "moved" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


def test_a_target_to_which_emotions_do_not_come_through_is_refused(command_line, folder, tmp_path):
    status, out, err = command_line(*asked(folder, "stranger"), "--output", tmp_path / "moved")
    assert (status, out) == (1, "")
    came, least = re.search(r"to a cosine of (\S+) .* where (\S+) is the least", err).groups()
    assert float(came) < float(least)
    assert "Extract vectors from the target itself" in err
    assert not (tmp_path / "moved").exists()


def test_the_command_prints_tables(command_line, folder, tmp_path, moved, monkeypatch):
    monkeypatch.setattr(transferring, "transfer", lambda *_, **__: moved[1])
    monkeypatch.setattr(printing, "out", Console(width=120))
    status, out, _ = command_line(*asked(folder, "target"), "--output", tmp_path / "moved")
    assert status == 0
    assert "held-out R²" in out
    assert f"{moved[1].extraction['held_out']['ceiling']['value']:.2f}" in out
    assert "100% as well as" in out or "99% as well as" in out

"""Extraction: planted directions that must be found, and a second implementation that reads every text alone."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize
from torch.testing import assert_close

import emosteer
from emosteer.concepts import ConceptSet, Emotion, Neutral, Texts
from emosteer.errors import ConceptError, InputError, MissingExtraError, ToneError
from emosteer.extraction import METHODS, extract
from tests.conftest import few, tiny_config, tiny_model

EVERY_METHOD = ["mean_difference", "pca", "logistic"]

every_method = pytest.mark.parametrize("method", EVERY_METHOD)


# Methods, on states that are made up.


def planted_states(n_emotions: int, seed: int, *, texts: int = 60, width: int = 64, strength: float = 6.0):
    """Unit noise around one shift an emotion: states, labels, and the shifts less their mean."""
    generator = torch.Generator().manual_seed(seed)
    shifts = strength * normalize(torch.randn(n_emotions, width, generator=generator), dim=-1)
    background = 5 * torch.randn(width, generator=generator)  # what all texts share
    labels = torch.arange(n_emotions).repeat_interleave(texts)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    states = background + shifts[labels] + torch.randn(len(labels), width, generator=generator)
    return states, labels, shifts - shifts.mean(0)


@pytest.mark.parametrize("seed", few([0, 1, 2], 0))
@pytest.mark.parametrize("strength", few([6, 20], 6))
@pytest.mark.parametrize("n_emotions", [2, 3, 8])
@every_method
def test_a_method_finds_the_planted_directions(method, n_emotions, strength, seed):
    states, labels, shifts = planted_states(n_emotions, seed, strength=strength)
    found = METHODS[method](states, labels, n_emotions)
    assert found.shape == (n_emotions, 64)
    assert float(cosine_similarity(found, shifts).min()) > 0.95


@pytest.mark.parametrize("n_emotions", [2, 5])
def test_mean_difference_is_the_class_mean_less_the_mean_of_the_class_means(n_emotions):
    states, labels, _ = planted_states(n_emotions, 3)
    uneven = torch.cat([torch.arange(20), torch.arange(40, len(labels))])  # classes need not be of one size
    states, labels = states[uneven], labels[uneven]
    means = np.stack([states.numpy()[labels.numpy() == i].mean(axis=0) for i in range(n_emotions)])
    expected = means - means.mean(axis=0)
    assert_close(METHODS["mean_difference"](states, labels, n_emotions), torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_emotions", [2, 5])
def test_pca_is_the_leading_eigenvector_of_the_differences_to_the_other_emotions(n_emotions):
    states, labels, _ = planted_states(n_emotions, 4, strength=2)
    found = METHODS["pca"](states, labels, n_emotions)
    means = [states[labels == i].double().mean(0) for i in range(n_emotions)]
    for i in range(n_emotions):
        others = torch.stack([mean for j, mean in enumerate(means) if j != i]).mean(0)
        differences = states[labels == i].double() - others
        leading = np.linalg.eigh((differences.T @ differences).numpy()).eigenvectors[:, -1]
        leading = torch.tensor(leading * np.sign(differences.mean(0).numpy() @ leading)).float()
        assert float(cosine_similarity(found[i], leading, dim=0)) > 0.9999


@pytest.mark.parametrize("n_emotions", [2, 5])
def test_logistic_does_not_depend_on_the_unit_of_a_dimension(n_emotions):
    states, labels, _ = planted_states(n_emotions, 5, strength=2)
    units = torch.logspace(-2, 2, 64)
    found = METHODS["logistic"](states * units, labels, n_emotions) * units
    assert float(cosine_similarity(found, METHODS["logistic"](states, labels, n_emotions)).min()) > 0.99


@pytest.mark.parametrize("n_emotions", [2, 5])
def test_logistic_tells_texts_apart_that_it_has_not_seen(n_emotions):
    states, labels, _ = planted_states(n_emotions, 5, strength=4)
    uneven = states * torch.linspace(0.1, 4, 64)  # dimensions of different spread
    normals = METHODS["logistic"](uneven[::2], labels[::2], n_emotions)
    scores = (uneven[1::2] - uneven[::2].mean(0)) @ normals.T
    assert float((scores.argmax(1) == labels[1::2]).float().mean()) > 0.9


@every_method
def test_a_method_gives_the_same_for_the_same_input(method):
    states, labels, _ = planted_states(4, 6)
    assert torch.equal(METHODS[method](states, labels, 4), METHODS[method](states.clone(), labels.clone(), 4))


# A model in which emotions are planted.

MARKS = {"joy": "J", "fear": "F", "calm": "C"}
FILLING = "abcdefghijklmnoprstuvwxyz "


def marked_texts(mark: str, count: int, generator: torch.Generator) -> tuple[str, ...]:
    """Texts of random letters; a third of each is the mark."""
    texts = []
    for _ in range(count):
        letters = [FILLING[i] for i in torch.randint(len(FILLING), (24,), generator=generator).tolist()]
        letters[::3] = [mark] * 8
        texts.append("o" + "".join(letters) + "o")  # the first token does not count
    return tuple(texts)


def marked_concepts(marks: dict[str, str], *, count: int = 12, seed: int = 0) -> ConceptSet:
    generator = torch.Generator().manual_seed(seed)
    return ConceptSet(
        "marked",
        {
            name: Emotion(name, {"en": Texts(*(marked_texts(mark, count, generator) for _ in range(3)))})
            for name, mark in marks.items()
        },
        {"en": Neutral(marked_texts("q", 2 * count, generator), frames=("The {}", "Say {}"))},
    )


@pytest.fixture(scope="module")
def planted_model():
    """A model that passes the embeddings on, in which the marks stand for orthogonal directions."""
    from tests.conftest import tiny_tokenizer

    model = tiny_model(tiny_config(hidden_size=64))
    axes = torch.linalg.qr(torch.randn(64, len(MARKS), generator=torch.Generator().manual_seed(7))).Q.T
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        embeddings = model.get_input_embeddings().weight
        embeddings.copy_(torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(8)))
        for mark, axis in zip(MARKS.values(), axes, strict=True):
            embeddings[tiny_tokenizer().convert_tokens_to_ids(mark)] = 10 * axis
    return model, axes


# A normal that tells emotions apart leans away from what varies within them, so it need not be quite their difference.
LEAST = {"mean_difference": 0.95, "pca": 0.95, "logistic": 0.9}


def less_neutral(wanted: torch.Tensor, vectors, layer: int) -> torch.Tensor:
    """What is left of planted directions when the components of neutral text are projected out."""
    basis = vectors.neutral_basis[layer]
    return wanted - wanted @ basis.T @ basis


@every_method
def test_extraction_finds_what_is_planted_in_the_model(method, planted_model, tokenizer):
    model, axes = planted_model
    vectors = extract(model, tokenizer, marked_concepts(MARKS), method=method)
    for layer in range(4):
        found = torch.stack([vectors.directions[name][layer] for name in MARKS])
        wanted = less_neutral(axes - axes.mean(0), vectors, layer)
        assert float(cosine_similarity(found, wanted).min()) > LEAST[method]


@every_method
def test_a_lone_emotion_is_contrasted_with_neutral_text(method, planted_model, tokenizer):
    model, axes = planted_model
    vectors = extract(model, tokenizer, marked_concepts({"joy": "J"}), method=method)
    assert vectors.emotions == ("joy",)
    neutral = model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("q")].detach()
    for layer in range(4):
        wanted = less_neutral(10 * axes[0] - neutral, vectors, layer)
        assert float(cosine_similarity(vectors.directions["joy"][layer], wanted, dim=0)) > LEAST[method]


@every_method
def test_stability_is_high_for_what_is_planted(method, planted_model, tokenizer):
    stability = extract(planted_model[0], tokenizer, marked_concepts(MARKS), method=method).extraction["stability"]
    assert set(stability) == set(MARKS)
    assert all(0.9 < value <= 1 for value in stability.values())


def test_stability_is_low_where_only_chance_sets_the_emotions_apart(planted_model, tokenizer):
    concepts = marked_concepts(dict.fromkeys(MARKS, "q"))  # the same mark in every text
    stability = extract(planted_model[0], tokenizer, concepts).extraction["stability"]
    assert all(-1 <= value < 0.5 for value in stability.values())


# The whole of it, against a second implementation.


@dataclass
class Expected:
    directions: torch.Tensor  # [n_emotions, n_layers, d]
    norms: torch.Tensor
    center: torch.Tensor
    projectors: torch.Tensor  # [n_layers, d, d]
    stability: list[float]
    read: list[str]


def second_implementation(model, tokenizer, concepts: ConceptSet, pooling: str) -> Expected:
    """Mean differences in float64, every text read alone, in the plainest way."""
    read: list[tuple[str, int, int]] = []
    marks: list[tuple[int, int]] = []  # emotion, place in its part
    for label, name in enumerate(concepts.emotions):
        texts, frames = concepts[name].texts["en"], concepts.neutral["en"].frames
        words = [(frames[i % len(frames)], word) for i, word in enumerate(texts.words)]
        framed = [(frame.replace("{}", word), frame.find("{}"), frame.find("{}") + len(word)) for frame, word in words]
        for part in (framed, *([(t, 0, len(t)) for t in ts] for ts in (texts.sentences, texts.situations))):
            read += part
            marks += [(label, i) for i in range(len(part))]
    neutral = concepts.neutral["en"].sentences
    read += [(text, 0, len(text)) for text in neutral]
    marks += [(len(concepts.emotions), i) for i in range(len(neutral))]

    states, norms = [], []
    for text, start, end in read:
        outputs = []
        handles = [
            block.register_forward_hook(lambda _m, _a, out, kept=outputs: kept.append(out[0]))
            for block in model.model.layers
        ]
        with torch.no_grad():
            model(torch.tensor([tokenizer(text).input_ids]))
        for handle in handles:
            handle.remove()
        hidden = torch.stack(outputs)[:, max(1, start) : end].double()
        states.append(hidden.mean(1) if pooling == "mean" else hidden[:, -1])
        norms.append(hidden.norm(dim=-1).mean(-1))
    states, norms = torch.stack(states), torch.stack(norms)
    is_neutral = torch.tensor([label == len(concepts.emotions) for label, _ in marks])
    center = states[is_neutral].mean(0)

    projectors = []
    for layer in range(states.shape[1]):
        centred = states[is_neutral, layer] - center[layer]
        values, components = np.linalg.eigh((centred.T @ centred).numpy())
        values, components = values[::-1], components[:, ::-1]
        k = next(k for k in range(1, 99) if values[:k].sum() >= 0.5 * values.sum())
        projectors.append(torch.tensor(components[:, :k] @ components[:, :k].T))
    projectors = torch.stack(projectors)

    def directions(chosen) -> torch.Tensor:
        means = torch.stack(
            [
                states[[row for row, (label, place) in enumerate(marks) if label == emotion and chosen(place)]].mean(0)
                for emotion in range(len(concepts.emotions))
            ]
        )
        raw = means - means.mean(0)
        raw = raw - torch.einsum("elj,ljk->elk", raw, projectors)
        return raw / raw.norm(dim=-1, keepdim=True)

    halves = directions(lambda place: place % 2 == 0), directions(lambda place: place % 2 == 1)
    return Expected(
        directions(lambda _place: True).float(),
        norms[is_neutral].mean(0).float(),
        center.float(),
        projectors.float(),
        (halves[0] * halves[1]).sum(-1).mean(-1).tolist(),
        [text for text, _, _ in read],
    )


@pytest.fixture(scope="module")
def lively_model():
    """A model with weights large enough that what a token means depends on those before."""
    model = tiny_model(seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_extraction_equals_a_second_implementation(pooling, lively_model, tokenizer, concepts):
    vectors = extract(lively_model, tokenizer, concepts, pooling=pooling, batch_size=4)
    expected = second_implementation(lively_model, tokenizer, concepts, pooling)
    assert vectors.emotions == concepts.emotions
    for i, name in enumerate(concepts.emotions):
        assert_close(vectors.directions[name], expected.directions[i], rtol=0, atol=1e-4)
        assert vectors.extraction["stability"][name] == pytest.approx(expected.stability[i], abs=1e-3)
    assert_close(vectors.residual_norm, expected.norms, rtol=1e-4, atol=0)
    assert_close(vectors.center, expected.center, rtol=1e-4, atol=1e-5)
    basis = vectors.neutral_basis
    assert_close(basis.transpose(1, 2) @ basis, expected.projectors, rtol=0, atol=1e-3)


@every_method
def test_directions_are_unit_and_orthogonal_to_the_neutral_basis(method, lively_model, tokenizer, concepts):
    vectors = extract(lively_model, tokenizer, concepts, method=method)
    lengths = vectors.neutral_basis.norm(dim=-1)
    assert bool(((lengths - 1).abs() < 1e-4).logical_or(lengths == 0).all())  # zeros where a layer needs fewer
    assert bool((lengths[:, 0] > 0).all())
    for direction in vectors.directions.values():
        assert direction.dtype == torch.float32
        assert_close(direction.norm(dim=-1), torch.ones(4))
        assert float((vectors.neutral_basis @ direction.unsqueeze(-1)).abs().max()) < 1e-4


@every_method
def test_directions_point_to_their_emotion(method, lively_model, tokenizer, concepts):
    vectors = extract(lively_model, tokenizer, concepts, method=method)
    means = second_implementation(lively_model, tokenizer, concepts, "mean").directions  # towards, by construction
    for i, name in enumerate(concepts.emotions):
        assert bool(((vectors.directions[name] * means[i]).sum(-1) > 0).all())


def test_a_method_without_a_sign_is_turned_towards_the_emotion(lively_model, tokenizer, concepts, monkeypatch):
    forwards = extract(lively_model, tokenizer, concepts)
    monkeypatch.setitem(METHODS, "backwards", lambda *args: -METHODS["mean_difference"](*args))
    backwards = extract(lively_model, tokenizer, concepts, method="backwards")
    for name in concepts.emotions:
        assert torch.equal(forwards.directions[name], backwards.directions[name])


def test_held_out_texts_are_never_read_and_words_stand_in_frames_in_turn(lively_model, tokenizer):
    texts = Texts(
        ("glad", "merry", "sunny"), ("I am glad.",), ("We sang.",), ("joy",), ("HELD OUT one",), ("HELD OUT two",)
    )
    others = Texts(("dread",), ("I fear it.",), ("It growled.",))
    concepts = ConceptSet(
        "held",
        {"joy": Emotion("joy", {"en": texts}), "fear": Emotion("fear", {"en": others})},
        {"en": Neutral(("A table.", "A chair."), ("HELD OUT three",), ("The word {}", "Say {} now"))},
    )
    read: list[str] = []

    class Spy:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def __call__(self, text, **options):
            read.append(text)
            return tokenizer(text, **options)

    extract(lively_model, Spy(), concepts)
    assert read == second_implementation(lively_model, tokenizer, concepts, "mean").read
    assert read == [
        *("The word glad", "Say merry now", "The word sunny", "I am glad.", "We sang."),
        *("The word dread", "I fear it.", "It growled.", "A table.", "A chair."),
    ]


def test_several_languages_count_as_texts_of_the_same_emotion(lively_model, tokenizer, concepts):
    german = concepts.to_dict()
    for emotion in german["emotions"].values():
        emotion["texts"] = {"de": emotion["texts"]["en"]}
        emotion["labels"] = {"de": "Gefühl"}
    german["neutral"] = {"de": {**german["neutral"]["en"], "frames": ['"{}"']}}
    both = concepts.merge(ConceptSet.from_dict(german))
    vectors, single = extract(lively_model, tokenizer, both), extract(lively_model, tokenizer, concepts)
    assert vectors.extraction["languages"] == ["en", "de"]
    assert vectors.extraction["counts"] == {
        key: 2 * number for key, number in single.extraction["counts"].items()
    }  # the texts are the same, so the means are
    for name in concepts.emotions:
        assert_close(vectors.directions[name], single.directions[name], rtol=0, atol=1e-4)
    assert vectors.info["joy"].labels == {"en": "joy", "de": "Gefühl"}


def test_how_the_vectors_were_made_is_written_down(lively_model, tokenizer):
    concepts = marked_concepts(MARKS)
    rated = concepts.to_dict()
    rated["emotions"]["joy"].update(valence=0.5, arousal=-0.25, source="A survey", labels={"en": "Joy"})
    rated["license"] = "MIT"
    concepts = ConceptSet.from_dict(rated)
    vectors = extract(lively_model, tokenizer, concepts, method="pca", pooling="last")
    frames = json.dumps(["The {}", "Say {}"], separators=(",", ":")).encode()
    assert {**vectors.extraction, "stability": None} == {
        "method": "pca",
        "pooling": "last",
        "neutral_variance": 0.5,
        "templates": {"en": hashlib.sha256(frames).hexdigest()},
        "concepts": "marked",
        "concepts_digest": concepts.digest,
        "languages": ["en"],
        "counts": {"emotional": 3 * 36, "neutral": 24},
        "seed": None,
        "stability": None,
    }
    joy = vectors.info["joy"]
    assert (joy.valence, joy.arousal, joy.source, joy.labels) == (0.5, -0.25, "A survey", {"en": "Joy"})
    assert vectors.info["fear"].valence is None
    assert vectors.license == "MIT"
    assert vectors.doses == {}
    base = vectors.base_model
    assert (base.model_type, base.num_hidden_layers, base.hidden_size) == ("llama", 4, 32)


# Stability.


def test_with_one_text_a_part_there_is_no_stability(lively_model, tokenizer):
    vectors = extract(lively_model, tokenizer, marked_concepts(MARKS, count=1))
    assert vectors.extraction["stability"] == {}


@every_method
def test_stability_is_a_cosine(method, lively_model, tokenizer, concepts):
    stability = extract(lively_model, tokenizer, concepts, method=method).extraction["stability"]
    assert set(stability) == set(concepts.emotions)
    assert all(-1 <= value <= 1 for value in stability.values())


def test_emotions_that_half_of_the_texts_cannot_tell_apart_have_no_stability(lively_model, tokenizer):
    shared = marked_texts("S", 3, torch.Generator().manual_seed(1))
    own = {name: marked_texts(mark, 3, torch.Generator().manual_seed(2)) for name, mark in MARKS.items()}
    concepts = ConceptSet(
        "half",
        {name: Emotion(name, {"en": Texts(*zip(shared, own[name], strict=True))}) for name in ("joy", "fear")},
        marked_concepts(MARKS).neutral,
    )
    vectors = extract(lively_model, tokenizer, concepts)  # all of the texts together do tell them apart
    assert vectors.extraction["stability"] == {}


# Reproducible.


@every_method
def test_two_runs_give_the_same_bytes(method, lively_model, tokenizer, concepts, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed, folder in enumerate(("one", "two")):
            torch.manual_seed(seed)  # nothing is drawn at random
            extract(lively_model, tokenizer, concepts, method=method).save_pretrained(tmp_path / folder)
    finally:
        torch.set_num_threads(threads)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["README.md", "config.json", "vectors.safetensors"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_is_extracted_loads_as_it_was(lively_model, tokenizer, concepts, tmp_path):
    vectors = extract(lively_model, tokenizer, concepts)
    vectors.save_pretrained(tmp_path)
    again = emosteer.EmotionVectors.from_pretrained(tmp_path)
    for name in concepts.emotions:
        assert torch.equal(again.directions[name], vectors.directions[name])
    assert torch.equal(again.center, vectors.center)
    assert torch.equal(again.neutral_basis, vectors.neutral_basis)
    assert again.extraction == vectors.extraction
    assert again.info == vectors.info


# Options.


@pytest.mark.parametrize(
    ("layers", "kept"), [([2], (2,)), ([3, 1], (1, 3)), ([0, 0, 2], (0, 2)), (range(4), (0, 1, 2, 3))]
)
def test_only_the_layers_asked_for_are_kept_rising_and_once(layers, kept, lively_model, tokenizer, concepts):
    everything = extract(lively_model, tokenizer, concepts)
    some = extract(lively_model, tokenizer, concepts, layers=layers)
    assert some.layers == kept
    assert torch.equal(some.residual_norm, everything.residual_norm[list(kept)])
    for name in concepts.emotions:
        assert_close(some.directions[name], everything.directions[name][list(kept)])


@pytest.mark.parametrize("layers", [[], [4], [-1], [0, 99]])
def test_layers_that_are_not_there_are_an_error(layers, lively_model, tokenizer, concepts):
    with pytest.raises(ToneError, match="layer"):
        extract(lively_model, tokenizer, concepts, layers=layers)


def test_a_method_is_one_function_and_one_entry(lively_model, tokenizer, concepts, monkeypatch):
    seen = []

    def axis(states, labels, n_emotions):
        seen.append((tuple(states.shape), labels.tolist(), n_emotions))
        return torch.eye(32)[:n_emotions]

    monkeypatch.setitem(METHODS, "axis", axis)
    vectors = extract(lively_model, tokenizer, concepts, method="axis", layers=[1])
    per_emotion = 4 + 2 + 2  # words, sentences, situations
    assert seen[0] == ((3 * per_emotion, 32), [0] * per_emotion + [1] * per_emotion + [2] * per_emotion, 3)
    assert vectors.extraction["method"] == "axis"
    basis = vectors.neutral_basis[0]
    for i, name in enumerate(concepts.emotions):
        wanted = torch.eye(32)[i] - basis.T @ basis[:, i]
        assert abs(float(cosine_similarity(vectors.directions[name][0], wanted, dim=0))) == pytest.approx(1, abs=1e-5)


def test_an_unknown_method_is_an_error_that_lists_those_there_are(lively_model, tokenizer, concepts):
    with pytest.raises(InputError, match=r"method 'svm'.*logistic, mean_difference, pca"):
        extract(lively_model, tokenizer, concepts, method="svm")


def test_an_unknown_pooling_is_an_error(lively_model, tokenizer, concepts):
    with pytest.raises(InputError, match="pooling 'max'"):
        extract(lively_model, tokenizer, concepts, pooling="max")


@pytest.mark.parametrize("module", ["sklearn", "sklearn.linear_model"])
def test_logistic_without_scikit_learn_names_the_extra(module, lively_model, tokenizer, concepts, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # makes its import an ImportError
    with pytest.raises(MissingExtraError, match=r"scikit-learn.*pip install 'emosteer\[eval\]'"):
        extract(lively_model, tokenizer, concepts, method="logistic")
    assert extract(lively_model, tokenizer, concepts).emotions == concepts.emotions  # the others do without


# Sets that cannot be learned from.


def test_a_set_without_emotions_is_an_error(lively_model, tokenizer, concepts):
    with pytest.raises(ConceptError, match="'small' has no emotions"):
        extract(lively_model, tokenizer, concepts.subset([]))


@pytest.mark.parametrize("batch_size", few([1, 4, 64], 4))
@pytest.mark.parametrize("third", [False, True])
@every_method
def test_two_emotions_of_the_same_texts_are_an_error_that_names_one(method, third, batch_size, lively_model, tokenizer):
    marked = marked_concepts(MARKS)
    same = {name: Emotion(name, marked["joy"].texts) for name in ("joy", "bliss")}
    concepts = ConceptSet("same", {**same, **({"calm": marked["calm"]} if third else {})}, marked.neutral)
    with pytest.raises(ConceptError, match=r"'(joy|bliss)'"):
        extract(lively_model, tokenizer, concepts, method=method, batch_size=batch_size)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_method_that_finds_nothing_is_an_error_that_names_the_emotion(
    value, lively_model, tokenizer, concepts, monkeypatch
):
    def nothing(states, labels, n_emotions):
        found = METHODS["mean_difference"](states, labels, n_emotions)
        found[1] = value
        return found

    monkeypatch.setitem(METHODS, "nothing", nothing)
    with pytest.raises(ConceptError, match="'fear' cannot be told from the others"):
        extract(lively_model, tokenizer, concepts, method="nothing")


def test_a_text_that_cannot_be_read_is_an_error(lively_model, tokenizer):
    data = marked_concepts(MARKS).to_dict()
    data["emotions"]["joy"]["texts"]["en"]["sentences"].append("x" * 300)
    with pytest.raises(InputError, match="300 tokens, the model reads at most 256"):
        extract(lively_model, tokenizer, ConceptSet.from_dict(data))


def test_one_neutral_text_is_enough(lively_model, tokenizer, concepts):
    alone = ConceptSet("alone", concepts.concepts, {"en": Neutral(concepts.neutral["en"].sentences[:1])})
    vectors = extract(lively_model, tokenizer, alone)
    assert all(bool(direction.isfinite().all()) for direction in vectors.directions.values())


def test_the_model_is_as_it_was_after_extraction(lively_model, tokenizer, concepts):
    ids = torch.tensor([[5, 6, 7]])
    before = lively_model(ids).logits
    extract(lively_model, tokenizer, concepts)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lively_model.model.layers.modules())
    assert torch.equal(lively_model(ids).logits, before)

"""The alignment battery: on a tiny model, on planted spaces whose answers are known, and on the embedded model.

The norms of these tests are made here: a word that a concept set lists is rated as people rate its emotion.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import emosteer
from emosteer.concepts import ConceptSet
from emosteer.errors import ConceptError, InputError, MissingExtraError
from emosteer.eval import AlignmentReport, Norms, evaluate_alignment
from emosteer.eval.alignment import emotions as emotions_room
from emosteer.eval.alignment import states as states_room
from emosteer.eval.alignment import words as words_room
from emosteer.eval.alignment.battery import _layer, _name
from emosteer.eval.alignment.emotions import Emotions, halves, language_pair
from emosteer.eval.alignment.frames import MOODS, WORDS, frames_for
from emosteer.eval.alignment.states import Run, layer_grid, word_shapes, word_states
from emosteer.eval.alignment.words import Words, transfer_ratings
from emosteer.models.activations import collect
from tests.conftest import tiny_model, tiny_tokenizer

FAST = {"permutations": 200, "progress": False}


def made_norms(language: str = "en", *, per_emotion: int = 20, seed: int = 0) -> Norms:
    """Words of the concept set, rated as their emotion with a little noise; a word of two emotions by the first."""
    concepts = ConceptSet.load(language)
    generator = np.random.default_rng(seed)
    rated = {}
    for name in concepts.emotions:
        emotion = concepts[name]
        if emotion.valence is not None:
            for word in emotion.texts[language].words[:per_emotion]:
                noise = generator.normal(0, 0.05, 2)
                rated.setdefault(word, (emotion.valence + noise[0], emotion.arousal + noise[1]))
    values = np.clip(list(rated.values()), -1, 1)
    return Norms("made", language, tuple(rated), tuple(values[:, 0]), tuple(values[:, 1]))


@pytest.fixture(scope="module")
def tiny() -> emosteer.SteeredModel:
    model = tiny_model()
    return emosteer.SteeredModel(
        model, tiny_tokenizer(), emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"])
    )


@pytest.fixture(scope="module")
def of_tiny(tiny) -> AlignmentReport:
    return evaluate_alignment(tiny, norms=made_norms(), languages=["en", "de"], **FAST)


def run_of(steered, **changes) -> Run:
    given = {"permutations": 100, "seed": 0, "cache": None, "progress": False, **changes}
    return Run(steered, layer_grid(steered.model), **given)


# The whole battery.


def test_report_has_every_part_with_its_n(of_tiny):
    assert [(one.language, len(one.emotions)) for one in of_tiny.geometry] == [("en", 28), ("de", 28)]
    for shape in of_tiny.geometry:
        assert set(shape.measures) == {
            "rsa",
            "rsa_plane",
            "rsa_other_half",
            "pc1_valence",
            "pc2_arousal",
            "pc2_arousal_given_valence",
            "axis_valence",
            "axis_arousal",
            "axis_arousal_given_valence",
            "circumplex",
        }
        assert all(found.n == 28 for found in shape.measures.values())
        assert set(shape.control) == {"rsa", "rsa_plane", "pc1_valence", "pc2_arousal", "pc2_arousal_given_valence"}
        assert shape.layer in of_tiny.about["layer_grid"]
    (words,) = of_tiny.words
    assert words.full.r["valence"].n == len(made_norms())
    assert set(words.controls) == {
        "random_directions",
        "input_embeddings",
        "length_and_frequency",
        "spelling",
        "shuffled",
    }
    assert [pair.languages for pair in of_tiny.pairs] == [("en", "de"), ("de", "en")]
    assert of_tiny.transfers == ()
    for language in ("en", "de"):  # the norms hold no word but those that place the emotions
        assert of_tiny.about["layers"][language]["rule"].startswith("most often best on halves")


def test_other_rated_words_choose_the_layer(tiny):
    run, emotions = run_of(tiny), SimpleNamespace(language="en", words=["joyful"])
    chosen = SimpleNamespace(language="en", development_scores=lambda without: [0.1, 0.4] if without else [0.9, 0.0])
    other = SimpleNamespace(language="de", development_scores=lambda without: [9.0, 0.0])
    assert _layer(run, emotions, [other, chosen])[0] == run.layers[1]
    assert _layer(run, emotions, [chosen])[1].startswith("best prediction of a development half")


def test_report_is_plain_data_and_the_same_again(tiny, of_tiny):
    told = of_tiny.to_dict()
    assert told["schema"] == 1
    assert json.loads(json.dumps(told, allow_nan=False))["geometry"][0]["language"] == "en"
    assert "rated" not in told["words"][0]
    again = evaluate_alignment(tiny, languages=["de"], **FAST)
    assert again.geometry == of_tiny.geometry[1:]  # a language's figures do not depend on what else is measured


def test_further_ratings_are_measured_beside_the_own_with_the_human_ceiling(tiny):
    concepts = ConceptSet.load("en")
    own = {n: (concepts[n].valence, concepts[n].arousal) for n in concepts.emotions if concepts[n].valence is not None}
    other = {name: (valence, -arousal) for name, (valence, arousal) in list(own.items())[:20]}
    report = evaluate_alignment(tiny, categories={"turned": other}, **FAST)
    assert [(one.ratings, len(one.emotions)) for one in report.geometry] == [("Glasgow Norms", 28), ("turned", 20)]
    (ceiling,) = report.ceilings
    assert ceiling.between == ("Glasgow Norms", "turned")
    assert ceiling.measures["valence"].value == pytest.approx(1)
    assert ceiling.measures["arousal"].value == pytest.approx(-1)
    assert ceiling.measures["rsa"].n == 20


def test_a_model_of_random_weights_predicts_no_better_than_the_letters(of_tiny):
    (words,) = of_tiny.words
    for axis in ("valence", "arousal"):
        letters = words.controls["spelling"].r[axis]
        assert words.full.r[axis].value < letters.high, axis


def test_shuffled_ratings_come_out_at_chance(of_tiny):
    for axis in ("valence", "arousal"):
        found = of_tiny.words[0].controls["shuffled"].r[axis]
        assert abs(found.value) < 0.15
        assert found.low < 0.05


def test_what_a_model_does_not_know_is_said(tiny):
    report = evaluate_alignment(tiny, languages=["zh"], **FAST)  # bytes as tokens: three for each character
    assert any("tokens a character" in note and note.startswith("The tokenizer cuts zh") for note in report.notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"languages": []}, "no language to measure"),
        ({"languages": ["xx"]}, "no concept set 'xx'"),
        ({"languages": ["de"], "norms": made_norms()}, "the languages asked for are de"),
        ({"norms": "nowhere.csv"}, "nowhere.csv"),
        ({"categories": {"few": {"joy": (0.5, 0.5), "fear": (-0.5, 0.5)}}}, "know 2 of the emotions, at least 8"),
    ],
)
def test_bad_input_is_one_clear_error(tiny, given, message):
    with pytest.raises((InputError, ConceptError), match=message):
        evaluate_alignment(tiny, **given, **FAST)


def test_what_is_not_installed_is_said_before_anything_is_read(tiny, monkeypatch):
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "sklearn" else there(name, *a))
    with pytest.raises(MissingExtraError, match=r"needs sklearn.*emosteer\[eval\]"):
        evaluate_alignment(tiny, **FAST)


def test_too_few_words_are_refused_and_few_are_noted(tiny):
    all_of_them = made_norms()
    n = 40
    few = replace(
        all_of_them,
        words=all_of_them.words[:n],
        valence=all_of_them.valence[:n],
        arousal=all_of_them.arousal[:n],
    )
    with pytest.raises(InputError, match="different words, at least 50"):
        evaluate_alignment(tiny, norms=few, **FAST)
    some = made_norms(per_emotion=6)
    report = evaluate_alignment(tiny, norms=some, **FAST)
    assert any(f"only {len(some)} words" in note for note in report.notes)


def test_a_model_in_a_folder_is_called_by_the_folder_alone(tiny, tmp_path):
    tiny.model.save_pretrained(tmp_path / "my-model")
    model = type(tiny.model).from_pretrained(tmp_path / "my-model")
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear"])
    assert _name(emosteer.SteeredModel(model, tiny.tokenizer, vectors)) == "my-model"
    assert _name(tiny) == "llama"


# States of words.


def test_states_are_those_of_the_hidden_states_at_the_last_token(tiny):
    words, frame, layers = ["sun", "mountain"], "It was all about {}. The mood was", (0, 2)
    found = word_states(tiny.model, tiny.tokenizer, words, frame, layers=layers, progress=False)
    for row, word in enumerate(words):
        ids = tiny.tokenizer(frame.replace("{}", word), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = tiny.model(ids, output_hidden_states=True).hidden_states
        for column, layer in enumerate(layers):
            np.testing.assert_allclose(found[row, column], hidden[layer + 1][0, -1].numpy(), atol=1e-5)


def test_states_are_read_once_and_kept_by_what_they_depend_on(tiny, tmp_path, monkeypatch):
    given = {"layers": (0, 1), "cache": tmp_path, "progress": False}
    first = word_states(tiny.model, tiny.tokenizer, ["sun", "moon"], "The word {}", **given)
    reads = []
    monkeypatch.setattr(states_room, "collect", lambda *a, **k: reads.append(1) or collect(*a, **k))
    np.testing.assert_array_equal(
        word_states(tiny.model, tiny.tokenizer, ["sun", "moon"], "The word {}", **given), first
    )
    assert not reads
    word_states(tiny.model, tiny.tokenizer, ["moon", "sun"], "The word {}", **given)
    word_states(tiny.model, tiny.tokenizer, ["sun", "moon"], "A word {}", **given)
    word_states(tiny.model, tiny.tokenizer, ["sun", "moon"], "The word {}", **{**given, "layers": (0, 2)})
    word_states(tiny_model(seed=1), tiny.tokenizer, ["sun", "moon"], "The word {}", **given)
    assert len(reads) == 4
    assert not list(tmp_path.glob("*.part"))


def test_a_model_that_cannot_be_told_from_others_is_not_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(states_room, "model_digest", lambda *_: None)  # as of weights that lie on disk
    word_states(tiny.model, tiny.tokenizer, ["sun"], "The word {}", layers=(0,), cache=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_grid_lies_in_the_later_two_thirds():
    for n, expected in ((30, (10, 13, 16, 19, 22, 25, 28)), (18, (6, 8, 10, 12, 14, 16)), (4, (1, 2)), (1, (0,))):
        model = SimpleNamespace()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(states_room, "decoder_layers", lambda _model, n=n: [None] * n)
            assert layer_grid(model) == expected


def test_shapes_of_words_are_lengths_and_ranks(tiny):
    short, long = word_shapes(tiny.tokenizer, ["a", "abcd"])
    assert (short[0], long[0], short[1], long[1]) == (1, 4, 2, 5)  # the space before a word is a byte too


@pytest.mark.parametrize("table", [WORDS, MOODS])
def test_every_built_in_language_has_four_frames_that_go_on_after_the_word(table):
    for language in ("en", "zh", "es", "de", "fr", "hi", "ar", "ja"):
        frames = frames_for(table, language)
        assert len(set(frames)) == 4
        assert all(frame.count("{}") == 1 and not frame.startswith("{}") for frame in frames)
        going_on = frames if table is MOODS else frames[1:]
        assert not any(frame.endswith("{}") for frame in going_on)
    assert frames_for(table, "zh-TW") == frames_for(table, "zh")
    with pytest.raises(InputError, match="no frames"):
        frames_for(table, "xx")


# Emotions and languages, on planted spaces.


def planted_emotions(language: str, points, names, *, noise: float = 0.0, seed: int = 0) -> Emotions:
    """Emotions whose words lie around given points, the same at every layer."""
    generator = np.random.default_rng(seed)
    found = object.__new__(Emotions)
    found.language, found.names = language, tuple(names)
    found.words = [f"{name}{i}" for name in names for i in range(8)]
    found._owner = np.repeat(np.arange(len(names)), 8)
    words = points[found._owner] + generator.normal(0, 1, (len(found.words), points.shape[1])) * noise
    found._states = np.stack([words, words])
    return found


@pytest.fixture
def space():
    generator = np.random.default_rng(3)
    points = generator.normal(size=(34, 12)) * np.linspace(3, 0.5, 12)
    turn = np.linalg.qr(generator.normal(size=(12, 12)))[0]
    return [f"e{i}" for i in range(34)], points, turn


def plain_run() -> Run:
    return Run(None, (0, 1), 500, 0, None, False)


def test_points_are_means_over_words_and_frames(tiny):
    run = run_of(tiny)
    emotions = Emotions(run, "en")
    words = emotions.concepts["fear"].texts["en"].words
    by_hand = np.mean(
        [
            word_states(tiny.model, tiny.tokenizer, words, frame, layers=run.layers, progress=False)[:, 1].mean(0)
            for frame in MOODS["en"]
        ],
        0,
    )
    np.testing.assert_allclose(emotions.points(1, ["fear"])[0], by_hand, atol=1e-5)
    whole = len(words)
    halves_of_it = [emotions.points(1, ["fear"], part=part)[0] for part in (0, 1)]
    weights = [len(range(part, whole, 2)) / whole for part in (0, 1)]
    np.testing.assert_allclose(weights[0] * halves_of_it[0] + weights[1] * halves_of_it[1], by_hand, atol=1e-5)


def test_a_turned_copy_is_wholly_shared(space):
    names, points, turn = space
    one, other = planted_emotions("en", points, names), planted_emotions("zh", 2.5 * points @ turn, names)
    pair = language_pair(plain_run(), one, other, (0, 1))
    assert pair.procrustes.value == pytest.approx(1, abs=0.05)  # of ten dimensions out of twelve
    assert pair.procrustes.p == pytest.approx(1 / 101)
    assert pair.identified.value == 1
    assert pair.rsa.value == pytest.approx(1)
    assert pair.shared.value == pytest.approx(1, abs=0.1)
    assert pair.unreliable == pytest.approx(0, abs=1e-9)


def test_unrelated_languages_share_nothing(space):
    names, points, _ = space
    stranger = np.random.default_rng(9).normal(size=points.shape)
    pair = language_pair(
        plain_run(), planted_emotions("en", points, names), planted_emotions("zh", stranger, names), (0, 1)
    )
    assert pair.procrustes.p > 0.05
    assert pair.shared.value < 0.3
    assert pair.identified.value < 0.2
    assert pair.specific == pytest.approx(1 - pair.shared.value)


def test_noise_of_the_words_is_not_taken_for_a_difference(space):
    names, points, turn = space
    one = planted_emotions("en", points, names, noise=1.0, seed=1)
    other = planted_emotions("zh", points @ turn, names, noise=1.0, seed=2)
    pair = language_pair(plain_run(), one, other, (0, 1))
    assert pair.unreliable > 0.02
    assert pair.shared.value == pytest.approx(1, abs=0.15)


def test_the_emotion_that_was_moved_differs_most(space):
    names, points, turn = space
    moved = points.copy()
    moved[5] += 8
    pair = language_pair(
        plain_run(), planted_emotions("en", points, names), planted_emotions("zh", moved @ turn, names), (0, 1)
    )
    assert next(iter(pair.differences)) == "e5"
    assert np.mean(list(pair.differences.values())) == pytest.approx(1)


def test_the_layer_of_one_half_is_measured_on_the_other():
    generator = np.random.default_rng(0)
    human = generator.normal(size=(28, 2))
    good, noise = human @ generator.normal(size=(2, 6)), [generator.normal(size=(28, 6)) for _ in range(3)]
    found, chosen = halves(([noise[0], good, noise[1]], human), 0)
    assert set(chosen) == {1}
    assert min(found) > 0.6
    # Of noise alone, the best of many layers looks good on the half that chose it and not on the other.
    found, _ = halves((noise, human), 0)
    assert abs(np.mean(found)) < 0.15
    assert len(found) == 2 * emotions_room.HALVES


# Words of one language read with the weights of another, on planted states.


class PlantedWords(Words):
    """Rated words with states that hold the ratings along a direction, in every frame."""

    def __init__(self, run, norms, frames) -> None:
        self.run, self.norms, self.language = run, norms, norms.language
        self.ratings = norms.axes()
        self.groups = np.arange(len(norms))
        self.fold = self.groups % 5
        self.frames = frames


def planted_transfer(*, seed: int = 0, coupling: float = 0.0, same_weights: bool = True):
    generator = np.random.default_rng(seed)
    weights = {"en": generator.normal(size=(2, 20)), "zh": generator.normal(size=(2, 20))}
    sides, tables = [], {}
    for language, n, tilt in (("en", 400, 0.4), ("zh", 300, coupling)):
        latent = generator.normal(size=(n, 2))
        valence = latent[:, 0]
        arousal = latent[:, 1] + tilt * valence
        ratings = np.clip(np.column_stack([valence, arousal]) / 5, -1, 1)
        used = weights["en" if same_weights else language]
        states = np.column_stack([valence, arousal]) @ used + generator.normal(0, 0.5, (n, 20))
        states = np.repeat(states[:, None], 2, 1).astype(np.float32)
        norms = Norms(language, language, tuple(f"{language}{i}" for i in range(n)), *map(tuple, ratings.T))
        tables[norms.words] = states
        sides.append((norms, states))
    run = SimpleNamespace(
        layers=(0, 1),
        seed=0,
        less_effort={"permutations": 99, "seed": 0},
        states=lambda words, frame: tables[tuple(words)],
        inputs=lambda words: generator.normal(size=(len(words), 5)),
    )
    return run, *(PlantedWords(run, norms, [states]) for norms, states in sides)


def test_transfer_reads_the_other_language_without_refitting():
    run, source, target = planted_transfer(coupling=0.4)
    found = transfer_ratings(run, source, target)
    assert found.languages == ("en", "zh")
    assert found.prediction.r["valence"].value > 0.9
    assert found.prediction.r["arousal"].value > 0.9
    assert found.prediction.r["valence"].n == 300
    assert abs(found.control.r["valence"].value) < 0.25
    # The target's ratings have no part in the fit: other ratings, same prediction.
    flipped = PlantedWords(run, replace(target.norms, valence=tuple(-v for v in target.norms.valence)), target.frames)
    turned = transfer_ratings(run, source, flipped)
    assert turned.prediction.r["valence"].value == pytest.approx(-found.prediction.r["valence"].value)
    assert turned.prediction.r["arousal"].value == pytest.approx(found.prediction.r["arousal"].value)


def test_transfer_between_unrelated_spaces_is_at_chance():
    values = []
    for seed in range(6):
        run, source, target = planted_transfer(seed=seed, same_weights=False)
        values.append(transfer_ratings(run, source, target).prediction.r["valence"].value)
    assert abs(np.mean(values)) < 0.5
    assert np.min(np.abs(values)) < 0.4


def test_how_arousal_goes_with_valence_is_told_of_both_languages():
    run, source, target = planted_transfer(coupling=-0.6)
    found = transfer_ratings(run, source, target)
    assert found.coupling[0] == pytest.approx(np.corrcoef(source.ratings.T)[0, 1])
    assert found.coupling[1] < -0.3 < 0.2 < found.coupling[0]
    assert found.arousal_given_valence.value > 0.8


def test_the_layer_is_chosen_without_the_words_that_place_the_emotions():
    _, source, _ = planted_transfer()
    without = source.norms.words[:40]
    chosen = source.development_scores(without)
    source.ratings = source.ratings.copy()
    source.ratings[:40] = source.ratings[:40][::-1]
    assert source.development_scores(without) == chosen
    assert source.development_scores(()) != chosen
    assert source.development_scores(source.norms.words) is None


def test_directions_are_read_at_their_own_layers(tiny):
    words = PlantedWords(run_of(tiny), made_norms(), [])
    directions = words._directions()
    for layer, of in zip(words.run.layers, directions, strict=True):
        expected = torch.stack([d[layer] for d in tiny.vectors.directions.values()]).numpy()
        np.testing.assert_allclose(of, expected, atol=1e-6)


def test_letters_tell_what_letters_can():
    bag = words_room._spelling(["happy", "happily", "grim"])
    close = bag / np.linalg.norm(bag, axis=1, keepdims=True)
    assert close[0] @ close[1] > close[0] @ close[2]


# The real model.


@pytest.mark.slow
@pytest.mark.embedded
def test_the_embedded_model_has_the_shape_of_human_emotion(real, monkeypatch):
    monkeypatch.setattr(emotions_room, "MOODS", {"en": MOODS["en"][:2]})  # half of the frames, for the time
    report = evaluate_alignment(real, norms=made_norms(per_emotion=8), progress=False, permutations=1_000)
    (shape,) = report.geometry
    assert shape.measures["rsa"].value > 0.55
    assert shape.measures["rsa"].p < 0.002
    assert shape.measures["rsa"].value > shape.control["rsa"].value + 0.2
    assert shape.measures["pc1_valence"].value > 0.85
    assert shape.measures["pc2_arousal_given_valence"].value > 0.4
    assert shape.measures["rsa_other_half"].value > 0.5
    (words,) = report.words
    assert words.full.r["valence"].value > 0.8
    assert words.full.r["valence"].low > words.controls["spelling"].r["valence"].high
    assert words.full.r["arousal"].value > words.controls["input_embeddings"].r["arousal"].value

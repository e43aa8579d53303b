"""Reading emotion: scores against an independent computation in numpy, and what a reading says of itself."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import decoders

import emosteer
from emosteer.concepts import ConceptSet
from emosteer.errors import FormatError, InputError, ToneError
from emosteer.models.activations import Passage
from emosteer.reading.emotion_reading import read, reading_of, token_scores
from emosteer.reading.fit import TEXTS_AN_EMOTION, fit_readout
from emosteer.reading.trace import Trace
from emosteer.vectors.types import AXES, EmotionInfo
from tests.cli.test_cli import one_line, run  # noqa: F401 - a fixture
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer

SHIPPED = Path("vectors") / "smollm2-135m-instruct-en"
LAYERS = (0, 1, 2)
RATINGS = {"joy": (0.8, 0.5), "fear": (-0.7, 0.3), "calm": (0.5, -0.4)}
SAID = "The train left early, and nobody minded."


@pytest.fixture(scope="module")
def pair():
    """A tiny model with weights large enough that what it reads matters, and its tokenizer of bytes."""
    model = tiny_model(tiny_config(max_position_embeddings=512))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()  # so that tokens joined are the text
    return model, tokenizer


@pytest.fixture(scope="module")
def vectors(pair):
    found = emosteer.EmotionVectors.random(pair[0], [*RATINGS, "relief"], seed=1)
    return replace(found, info={name: EmotionInfo({}, *rating, "people") for name, rating in RATINGS.items()})


@pytest.fixture(scope="module")
def readout(pair, vectors):
    return fit_readout(*pair, vectors, layers=LAYERS, progress=False)


@pytest.fixture(scope="module")
def steered(pair, vectors, readout):
    return emosteer.SteeredModel(*pair, replace(vectors, readout=readout))  # fitted once for all tests


def ids_of(pair, text) -> list[int]:
    return pair[1](text, add_special_tokens=False)["input_ids"]


def streams(model, ids) -> np.ndarray:
    """`[tokens, layers, d_model]`, float64, of one row in one pass without a cache."""
    seen = []
    handles = [
        model.model.layers[layer].register_forward_hook(lambda _m, _a, out: seen.append(out[0].double().numpy()))
        for layer in LAYERS
    ]
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return np.stack(seen, 1)


class ByHand:
    """The readout as its documentation describes it, in float64."""

    def __init__(self, pair, vectors):
        model, _ = pair
        concepts = ConceptSet.load("en")
        self.neutral = concepts.neutral["en"].sentences
        texts, rated = list(self.neutral), []
        for name, rating in RATINGS.items():
            kinds = concepts[name].texts["en"]
            for text in (*kinds.sentences[:TEXTS_AN_EMOTION], *kinds.situations[:TEXTS_AN_EMOTION]):
                texts.append(text)
                rated.append(rating)
        n = len(self.neutral)
        states = np.stack([streams(model, ids_of(pair, text))[1:].mean(0) for text in texts])
        self.center = states[:n].mean(0)
        directions = np.stack([rows.double().numpy()[list(LAYERS)] for rows in vectors.directions.values()], -1)
        raw = directions / states.var(0, ddof=1)[..., None]  # the mean over layers is the sum, up to scale
        self.weights = raw / np.einsum("nld,ldc->nc", states[:n] - self.center, raw).std(0, ddof=1)
        scores = np.einsum("nld,ldc->nc", states[n:] - self.center, self.weights)
        gram = scores.T @ scores
        ridge = gram + np.eye(4) * np.trace(gram) / 4
        self.weights = np.concatenate([self.weights, self.weights @ np.linalg.solve(ridge, scores.T @ rated)], -1)

    def scores(self, pair, ids) -> np.ndarray:
        return np.einsum("nld,ldc->nc", streams(pair[0], ids) - self.center, self.weights)


@pytest.fixture(scope="module")
def by_hand(pair, vectors):
    return ByHand(pair, vectors)


def column(reading) -> np.ndarray:
    return np.array([*reading.scores.values(), reading.valence, reading.arousal])


def test_scores_equal_those_worked_out_by_hand(pair, readout, by_hand):
    assert readout.emotions == ("joy", "fear", "calm", "relief")
    assert readout.axes == AXES
    for text in (SAID, "No!", "Zwölf Boxkämpfer — 12 ✓"):
        ids = ids_of(pair, text)
        expected = by_hand.scores(pair, ids)
        np.testing.assert_allclose(token_scores(readout, pair[0], ids).numpy(), expected, atol=2e-3, rtol=1e-3)
        reading = read(readout, *pair, text)
        np.testing.assert_allclose(column(reading), expected[1:].mean(0), atol=2e-3, rtol=1e-3)
        found = np.array(list(reading.token_scores.values()) + list(reading.token_axes.values())).T
        np.testing.assert_allclose(found[1:], expected[1:], atol=2e-3, rtol=1e-3)
        assert np.isnan(found[0]).all()  # the attention sink
        assert len(reading.tokens) == len(ids)


def test_further_sinks_do_not_count(pair, readout, by_hand):
    text, blocks = "QQQ hello", pair[0].model.layers

    def blow_up(_module, _args, output):
        output[:, 1:3] += 1e4  # as real models do where a first token is repeated
        return output

    hook = blocks[max(readout.weights)].mlp.register_forward_hook(blow_up)
    try:
        reading = read(readout, *pair, text)
    finally:
        hook.remove()
    assert [i for i, score in enumerate(reading.token_scores["joy"]) if np.isnan(score)] == [0, 1, 2]
    np.testing.assert_allclose(column(reading), by_hand.scores(pair, ids_of(pair, text))[3:].mean(0), atol=2e-3)


def test_neutral_texts_have_mean_0_and_deviation_1(pair, readout, by_hand):
    scores = np.stack([column(read(readout, *pair, text))[:4] for text in by_hand.neutral])
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(scores.std(0, ddof=1), 1, atol=1e-3)


def test_uncertainty_is_that_of_a_mean_of_tokens_that_resemble_their_neighbours(pair, readout, by_hand):
    texts = [by_hand.scores(pair, ids_of(pair, text))[1:] for text in by_hand.neutral[:24]]
    tokens, length = np.concatenate(texts), np.mean([len(text) for text in texts])
    means = np.stack([text.mean(0) for text in texts])
    inertia = np.clip(means.var(0, ddof=1) * length / tokens.var(0, ddof=1), 1, length)
    np.testing.assert_allclose(readout.inertia.numpy(), inertia, rtol=0.01)
    scores = by_hand.scores(pair, ids_of(pair, SAID))[1:]
    expected = scores.std(0, ddof=1) * np.sqrt(inertia / len(scores))
    reading = read(readout, *pair, SAID)
    np.testing.assert_allclose([*reading.uncertainty.values(), *reading.axis_uncertainty.values()], expected, rtol=0.01)


def test_uncertainty_covers_and_shrinks_with_the_length(pair, readout):
    generator = torch.Generator().manual_seed(0)
    found = {}
    for length in (17, 65, 257):
        for _ in range(24):
            ids = torch.randint(10, 263, (length,), generator=generator).tolist()
            scores = token_scores(readout, pair[0], ids)
            reading = reading_of(readout, pair[1], ids, scores, [False] + [True] * (length - 1))
            errors = [*reading.uncertainty.values(), *reading.axis_uncertainty.values()]
            found.setdefault(length, []).append((column(reading), np.array(errors)))
    truth = np.mean([mean for mean, _ in found[257]], 0)
    for length in (17, 65):
        means, errors = map(np.stack, zip(*found[length], strict=True))
        assert np.mean(np.abs(means - truth) < 2 * errors) > 0.85
        assert errors.mean() / np.mean([error for _, error in found[257]]) == pytest.approx(
            (256 / (length - 1)) ** 0.5, rel=0.15
        )


def test_one_token_has_the_uncertainty_of_a_neutral_one(pair, readout):
    reading = read(readout, *pair, "ab")  # of which the first is the sink
    expected = (readout.spread * readout.inertia.sqrt()).tolist()
    assert [*reading.uncertainty.values(), *reading.axis_uncertainty.values()] == pytest.approx(expected)


# What can be read.


def test_the_last_message_is_read_where_it_stands_in_its_conversation(pair, steered, by_hand):
    before = "<user> hi <end> <assistant> end of it <end> <user> "
    for said in (SAID, "end", "hi", "user"):
        messages = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "end of it"},
            {"role": "user", "content": f" {said} "},
        ]
        start = len(ids_of(pair, before + " "))
        whole = ids_of(pair, f"{before} {said}  <end> ")
        reading = steered.read(messages)
        assert "".join(reading.tokens) == said
        expected = by_hand.scores(pair, whole)[start : start + len(said)]
        np.testing.assert_allclose(column(reading), expected.mean(0), atol=2e-3, rtol=1e-3)
        assert not np.isnan(list(reading.token_scores.values())).any()  # none of them is the sink


@pytest.mark.parametrize("template", ["nothing of it", "{{ messages[-1]['content'] | upper }}"])
def test_a_template_that_does_not_show_the_last_message_is_one_clear_error(pair, steered, monkeypatch, template):
    monkeypatch.setattr(pair[1], "chat_template", template)
    with pytest.raises(InputError, match="changes the last message"):
        steered.read([{"role": "user", "content": "hello there"}])


def test_a_passage_is_read_in_its_context(pair, readout, by_hand):
    text = "First this. Then that! At last."
    reading = read(readout, *pair, Passage(text, 12, 22))
    assert "".join(reading.tokens) == "Then that!"
    expected = by_hand.scores(pair, ids_of(pair, text))[12:22].mean(0)
    np.testing.assert_allclose(column(reading), expected, atol=2e-3, rtol=1e-3)


def test_control_tokens_do_not_count(pair, readout, by_hand):
    ids = ids_of(pair, "so <end> be it")
    reading = read(readout, *pair, "so <end> be it")
    at = ids.index(pair[1].convert_tokens_to_ids("<end>"))
    assert np.isnan(reading.token_scores["joy"][at])
    kept = [i for i in range(1, len(ids)) if i != at]
    np.testing.assert_allclose(column(reading), by_hand.scores(pair, ids)[kept].mean(0), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("a", "single token"),
        ("a" * 513, "513 tokens"),
        ([], "list of messages"),
        ([{"role": "user", "content": " "}], "message is empty"),
        ([{"role": "user"}], "list of messages"),
        (None, "list of messages"),
        (7, "list of messages"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_cannot_be_read_is_one_clear_error(steered, text, says):
    with pytest.raises(InputError, match=says):
        steered.read(text)


def test_a_template_that_changes_the_message_is_an_error(pair, vectors):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}<user> {{ message['content'] | upper }} <end> {% endfor %}"
    with pytest.raises(InputError, match="template changes"):
        emosteer.SteeredModel(pair[0], tokenizer, vectors).read([{"role": "user", "content": "hello"}])


def test_layers_that_are_not_there_are_refused(pair, vectors):
    with pytest.raises(ToneError, match="no layer 9"):
        fit_readout(*pair, vectors, layers=[9], progress=False)


# Never in a tone.


def test_a_text_is_read_plainly_inside_a_steered_block(steered):
    plain = steered.read(SAID)
    with steered.steer({"joy": 3.0}):
        assert steered.read(SAID) == plain or steered.read(SAID).to_dict() == plain.to_dict()


def test_a_readout_is_fitted_to_the_plain_model_inside_a_steered_block(pair, vectors, readout):
    fresh = emosteer.SteeredModel(*pair, vectors)
    with fresh.steer({"joy": 3.0}):
        found = fresh.readout
    plain = emosteer.SteeredModel(*pair, vectors).readout
    assert torch.equal(found.bias, plain.bias)
    assert torch.equal(found.spread, plain.spread)


def test_threads_that_read_first_at_once_fit_once(pair, vectors, readout, monkeypatch):
    fresh, fits, barrier, found = emosteer.SteeredModel(*pair, vectors), [], threading.Barrier(3), []

    def fit(*_args, **_options):
        fits.append(1)
        return readout

    def read():
        barrier.wait(30)
        found.append(fresh.read(SAID).scores)

    monkeypatch.setattr("emosteer.reading.reader.fit_readout", fit)
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fits) == 1
    assert found == [fresh.read(SAID).scores] * 3


@contextmanager
def beside(work):
    """Run something again and again in another thread, which must not fail."""
    stop, errors = threading.Event(), []

    def loop():
        while not stop.is_set():
            try:
                work()
            except BaseException as error:
                errors.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert errors == []


def test_reading_and_fitting_are_not_disturbed_by_another_threads_passes_nor_disturb_them(pair, vectors, readout):
    model, plain = pair[0], read(readout, *pair, SAID).to_dict()
    other = torch.arange(20, 43).repeat(2, 1)
    with torch.no_grad():
        expected = model(other).logits

    def work():
        with torch.no_grad():
            assert torch.equal(model(other).logits, expected)

    with beside(work):
        for _ in range(20):
            assert read(readout, *pair, SAID).to_dict() == plain
        again = fit_readout(*pair, vectors, layers=LAYERS, progress=False)
    assert torch.equal(again.bias, readout.bias)


# Live.


def answer(model, ids, mask, **options):
    options = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6, "pad_token_id": 0, **options}
    return model.generate(ids, attention_mask=mask, **options)


@pytest.mark.parametrize("tone", [None, {"joy": 2.0}])
def test_scores_of_a_batch_that_is_generated_with_a_cache_are_those_of_each_row_in_one_pass(
    pair, steered, by_hand, tone
):
    model, rows = pair[0], [ids_of(pair, SAID), ids_of(pair, "Not now.")]
    width = len(rows[0])
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    with steered.monitor() as live, steered.steer(tone):
        output = answer(model, ids, (ids != 0).long())
    assert live.scores.shape == (2, width + 5, 6)  # the last token was never read
    assert live.scores.dtype == torch.float32
    for row, prompt in enumerate(rows):
        begin = width - len(prompt)
        with steered.steer(tone):
            expected = by_hand.scores(pair, output[row, begin:-1].tolist())
        np.testing.assert_allclose(live.scores[row, begin:].numpy(), expected, atol=5e-3, rtol=2e-3)


def test_a_trace_hears_its_own_thread_and_what_is_streamed_for_it(steered, pair):
    other = torch.arange(20, 43).repeat(2, 1)

    def work():
        with torch.no_grad():
            pair[0](other)

    with beside(work), steered.monitor() as live:
        list(steered.chat("Hello", stream=True, do_sample=False, max_new_tokens=5, min_new_tokens=5))
    assert live.scores.shape[:2] == (1, len(ids_of(pair, "<user> Hello <end> <assistant> ")) + 4)


def test_a_reading_inside_is_not_heard_and_the_trace_goes_on_after_it(pair, readout, steered):
    ids = torch.arange(20, 30)[None]
    with steered.monitor() as live, torch.no_grad():
        pair[0](ids)
        steered.read(SAID)
        pair[0](ids[:, :3])
    assert live.scores.shape == (1, 13, 6)
    torch.testing.assert_close(live.scores[0, :10], token_scores(readout, pair[0], ids[0].tolist()))


def test_nothing_is_left_on_the_model(pair, steered):
    def hooks():
        return [list(block._forward_hooks) for block in pair[0].model.layers]

    before = hooks()
    with pytest.raises(KeyboardInterrupt), steered.monitor():  # noqa: PT012
        assert hooks() != before
        raise KeyboardInterrupt
    steered.read(SAID)
    assert hooks() == before
    assert Trace(steered.readout, pair[0]).scores.shape[1] == 0


# What a reading is.


def test_a_reading_is_frozen_plain_data_for_strict_json(steered):
    reading = steered.read(SAID)
    with pytest.raises(FrozenInstanceError):
        reading.valence = 1.0
    told = json.loads(json.dumps(reading.to_dict(), allow_nan=False))
    assert told["schema"] == 1
    assert "".join(told["tokens"]) == SAID
    assert told["scores"] == dict(reading.scores)
    assert told["token_scores"]["joy"][0] is None
    assert told["token_scores"]["joy"][1:] == list(reading.token_scores["joy"][1:])
    assert told["token_axes"]["valence"][0] is None
    assert (told["valence"], told["arousal"]) == (reading.valence, reading.arousal)
    assert set(told["axis_uncertainty"]) == set(AXES)


def test_an_emoji_of_several_tokens_is_itself_at_the_first_of_them(steered):
    reading = steered.read("Well 🎉 done")
    assert reading.tokens == (*"Well ", "🎉", "", "", "", *" done")
    assert len(reading.token_scores["joy"]) == len(reading.tokens)


def test_without_human_ratings_there_is_no_valence(pair, vectors):
    bare = emosteer.SteeredModel(*pair, replace(vectors, info={})).read(SAID)
    assert (bare.valence, bare.arousal, bare.axis_uncertainty, bare.token_axes) == (None, None, {}, {})
    assert set(bare.scores) == {*RATINGS, "relief"}
    json.dumps(bare.to_dict(), allow_nan=False)


# Kept with the vectors.


def test_a_readout_comes_back_with_its_vectors_bit_for_bit(pair, vectors, readout, tmp_path):
    for dtype in ("float32", "float16"):
        replace(vectors, readout=readout).save_pretrained(tmp_path / dtype, dtype=dtype)
        back = emosteer.EmotionVectors.from_pretrained(tmp_path / dtype).readout
        assert (back.emotions, back.axes, tuple(back.weights)) == (readout.emotions, AXES, LAYERS)
        ids = list(range(5, 40))
        assert torch.equal(token_scores(back, pair[0], ids), token_scores(readout, pair[0], ids))
        assert torch.equal(back.spread, readout.spread)
        assert torch.equal(back.inertia, readout.inertia)


def test_without_axes_it_comes_back_without(pair, vectors, tmp_path):
    unrated = replace(vectors, info={})
    replace(unrated, readout=fit_readout(*pair, unrated, layers=(1,), progress=False)).save_pretrained(tmp_path)
    back = emosteer.EmotionVectors.from_pretrained(tmp_path).readout
    assert (back.axes, len(back.bias), tuple(back.weights)) == ((), len(vectors.emotions), (1,))


def test_it_is_used_in_the_model_that_it_was_fitted_to_and_in_no_other(pair, vectors, readout, monkeypatch):
    fitted = []
    monkeypatch.setattr("emosteer.reading.reader.fit_readout", lambda *args, **_: fitted.append(args) or readout)
    stored = replace(vectors, readout=replace(readout))
    assert emosteer.SteeredModel(*pair, stored).readout is stored.readout
    assert not fitted
    other = tiny_model(tiny_config(max_position_embeddings=512), seed=9)
    with pytest.warns(UserWarning, match="other weights"):
        tuned = emosteer.SteeredModel(other, pair[1], stored)
    assert tuned.readout is readout
    nameless = replace(stored, base_model=replace(stored.base_model, fingerprint=None))
    assert emosteer.SteeredModel(*pair, nameless).readout is readout
    assert [args[0] for args in fitted] == [other, pair[0]]


def test_some_of_its_emotions_are_read_as_before(pair, vectors, readout):
    chosen = replace(vectors, readout=readout).select(["relief", "joy"])
    some, whole = read(chosen.readout, *pair, SAID), read(readout, *pair, SAID)
    assert some.scores == pytest.approx({name: whole.scores[name] for name in ("relief", "joy")}, abs=1e-5)
    assert some.uncertainty == pytest.approx({name: whole.uncertainty[name] for name in ("relief", "joy")}, abs=1e-5)
    assert (some.valence, some.arousal) == pytest.approx((whole.valence, whole.arousal), abs=1e-5)


def test_other_directions_have_none(pair, vectors, readout, tmp_path):
    stored = replace(vectors, readout=readout)
    others = emosteer.EmotionVectors.random(pair[0], ["envy"])
    mixed = stored.add("glee", {"joy": 1.0, "calm": -0.5})
    for changed in (stored.merge(others), others.merge(stored), mixed, emosteer.EmotionVectors.random_like(stored)):
        assert changed.readout is None
    assert stored.scale(2.0).readout is readout  # the same directions
    with pytest.raises(FormatError, match="readout"):
        replace(others, readout=readout)
    stored.save_pretrained(tmp_path)
    assert emosteer.EmotionVectors.from_pretrained(tmp_path, emotions=["joy"]).readout is None  # nor fetched for these


# On the command line.


@pytest.fixture(scope="module")
def folder(pair, vectors, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("read")
    for part in pair:
        part.save_pretrained(root / "model")
    vectors.save_pretrained(root / "vectors")
    return root


def test_read_prints_scores_or_json(run, folder):  # noqa: F811
    args = ["read", SAID, "-m", folder / "model", "-v", folder / "vectors"]
    status, out, err = run(*args)
    assert (status, err) == (0, "")
    assert all(word in out for word in ("joy", "relief", "valence", "arousal", "The train left"))
    status, out, err = run(*args, "-e", "calm", "--top", 1)
    assert status == 0
    assert "more calm" in out
    table = out.split("standard deviations")[1]
    assert "calm" in table  # which was asked for, beside the strongest
    assert sum(name in table for name in (*RATINGS, "relief")) <= 2
    status, out, err = run(*args, "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert told["schema"] == 1
    assert "".join(told["tokens"]) == SAID
    assert set(told["scores"]) == {*RATINGS, "relief"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["  "], "text is empty"),
        (["a"], "single token"),
        (["hello", "-e", "joi"], "Did you mean joy?"),
        (["a" * 600], "600 tokens"),
    ],
)
def test_what_cannot_be_read_is_one_line(run, folder, args, says):  # noqa: F811
    status, out, err = run("read", *args, "-m", folder / "model", "-v", folder / "vectors")
    assert (status, out) == (1, "")
    assert one_line(err), err
    assert says in err


# The real model.

SENTENCES = {
    "glad": ("My sister called to say the operation worked, and we laughed until we cried.", "joy"),
    "sad": ("I keep setting the table for two and then remember that he is gone.", "sadness"),
    "angry": ("They lied to my face again and I want to smash every plate in this kitchen.", "anger"),
    "afraid": ("Somebody is trying the door handle, and my hands will not stop shaking.", "fear"),
    "calm": ("The water is flat, the tea is warm and there is nothing that I have to do.", "calm"),
}
NEAR = {
    "joy": {"joy", "gratitude", "relief", "love", "amusement", "excitement", "pride", "contentment"},
    "sadness": {"sadness", "grief", "loneliness", "despair", "nostalgia", "disappointment"},
    "anger": {"anger", "hatred", "frustration", "contempt", "disgust", "jealousy"},
    "fear": {"fear", "anxiety", "despair", "shame", "guilt", "confusion"},
    "calm": {"calm", "contentment", "relief", "gratitude", "boredom"},
}


@pytest.mark.embedded
def test_the_embedded_model_reads_what_anybody_would(real):
    readings = {name: real.read(text) for name, (text, _) in SENTENCES.items()}
    tops = {name: sorted(reading.scores, key=reading.scores.get)[::-1][:5] for name, reading in readings.items()}
    right = {name: bool(set(tops[name]) & NEAR[emotion]) for name, (_, emotion) in SENTENCES.items()}
    assert sum(right.values()) >= 4, tops
    for pleasant in ("glad", "calm"):
        for unpleasant in ("sad", "angry", "afraid"):
            assert readings[pleasant].valence > readings[unpleasant].valence


@pytest.mark.slow
@pytest.mark.embedded
def test_the_embedded_model_names_the_emotion_of_sentences_that_it_was_not_made_from(real):
    concepts = ConceptSet.load("en")
    hits, valence = [], {}
    for name in concepts.emotions:
        readings = [real.read(text) for text in concepts[name].texts["en"].held_out_sentences[:2]]
        hits += [max(reading.scores, key=reading.scores.get) == name for reading in readings]
        valence[name] = np.mean([reading.valence for reading in readings])
    assert np.mean(hits) > 0.4, np.mean(hits)  # one in 34 is chance
    human = {name: real.vectors.info[name].valence for name in valence}
    rated = [name for name in valence if human[name] is not None]
    assert np.corrcoef([human[name] for name in rated], [valence[name] for name in rated])[0, 1] > 0.7

"""Sampling over a grid of tones, what is made of the answers, and the report."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import emosteer
from emosteer.errors import InputError, ToneError
from emosteer.eval import evaluate_steering, sampling
from emosteer.eval.encoder import shared_encoder
from emosteer.eval.fluency import nats_per_token
from emosteer.eval.sampling import Answer, Cell, deranged, generate_cells
from emosteer.eval.steering.measures import Measures, Scores
from emosteer.eval.steering.report import notes, tables, write_report
from tests.conftest import tiny_model, tiny_tokenizer

EMOTIONS = ["joy", "fear", "anger", "hope", "calm"]
WAYS = {"additive": {}, "kept": {"operation": "norm_preserving"}}
PROMPTS = ("What is new?", "Well, how did it go at the shop?", "Hm?")


def letter_of(label):
    return Letters.letters[Letters.labels.index(label)]


class Letters:
    """A judge that counts letters: each label's share of its own letter among those of all labels."""

    name = "letters"
    labels = ("joy", "fear", "anger", "optimism", "neutral")
    letters = "aeiou"

    def probabilities(self, texts, emotions=None):
        names = self.labels if emotions is None else tuple(emotions)
        counts = np.array([[1 + text.count(letter_of(name)) for name in names] for text in texts], dtype=float)
        shares = counts / counts.sum(1, keepdims=True)
        return {name: shares[:, i] for i, name in enumerate(names)}


@pytest.fixture
def steered(model, tokenizer):
    return emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, EMOTIONS, seed=1))


@pytest.fixture
def calls(monkeypatch):
    """What `generate` is called with, from now on."""
    seen = []
    generate = emosteer.SteeredModel.generate

    def spy(self, *, emotion=None, **inputs):
        seen.append({"emotion": emotion, "vectors": self.vectors, **inputs})
        return generate(self, emotion=emotion, **inputs)

    monkeypatch.setattr(emosteer.SteeredModel, "generate", spy)
    return seen


def read(tokenizer, call):
    """The prompts of a batch; in this tokenizer every byte is a token."""
    texts = [tokenizer.decode(row[row != 0]) for row in call["input_ids"]]
    return [text.replace(" ", "").replace("Ġ", " ") for text in texts]


def grid(*cells, prompts=PROMPTS, seeds=1):
    return {cell: [(prompt, number) for number in range(seeds) for prompt in prompts] for cell in cells}


def sample(steered, cells, **options):
    return generate_cells(steered, cells, ways=WAYS, max_new_tokens=5, progress=False, **options)


def measure(steered, **options):
    settings = {"judges": [Letters()], "prompts": PROMPTS, "max_new_tokens": 5, "progress": False}
    settings["ways"] = {"additive": {}}
    return evaluate_steering(steered, **{**settings, **options})


PLAIN, JOY = Cell(None, 0.0, control="unsteered"), Cell("joy", 0.5, "additive")


def test_answers_come_cell_by_cell_with_what_they_cost(steered):
    cells = grid(PLAIN, JOY, seeds=2)
    answers = sample(steered, cells)
    assert [(a.cell, a.prompt, a.seed) for a in answers] == [
        (cell, prompt, number) for cell in cells for number in (0, 1) for prompt in PROMPTS
    ]
    for answer in answers:
        assert len(answer.tokens) <= 5
        assert answer.ended == (len(answer.tokens) < 5) or answer.tokens[-1] != 2
        again = steered.tokenizer(answer.text, add_special_tokens=False)["input_ids"]
        if tuple(again) == answer.tokens:
            assert answer.nats == pytest.approx(nats_per_token(steered, answer.prompt, answer.text), abs=1e-4)


def test_answers_that_are_not_scored_are_the_same_and_no_pass_is_made_for_them(steered, monkeypatch, tmp_path):
    scored = sample(steered, grid(PLAIN, JOY), cache=tmp_path)
    monkeypatch.setattr("emosteer.eval.fluency._batch_means", None)
    answers = sample(steered, grid(PLAIN, JOY), scored=False, cache=tmp_path)
    assert answers == [replace(answer, nats=None) for answer in scored]


def test_each_control_is_what_it_says(steered, calls):
    others = deranged(EMOTIONS, 3)
    asked = {
        PLAIN: None,
        JOY: {"joy": 0.5},
        Cell("joy", 0.7, "additive", "flipped"): {"joy": -0.7},
        Cell("joy", 0.6, "additive", "shuffled"): {others["joy"]: 0.6},
        Cell("fear", 1.0, "", "prompt_only"): None,
        Cell("joy", 0.9, "additive", "random"): {"joy": 0.9},
        Cell("joy", 0.8, "kept"): {"joy": 0.8},
    }
    sample(steered, grid(*asked, prompts=["Hm?"]), seed=3)
    tones = {json.dumps(tone) for call in calls for tone in call["emotion"] or [None]}
    assert tones == {json.dumps(tone) for tone in asked.values()}
    by_tone = {json.dumps(tone): call for call in calls for tone in call["emotion"] or [None]}
    assert by_tone['{"joy": 0.8}']["operation"] == "norm_preserving"
    assert "operation" not in by_tone['{"joy": 0.5}']
    control = by_tone['{"joy": 0.9}']["vectors"]
    assert abs(float((control.directions["joy"] * steered.vectors.directions["joy"]).sum(-1).mean())) < 0.5
    assert control.deltas("joy")[1].norm() == pytest.approx(steered.vectors.deltas("joy")[1].norm())
    plain = next(call for call in calls if call["emotion"] is None)
    prompts = read(steered.tokenizer, plain)
    assert sum("<system> Answer in a tone of fear." in text for text in prompts) == 1
    assert len(prompts) == 2


def test_an_instructed_answer_costs_what_it_costs_after_the_question_alone(steered):
    (said,) = sample(steered, grid(Cell("fear", 1.0, "", "prompt_only"), prompts=["Hm?"]))
    prompt = steered.prompt("Hm?")["input_ids"]
    ids = torch.cat([prompt, torch.tensor([said.tokens])], dim=1)
    with torch.inference_mode():
        logits = steered.model(ids).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
    assert said.nats == pytest.approx(-float(logits.gather(1, ids[0, prompt.shape[1] :, None]).mean()), abs=1e-5)


def test_the_instruction_stands_in_the_question_where_there_is_no_system_role(model, vectors, calls):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + tokenizer.chat_template
    )
    sample(emosteer.SteeredModel(model, tokenizer, vectors), grid(Cell("fear", 1.0, "", "prompt_only")))
    assert all("<user> Answer in a tone of fear." in text for text in read(tokenizer, calls[0]))


def test_no_emotion_stands_for_itself():
    for seed in range(20):
        others = deranged(EMOTIONS, seed)
        assert sorted(others) == sorted(others.values()) == sorted(EMOTIONS)
        assert all(one != other for one, other in others.items())
    with pytest.raises(InputError, match="two emotions"):
        deranged(["joy"])


def test_the_same_grid_says_the_same_whatever_the_random_state(steered):
    cells = grid(PLAIN, JOY, seeds=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = sample(steered, cells)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert sample(steered, cells) == first
    assert sample(steered, cells, seed=1) != first
    alike = Counter((a.cell, a.prompt, a.tokens) for a in first)
    assert max(alike.values()) == 1  # answers to one prompt differ


def test_what_was_finished_is_not_generated_again(steered, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "ROWS", 4)
    cells = grid(PLAIN, JOY, seeds=2)
    first = sample(steered, cells, cache=tmp_path)
    assert len(calls) == len(list(tmp_path.iterdir())) == 4
    assert sample(steered, cells, cache=tmp_path) == first
    assert len(calls) == 4
    sample(steered, {**cells, **grid(Cell("calm", 1.0, "kept"))}, cache=tmp_path)
    assert len(calls) == 5


@pytest.mark.filterwarnings("ignore:These vectors were made from a model like this one")
@pytest.mark.parametrize("change", ["vectors", "dose", "model", "sampling", "seed", "way"])
def test_what_matters_is_asked_anew(steered, calls, tmp_path, change):
    ways, options = dict(WAYS), {"max_new_tokens": 5, "temperature": 0.8, "seed": 0}
    generate_cells(steered, grid(JOY), ways=ways, cache=tmp_path, **options)
    model, vectors = steered.model, steered.vectors
    if change == "vectors":
        vectors = emosteer.EmotionVectors.random(model, EMOTIONS, seed=2)
    elif change == "dose":
        vectors = vectors.scale({"joy": 1.5})
    elif change == "model":
        model = tiny_model(seed=7)
    elif change == "way":
        ways["additive"] = {"scope": "generated"}
    else:
        options |= {"temperature": 0.7} if change == "sampling" else {"seed": 1}
    other = emosteer.SteeredModel(model, steered.tokenizer, vectors)
    generate_cells(other, grid(JOY), ways=ways, cache=tmp_path, **options)
    assert len(calls) == len(list(tmp_path.iterdir())) == 2


def test_an_interrupted_run_goes_on_where_it_was(steered, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "ROWS", 4)
    cells = grid(PLAIN, JOY, seeds=2)
    whole = sample(steered, cells)
    generate, n = emosteer.SteeredModel.generate, []

    def interrupted(self, **options):
        n.append(1)
        if len(n) == 2:
            raise KeyboardInterrupt
        return generate(self, **options)

    monkeypatch.setattr(emosteer.SteeredModel, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample(steered, cells, cache=tmp_path)
    assert [file.suffix for file in tmp_path.iterdir()] == [".json"]
    assert sample(steered, cells, cache=tmp_path) == whole
    assert len(n) == 5  # one, the interrupted one, and the three that were missing


def test_an_interrupted_write_leaves_no_half_file(steered, tmp_path, monkeypatch):
    def interrupted(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sample(steered, grid(JOY), cache=tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*")) == []


def test_a_cache_that_cannot_be_used_is_one_clear_error(steered, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        sample(steered, grid(JOY), cache=tmp_path / "file" / "deep")
    sample(steered, grid(JOY), cache=tmp_path)
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(kept.read_text()[:-9])
    with pytest.raises(InputError, match="Delete the file"):
        sample(steered, grid(JOY), cache=tmp_path)
    with pytest.raises(InputError, match="cannot be cached"):
        generate_cells(steered, grid(JOY), ways={"additive": {"schedule": lambda x: x}}, cache=tmp_path)


def answer(text, cell, *, prompt="How?", seed=0, nats=1.0, tokens=None):
    return Answer(cell, prompt, seed, tuple(tokens or text.encode()), text, False, nats)


def test_figures_are_what_one_counts_by_hand():
    joy = Cell("joy", 1.0, "additive")
    answers = [
        answer("eee uu", PLAIN, prompt="A?", nats=1.0, tokens=[1, 2, 3, 4]),
        answer("aa", PLAIN, prompt="A?", seed=1, nats=2.0),
        answer("i o", PLAIN, prompt="B?", nats=3.0, tokens=[1, 2, 5, 5]),
        answer("\u0436 no no no no no", PLAIN, prompt="B?", seed=1, nats=4.0),
        answer("aaa e", joy, prompt="A?", nats=2.5, tokens=[7, 7, 7, 7]),
        answer("iiii no no no no no", joy, prompt="B?", nats=None, tokens=[7, 7, 7, 8]),
    ]
    measures = Measures(answers, [Letters()])
    scores = measures.of([4, 5], "joy")
    value = {name: found[0] for name, found in scores.text.items()}
    assert value["cost"] == pytest.approx(2.5 - (1 + 2 + 3 + 4) / 4)
    assert value["loops"] == 0.5
    assert value["loops_change"] == 0.5 - 1 / 4
    assert value["other_script_change"] == pytest.approx(-(1 / 11) / 4)
    assert value["tokens"] == 4
    own = -(7 / 8 * math.log(7 / 8) + 1 / 8 * math.log(1 / 8))
    plain = -(4 * (2 / 8 * math.log(2 / 8)) - 2 / 8 * math.log(2 / 8) + 2 * (1 / 8 * math.log(1 / 8)))
    assert scores.variety["entropy"] == pytest.approx(own)
    assert value["entropy_ratio"] == pytest.approx(own / plain)
    assert scores.variety["distinct_2"] == pytest.approx(2 / 6)  # 77 five times, 78
    assert value["distinct_2_ratio"] == pytest.approx((2 / 6) / (5 / 6))  # 12 twice, 23, 34, 25, 55
    assert scores.variety["distinct_3"] == pytest.approx(2 / 4)
    judged = {name: found[0] for name, found in scores.judged["letters"].items()}
    assert judged["hit"] == 0.5
    assert judged["probability"] == pytest.approx((4 / 9 + 1 / 14) / 2)  # letters and one each
    assert judged["probability_of_basic"] == pytest.approx((4 / 7 + 1 / 7) / 2)
    assert "top_3" not in judged  # this judge knows four of the mapped emotions
    embedded = dict(zip(range(6), shared_encoder().encode([a.text for a in answers]), strict=True))
    near = [embedded[4] @ embedded[0], embedded[4] @ embedded[1], embedded[5] @ embedded[2], embedded[5] @ embedded[3]]
    apart = [embedded[0] @ embedded[1], embedded[2] @ embedded[3]]
    assert value["topic"] == pytest.approx(np.mean(near) / np.mean(apart), rel=1e-5)
    assert measures.of([4, 5], "calm").judged == {}
    mean = Scores.mean([scores, measures.of([4, 5], "fear")])
    assert mean.n == 4
    assert mean.judged["letters"]["hit"][0] == 0.25


def test_the_top_three_are_among_the_mapped_labels_of_a_judge_that_knows_many():
    class Ordered:
        name = "ordered"
        labels = ("neutral", "joy", "optimism", "remorse", "curiosity", "love", "pride", "anger")

        def probabilities(self, texts, emotions=None):
            shares = np.arange(8, 0, -1) / 36  # neutral first, which is no emotion
            return {name: np.full(len(texts), share) for name, share in zip(self.labels, shares, strict=True)}

    answers = [answer("a", PLAIN), answer("b", PLAIN, seed=1), answer("c", Cell("joy", 1.0, "additive"))]
    measures = Measures(answers, [Ordered()])
    found = {e: measures.of([2], e).judged["ordered"]["top_3"][0] for e in ("joy", "hope", "guilt", "interest")}
    assert found == {"joy": 1, "hope": 1, "guilt": 1, "interest": 0}


def test_the_report_holds_the_grid_and_agrees_with_a_recount(steered, calls, tmp_path):
    report = measure(steered, strengths=(0, 0.5, 1), ways=WAYS, seeds=2, cache=tmp_path)
    tones = {"joy", "fear", "anger"}
    assert set(report.about["basic"]) == tones
    measured = {(c.way, c.emotion, c.strength) for c in report.cells if c.control is None}
    expected = {(way, e, s) for way in WAYS for e in [*tones, "hope", None] for s in (0.5, 1.0)}
    expected |= {(way, "calm", 1.0) for way in WAYS}  # no judge knows it
    assert measured == expected
    assert {c.control for c in report.cells} == {None, "unsteered", "random", "shuffled", "flipped", "prompt_only"}
    assert report.not_heard == {"letters": ("calm",)}

    kept = [one for file in tmp_path.glob("*.json") for one in json.loads(file.read_text())["answers"]]
    assert len(kept) == report.about["n_answers"] == sum(call["input_ids"].shape[0] for call in calls)
    wanted = {"emotion": "fear", "strength": 1.0, "way": "kept", "control": None}
    mine = [one for one in kept if one["cell"] == wanted]
    cell = report.cell("kept", "fear", 1.0)
    heard = [Letters().probabilities([one["text"]], ["joy", "fear", "anger"]) for one in mine]
    assert cell.n == len(mine) == 6
    assert cell.judged["letters"]["hit"].value == pytest.approx(
        np.mean([max(shares, key=lambda name: shares[name][0]) == "fear" for shares in heard])
    )
    plain = [one["nats"] for one in kept if one["cell"]["control"] == "unsteered"]
    cost = np.mean([one["nats"] for one in mine]) - np.mean(plain)
    assert cell.text["cost"].value == pytest.approx(cost, abs=1e-6)
    assert cell.text["cost"].low <= cell.text["cost"].value <= cell.text["cost"].high

    (additive, _) = report.ways
    hits = [report.cell("additive", name, 1.0).judged["letters"]["hit"].value for name in tones]
    assert additive.hit_rate["letters"].value == pytest.approx(np.mean(hits))
    assert additive.worst["letters"][1] == min(hits)
    assert set(additive.dose_response["letters"]) <= {*tones, "hope"}
    shares = report.confusion["kept"]["letters"]["fear"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["fear"] == pytest.approx(cell.judged["letters"]["hit"].value)


def test_the_cost_is_held_against_the_one_in_the_file(steered):

    told = {"joy": 0.0, "fear": 9.0}
    doses = {name: replace(steered.vectors.dose(name), cost=cost) for name, cost in told.items()}
    vectors = replace(steered.vectors, doses=doses)
    report = measure(emosteer.SteeredModel(steered.model, steered.tokenizer, vectors), ways=WAYS, controls=False)
    additive, kept = report.ways
    assert {name: pair[0] for name, pair in additive.stored_cost.items()} == told
    assert additive.near_stored == 1  # of a tiny random model every cost is near 0
    assert kept.stored_cost == {}
    assert "additive: strength 1.0 costs within 0.15 nats of what the file says for 1 of 2 emotions." in notes(report)


def test_several_judges_stand_side_by_side(steered):
    class Other(Letters):
        name = "other"
        labels = ("anger", "joy", "optimism", "love", "pride", "grief", "gratitude")
        letters = "eaoiuyx"

        def probabilities(self, texts, emotions=None):
            counts = np.array([[1 + text.count(letter) for letter in self.letters] for text in texts], dtype=float)
            return dict(zip(self.labels, (counts / counts.sum(1, keepdims=True)).T, strict=True))

    report = measure(steered, judges=[Letters(), Other()], strengths=[1.0])
    assert report.not_heard == {"letters": ("calm",), "other": ("fear", "calm")}
    assert set(report.cell("additive", "fear", 1.0).judged) == {"letters"}
    (pair,) = report.agreement
    assert (pair.judges, set(pair.labels), pair.n) == (("letters", "other"), {"joy", "anger"}, 9)
    (way,) = report.ways
    ranked = [report.cell("additive", e, 1.0).judged["other"]["top_3"].value for e in ("joy", "anger", "hope")]
    assert set(way.top_3) == {"other"}
    assert way.top_3["other"].value == pytest.approx(np.mean(ranked))
    assert any(note.startswith("letters and other agree at Cohen's kappa") for note in notes(report))


def test_strength_raises_what_a_judge_hears_and_its_rank_correlation(steered, monkeypatch):
    """With answers that carry the emotion's letter more often the stronger the tone."""

    def scripted(_steered, cells, **_options):
        said = {c: (letter_of(c.emotion) if c.emotion in Letters.labels else "") * round(4 * c.strength) for c in cells}
        return [answer("u" * 5 + said[c], c, prompt=p, seed=n) for c, asked in cells.items() for p, n in asked]

    monkeypatch.setattr("emosteer.eval.steering.evaluation.generate_cells", scripted)
    report = measure(steered, emotions=["joy", "fear", "calm"])
    (way,) = report.ways
    assert way.dose_response == {"letters": {"joy": 1.0, "fear": 1.0}}
    assert way.rising == {"letters": 2}
    assert notes(report) == [
        "additive: by letters, probability rises with strength (Spearman at least 0.9) for 2 of 2 emotions.",
        "letters does not know calm.",
    ]
    assert way.hit_rate["letters"].value == 1
    assert report.cell("", "joy", 0.0, "unsteered").judged["letters"]["probability"].value == pytest.approx(0.1)


def test_a_base_model_continues_openings(model, calls):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, EMOTIONS))
    report = measure(steered, emotions=["joy"], prompts=None, n_prompts=2, strengths=[1.0])
    prompts = [prompt for call in calls for prompt in read(tokenizer, call)]
    assert "At the bus stop this evening a boy" in prompts
    assert "This is written in a tone of joy. At the bus stop this evening a boy" in prompts
    assert report.about["n_answers"] == 2 * 4 + 2 + 4 * 2
    assert report.kinds == ()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"emotions": ["rage"]}, ToneError),
        ({"emotions": []}, InputError),
        ({"judges": []}, InputError),
        ({"prompts": []}, InputError),
        ({"ways": {}}, InputError),
        ({"ways": {"": {}}}, InputError),
        ({"strengths": [0]}, InputError),
        ({"strengths": [-1, 1]}, InputError),
        ({"strengths": [float("nan")]}, InputError),
        ({"n_prompts": 4}, InputError),
        ({"n_others": 4}, InputError),
        ({"seeds": 0}, InputError),
        ({"judges": [Letters(), Letters()]}, InputError),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_generated(steered, calls, options, error):
    with pytest.raises(error):
        measure(steered, **options)
    assert calls == []


def test_the_report_is_json_figures_and_tables(steered, tmp_path):
    report = measure(steered, ways=WAYS)
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["schema"] == 1
    first, second = (write_report(report, tmp_path / name) for name in ("one", "two"))
    assert set(first) == {"json", "dose_response", "confusion", "tone_and_cost"}
    assert json.loads(first["json"].read_text())["cells"] == told["cells"]
    for name in first:
        assert first[name].read_bytes() == second[name].read_bytes(), name
    cell = report.cell("kept", "fear", 1.0)
    (_, _, kept, *_) = shown = tables(report)
    row = [column._cells[report.emotions.index("fear")] for column in kept.columns]
    assert row[:2] == ["fear", str(cell.judged["letters"]["hit"])]
    assert "letters does not know calm." in notes(report)
    assert [table.row_count for table in shown] == [1 + 2 * 4 + 2 * 3 + 1, 5, 5, 2, 2, 1 + 2 + 2 * 3 + 1]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(report, tmp_path / "file")


@pytest.mark.parametrize("tokens", [1, 2])
def test_answers_too_short_for_a_measure_leave_it_out(steered, tmp_path, tokens):
    report = measure(steered, max_new_tokens=tokens, prompts=PROMPTS[:1], n_prompts=1, strengths=[1.0])
    json.dumps(report.to_dict(), allow_nan=False)
    write_report(report, tmp_path)
    assert "distinct_3" not in report.cell("additive", "joy", 1.0).variety

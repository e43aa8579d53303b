"""The bench that is like use: its prompts, asking for a tone, results by kind and family, tasks in tones."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

import emosteer
from emosteer.errors import InputError
from emosteer.eval import EmbeddingJudge, evaluate_steering, evaluate_tasks, load_bench, load_prompts
from emosteer.eval.prompts import Prompt, as_prompt, spread
from emosteer.eval.sampling import Answer, Cell, generate_cells
from emosteer.eval.steering.families import FAMILY_OF
from emosteer.eval.steering.measures import Measures
from emosteer.eval.steering.report import tables
from emosteer.eval.tasks import load_tasks
from emosteer.steering.asking import asked
from emosteer.steering.recipes import RECIPES, Recipe
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer
from tests.tools.writing import writing

KINDS = ("everyday", "character", "advice", "explain", "story", "message")
TOLD = Prompt("told", "character", "Well?", "You are a dragon.")
BARE = Prompt("bare", "everyday", "And then?")
PLAIN = Cell(None, 0.0, control="unsteered")


@pytest.fixture(scope="module")
def steered():
    model = tiny_model(tiny_config(max_position_embeddings=2048))
    return emosteer.SteeredModel(
        model, tiny_tokenizer(), emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"])
    )


# The prompts.


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("split", ["development", "held_out"])
def test_ten_prompts_of_each_kind_of_which_characters_have_a_system_message(language, split):
    bench = load_bench(split, language)
    assert Counter(prompt.kind for prompt in bench) == dict.fromkeys(KINDS, 10)
    assert all((prompt.system is not None) == (prompt.kind == "character") for prompt in bench)
    for n in (6, 12, 24, 60):
        assert set(Counter(prompt.kind for prompt in spread(bench, n)).values()) == {n // 6}
    for text in (text for prompt in bench for text in (prompt.text, prompt.system or "x")):
        assert text == text.strip()
    assert load_bench(split, "zh-TW") == load_bench(split, "zh")
    with pytest.raises(InputError, match="no bench in 'de'"):
        load_bench(split, "de")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_bench_names_no_feeling_and_is_written_in_its_language(language):
    style, concepts = writing(language), emosteer.ConceptSet.load(language)
    family = {word for name in concepts.emotions for word in concepts[name].texts[language].word_family}
    phrases = [style.tokens(word) for word in family]
    for prompt in (*load_bench("development", language), *load_bench("held_out", language)):
        for text in filter(None, (prompt.text, prompt.system)):
            assert not style.mentions(style.tokens(text), phrases), text
            assert style.own_letters(text) == 1, text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_prompt_of_the_bench_is_like_another_or_like_what_the_directions_were_made_from(language):
    style, concepts = writing(language), emosteer.ConceptSet.load(language)

    def parts(text):
        tokens = style.tokens(text)
        return set(tokens) if style.spaced else set(pairwise(tokens))

    bench = [prompt for split in ("development", "held_out") for prompt in load_bench(split, language)]
    assert len({prompt.id for prompt in bench}) == len({prompt.text for prompt in bench}) == 120
    own = [parts(prompt.text) for prompt in bench]
    texts = [concepts[name].texts[language] for name in concepts.emotions]
    others = [parts(text) for of in texts for text in (*of.sentences, *of.situations)]
    others += [parts(text) for text in load_prompts("held_out", language)]
    pairs = [*combinations(own, 2), *((one, other) for one in own for other in others)]
    assert max(len(one & other) / len(one | other) for one, other in pairs) < 0.6


# Prompts with a system message, and ways that ask.


def read(steered, ids):
    """A prompt as text; in this tokenizer every byte is a token."""
    return steered.tokenizer.decode([i for i in ids if i]).replace(" ", "").replace("Ġ", " ")


@pytest.fixture
def calls(monkeypatch):
    seen = []
    generate = emosteer.SteeredModel.generate

    def spy(self, **inputs):
        seen.append(inputs)
        return generate(self, **inputs)

    monkeypatch.setattr(emosteer.SteeredModel, "generate", spy)
    return seen


def sample(steered, cells, ways, **options):
    return generate_cells(steered, cells, ways=ways, max_new_tokens=4, progress=False, **options)


def nats(steered, message, tokens):
    prompt = steered.prompt(message)["input_ids"]
    ids = torch.cat([prompt, torch.tensor([tokens])], dim=1)
    with torch.inference_mode():
        logits = steered.model(ids).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
    return -float(logits.gather(1, ids[0, prompt.shape[1] :, None]).mean())


def test_the_system_message_of_a_prompt_is_read_and_joined_with_the_instruction(steered, calls):
    cells = {PLAIN: [(TOLD, 0)], Cell("fear", 1.0, "", "prompt_only"): [(TOLD, 0)]}
    plain, _ = sample(steered, cells, {})
    texts = [read(steered, row) for row in calls[0]["input_ids"].tolist()]
    assert all("<system> You are a dragon." in text and "<user> Well?" in text for text in texts)
    assert sum("Answer in a tone of fear." in text for text in texts) == 1
    assert plain.prompt == TOLD
    assert plain.nats == pytest.approx(nats(steered, TOLD.message, plain.tokens), abs=1e-5)


@pytest.mark.parametrize("recipe", ["asked_and_steered", Recipe(dose=0.5, bonus=0.0, plausibility=0.1, asks=True)])
def test_a_way_that_asks_asks_in_the_prompt_and_steers_without_asking(steered, calls, recipe, tmp_path):
    ways = {"bare": {}, "asks": {"recipe": recipe}}
    cells = {PLAIN: [(TOLD, 0)], **{Cell("joy", 0.5, way): [(TOLD, 0), (BARE, 0)] for way in ways}}
    answers = sample(steered, cells, ways, cache=tmp_path)
    by_recipe = {bool(call.get("recipe")): call for call in calls if call["emotion"]}
    assert not by_recipe[True]["recipe"].asks
    assert by_recipe[True]["emotion"] == [{"joy": 0.5}] * 2
    wanted = {
        prompt: asked(steered.tokenizer, steered.vectors, prompt.message, {"joy": 0.5}) for prompt in (TOLD, BARE)
    }
    expected = {tuple(steered.prompt(message)["input_ids"][0].tolist()) for message in wanted.values()}
    rows = by_recipe[True]["input_ids"], by_recipe[True]["attention_mask"]
    assert {tuple(row[mask == 1].tolist()) for row, mask in zip(*rows, strict=True)} == expected
    assert "You are a dragon." in wanted[TOLD][0]["content"]
    for answer in answers:
        assert answer.nats == pytest.approx(nats(steered, answer.prompt.message, answer.tokens), abs=1e-5)
        if answer.cell == PLAIN:
            assert answer.nats_asked is None
        else:
            assert answer.nats_asked == pytest.approx(nats(steered, wanted[answer.prompt], answer.tokens), abs=1e-5)
    assert sample(steered, cells, ways, cache=tmp_path) == answers
    assert len(calls) == 3  # of the batches


def test_without_a_way_that_asks_nothing_is_scored_twice(steered):
    (answer,) = sample(steered, {Cell("joy", 0.5, "bare"): [("Well?", 0)]}, {"bare": {}})
    assert answer.prompt == "Well?"
    assert answer.nats_asked is None


def test_temperature_zero_is_the_most_probable_answer(steered):
    (answer,) = sample(steered, {PLAIN: [(BARE, 0)]}, {}, temperature=0.0)
    ids = steered.prompt(BARE.text)["input_ids"]
    with torch.inference_mode():
        output = steered.model.generate(ids, do_sample=False, max_new_tokens=4, pad_token_id=0)
    assert list(answer.tokens) == [token for token in output[0, ids.shape[1] :].tolist() if token != 2]


# What is counted.


class Words:
    """A judge that hears the emotions whose names it reads, three times as loudly as all others."""

    name = "words"
    labels = ("joy", "fear", "anger", "sadness", "annoyance", "nervousness", "neutral")

    def probabilities(self, texts, emotions=None):
        names = self.labels if emotions is None else tuple(emotions)
        loud = np.array([[1.0 + 2 * (name in text) for name in names] for text in texts])
        return dict(zip(names, (loud / loud.sum(1, keepdims=True)).T, strict=True))


def said(text, cell, *, prompt=BARE, seed=0, nats=1.0, nats_asked=None):
    return Answer(cell, prompt, seed, tuple(text.encode()), text, True, nats, nats_asked)


def scores(measures, rows, emotion):
    found = measures.of(rows, emotion)
    return {name: values[0] for name, values in {**found.text, **found.judged.get("words", {})}.items()}


def test_refusals_and_disclaimers_are_counted_and_are_no_hits():
    fear = Cell("fear", 1.0, "additive")
    answers = [
        said("damn the joy of it", PLAIN),
        said("a walk", PLAIN, seed=1),
        said("there was fear in the house", fear),
        said("I'm afraid I can't assist with that fear.", fear, seed=1),
        said("As an AI language model, I know no fear.", fear, seed=2),
        said("I feel very frightened.", fear, seed=3),
    ]
    for i in (2, 3):
        answers.append(said("x", PLAIN, seed=i))
    found = scores(Measures(answers, [Words()]), range(2, 6), "fear")
    assert found["hit"] == 0.25
    assert (found["refusals"], found["disclaimers"], found["stated"]) == (0.25, 0.25, 0.25)
    assert found["coarse"] == 0
    assert found["coarse_change"] == -0.25
    assert found["family"] == 0.25


def test_an_emotion_that_a_judge_does_not_know_is_heard_by_its_family():
    hatred, calm = Cell("hatred", 1.0, "additive"), Cell("calm", 1.0, "additive")
    answers = [said("x", PLAIN), said("y", PLAIN, seed=1)]
    answers += [said(text, hatred, seed=i) for i, text in enumerate(("annoyance", "joy"))] + [said("joy", calm)]
    measures = Measures(answers, [Words()])
    assert {name: values[0] for name, values in measures.of([2, 3], "hatred").judged["words"].items()} == {
        "family": 0.5
    }
    assert measures.of([4], "calm").judged == {}  # the judge knows nothing like it


def test_every_emotion_of_the_concept_sets_and_every_label_of_the_judges_has_a_family():
    concepts = set(emosteer.ConceptSet.load("en").emotions)
    judge = EmbeddingJudge().labels
    assert concepts | set(judge) - {"neutral"} == set(FAMILY_OF)


def test_cost_under_the_asked_model_is_above_the_answers_of_the_way_asked():
    tone = [Cell("joy", 1.0, way) for way in ("asked", "natural")]
    other = Prompt("other", "story", "Go on.")
    answers = [said("x", PLAIN, seed=i) for i in (0, 1)] + [said("x", PLAIN, prompt=other, seed=i) for i in (0, 1)]
    answers += [said("z", tone[0], nats_asked=2.0), said("z", tone[0], prompt=other, nats_asked=4.0)]
    answers += [said("z", tone[1], nats_asked=3.5), said("z", Cell("joy", 0.5, "asked"), nats_asked=9.0)]
    answers += [said("z", tone[1], prompt=other, nats_asked=5.0)]
    measures = Measures(answers, [])
    assert scores(measures, [6, 8], "joy")["cost_asked"] == pytest.approx(4.25 - 3.0)
    assert scores(measures, [6], "joy")["cost_asked"] == pytest.approx(1.5)
    assert scores(measures, [4, 5], "joy")["cost_asked"] == 0
    without = Measures([answer for answer in answers if answer.cell.way != "asked"], [])
    assert "cost_asked" not in scores(without, [4], "joy")


# The report.


def test_the_default_is_the_held_out_bench_with_every_way_that_the_model_can_be_steered_with(steered, monkeypatch):
    def stopped(_steered, cells, **options):
        seen.update(options, cells=cells)
        raise KeyboardInterrupt

    seen = {}
    monkeypatch.setattr("emosteer.eval.steering.evaluation.generate_cells", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_steering(steered, judges=[Words()], n_others=10)
    assert set(seen["ways"]) == {"additive", *(name for name in RECIPES if not name.endswith("best_of_4"))}
    kinds = {cell: Counter(prompt.kind for prompt, _ in pairs) for cell, pairs in seen["cells"].items()}
    assert kinds[Cell("joy", 0.5, "asked")] == dict.fromkeys(KINDS, 4)
    assert kinds[Cell("joy", 1.0, "natural", "random")] == dict.fromkeys(KINDS, 2)
    assert sum(kinds[Cell("calm", 1.0, "natural")].values()) == 10
    assert Cell("joy", 1.0, "asked", "random") not in seen["cells"]  # there is nothing random about asking
    assert {prompt for pairs in seen["cells"].values() for prompt, _ in pairs} <= set(load_bench("held_out"))


def test_results_by_kind_and_by_family_agree_with_a_recount(steered, monkeypatch):
    def scripted(_steered, cells, **_options):
        words = {"everyday": "joy fear", "character": "joy", "story": "fear"}
        return [
            said(f"{words[prompt.kind] if cell.emotion else 'x'} {number}", cell, prompt=prompt, seed=number)
            for cell, pairs in cells.items()
            for prompt, number in pairs
        ]

    monkeypatch.setattr("emosteer.eval.steering.evaluation.generate_cells", scripted)
    story = Prompt("story", "story", "Go on.")
    report = evaluate_steering(
        steered, judges=[Words()], prompts=[BARE, TOLD, story], ways={"additive": {}}, strengths=[1.0], progress=False
    )
    hits = {kind.kind: kind.judged["words"]["hit"].value for kind in report.kinds}
    assert hits == {"everyday": 0.5, "character": 0.5, "story": 0.5}
    assert {kind.n for kind in report.kinds} == {2}
    assert report.families["additive"]["words"]["calm"]["joy"] == pytest.approx(2 / 3)
    assert set(report.families["additive"]["words"]) == {"calm"}
    titles = [table.title for table in tables(report)]
    assert any(title.startswith("Kinds of prompts") for title in titles)
    assert any("not basic" in title for title in titles)
    assert json.loads(json.dumps(report.to_dict()))["tasks"] is None


# Tasks in tones.


def test_tasks_are_counted_as_one_counts_them(steered, monkeypatch):
    """With a model that solves all tasks plainly but the last ten, and with joy the first ten only."""
    tasks = load_tasks("en")
    order = {task.prompt: i for i, task in enumerate(tasks)}
    monkeypatch.setattr("emosteer.eval.steering.kept.is_right", lambda _task, text: text == "right")

    def scripted(_steered, cells, **options):
        assert (options["temperature"], options["max_new_tokens"]) == (0.0, 96)
        solved = {None: 30, "joy": 10, "fear": 20}
        return [
            said("right" if order[prompt] < solved[cell.emotion] else "wrong", cell, prompt=prompt)
            for cell, pairs in cells.items()
            for prompt, _ in pairs
        ]

    monkeypatch.setattr("emosteer.eval.steering.kept.generate_cells", scripted)
    report = evaluate_tasks(steered, ways={"natural": {"recipe": "natural"}}, progress=False)
    found = {(r.way, r.emotion): (r.n, r.right.value, r.kept.value) for r in report.results}
    assert found == {
        ("", None): (40, 0.75, 1.0),
        ("natural", None): (80, pytest.approx(0.375), pytest.approx(0.5)),
        ("natural", "joy"): (40, 0.25, pytest.approx(1 / 3)),
        ("natural", "fear"): (40, 0.5, pytest.approx(2 / 3)),
    }
    joy = next(r for r in report.results if r.emotion == "joy")
    assert joy.kinds["fact"] == 1
    assert joy.kinds["arithmetic"] == 0.25
    assert joy.right.low < 0.25 < joy.right.high


def test_tasks_are_answered_by_the_model_itself(steered, tmp_path):
    ways = {"asked": {"recipe": "asked"}}
    options = {"ways": ways, "emotions": ["joy"], "max_new_tokens": 2, "cache": tmp_path, "progress": False}
    report = evaluate_tasks(steered, **options)
    assert [result.n for result in report.results] == [40, 40, 40]
    assert list(tmp_path.iterdir())
    assert evaluate_tasks(steered, **options) == report


def test_a_base_model_is_given_no_tasks(steered):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="base model"):
        evaluate_tasks(emosteer.SteeredModel(steered.model, tokenizer, steered.vectors), ways={"additive": {}})


def test_the_command_line_measures_ways_tasks_and_other_emotions(command_line, steered, tmp_path):
    steered.model.save_pretrained(tmp_path / "model")
    steered.tokenizer.save_pretrained(tmp_path / "model")
    steered.vectors.save_pretrained(tmp_path / "vectors")
    run = partial(command_line, "eval", "steering", "-m", tmp_path / "model", "-v", tmp_path / "vectors")
    options = ("--emotions", "joy,calm", "--strengths", "1", "--n-prompts", 2, "--others", 1)
    status, out, err = run("-o", tmp_path / "new", *options, "--tasks", "--ways", "asked", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert set(told["about"]["ways"]) == {"asked"}
    assert (told["about"]["n_prompts"], told["about"]["n_others"]) == (2, 1)
    assert [result["n"] for result in told["tasks"]["results"]] == [40, 80, 40, 40]
    assert json.loads((tmp_path / "new" / "steering.json").read_text()) == told
    status, out, _ = run("-o", tmp_path / "new", *options, "--tasks", "--ways", "asked", "--card")
    assert status == 0
    assert "Tasks solved at strength 1" in out
    card = (tmp_path / "vectors" / "README.md").read_text()
    (row,) = [line for line in card.splitlines() if line.startswith("| **asked** |")]
    (head,) = [line for line in card.splitlines() if line.startswith("| tone by |")]
    on_card = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    mean = next(c for c in told["cells"] if (c["way"], c["emotion"], c["control"]) == ("asked", None, None))
    assert on_card["coarse"] == f"{mean['text']['coarse']['value']:.2f}"
    assert on_card["cost beside asking"] == "0.00"
    assert on_card["refusals"] == f"{mean['text']['refusals']['value']:.2f}"
    status, _, err = run("-o", tmp_path / "other", "--ways", "shouted")
    assert status == 1
    assert "shouted" in err
    assert "natural" in err


def test_a_text_alone_is_what_the_user_says():
    assert as_prompt("Well?").message == "Well?"
    assert as_prompt(TOLD) is TOLD

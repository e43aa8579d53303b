"""Fluency, prompts and the embedding judge."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import emosteer
from emosteer._util.stats import cluster_means, estimate, rank_correlation, resamples
from emosteer.errors import FormatError, InputError
from emosteer.eval import ClassifierJudge, EmbeddingJudge, load_prompts, nats_per_token
from emosteer.eval.encoder import CharacterNgrams
from emosteer.eval.fluency import nats_of_tokens, prompt_tokens
from emosteer.eval.judges import BASIC, GOEMOTIONS_MAP, SentenceEncoder, agreement, heard_as, named_judge
from emosteer.eval.steering import wording
from tests.conftest import tiny_tokenizer
from tests.tools import train_judge


@pytest.fixture(scope="module")
def judge():
    return EmbeddingJudge()


def test_nats_per_token_is_the_mean_of_the_answers_surprisals(model, tokenizer, vectors):
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Well?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    answer = tokenizer("Good, thanks.", add_special_tokens=False, return_tensors="pt")["input_ids"]
    total = torch.zeros(())
    for i in range(answer.shape[1]):  # one token after the other, as the model would say it
        logits = model(torch.cat([prompt, answer[:, :i]], dim=1)).logits[0, -1]
        total -= logits.log_softmax(-1)[answer[0, i]].detach()
    expected = float(total) / answer.shape[1]
    assert nats_per_token(steered, "Well?", "Good, thanks.") == pytest.approx(expected, rel=1e-5)


def test_an_empty_answer_has_no_cost(model, tokenizer, vectors):
    assert math.isnan(nats_per_token(emosteer.SteeredModel(model, tokenizer, vectors), "Well?", ""))


def test_many_answers_at_once_cost_what_each_costs_alone(model, tokenizer, vectors):
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    asked = ["Well?", "How was it, then, all in all?", "And?"] * 7
    said = ["Good.", "It went on and on for a while.", "x", ""] * 5 + ["And so to bed."]
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in said]
    with steered.steer({"joy": 3.0}):  # the plain model is asked all the same
        found = nats_of_tokens(steered, [prompt_tokens(steered, prompt) for prompt in asked], tokens)
    alone = [nats_per_token(steered, prompt, text) for prompt, text in zip(asked, said, strict=True)]
    np.testing.assert_allclose(found, alone, atol=1e-4)
    assert np.isnan(found).tolist() == [not text for text in said]


def test_a_base_model_continues_the_prompt_itself(model, vectors):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    ids = tokenizer("On the way I met him.", return_tensors="pt")["input_ids"]
    n = len(tokenizer("On the way")["input_ids"])
    logits = model(ids).logits[0, n - 1 : -1].log_softmax(-1)
    expected = -float(logits.gather(1, ids[0, n:, None]).mean().detach())
    assert nats_per_token(steered, "On the way", " I met him.") == pytest.approx(expected, rel=1e-5)
    for prompt in (" ", [{"role": "user", "content": "Well?"}]):
        with pytest.raises(InputError, match="base model"):
            nats_per_token(steered, prompt, "x")


@pytest.mark.parametrize("kind", ["questions", "openings"])
def test_prompts_are_sixty_and_sixty_without_overlap_or_feeling(kind):
    development, held_out = load_prompts("development", kind=kind), load_prompts("held_out", kind=kind)
    assert len(development) == len(held_out) == 60
    assert len({*development, *held_out}) == 120
    concepts = emosteer.ConceptSet.load("en")
    family = {word for name in concepts.emotions for word in concepts[name].texts["en"].word_family}
    for prompt in (*development, *held_out):
        assert not family & set(re.findall(r"[a-z]+", prompt.lower())), prompt


def test_the_encoder_is_the_mean_over_tokens_at_unit_length_whatever_the_batch():
    encoder = SentenceEncoder()
    texts = ["A short one.", "A text that is quite a bit longer than the first one, with a comma in it."]
    both = encoder.encode(texts)
    for text, row in zip(texts, both, strict=True):
        batch = encoder._tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            alone = encoder._model(**batch).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(row, (alone / alone.norm()).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("emotion", "text"),
    [
        ("joy", "I am so happy today, this is wonderful!"),
        ("sadness", "I cried all night because he is gone and I miss him."),
        ("anger", "How dare you! I am furious with all of you!"),
        ("fear", "I am terrified, something is moving in the dark."),
        ("disgust", "Ugh, that is disgusting, it smells of rot and vomit."),
        ("surprise", "Wow, I did not expect that at all!"),
    ],
)
def test_the_judge_hears_plain_cases(judge, emotion, text):
    found = judge.probabilities([text], BASIC)
    assert max(found, key=lambda name: found[name][0]) == emotion


def test_probabilities_sum_to_one_over_the_choice(judge):
    found = judge.probabilities(["One.", "Two."])
    assert set(found) == set(judge.labels)
    np.testing.assert_allclose(sum(found.values()), 1, rtol=1e-5)
    np.testing.assert_allclose(sum(judge.probabilities(["One."], BASIC).values()), 1, rtol=1e-5)


def test_an_emotion_that_the_judge_does_not_know_is_named(judge):
    with pytest.raises(InputError, match="schadenfreude"):
        judge.probabilities(["x"], ["schadenfreude"])


def head(**changes):
    """Return a head that is right but for what is changed."""
    rows = [[1] * CharacterNgrams.width, [2] * CharacterNgrams.width]
    right = {"labels": ["a", "b"], "languages": ["xx"], "encoder": "ngrams", "scale": 0.1, "bias": [0, 1]}
    return json.dumps({**right, "weights": rows, **changes})


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", '{"labels": ["a"], "weights": 3}', '{"labels": 1}'),
        *(head(labels=labels) for labels in ([], "ab", ["a"], ["a", "a"], ["a", 2], {"a": 1, "b": [2]}, None)),
        *(head(languages=languages) for languages in ([], "xx", [1], 3)),
        *(head(encoder=encoder) for encoder in ("nobody", 1, ["ngrams"])),
        *(head(weights=weights) for weights in ([1, 2], [[1], [2, 3]], [[1, 2], [3, 4]], [["x"], ["y"]], [], 1)),
        *(head(bias=bias) for bias in ([1], [[0], [1]], ["x", "y"], 1, [1e300, 0])),
        *(head(scale=scale) for scale in ("x", None, 1e300, [1, 2])),
    ],
)
def test_a_file_that_is_no_head_is_refused(tmp_path, content):
    (tmp_path / "head.json").write_text(content)
    with pytest.raises(FormatError, match="head"):
        EmbeddingJudge(tmp_path / "head.json")


def test_a_head_says_its_encoder_and_languages_and_the_first_ones_said_neither(tmp_path):
    (tmp_path / "mine.json").write_text(head())
    mine = EmbeddingJudge(tmp_path / "mine.json")
    assert (mine.name, mine.labels, mine.languages) == ("mine", ("a", "b"), ("xx",))
    runs = CharacterNgrams().encode(["So"])[0].sum()  # b has .1 a run more than a, and 1 by its bias
    assert mine.probabilities(["So"])["b"][0] == pytest.approx(1 / (1 + math.exp(-(0.1 * runs + 1))), rel=1e-5)
    old = {"labels": ["a", "b"], "weights": [[1] * 384] * 2, "scale": 1, "bias": [0, 0]}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert EmbeddingJudge(tmp_path / "old.json").languages == ("en",)


def test_the_chinese_judge_knows_chinese_and_hears_answers_that_do_not_name_their_tone():
    judge = EmbeddingJudge("brighter-zh")
    assert (judge.labels, judge.languages) == (BASIC, ("zh",))
    said = json.loads((Path(__file__).parent / "said-zh.json").read_text())
    texts = [text for sentences in said.values() for text in sentences]
    found = judge.probabilities(texts, BASIC)
    np.testing.assert_allclose(sum(found.values()), 1, rtol=1e-5)
    best = np.stack([found[name] for name in BASIC]).argmax(0)
    assert (
        np.mean([BASIC[i] == name for i, name in zip(best, np.repeat(list(said), 10), strict=True)]) >= 0.4
    )  # chance: 0.17
    named = {
        word for concept in emosteer.ConceptSet.load("zh").concepts.values() for word in concept.texts["zh"].word_family
    }
    assert not [text for text in texts if any(word in text for word in named)]


def test_judges_of_any_language_are_compared_on_the_labels_that_they_share():
    rng = np.random.default_rng(0)
    drawn = {name: dict(zip(BASIC, rng.dirichlet([1] * 6, size=30).T, strict=True)) for name in ("en", "zh", "five")}
    del drawn["five"]["disgust"]
    found = agreement({**drawn, "stranger": {"calm": np.ones(30)}})
    assert [(one.judges, len(one.labels)) for one in found] == [
        (("en", "zh"), 6),
        (("en", "five"), 5),
        (("zh", "five"), 5),
    ]


def test_training_makes_a_head_that_learned(tmp_path, capsys, monkeypatch):
    """On a handful of rows in GoEmotions' form; the real data set is not in the repository."""
    labels = ["joy", "fear", "disgust"]
    said = ["So happy and glad", "I am scared of it", "How disgusting", "What joy", "Terrified, help", "Vomit and rot"]
    rows = [f"{text}\t{i % 3}\tid{i}" for i, text in enumerate(said)]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join([*rows, "left out, as it has two labels\t0,1\te"]) + "\n")
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    monkeypatch.setattr(train_judge, "BASIC", tuple(labels))
    train_judge.main(tmp_path, tmp_path / "head.json")
    assert "accuracy 1.000" in capsys.readouterr().out
    assert json.loads((tmp_path / "head.json").read_text())["trained_on"].startswith("GoEmotions train, 6 texts")


def test_openings_are_beginnings_of_sentences_each_of_its_own_frame():
    openings = [*load_prompts("development", kind="openings"), *load_prompts("held_out", kind="openings")]
    assert not [opening for opening in openings if opening[-1] in ".?! "]
    assert len({" ".join(opening.lower().split()[:3]) for opening in openings}) == 120


def test_a_text_is_embedded_once_whoever_judges_it(monkeypatch):
    embedded = []
    embed = SentenceEncoder._embed
    monkeypatch.setattr(SentenceEncoder, "_embed", lambda self, texts: embedded.extend(texts) or embed(self, texts))
    first, second = EmbeddingJudge(), EmbeddingJudge("goemotions")
    texts = [
        "A sentence that no other test has.",
        "Another one, not found elsewhere.",
        "A sentence that no other test has.",
    ]
    one, two = first.probabilities(texts, BASIC), second.probabilities(texts, BASIC)
    assert sorted(embedded) == sorted(set(texts))
    assert one["joy"][0] == one["joy"][2] == two["joy"][0]


def test_a_head_is_found_by_name_or_by_path(judge, tmp_path):
    assert judge.name == "goemotions"
    assert named_judge("goemotions").labels == judge.labels
    with pytest.raises(InputError, match="'nobody'"):
        EmbeddingJudge("nobody")


def test_the_map_names_nineteen_rated_emotions_by_labels_that_the_judge_knows(judge):
    concepts = emosteer.ConceptSet.load("en")
    rated = {name for name in concepts.emotions if concepts[name].valence is not None}
    assert len(rated) == 28
    assert len(GOEMOTIONS_MAP) == len(set(GOEMOTIONS_MAP.values())) == 19
    assert set(GOEMOTIONS_MAP) <= rated
    assert set(GOEMOTIONS_MAP.values()) <= set(judge.labels)
    assert {name for name in rated if name in judge.labels} <= set(GOEMOTIONS_MAP)  # none that is named was left out
    assert (heard_as(judge, "hope"), heard_as(judge, "joy"), heard_as(judge, "boredom")) == ("optimism", "joy", None)


@pytest.fixture
def classifier(tmp_path):
    """The folder of a tiny text classifier with labels as people name them; settings go into its config."""
    from transformers import BertConfig, BertForSequenceClassification

    def make(**settings):
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = BertConfig(vocab_size=400, id2label=dict(enumerate(["Happiness", "ANGER", "rage", "sad"])), **sizes)
        config.update(settings)
        model = BertForSequenceClassification(config).eval()
        with torch.no_grad():
            model.classifier.weight *= 100  # so that it has opinions
        model.save_pretrained(tmp_path / "judge")
        tokenizer = tiny_tokenizer()
        tokenizer.model_input_names, tokenizer.padding_side = ["input_ids", "attention_mask"], "right"
        tokenizer.save_pretrained(tmp_path / "judge")
        return model, tokenizer, tmp_path / "judge"

    return make


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_any_classifier_is_a_judge(classifier, problem):
    model, tokenizer, folder = classifier(problem_type=problem)
    judge = ClassifierJudge(folder, batch_size=2)
    assert judge.labels == ("joy", "anger", "rage", "sadness")  # there is an anger already, so rage stays rage
    texts = ["Short.", "A rather longer text than the others are.", "In between, this."]
    found = judge.probabilities(texts, ["anger", "joy"])
    for i, text in enumerate(texts):
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0, [1, 0]]
        own = logits.sigmoid() if problem.startswith("multi") else logits.exp()
        np.testing.assert_allclose([found["anger"][i], found["joy"][i]], own / own.sum(), rtol=1e-4)
    with pytest.raises(InputError, match="fear"):
        judge.probabilities(texts, ["fear"])


@pytest.mark.parametrize("name", ["nobody/no-such-judge", "not a name", "tests"])
def test_a_classifier_out_of_reach_is_one_clear_error(name):
    with pytest.raises(InputError, match="could not be loaded") as caught:
        named_judge(name)
    assert "\n" not in str(caught.value)


def test_agreement_is_cohens_kappa_and_the_correlation_of_probabilities():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    one = rng.dirichlet([0.5] * 6, size=200)
    two = 0.6 * one + 0.4 * rng.dirichlet([0.5] * 6, size=200)
    judged = {
        "one": dict(zip(BASIC, one.T, strict=True)),
        "two": dict(zip([name if name != "disgust" else "neutral" for name in BASIC], two.T, strict=True)),
        "deaf": {"boredom": one[:, 0]},
    }
    (found,) = agreement(judged)
    kept = [i for i, name in enumerate(BASIC) if name != "disgust"]
    assert found.judges == ("one", "two")
    assert found.labels == tuple(BASIC[i] for i in kept)
    assert found.n == 200
    assert found.kappa == pytest.approx(cohen_kappa_score(one[:, kept].argmax(1), two[:, kept].argmax(1)))
    own = [[one[:, i] / one[:, kept].sum(1), two[:, i] / two[:, kept].sum(1)] for i in kept]
    assert found.correlation == pytest.approx(np.mean([np.corrcoef(*pair)[0, 1] for pair in own]))


def test_judges_that_always_say_the_same_have_no_kappa():
    same = {"joy": np.array([0.9, 0.9]), "fear": np.array([0.1, 0.1])}
    (found,) = agreement({"one": same, "two": same})
    assert (found.kappa, found.correlation) == (None, None)


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("", False),
        ("It was a day like any other, and I went to the shop.", False),
        ("so so so so it goes", False),
        ("no no no no no", True),
        ("No, NO no... no! no", True),
        ("Great \N{PARTY POPPER}\N{PARTY POPPER}\N{PARTY POPPER}\N{PARTY POPPER}", False),
        ("Great \N{PARTY POPPER}\N{PARTY POPPER}\N{PARTY POPPER}\N{PARTY POPPER}\N{PARTY POPPER}", True),
        ("\u2764\ufe0f" * 5, True),
        ("Wait..... what", False),
        ("I went to the shop. I went to the park. I went to the zoo.", True),
        ("I went to the shop. I went to the park. I came to the zoo.", False),
    ],
)
def test_loops_are_four_words_three_times_or_one_five_times_running(text, loops):
    assert wording.loops(text) is loops


def test_drift_is_letters_of_another_script_and_words_of_no_language():
    assert wording.other_script("caf\u00e9 123!", "How?") == 0
    assert wording.other_script("ab\u0431\u0432", "How?") == pytest.approx(0.5)
    assert wording.other_script("\u4f60\u597d", "\u4f60\u5417?") == 0
    assert wording.ascii_letters("caf\u00e9") == pytest.approx(0.75)
    assert wording.function_words("The cat is on the mat2") == pytest.approx(4 / 6)
    assert (wording.other_script("1", "a"), wording.ascii_letters(""), wording.function_words("")) == (0, 1, 0)


def test_intervals_draw_prompts_with_all_their_answers():
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(30), 4)
    values = np.repeat(rng.normal(size=30), 4) + 0.1 * rng.normal(size=120)
    values[5] = np.nan
    found = estimate(cluster_means(values, clusters, resamples(30)))
    groups = [values[clusters == k] for k in range(30)]
    drawn = [np.nanmean(np.concatenate([groups[k] for k in rng.integers(30, size=30)])) for _ in range(4_000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found.value == pytest.approx(np.nanmean(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05)  # were answers drawn, half as wide
    assert estimate(cluster_means([np.nan], [0], resamples(1))) is None


def test_the_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    one, other = [0, 0.25, 0.5, 0.75, 1], [0.1, 0.3, 0.3, 0.2, 0.9]
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation(one, [1] * 5) is None
    assert rank_correlation(one, [0.1, 0.2, 0.4, 0.3, 0.5]) == 0.9  # and not a bit less

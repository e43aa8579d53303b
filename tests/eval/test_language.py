"""Measuring in the language of the vectors: prompts, the instruction that is a control, judges, measures."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import replace
from functools import cache
from importlib import resources
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

import emosteer
from emosteer.concepts.conceptset import built_in
from emosteer.errors import EmosteerWarning, InputError
from emosteer.eval import ClassifierJudge, EmbeddingJudge, evaluate_steering, load_prompts
from emosteer.eval.judges import judges_of
from emosteer.eval.language import instruction, language_of
from emosteer.eval.prompts import prompt_languages
from emosteer.eval.sampling import Answer, Cell, generate_cells
from emosteer.eval.steering import wording
from emosteer.eval.steering.measures import Measures
from emosteer.eval.steering.report import notes, tables, write_report
from emosteer.vectors import card
from emosteer.vectors.measured import SteeringSummary, known, rounded, to_json
from emosteer.vectors.records import Record
from emosteer.vectors.types import EmotionInfo
from tests.conftest import few, tiny_config, tiny_model, tiny_tokenizer
from tests.tools.writing import writing

LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "ja", "zh")
SECTIONS = [(split, kind) for split in ("development", "held_out") for kind in ("questions", "openings")]


@pytest.fixture(scope="module")
def roomy():
    """A model with room for long prompts: in its tokenizer every byte is a token."""
    return tiny_model(tiny_config(max_position_embeddings=1024))


@pytest.fixture
def speaking(roomy):
    """Make a model whose vectors come from texts in some languages."""

    def make(*languages, tokenizer=None, info=None):
        vectors = emosteer.EmotionVectors.random(roomy, ["joy", "fear", "calm"], seed=1)
        vectors = replace(vectors, extraction={"method": "random", "languages": list(languages)}, info=info or {})
        return emosteer.SteeredModel(roomy, tokenizer or tiny_tokenizer(), vectors)

    return make


class Judge:
    labels = ("joy", "fear", "neutral")

    def __init__(self, name, *languages):
        self.name = name
        if languages:
            self.languages = languages

    def probabilities(self, texts, emotions=None):
        names = self.labels if emotions is None else tuple(emotions)
        return {name: np.full(len(texts), 1 / len(names)) for name in names}


# The prompts.


def test_there_are_prompts_in_the_language_of_every_built_in_concept_set():
    assert prompt_languages() == LANGUAGES == built_in()
    assert load_prompts("held_out", "zh-TW") == load_prompts("held_out", "ZH") == load_prompts("held_out", "zh")
    with pytest.raises(InputError, match=r"no prompts in 'it'.*ar, de, en"):
        load_prompts("held_out", "it")


def test_the_english_prompts_are_those_that_the_shipped_figures_rest_on():
    file = resources.files("emosteer.eval") / "data" / "prompts-en.json"
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith("faf32671308c9e16")


def sections(language):
    return {section: load_prompts(section[0], language, kind=section[1]) for section in SECTIONS}


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_are_sixty_of_each_kind_all_different_and_in_their_script(language):
    assert [len(prompts) for prompts in sections(language).values()] == [60] * 4
    every = [prompt for prompts in sections(language).values() for prompt in prompts]
    assert len({unicodedata.normalize("NFKC", prompt).casefold() for prompt in every}) == 240
    for prompt in every:
        assert prompt == unicodedata.normalize("NFC", prompt).strip()
        assert writing(language).own_letters(prompt) == 1, prompt
    for (_, kind), prompts in sections(language).items():
        if kind == "openings":  # that do not end
            ends = {opening[-1] for opening in prompts if not unicodedata.category(opening[-1]).startswith(("L", "M"))}
            assert ends <= {",", "\N{FULLWIDTH COMMA}", "、"}


@pytest.mark.parametrize("language", few(LANGUAGES[:2] + LANGUAGES[3:], "zh"))
def test_prompts_name_no_feeling(language):  # the English ones have a test beside their judges
    style, concepts = writing(language), emosteer.ConceptSet.load(language)
    family = {word for name in concepts.emotions for word in concepts[name].texts[language].word_family}
    phrases = [style.tokens(word) for word in family]
    for prompts in sections(language).values():
        for prompt in prompts:
            assert not style.mentions(style.tokens(prompt), phrases), prompt


@pytest.mark.parametrize("language", few(LANGUAGES, "ja", "es"))
@pytest.mark.parametrize("kind", ["questions", "openings"])
def test_no_prompt_is_much_like_another_least_of_all_one_of_the_other_split(language, kind):
    style = writing(language)
    every = [prompt for split in ("development", "held_out") for prompt in load_prompts(split, language, kind=kind)]
    tokens = [style.tokens(prompt) for prompt in every]
    parts = [set(own) if style.spaced else set(pairwise(own)) for own in tokens]
    alike = max(len(one & other) / len(one | other) for one, other in combinations(parts, 2))
    assert alike < 0.6
    if kind == "openings":
        assert len({tuple(own[: 3 if style.spaced else 4]) for own in tokens}) == 120


# Which language.


@pytest.mark.parametrize(
    ("spoken", "asked", "chosen"),
    [
        ([], None, "en"),
        (["en"], None, "en"),
        (["zh"], None, "zh"),
        (["zh", "en"], None, "zh"),
        (["zh-TW"], None, "zh-TW"),
        (["it", "de"], None, "de"),
        (["zh", "en"], "en", "en"),
        (["zh"], "zh-TW", "zh-TW"),
        ([], "fr", "fr"),
    ],
)
def test_prompts_are_in_the_first_language_of_the_vectors_unless_another_is_asked_for(speaking, spoken, asked, chosen):
    assert language_of(speaking(*spoken).vectors, asked) == chosen


@pytest.mark.parametrize(
    ("spoken", "asked", "prompts", "chosen", "says"),
    [
        (["en"], "de", None, "de", "prompts are in 'de'.*texts in en:"),
        (["zh", "ja"], "en", None, "en", "texts in zh and ja:"),
        (["it"], None, None, "en", "prompts are in 'en'.*texts in it:"),
        (["it"], None, ["Che cosa hai fatto?"], "it", None),
        (["it"], "it", ["Che cosa hai fatto?"], "it", None),
        (["zh"], None, ["How was it?", "And then?"], "zh", "not written as 'zh' is"),
        ([], None, ["今天怎么样"], "en", "not written as 'en' is"),
        (["zh"], None, ["今天怎么样"], "zh", None),
    ],
)
def test_prompts_of_another_language_than_the_vectors_are_warned_of(speaking, spoken, asked, prompts, chosen, says):
    vectors = speaking(*spoken).vectors
    if says is None:
        assert language_of(vectors, asked, prompts) == chosen
        return
    with pytest.warns(EmosteerWarning, match=says):
        assert language_of(vectors, asked, prompts) == chosen


@pytest.mark.parametrize("language", ["xx", "", " ", "english"])
def test_a_language_without_prompts_is_an_error_before_anything_is_generated(speaking, language, monkeypatch):
    monkeypatch.setattr(emosteer.SteeredModel, "generate", None)
    for measure in (emosteer.calibrate, evaluate_steering):
        with pytest.raises(InputError, match="zh"):
            measure(speaking("en"), language=language, progress=False)


# The instruction.


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_instruction_names_the_emotion_in_its_language(speaking, language):
    vectors, concepts = speaking().vectors, emosteer.ConceptSet.load(language)
    for name in vectors.emotions:
        for chat in (True, False):
            words = instruction(vectors, name, language, chat=chat)
            assert (name if language == "en" else concepts[name].labels[language]) in words
            assert writing(language).own_letters(words) == 1
    assert instruction(vectors, "joy", "zh-TW", chat=True) == instruction(vectors, "joy", "zh", chat=True)
    assert instruction(vectors, "joy", "it", chat=True) == "Answer in a tone of joy."


def test_the_word_of_the_vectors_comes_before_that_of_the_built_in_set(speaking):
    vectors = speaking("de", info={"joy": EmotionInfo(labels={"de": "Wonne"})}).vectors
    assert "Wonne" in instruction(vectors, "joy", "de", chat=True)
    assert "Furcht" not in instruction(vectors, "fear", "de", chat=True)
    strange = replace(vectors, info={**vectors.info}, directions={"saudade": vectors.directions["joy"]})
    assert "saudade" in instruction(strange, "saudade", "de", chat=True)


@pytest.mark.parametrize("chat", [True, False])
def test_the_control_is_asked_for_in_the_language_of_the_prompts(speaking, chat, monkeypatch):
    tokenizer, seen = tiny_tokenizer(), []
    if not chat:
        tokenizer.chat_template = None
    steered = speaking("zh", tokenizer=tokenizer)
    generate = emosteer.SteeredModel.generate
    monkeypatch.setattr(
        emosteer.SteeredModel, "generate", lambda self, **inputs: seen.append(inputs) or generate(self, **inputs)
    )
    cells = {Cell("joy", 1.0, "", "prompt_only"): [("今天怎么样", 0)]}
    generate_cells(steered, cells, ways={}, language="zh", max_new_tokens=2, progress=False)
    wanted = tokenizer("喜悦的语气", add_special_tokens=False)["input_ids"]
    ids = seen[0]["input_ids"][0].tolist()
    assert any(ids[i : i + len(wanted)] == wanted for i in range(len(ids)))


# Judges.


def test_judges_that_do_not_know_the_language_are_left_out_and_warned_of():
    told, silent, chinese = Judge("told", "en", "fr"), Judge("silent"), Judge("chinese", "zh")
    with pytest.warns(EmosteerWarning, match=r"in 'zh-TW'.*do not judge: told \(en and fr\)"):
        assert judges_of("zh-TW", [told, silent, chinese]) == ([silent, chinese], ("told",))
    assert judges_of("fr", [told, silent]) == ([told, silent], ())
    assert EmbeddingJudge().languages == ("en",)
    with pytest.warns(EmosteerWarning, match="goemotions .*brighter-zh"):
        assert judges_of("de") == ([], ("goemotions", "brighter", "brighter-zh", "brighter-zh-e5", "goemotions-mpnet"))


def test_by_default_those_judge_that_know_the_language_and_are_installed(monkeypatch):
    monkeypatch.setattr("emosteer.eval.judges.installed", lambda name: name == "ngrams")
    assert [judge.name for judge in judges_of("en-GB")[0]] == ["goemotions", "brighter"]
    (judge,), strangers = judges_of("zh-TW")
    assert (judge.name, strangers) == ("brighter-zh", ())
    monkeypatch.setattr("emosteer.eval.judges.installed", lambda name: True)
    monkeypatch.setattr("emosteer.eval.judges.EmbeddingJudge", Judge)
    assert [judge.name for judge in judges_of("en")[0]] == ["goemotions", "brighter", "goemotions-mpnet"]
    assert [judge.name for judge in judges_of("zh")[0]] == ["brighter-zh", "brighter-zh-e5"]


def test_the_shipped_judges_are_not_loaded_for_a_language_that_they_do_not_know(monkeypatch):
    monkeypatch.setattr("emosteer.eval.judges.EmbeddingJudge", None)
    with pytest.warns(EmosteerWarning):
        assert judges_of("hi")[0] == []


def test_a_classifier_knows_what_it_is_said_to_know(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=400, **sizes)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert ClassifierJudge(tmp_path).languages is None
    assert ClassifierJudge(tmp_path, languages=["de"]).languages == ("de",)


# The report.


@pytest.fixture(scope="module")
def chinese(roomy):
    """A report in Chinese without a judge who knows it, and what was warned of."""
    vectors = emosteer.EmotionVectors.random(roomy, ["joy", "hope"], seed=1)
    vectors = replace(vectors, extraction={"method": "random", "languages": ["zh"]})
    steered = emosteer.SteeredModel(roomy, tiny_tokenizer(), vectors)
    with pytest.warns(EmosteerWarning) as warned:
        report = evaluate_steering(
            steered,
            judges=[EmbeddingJudge("goemotions"), EmbeddingJudge("brighter")],
            n_prompts=2,
            strengths=[1.0],
            ways={"additive": {}},
            max_new_tokens=3,
            progress=False,
        )
    return report, [str(warning.message) for warning in warned]


def test_a_report_in_another_language_has_costs_and_says_why_it_has_no_hit_rates(chinese, tmp_path):
    report, warned = chinese
    about = report.about
    assert (about["language"], about["judges"], about["judges_left_out"]) == ("zh", [], ["goemotions", "brighter"])
    assert len(warned) == 1
    cell = report.cell("additive", "joy", 1.0)
    assert cell.judged == {}
    assert {"cost", "loops", "function_words", "other_script"} <= set(cell.text)
    assert not {"topic", "ascii_letters"} & set(cell.text)  # of English only
    told = notes(report)
    assert "Asked and answered in 'zh'." in told
    assert any("do not know 'zh': goemotions and brighter" in line for line in told)
    assert any(line.startswith("No hit rates") for line in told)
    assert [table.row_count for table in tables(report)] == [1 + 1 + 3 + 1, 2, 2, 1 + 1 + 3 + 1]
    assert set(write_report(report, tmp_path)) == {"json"}


def test_the_file_and_the_card_say_the_language_and_who_did_not_judge(chinese, roomy, tmp_path):
    report, _ = chinese
    files = write_report(report, tmp_path)
    (tmp_path / "confusion.png").write_bytes(b"of an earlier report")
    record = Record.load(files["json"])
    assert set(record.files) == {"steering.json"}
    assert (record.summary.language, record.summary.judges_left_out) == ("zh", ("goemotions", "brighter"))
    vectors = emosteer.EmotionVectors.random(roomy, ["joy", "hope"])
    text = card.render(replace(vectors, measured={"steering": to_json(record.summary)}).config)
    assert "judged by nobody; left out, since their language is another: goemotions and brighter." in text
    assert "2 held-out prompts in zh;" in text
    assert "Measured cost: of n answers at strength 1, additive." in text
    assert "hit rate" not in text.lower()


def test_a_report_from_before_languages_were_told_is_read_as_it_was(tmp_path):
    """The shipped one without the two: what the file holds of it does not change by a byte."""
    shipped = emosteer.EmotionVectors.from_pretrained("vectors/smollm2-135m-instruct-en").measured["steering"]
    held = {name: value for name, value in shipped.items() if name not in ("language", "judges_left_out")}
    summary = known(SteeringSummary, held)
    assert (summary.language, summary.judges_left_out) == (None, None)
    assert to_json(summary) == rounded(held)
    report = json.loads(Path("vectors/smollm2-135m-instruct-en/steering.json").read_text())
    del report["about"]["language"], report["about"]["judges_left_out"]
    (tmp_path / "steering.json").write_text(json.dumps(report))
    assert to_json(Record.load(tmp_path / "steering.json").summary) == held


def test_a_judge_of_the_language_judges(speaking):
    with pytest.warns(EmosteerWarning, match="english"):
        report = evaluate_steering(
            speaking("de"),
            judges=[Judge("english", "en"), Judge("german", "de"), Judge("silent")],
            emotions=["joy"],
            n_prompts=2,
            strengths=[1.0],
            ways={"additive": {}},
            max_new_tokens=3,
            progress=False,
        )
    assert set(report.cell("additive", "joy", 1.0).judged) == set(report.not_heard) == {"german", "silent"}
    assert report.about["judges_know"] == {"german": ["de"]}
    assert "Left out, as they do not know 'de': english." in notes(report)


@pytest.mark.parametrize("language", few(("de", "hi", "ja", "ar", "es", "fr"), "de", "ja"))
def test_every_language_is_measured_in_its_own_prompts(speaking, language, monkeypatch):
    asked = {}

    def stopped(_steered, cells, **options):
        asked.update(options, prompts={prompt for pairs in cells.values() for prompt, _ in pairs})
        raise KeyboardInterrupt

    monkeypatch.setattr("emosteer.eval.steering.evaluation.generate_cells", stopped)
    for steered, options in ((speaking(language), {}), (speaking(), {"language": language})):
        with pytest.raises(KeyboardInterrupt):
            evaluate_steering(steered, judges=[Judge("any")], **options)
        assert asked["language"] == language
        assert {prompt.text for prompt in asked["prompts"]} <= set(load_prompts("held_out", language))
        assert len(asked["prompts"]) == 24


# The measures.


@pytest.mark.parametrize(
    ("text", "language", "loops"),
    [
        ("今天天气很好。我们去公园散步。看到了很多花。", "zh", False),
        ("我们我们我们我们我们", "zh", True),
        ("我觉得今天天气很好我觉得今天天气很好我觉得今天天气很好", "zh", True),
        ("とてもとてもとてもとてもとても", "ja", True),
        ("昨日は雨でしたが、今日は晴れました。", "ja", False),
        ("आज मौसम अच्छा है और हम बाहर जा रहे हैं", "hi", False),
        ("मीठी मीठी मीठी मीठी मीठी", "hi", True),
        # Vowel signs are parts of words: without them these would be 5 times the letter द.
        ("दादा दीदी दूदू देदे दोदो", "hi", False),
        ("Das ist so. Das ist so. Das ist so. Das ist so.", "de", True),
        ("Fill in: ____ and ____ and ____.", "en", False),
    ],
)
def test_loops_are_found_in_every_writing(text, language, loops):
    assert wording.loops(text, language) == loops


@pytest.mark.parametrize("language", LANGUAGES)
def test_function_words_tell_a_language_from_others(language):
    texts = {code: _prose(code) for code in LANGUAGES}
    shares = {code: wording.function_words(text, language) for code, text in texts.items()}
    assert shares[language] > 0.15
    assert all(shares[language] > 1.5 * share for code, share in shares.items() if code != language)


@cache
def _prose(language):
    concepts = emosteer.ConceptSet.load(language)
    return " ".join(concepts.neutral[language].sentences)


def test_an_answer_that_leaves_its_language_has_fewer_of_its_function_words():
    plain = Cell(None, 0.0, control="unsteered")
    said = ["ich habe es mit dem und auf der", "das ist ein Haus", "I went to the shop and it was not there"]
    cells = [plain, plain, Cell("joy", 1.0, "a")]
    answers = [Answer(cells[i], "Wie?", i % 2, (1, 2), said[i], True, 1.0) for i in range(3)]
    scores = Measures(answers, [], "de").of([2], "joy").text
    assert scores["function_words"][0] < 0.2 < scores["function_words"][0] - scores["function_words_change"][0]

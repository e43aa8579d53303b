"""Concept sets: what the built-in ones hold, what a user's one may not, and the algebra of sets.

Texts are taken apart here by splitting at white space and punctuation, not in the library's own way.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
import string
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from emosteer.concepts import ConceptSet, Emotion, Neutral, Texts, conceptset
from emosteer.errors import ConceptError
from tests.conftest import few
from tests.tools import variety as variety_module
from tests.tools.variety import Variety, variety
from tests.tools.variety import main as measure
from tests.tools.writing import writing

BASIC_SIX = ("joy", "sadness", "anger", "fear", "disgust", "surprise")
UNRATED = {"admiration", "contentment", "relief", "compassion", "nostalgia", "disappointment"}
PARTS = ("words", "sentences", "situations")
TEXTS = ("sentences", "situations", "held_out_sentences", "held_out_situations")
LANGUAGES = ("en", "zh", "es", "de", "fr", "hi", "ar", "ja")
OTHERS = LANGUAGES[1:]


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation and possessive s; hyphens part words."""
    pieces = text.lower().replace("’", "'").replace("-", " ").replace("–", " ").replace("—", " ").split()
    stripped = (piece.strip(string.punctuation + "“”„…¿¡«»।॥،؛؟٪") for piece in pieces)
    return [word.removesuffix("'s") for word in stripped if word]


def says(text: str, phrase: str) -> bool:
    """Does a text contain a word, or several words in a row?"""
    wanted, found = words_of(phrase), words_of(text)
    return any(found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1))


# The built-in set.


@pytest.fixture(scope="module")
def english() -> ConceptSet:
    return ConceptSet.load("en")


@pytest.fixture(scope="module")
def english_items(english) -> dict[str, list[str]]:
    """Emotion, or "neutral" → all of its sentences and situations, held out ones too."""
    items = {}
    for name in english.emotions:
        texts = english[name].texts["en"]
        items[name] = [
            *texts.sentences,
            *texts.situations,
            *texts.held_out_sentences,
            *texts.held_out_situations,
        ]
    neutral = english.neutral["en"]
    return {**items, "neutral": [*neutral.sentences, *neutral.held_out]}


def test_english_has_34_emotions_with_the_basic_six_first(english):
    assert len(english.emotions) == 34
    assert english.emotions[:6] == BASIC_SIX
    assert set(english.emotions) > UNRATED
    assert english.languages == ("en",)


def test_english_has_enough_of_every_part(english):
    for name in english.emotions:
        texts = english[name].texts["en"]
        assert 12 <= len(texts.words) <= 20, name
        assert len(texts.sentences) >= 12, name
        assert len(texts.situations) >= 12, name
        assert len(texts.held_out_sentences) >= 4, name
        assert len(texts.held_out_situations) >= 4, name
        assert name in texts.word_family, name
    assert len(english.neutral["en"].sentences) >= 48


def test_english_sentences_name_their_emotion(english):
    for name in english.emotions:
        texts = english[name].texts["en"]
        for text in (*texts.sentences, *texts.held_out_sentences):
            assert any(says(text, form) for form in texts.word_family), (name, text)


def test_english_situations_never_name_their_emotion_or_say_a_word_of_its_list(english):
    for name in english.emotions:
        texts = english[name].texts["en"]
        for text in (*texts.situations, *texts.held_out_situations):
            said = [word for word in (name, *texts.word_family, *texts.words) if says(text, word)]
            assert not said, (name, text)


def test_english_neutral_texts_name_no_emotion(english):
    neutral = english.neutral["en"]
    for text in (*neutral.sentences, *neutral.held_out):
        named = [n for n in english.emotions if any(says(text, form) for form in english[n].texts["en"].word_family)]
        assert not named, text


def test_english_repeats_no_text_anywhere(english_items):
    plain = Counter(" ".join(words_of(text)) for texts in english_items.values() for text in texts)
    assert [text for text, times in plain.items() if times > 1] == []


def test_no_4_gram_of_english_stands_in_more_than_3_items(english_items):
    items = [text for texts in english_items.values() for text in texts]
    grams = Counter(
        gram for text in items for gram in {tuple(words_of(text)[i : i + 4]) for i in range(len(words_of(text)) - 3)}
    )
    assert [gram for gram, times in grams.items() if times > 3] == []


def test_half_of_the_first_words_of_every_english_emotion_are_its_own(english_items):
    for name, texts in english_items.items():
        firsts = {words_of(text)[0] for text in texts}
        assert len(firsts) / len(texts) >= 0.5, name


def test_english_passes_its_own_measure(english):
    result = variety(english, "en")
    assert result.problems == ()
    assert result.ngram_items <= 3
    assert result.first_words >= 0.5
    assert result.overlap <= 0.5
    assert result.items == sum(
        len(t.sentences) + len(t.situations) + len(t.held_out_sentences) + len(t.held_out_situations)
        for t in (english[name].texts["en"] for name in english.emotions)
    ) + len(english.neutral["en"].sentences) + len(english.neutral["en"].held_out)


def test_28_english_emotions_have_human_ratings_with_a_source_and_six_have_none(english):
    rated = {name for name in english.emotions if english[name].valence is not None}
    assert set(english.emotions) - rated == UNRATED
    for name in english.emotions:
        emotion = english[name]
        assert (emotion.valence is None) == (emotion.arousal is None) == (emotion.source is None), name
        if name in rated:
            assert "Glasgow Norms" in emotion.source, name
    # From the published table (Scott et al. 2019), rescaled from 1 … 9 to −1 … 1.
    published = {
        "joy": (0.765, 0.485),
        "sadness": (-0.788, -0.308),
        "calm": (0.586, -0.314),
        "hatred": (-0.805, 0.182),
        "boredom": (-0.643, -0.636),
        "confusion": (-0.441, -0.079),
    }
    assert {name: (english[name].valence, english[name].arousal) for name in published} == published


def test_english_labels_are_there_and_the_frames_hold_a_word_away_from_the_start(english):
    assert all(english[name].labels["en"] for name in english.emotions)
    frames = english.neutral["en"].frames
    assert all(frame.count("{}") == 1 and frame.index("{}") > 0 for frame in frames)


# The built-in sets in every language.

SCRIPTS = {  # the code points of the letters that belong to a language; Latin letters are told by their names
    "zh": [(0x4E00, 0x9FFF)],
    "ja": [(0x4E00, 0x9FFF), (0x3005, 0x3005), (0x3040, 0x30FF)],
    "hi": [(0x0900, 0x097F)],
    "ar": [(0x0600, 0x06FF)],
}
PARTICLES = ("", "و", "ف", "ب", "ك", "ل", "س", "ال", "وال", "فال", "بال", "كال", "لل", "ول", "وب", "فب")


@pytest.fixture(scope="module")
def sets() -> dict[str, ConceptSet]:
    return {language: ConceptSet.load(language) for language in LANGUAGES}


def named(language: str, text: str, form: str) -> bool:
    """Does a text in a language contain a word: anywhere in Chinese and Japanese, else as a word of its own?"""
    text, form = (unicodedata.normalize("NFC", t).casefold() for t in (text, form))
    if language in ("zh", "ja"):
        return form in text
    if language == "ar":
        text, form = ("".join(c for c in t if not unicodedata.combining(c)) for t in (text, form))
        return any(word.endswith(form) and word.removesuffix(form) in PARTICLES for word in words_of(text))
    if language == "fr":
        text, form = (t.replace("’", " ").replace("'", " ") for t in (text, form))
    return says(text, form)


def every_text(concepts: ConceptSet, language: str) -> dict[str, str]:
    """Place → text: all sentences, situations and neutral texts, held out ones too."""
    found = {}
    for name in concepts.emotions:
        for part in TEXTS:
            for i, text in enumerate(getattr(concepts[name].texts[language], part)):
                found[f"{name}/{part}/{i}"] = text
    neutral = concepts.neutral[language]
    for part in ("sentences", "held_out"):
        for i, text in enumerate(getattr(neutral, part)):
            found[f"neutral/{part}/{i}"] = text
    return found


def test_these_are_the_built_in_sets():
    with pytest.raises(ConceptError, match=f"built-in set: {', '.join(sorted(LANGUAGES))};"):
        ConceptSet.load("xx")


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_the_emotions_of_english_in_its_order_with_its_ratings(language, sets):
    concepts, english = sets[language], sets["en"]
    assert concepts.name == f"emosteer-{language}"
    assert concepts.license == "Apache-2.0"
    assert concepts.languages == (language,)
    assert concepts.emotions == english.emotions
    for name in concepts.emotions:
        ours, theirs = concepts[name], english[name]
        assert (ours.valence, ours.arousal, ours.source) == (theirs.valence, theirs.arousal, theirs.source), name
    labels = [concepts[name].labels[language] for name in concepts.emotions]
    assert len(set(labels)) == 34


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_enough_of_every_part(language, sets):
    words, sentences, situations, neutral = (12, 12, 12, 48) if language == "zh" else (10, 8, 6, 32)
    for name, emotion in sets[language].concepts.items():
        texts = emotion.texts[language]
        assert len(texts.words) >= words, name
        assert len(texts.sentences) >= sentences, name
        assert len(texts.situations) >= situations, name
        assert len(texts.held_out_sentences) >= 3, name
        assert len(texts.held_out_situations) >= 3, name
        assert texts.word_family, name
    assert len(sets[language].neutral[language].sentences) >= neutral


@pytest.mark.parametrize("language", OTHERS)
def test_every_place_of_a_language_is_a_place_of_english(language, sets):
    assert every_text(sets[language], language).keys() <= every_text(sets["en"], "en").keys()
    for name in sets[language].emotions:
        assert len(sets[language][name].texts[language].words) <= 20, name


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_held_out_stands_nowhere_else_and_no_text_stands_twice(language, sets):
    plain = Counter(
        "".join(c for c in text.casefold() if c.isalnum()) for text in every_text(sets[language], language).values()
    )
    assert [text for text, times in plain.items() if times > 1] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_in_the_script_of_their_language(language, sets):
    words = [word for e in sets[language].concepts.values() for word in e.texts[language].words]
    for text in (*every_text(sets[language], language).values(), *words):
        letters = [c for c in text if unicodedata.category(c).startswith("L")]
        if language in SCRIPTS:
            own = [c for c in letters if any(low <= ord(c) <= high for low, high in SCRIPTS[language])]
        else:
            own = [c for c in letters if unicodedata.name(c).startswith("LATIN ")]
        assert len(own) >= 0.9 * len(letters), text
        kana = any(0x3040 <= ord(c) <= 0x30FF for c in text)
        assert not (language == "zh" and kana), text
        assert kana or language != "ja" or len(text) <= 12, text


@pytest.mark.parametrize("language", OTHERS)
def test_sentences_of_every_language_name_their_emotion(language, sets):
    for name, emotion in sets[language].concepts.items():
        texts = emotion.texts[language]
        for text in (*texts.sentences, *texts.held_out_sentences):
            assert any(named(language, text, form) for form in texts.word_family), (name, text)


@pytest.mark.parametrize("language", OTHERS)
def test_situations_of_every_language_never_say_a_word_of_their_emotion(language, sets):
    for name, emotion in sets[language].concepts.items():
        texts = emotion.texts[language]
        for text in (*texts.situations, *texts.held_out_situations):
            said = [w for w in (emotion.labels[language], *texts.word_family, *texts.words) if named(language, text, w)]
            assert not said, (name, text)


@pytest.mark.parametrize("language", OTHERS)
def test_neutral_texts_of_every_language_name_no_emotion(language, sets):
    forms = {form for emotion in sets[language].concepts.values() for form in emotion.texts[language].word_family}
    neutral = sets[language].neutral[language]
    for text in (*neutral.sentences, *neutral.held_out):
        assert not [form for form in forms if named(language, text, form)], text


@pytest.mark.parametrize("language", few(OTHERS, "de"))
def test_every_language_passes_the_measure(language, sets):
    result = variety(sets[language], language)
    assert result.problems == ()
    assert result.items == len(every_text(sets[language], language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_built_in_file_has_one_item_a_line(language):
    text = (Path(conceptset.__file__).parent / "data" / f"{language}.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n"


def test_the_built_in_sets_merge_into_one_that_holds_each_of_them(sets):
    merged = ConceptSet.load(",".join(LANGUAGES))
    assert merged.name == "emosteer-en+zh+es+de+fr+hi+ar+ja"
    assert merged.languages == LANGUAGES
    assert merged.emotions == sets["en"].emotions
    assert merged.license == "Apache-2.0"
    for language, concepts in sets.items():
        part = merged.subset(merged.emotions, languages=[language])
        assert ConceptSet(concepts.name, part.concepts, part.neutral, part.license) == concepts
    text = json.dumps(merged.to_dict(), sort_keys=True, separators=(",", ":"))
    assert merged.digest == hashlib.sha256(text.encode()).hexdigest()
    assert ConceptSet.load(",".join(LANGUAGES)).digest == merged.digest
    assert ConceptSet.from_dict(json.loads(text)).digest == merged.digest


# What the measure of variety finds.

FLOWERS = ["rose", "tulip", "daisy", "iris", "lily", "aster", "peony", "poppy"]
FLOWERS += ["orchid", "violet", "zinnia", "dahlia", "lupin", "clover", "fern", "moss"]
VERBS = ["grew", "wilted", "bloomed", "faded", "climbed", "leaned", "opened", "froze"]
VERBS += ["burned", "shook", "dried", "bent", "spread", "sank", "broke", "fell"]


def varied() -> ConceptSet:
    """A small set without a problem: no text shares a word with another but its own two."""
    texts = [f"{flower} {verb} number{i}." for i, (flower, verb) in enumerate(zip(FLOWERS, VERBS, strict=True))]
    joy = Texts(("gladness", "cheer"), ("Joyous day one", f"Joy {texts[0]}"), (texts[1], texts[2]), ("joy", "joyous"))
    fear = Texts(
        ("dread", "jealous"),
        ("Afraid of it", f"Fear {texts[3]}"),
        (texts[4], texts[5]),
        ("fear", "afraid"),
        (f"My fear {texts[6]}",),
    )
    return ConceptSet(
        "varied",
        {"joy": Emotion("joy", {"en": joy}), "fear": Emotion("fear", {"en": fear})},
        {"en": Neutral(tuple(texts[7:12]), tuple(texts[12:]))},
    )


def planted(emotion: str, part: str, *texts: str) -> ConceptSet:
    concepts = varied()
    data = concepts.to_dict()
    at = data["neutral"]["en"] if emotion == "neutral" else data["emotions"][emotion]["texts"]["en"]
    if part.startswith("held_out_"):
        at, part = at["held_out"], part.removeprefix("held_out_")
    at[part] = [*at[part], *texts]
    return ConceptSet.from_dict(data)


def test_a_varied_set_has_no_problem():
    assert variety(varied(), "en").problems == ()


def test_variety_finds_a_4_gram_in_more_than_3_items():
    # Long enough that no two of them are near-duplicates.
    tails = ["axe bow cap dam elm", "fig gum hat ink jar", "keg lid mop net oar", "pan rug saw tin urn"]
    heads = ["Above", "Below", "Behind", "Beside"]
    texts = [f"{head} it was the old {tail}." for head, tail in zip(heads, tails, strict=True)]
    assert variety(planted("neutral", "sentences", *texts[:3]), "en").problems == ()
    result = variety(planted("neutral", "sentences", *texts), "en")
    assert len(result.problems) == 1
    assert result.ngram_items == 4
    assert "it was the old" in result.problems[0]


@pytest.mark.parametrize("part", TEXTS)
def test_variety_finds_one_first_word_too_often(part):
    named = "afraid " if part.endswith("sentences") else ""
    texts = [f"Then {named}{word}{i} {word}{i + 50} {word}{i + 99}." for i, word in enumerate(FLOWERS[:8])]
    result = variety(planted("fear", part, *texts), "en")
    assert len(result.problems) == 1
    assert result.problems[0].startswith("fear: only 0.")
    assert result.first_words < 0.5


def test_variety_finds_near_duplicates_across_emotions():
    concepts = planted("joy", "held_out_situations", "Seven grey geese crossed over water slowly.")
    data = concepts.to_dict()
    data["emotions"]["fear"]["texts"]["en"]["situations"].append("Slowly seven grey geese crossed over ice.")
    result = variety(ConceptSet.from_dict(data), "en")
    assert len(result.problems) == 1
    assert "joy/en/held_out_situations/0" in result.problems[0]
    assert "fear/en/situations/2" in result.problems[0]
    assert result.overlap == pytest.approx(6 / 8)


@pytest.mark.parametrize("part", ["situations", "held_out_situations"])
@pytest.mark.parametrize(
    ("emotion", "leak", "kind"),
    [
        ("fear", "Fear", "the name"),
        ("fear", "afraid", "the word family"),
        ("fear", "dread's", "a possessive of a word of the list"),
        ("joy", "Joy's", "a possessive of the name"),
        ("fear", "jealously", "a form of a word of the list"),
        ("joy", "GLADNESS", "a word of the list in capitals"),
    ],
)
def test_variety_finds_a_situation_that_gives_the_emotion_away(part, emotion, leak, kind):
    result = variety(planted(emotion, part, f"Oh {leak} oh."), "en")
    assert len(result.problems) == 1, kind
    assert f"{emotion}/en/{part}/" in result.problems[0]
    assert repr(leak.lower()) in result.problems[0]


def test_variety_lets_a_situation_say_another_emotion_s_name():
    assert variety(planted("joy", "situations", "Without fear she dived."), "en").problems == ()


@pytest.mark.parametrize("part", ["sentences", "held_out_sentences"])
def test_variety_finds_a_sentence_that_does_not_name_its_emotion(part):
    result = variety(planted("joy", part, "A brass band played."), "en")
    assert len(result.problems) == 1
    assert result.problems[0].startswith(f"joy/en/{part}/")
    assert "does not name" in result.problems[0]


def test_variety_asks_no_name_of_a_set_that_says_none():
    data = planted("joy", "sentences", "A brass band played.").to_dict()
    data["emotions"]["joy"]["texts"]["en"]["word_family"] = []
    assert variety(ConceptSet.from_dict(data), "en").problems == ()


@pytest.mark.parametrize(("part", "kind"), [("held_out_sentences", "sentences"), ("held_out_situations", "situations")])
def test_variety_finds_an_emotion_whose_texts_are_longer_than_the_others(part, kind):
    result = variety(planted("joy", part, "Joy " * (kind == "sentences") + "x" * 300), "en")
    assert result.length_ratio > 1.5
    assert any(problem.startswith(f"joy: {kind} have ") for problem in result.problems)
    assert all(f": {kind} have " in problem for problem in result.problems)


@pytest.mark.parametrize("part", ["words", "situations"])
def test_variety_finds_letters_of_another_script(part):
    result = variety(planted("joy", part, "Радость gladly мимо"), "en")
    assert result.own_letters == pytest.approx(6 / 17)
    assert any(f"joy/en/{part}/2: only 35%" in problem for problem in result.problems)


def test_variety_asks_no_script_of_a_language_that_it_does_not_know():
    data = json.loads(json.dumps(varied().to_dict()).replace('"en"', '"tlh"'))
    result = variety(ConceptSet.from_dict(data), "tlh")
    assert (result.own_letters, result.problems) == (1.0, ())


@pytest.mark.parametrize(
    ("language", "emotion", "leak", "kind"),
    [
        ("zh", "joy", "他高兴得跳了起来。鞋都飞了。", "a word within a text without spaces"),
        ("ja", "fear", "夜道が怖くて、走って帰った。", "a form within a text without spaces"),
        ("hi", "joy", "मेले की शाम, बस खुशी।", "a word with a vowel sign before a danda"),
        ("hi", "love", "चाय बनी, और प्यार!", "a word whose letters are joined by a sign"),
        ("ar", "joy", "دخل العروسان وبالفرح دخلا.", "a word with particles before it"),
        ("ar", "fear", "نظرت إليه بخوفها كله.", "a word with a particle before and a pronoun after it"),
        ("ar", "joy", "يا لها من فَرْحَة", "a word with vowel signs"),
        ("ar", "love", "محبتهم ملأت الحارة.", "a word whose last letter changes before a pronoun"),
        ("fr", "love", "Voilà bien l’amour, dit la vieille.", "a word behind an apostrophe"),
        ("de", "joy", "FREUDE pur auf dem Platz!", "a word in capitals"),
        ("es", "joy", "¡Alegría! gritó la plaza entera.", "a word between marks of its own"),
    ],
)
def test_variety_finds_a_leak_in_every_language(language, emotion, leak, kind, sets):
    data = sets[language].subset(["joy", "fear", "love"]).to_dict()
    data["emotions"][emotion]["texts"][language]["situations"].append(leak)
    problems = variety(ConceptSet.from_dict(data), language).problems
    assert len(problems) >= 1, kind
    assert all(leak in problem and f"{emotion}/{language}/situations/" in problem for problem in problems), kind


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("en", "It’s Joy's day-long song…", ["it's", "joy's", "day", "long", "song"]),
        ("de", "„Größe“, rief er!", ["größe", "rief", "er"]),
        ("zh", "我很高兴。真的。A4", ["我", "很", "高", "兴", "真", "的", "a", "4"]),
        ("hi", "हिन्दी में खुशी।", ["हिन्दी", "में", "खुशी"]),
        ("ar", "الفَرَحُ، أهلاً!", ["الفرح", "اهلا"]),
        ("zh-Hant", "高興", ["高", "興"]),
        ("xx", "¿Sí? 12 a", ["sí", "12", "a"]),
    ],
)
def test_texts_are_taken_apart_as_their_language_is_written(language, text, tokens):
    assert writing(language).tokens(text) == tokens


def test_variety_counts_n_grams_of_characters_where_words_are_not_parted(sets):
    data = sets["zh"].subset(["joy", "fear"]).to_dict()
    tails = ["挂着蓝布窗帘随风动", "堆满旧报纸和空瓶子", "晾起七双黑色长筒袜", "蹲了只打盹儿橘花猫"]
    data["neutral"]["zh"]["sentences"] += [f"东街口第三间小屋{tail}。" for tail in tails]
    result = variety(ConceptSet.from_dict(data), "zh")
    assert result.ngram_items == 4
    assert len(result.problems) == 1
    assert result.problems[0].startswith("'东街口第三间小屋' stands in 4 items")


def test_variety_measures_texts_that_have_no_word():
    result = variety(planted("joy", "situations", "…!", "?!"), "en")
    assert result.items == len(FLOWERS) + 4


def test_the_command_prints_the_figures_and_fails_on_problems(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(varied().to_dict()))
    bad.write_text(json.dumps(planted("joy", "situations", "Plain joy.").to_dict()))
    assert measure([str(good)]) == 0
    assert "problems 0" in capsys.readouterr().out
    assert measure([str(good), str(bad)]) == 1
    assert "joy/en/situations/2 says 'joy'" in capsys.readouterr().out


def test_the_command_measures_every_built_in_set_if_none_is_named(monkeypatch, capsys):
    monkeypatch.setattr(variety_module, "variety", lambda concepts, language: Variety(1, 1, 1.0, 0.0, 1.0, 1.0, ()))
    assert measure([]) == 0
    assert re.findall(r"emosteer-(\w+) \[", capsys.readouterr().out) == sorted(LANGUAGES)


# A user's own set.


def document() -> dict:
    def emotion(name: str, valence: float) -> dict:
        return {
            "labels": {"en": name},
            "valence": valence,
            "arousal": 0.25,
            "source": "A survey of 1999",
            "texts": {
                "en": {
                    "word_family": [name],
                    "words": [f"{name}-word", f"{name}-term"],
                    "sentences": [f"I feel {name}.", f"What {name}!"],
                    "situations": [f"Somebody {name[::-1]} came.", f"Nobody {name[::-1]} left."],
                    "held_out": {"sentences": [f"More {name}."], "situations": [f"Later, {name[::-1]} again."]},
                }
            },
        }

    return {
        "schema_version": 1,
        "name": "mine",
        "license": "CC0-1.0",
        "description": "Two emotions.",
        "emotions": {"joy": emotion("joy", 0.5), "fear": emotion("fear", -0.5)},
        "neutral": {"en": {"sentences": ["A table.", "A chair."], "held_out": ["A door."], "frames": ["The word {}"]}},
    }


def change(path: str, value: object) -> dict:
    """The document with the value at a path of keys and indices changed, or taken away if it is `...`."""
    data = document()
    *way, end = (int(step) if step.isdigit() else step for step in path.split("/"))
    place = data
    for step in way:
        place = place[step]
    if value is ...:
        del place[end]
    else:
        place[end] = value
    return data


def write(folder: Path, data: object) -> Path:
    path = folder / "my-set.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


JOY = "emotions/joy/texts/en"
MALFORMED = {
    # name → (document, what the message must name)
    "no words": (change(f"{JOY}/words", ...), ["joy", "en", "words"]),
    "no sentences": (change(f"{JOY}/sentences", ...), ["joy", "en", "sentences"]),
    "no situations": (change(f"{JOY}/situations", ...), ["joy", "en", "situations"]),
    "no texts": (change("emotions/joy/texts", ...), ["joy", "texts"]),
    "no language": (change("emotions/joy/texts", {}), ["joy", "texts"]),
    "no neutral": (change("neutral", ...), ["neutral"]),
    "no neutral language": (change("neutral", {}), ["neutral"]),
    "no neutral sentences": (change("neutral/en/sentences", ...), ["neutral", "en", "sentences"]),
    "no emotions": (change("emotions", ...), ["emotions"]),
    "no emotion": (change("emotions", {}), ["emotions"]),
    "no name": (change("name", ...), ["name"]),
    "no schema version": (change("schema_version", ...), ["schema_version"]),
    "empty words": (change(f"{JOY}/words", []), ["joy", "en", "words"]),
    "empty sentences": (change(f"{JOY}/sentences", []), ["joy", "en", "sentences"]),
    "empty situations": (change(f"{JOY}/situations", []), ["joy", "en", "situations"]),
    "empty neutral": (change("neutral/en/sentences", []), ["neutral", "en", "sentences"]),
    "empty frames": (change("neutral/en/frames", []), ["neutral", "en", "frames"]),
    "empty text": (change(f"{JOY}/sentences/1", ""), ["joy", "en", "sentences[1]", "empty"]),
    "blank text": (change(f"{JOY}/sentences/1", "  "), ["joy", "en", "sentences[1]", "empty"]),
    "empty neutral text": (change("neutral/en/sentences/0", ""), ["neutral", "sentences[0]", "empty"]),
    "number for a text": (change(f"{JOY}/words/0", 3), ["joy", "en", "words[0]", "not a text"]),
    "null for a text": (change(f"{JOY}/held_out/sentences/0", None), ["joy", "held_out sentences[0]", "not a text"]),
    "list for a text": (change(f"{JOY}/situations/0", ["a"]), ["joy", "en", "situations[0]", "not a text"]),
    "text for a list": (change(f"{JOY}/situations", "a text"), ["joy", "en", "situations", "list"]),
    "object for a list": (change(f"{JOY}/words", {"a": 1}), ["joy", "en", "words", "list"]),
    "list for an object": (change("emotions", ["joy"]), ["emotions", "object"]),
    "list for an emotion": (change("emotions/joy", ["joy"]), ["joy", "object"]),
    "list at the top": ([document()], ["object"]),
    "duplicate word": (change(f"{JOY}/words/1", "joy-word"), ["joy", "en", "words[1]", "[0]", "same"]),
    "duplicate sentence": (change(f"{JOY}/sentences/1", "I feel joy."), ["joy", "sentences[1]", "same"]),
    "duplicate neutral": (change("neutral/en/sentences/1", "A table."), ["neutral", "sentences[1]", "same"]),
    "bell": (change(f"{JOY}/sentences/0", "Joy\x07!"), ["joy", "sentences[0]", "control character"]),
    "line break": (change(f"{JOY}/situations/1", "One\ntwo"), ["joy", "situations[1]", "line break"]),
    "tab": (change(f"{JOY}/words/0", "a\tb"), ["joy", "words[0]", "control character"]),
    "line separator": (change(f"{JOY}/words/0", "a\u2028b"), ["joy", "words[0]"]),
    "direction override": (change(f"{JOY}/words/0", "a\u202eb"), ["joy", "words[0]"]),
    "too long": (change(f"{JOY}/sentences/1", "joy " * 500 + "!"), ["joy", "sentences[1]", "2001", "2000"]),
    "unknown key at the top": (change("licence", "MIT"), ["licence"]),
    "unknown key of an emotion": (change("emotions/joy/valance", 0.1), ["joy", "valance"]),
    "unknown part": (change(f"{JOY}/phrases", ["a"]), ["joy", "en", "phrases"]),
    "unknown held-out part": (change(f"{JOY}/held_out/words", ["a"]), ["joy", "en", "held_out", "words"]),
    "unknown neutral part": (change("neutral/en/words", ["a"]), ["neutral", "en", "words"]),
    "later schema": (change("schema_version", 2), ["schema_version", "2", "later emosteer"]),
    "earlier schema": (change("schema_version", 0), ["schema_version", "0"]),
    "schema as text": (change("schema_version", "1"), ["schema_version", "'1'"]),
    "schema as truth": (change("schema_version", True), ["schema_version", "True"]),
    "schema as null": (change("schema_version", None), ["schema_version", "None"]),
    "capital in a name": (change("emotions/Joy", document()["emotions"]["joy"]), ["Joy", "name"]),
    "digit first in a name": (change("emotions/1joy", document()["emotions"]["joy"]), ["1joy", "name"]),
    "space in a name": (change("emotions/deep joy", document()["emotions"]["joy"]), ["deep joy", "name"]),
    "path in a name": (change("emotions/..", document()["emotions"]["joy"]), ["..", "name"]),
    "line break after a name": (change("emotions/joy\n", document()["emotions"]["joy"]), ["name"]),
    "no ASCII in a name": (change("emotions/喜悦", document()["emotions"]["joy"]), ["喜悦", "name"]),
    "empty emotion name": (change("emotions/", document()["emotions"]["joy"]), ["name"]),
    "long emotion name": (change("emotions/" + "j" * 65, document()["emotions"]["joy"]), ["jjj", "64"]),
    "language in words": (change("emotions/joy/texts/English", {}), ["joy", "English", "language code"]),
    "language in capitals": (change("neutral/EN", {}), ["neutral", "EN", "language code"]),
    "empty language": (change("neutral/", {}), ["neutral", "language code"]),
    "valence above 1": (change("emotions/joy/valence", 1.01), ["joy", "valence", "1.01"]),
    "arousal below -1": (change("emotions/joy/arousal", -3), ["joy", "arousal", "-3"]),
    "valence as text": (change("emotions/joy/valence", "0.5"), ["joy", "valence", "number"]),
    "valence as truth": (change("emotions/joy/valence", True), ["joy", "valence", "number"]),
    "valence beyond floats": (change("emotions/joy/valence", 10**400), ["joy", "valence"]),
    "other languages than neutral": (
        change("neutral/de", {"sentences": ["Ein Tisch."]}),
        ["joy", "en", "de", "same languages"],
    ),
    "frame without a place": (change("neutral/en/frames/0", "The word"), ["neutral", "en", "frames[0]", "The word"]),
    "frame with two places": (change("neutral/en/frames/0", "A {} {}"), ["neutral", "en", "frames[0]", "A {} {}"]),
    "frame that begins with it": (change("neutral/en/frames/0", "{} is"), ["neutral", "en", "frames[0]", "{} is"]),
    "label in another language": (change("emotions/joy/labels/fr", "joie"), ["joy", "labels", "fr"]),
    "label as a number": (change("emotions/joy/labels/en", 3), ["joy", "labels", "en"]),
    "empty label": (change("emotions/joy/labels/en", ""), ["joy", "labels", "en"]),
    "long label": (change("emotions/joy/labels/en", "j" * 65), ["joy", "labels", "en"]),
    "labels as a list": (change("emotions/joy/labels", ["joy"]), ["joy", "labels"]),
    "name as a number": (change("name", 3), ["name"]),
    "empty name": (change("name", ""), ["name"]),
    "name with a line break": (change("name", "a\nb"), ["name"]),
    "long name": (change("name", "n" * 65), ["name"]),
    # A vector file holds short printable text only, and a card has both in it: refused before minutes of extraction.
    "source as a number": (change("emotions/joy/source", 1999), ["joy", "source"]),
    "source with a line break": (change("emotions/joy/source", "a\nb"), ["joy", "source"]),
    "source too long": (change("emotions/joy/source", "s" * 1_001), ["joy", "source"]),
    "license as a number": (change("license", 2), ["license"]),
    "license with a line break": (change("license", "MIT\ntags: []"), ["license"]),
    "license too long": (change("license", "l" * 1_001), ["license"]),
    # What is held out is never used to build vectors.
    "held-out sentence that is not": (
        change(f"{JOY}/held_out/sentences/0", "I feel joy."),
        ["joy", "en", "held_out sentences[0]", "same"],
    ),
    "held-out neutral text that is not": (
        change("neutral/en/held_out/0", "A table."),
        ["neutral", "en", "held_out[0]", "same"],
    ),
}


@pytest.mark.parametrize(("data", "named"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_set_is_one_error_that_names_file_emotion_and_item(data, named, tmp_path):
    with pytest.raises(ConceptError) as caught:
        ConceptSet.load(write(tmp_path, data))
    message = str(caught.value)
    assert "\n" not in message
    for part in ("my-set.json", *named):
        assert part in message, message


BROKEN = {
    "empty": (b"", ["JSON"]),
    "text": (b"joy is a feeling", ["JSON"]),
    "cut short": (json.dumps(document()).encode()[:-20], ["JSON"]),
    "Latin-1": (json.dumps(document(), ensure_ascii=False).replace("A door", "A café").encode("latin-1"), ["UTF-8"]),
    "UTF-16": (json.dumps(document()).encode("utf-16"), ["UTF-8"]),
    "the same emotion twice": (json.dumps(document()).replace('"fear": {', '"joy": {').encode(), ["'joy'", "twice"]),
    "the same part twice": (
        json.dumps(document()).replace('"words"', '"sentences"').encode(),
        ["'sentences'", "twice"],
    ),
    "NaN": (json.dumps(change("emotions/joy/valence", float("nan"))).encode(), ["NaN"]),
    "infinity": (json.dumps(change("emotions/joy/valence", 0.125)).replace("0.125", "1e999").encode(), ["1e999"]),
    "number without end": (b'{"schema_version": ' + b"1" * 5_000 + b"}", ["JSON"]),
    "half a surrogate": (json.dumps(change(f"{JOY}/words/0", "a\ud800")).encode(), []),
    "nested deeply": (b"[" * 100_000, ["nested too deeply"]),
    "bytes": (bytes(range(256)), ["UTF-8"]),
}


@pytest.mark.parametrize(("data", "named"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_error_that_names_it(data, named, tmp_path):
    path = tmp_path / "my-set.json"
    path.write_bytes(data)
    with pytest.raises(ConceptError) as caught:
        ConceptSet.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for part in ("my-set.json", *named):
        assert part in message, message


@pytest.mark.parametrize("source", ["my-set.json", "xx", "", "no/such/folder/set.json", "a\0b"])
def test_a_set_that_is_not_there_is_an_error_that_names_the_built_in_ones(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConceptError, match=r"no concept set .* built-in set: .*\ben\b"):
        ConceptSet.load(source)


def test_several_sets_are_merged_in_the_order_of_their_names(tmp_path):
    both = ConceptSet.load("zh, en")
    assert both == ConceptSet.load("zh").merge(ConceptSet.load("en"), name="emosteer-zh+en")
    assert both.languages == ("zh", "en")
    data = ConceptSet.load("en").to_dict()
    data["name"] = "n" * 60
    path = tmp_path / "long.json"
    path.write_text(json.dumps(data))
    mixed = ConceptSet.load(f"{path},de")
    assert mixed.languages == ("en", "de")
    assert mixed.name == "n" * 60 + "+de"
    assert len(ConceptSet.load(f"{path},de,fr").name) == 64
    assert ConceptSet.from_dict(mixed.to_dict()) == mixed


def test_a_path_with_a_comma_is_that_path(tmp_path, monkeypatch):
    path = tmp_path / "en,zh"
    path.write_text(json.dumps(document()))
    assert ConceptSet.load(str(path)).name == ConceptSet.load(path).name == "mine"
    monkeypatch.chdir(tmp_path)
    assert ConceptSet.load("en,zh").name == "mine"


@pytest.mark.parametrize(("source", "named"), [("en,xx", "'xx'"), ("en,", "''"), (",", "''"), ("en;zh,de", "'en;zh'")])
def test_several_sets_of_which_one_is_not_there_are_one_error_that_names_it(source, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConceptError, match=f"no concept set {named}.*or several, as in en,zh"):
        ConceptSet.load(source)


def test_several_sets_that_do_not_go_together_are_an_error(tmp_path):
    path = write(tmp_path, document())
    with pytest.raises(ConceptError, match="rate joy differently"):
        ConceptSet.load(f"{path},de")
    data = document()
    for emotion in data["emotions"].values():
        emotion["valence"] = emotion["arousal"] = None
    with pytest.raises(ConceptError, match=r"has sadness without texts in 'en'"):
        ConceptSet.load(f"{write(tmp_path, data)},de")


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path):
    with pytest.raises(ConceptError, match=re.escape(repr(str(tmp_path)))):
        ConceptSet.load(tmp_path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    path = write(tmp_path, document())

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the mode of a file says nothing to root
    with pytest.raises(ConceptError, match=r"my-set\.json cannot be read \(Permission denied\)"):
        ConceptSet.load(path)


def test_a_good_set_is_taken_as_written(tmp_path):
    concepts = ConceptSet.load(write(tmp_path, document()))
    assert (concepts.name, concepts.license, concepts.emotions) == ("mine", "CC0-1.0", ("joy", "fear"))
    assert concepts["joy"] == Emotion(
        name="joy",
        labels={"en": "joy"},
        valence=0.5,
        arousal=0.25,
        source="A survey of 1999",
        texts={
            "en": Texts(
                words=("joy-word", "joy-term"),
                sentences=("I feel joy.", "What joy!"),
                situations=("Somebody yoj came.", "Nobody yoj left."),
                word_family=("joy",),
                held_out_sentences=("More joy.",),
                held_out_situations=("Later, yoj again.",),
            )
        },
    )
    assert concepts.neutral == {"en": Neutral(("A table.", "A chair."), ("A door.",), ("The word {}",))}


def test_what_is_optional_may_be_left_out(tmp_path):
    data = document()
    for key in ("license", "description"):
        del data[key]
    for emotion in data["emotions"].values():
        for key in ("labels", "valence", "arousal", "source"):
            del emotion[key]
        for key in ("word_family", "held_out"):
            del emotion["texts"]["en"][key]
    data["neutral"]["en"] = {"sentences": ["A table."]}
    concepts = ConceptSet.load(write(tmp_path, data))
    joy = concepts["joy"]
    assert (concepts.license, joy.labels, joy.valence, joy.arousal, joy.source) == (None, {}, None, None, None)
    assert joy.texts["en"].held_out_sentences == joy.texts["en"].word_family == ()
    assert all("{}" in frame for frame in concepts.neutral["en"].frames)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("sentences", "j" * 2_000),
        ("sentences", "喜び、この上ない喜び。"),
        ("words", "naïveté"),
        ("sentences", "Joy 🎉!"),
        ("sentences", "«\u00a0Quelle joie\u00a0!\u00a0»"),  # French sets a no-break space before the mark
        ("sentences", "我很高兴。\u3000真的。"),  # Chinese spaces are ideographic
        ("words", "می\u200cخندم"),  # Persian joins the parts of a verb with a zero-width non-joiner
        ("sentences", "Joy for the 👩\u200d🚀!"),  # emoji are joined too
    ],
)
def test_natural_text_of_any_script_is_taken(part, text, tmp_path):
    concepts = ConceptSet.load(write(tmp_path, change(f"{JOY}/{part}/0", text)))
    assert getattr(concepts["joy"].texts["en"], part)[0] == text


@pytest.mark.parametrize("code", ["de", "zh", "yue", "pt-BR", "zh-Hant-TW"])
def test_language_codes_that_are_taken(code, tmp_path):
    text = json.dumps(document()).replace('"en"', f'"{code}"')
    assert ConceptSet.from_dict(json.loads(text)).languages == (code,)


def test_ratings_may_be_whole_numbers_at_the_ends_of_the_scale():
    data = change("emotions/joy/valence", 1)
    data["emotions"]["joy"]["arousal"] = -1
    assert (ConceptSet.from_dict(data)["joy"].valence, ConceptSet.from_dict(data)["joy"].arousal) == (1.0, -1.0)


def test_an_emotion_that_is_not_in_the_set_is_an_error_that_lists_those_that_are():
    with pytest.raises(ConceptError, match=r"'mine' has no emotion 'rage'.*joy, fear"):
        ConceptSet.from_dict(document())["rage"]


# Round trip and digest.


@pytest.mark.parametrize("source", ["en", "mine"])
def test_a_round_trip_through_json_gives_the_same_set(source):
    concepts = ConceptSet.load("en") if source == "en" else ConceptSet.from_dict(document())
    again = ConceptSet.from_dict(json.loads(json.dumps(concepts.to_dict())))
    assert again == concepts
    assert again.emotions == concepts.emotions
    assert again.digest == concepts.digest


def test_to_dict_is_what_was_read_but_for_the_description():
    data = document()
    del data["description"]
    assert ConceptSet.from_dict(document()).to_dict() == data


def test_the_digest_is_the_sha256_of_canonical_json():
    text = json.dumps(ConceptSet.from_dict(document()).to_dict(), sort_keys=True, separators=(",", ":"))
    assert ConceptSet.from_dict(document()).digest == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_does_not_depend_on_how_the_file_is_written(tmp_path):
    data = change(f"{JOY}/words/0", "joyé")
    (tmp_path / "a.json").write_text(json.dumps(data, ensure_ascii=True), encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps(data, ensure_ascii=False, indent=4, sort_keys=True), encoding="utf-8")
    data["emotions"]["joy"]["source"] = data["emotions"]["joy"].pop("source")
    (tmp_path / "c.json").write_text(json.dumps(data), encoding="utf-8")
    assert len({ConceptSet.load(tmp_path / f"{name}.json").digest for name in "abc"}) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "other"),
        ("license", "MIT"),
        ("emotions/joy/valence", 0.51),
        ("emotions/fear/labels/en", "dread"),
        (f"{JOY}/words/1", "joy-term."),
        (f"{JOY}/word_family/0", "joys"),
        (f"{JOY}/held_out/situations/0", "Later."),
        ("neutral/en/frames/0", "A word {}"),
        ("neutral/en/held_out/0", "A gate."),
    ],
)
def test_every_part_of_the_content_is_in_the_digest(path, value):
    assert ConceptSet.from_dict(change(path, value)).digest != ConceptSet.from_dict(document()).digest


def test_a_set_does_not_change_with_the_mapping_it_was_made_from():
    base = ConceptSet.from_dict(document())
    source = dict(base.concepts)
    concepts = ConceptSet("copy", source, base.neutral)
    source.clear()
    assert concepts.emotions == ("joy", "fear")


# Subset, merge, summary.


def bilingual() -> ConceptSet:
    data = document()
    for name, emotion in data["emotions"].items():
        emotion["texts"]["de"] = {key: ["auf Deutsch"] for key in PARTS}
        emotion["labels"]["de"] = f"{name} auf Deutsch"
    data["neutral"]["de"] = {"sentences": ["Ein Tisch."]}
    return ConceptSet.from_dict(data)


def test_a_subset_has_the_emotions_asked_for_in_that_order():
    concepts = bilingual()
    part = concepts.subset(["fear", "joy"])
    assert part.emotions == ("fear", "joy")
    assert part["fear"] == concepts["fear"]
    assert part.neutral == concepts.neutral
    assert concepts.subset(["fear"]).emotions == ("fear",)
    assert concepts.emotions == ("joy", "fear")  # as it was


def test_a_subset_of_languages_drops_the_texts_labels_and_neutral_part_of_the_others():
    part = bilingual().subset(["joy"], languages=["de"])
    assert part.languages == ("de",)
    assert part["joy"].labels == {"de": "joy auf Deutsch"}
    assert set(part["joy"].texts) == {"de"}
    assert ConceptSet.from_dict(part.to_dict()) == part


def test_a_subset_of_what_is_not_there_is_an_error():
    with pytest.raises(ConceptError, match=r"no emotion 'rage'"):
        bilingual().subset(["joy", "rage"])
    with pytest.raises(ConceptError, match=r"does not speak 'fr'.*en, de"):
        bilingual().subset(["joy"], languages=["fr"])


def other(**emotion) -> ConceptSet:
    """Another set in English: joy with one sentence that `document` has too, and awe."""
    lists = {"words": ["bliss"], "sentences": ["What joy!", "Joy to the world."], "situations": ["They sang."]}
    held_out = {"sentences": ["More joy.", "Much joy."], "situations": []}
    joy = {"texts": {"en": {**lists, "word_family": ["joyful", "joy"], "held_out": held_out}}, **emotion}
    awe = {"texts": {"en": {"words": ["wonder"], "sentences": ["I am in awe."], "situations": ["Look up."]}}}
    neutral = {"sentences": ["A chair.", "A lamp."], "frames": ["The word {}", "He wrote {}"]}
    return ConceptSet.from_dict(
        {
            "schema_version": 1,
            "name": "other",
            "license": "MIT",
            "emotions": {"awe": awe, "joy": joy},
            "neutral": {"en": neutral},
        }
    )


def test_merging_unites_emotions_and_texts_and_keeps_a_shared_text_once():
    ours, theirs = ConceptSet.from_dict(document()), other()
    both = ours.merge(theirs)
    assert both.name == "mine+other"
    assert both.emotions == ("joy", "fear", "awe")
    assert both["fear"] == ours["fear"]
    assert both["awe"] == theirs["awe"]
    assert both["joy"].texts["en"] == Texts(
        words=("joy-word", "joy-term", "bliss"),
        sentences=("I feel joy.", "What joy!", "Joy to the world."),
        situations=("Somebody yoj came.", "Nobody yoj left.", "They sang."),
        word_family=("joy", "joyful"),
        held_out_sentences=("More joy.", "Much joy."),
        held_out_situations=("Later, yoj again.",),
    )
    assert both.neutral["en"] == Neutral(
        ("A table.", "A chair.", "A lamp."), ("A door.",), ("The word {}", "He wrote {}")
    )
    assert ConceptSet.from_dict(both.to_dict()) == both
    assert ours == ConceptSet.from_dict(document())  # as it was


def test_merging_a_set_with_itself_changes_nothing_but_the_name():
    concepts = ConceptSet.load("en")
    assert concepts.merge(concepts, name=concepts.name) == concepts


def test_a_text_that_one_set_holds_out_and_the_other_learns_from_is_kept_once():
    theirs = other().to_dict()
    theirs["emotions"]["joy"]["texts"]["en"]["sentences"].append("More joy.")  # held out in ours
    theirs["neutral"]["en"]["sentences"].append("A door.")  # held out in ours
    theirs["emotions"]["joy"]["texts"]["en"]["held_out"]["sentences"] = ["I feel joy."]  # learned from in ours
    both = ConceptSet.from_dict(document()).merge(ConceptSet.from_dict(theirs))
    texts, neutral = both["joy"].texts["en"], both.neutral["en"]
    assert set(texts.sentences) & set(texts.held_out_sentences) == set()
    assert set(neutral.sentences) & set(neutral.held_out) == set()
    everything = (*texts.sentences, *texts.held_out_sentences)
    assert {"More joy.", "I feel joy."} <= set(everything)


def test_merging_languages():
    german = bilingual().subset(["joy", "fear"], languages=["de"])
    english = bilingual().subset(["joy", "fear"], languages=["en"])
    both = english.merge(german, name="mine")
    assert both.languages == ("en", "de")
    assert both == bilingual()
    assert both.license == "CC0-1.0"


def test_merging_leaves_no_emotion_without_a_language():
    german = bilingual().subset(["joy"], languages=["de"])
    english = bilingual().subset(["joy", "fear"], languages=["en"])
    for one, two in itertools.permutations([english, german]):
        with pytest.raises(ConceptError, match=r"fear without texts in 'de'"):
            one.merge(two)


def test_merging_sets_that_rate_an_emotion_differently_is_an_error():
    with pytest.raises(ConceptError, match="rate joy differently"):
        ConceptSet.from_dict(document()).merge(other(valence=0.6, arousal=0.25))


def test_merging_takes_the_rating_with_its_source_from_the_set_that_has_one():
    ours, theirs = other(), ConceptSet.from_dict(document())
    for both in (ours.merge(theirs), theirs.merge(ours)):
        joy = both["joy"]
        assert (joy.valence, joy.arousal, joy.source) == (0.5, 0.25, "A survey of 1999")


def test_merging_keeps_a_license_that_both_have_and_no_other():
    ours = ConceptSet.from_dict(document())
    assert ours.merge(other()).license is None
    assert ours.merge(ours).license == "CC0-1.0"


def test_a_merged_set_of_long_names_can_be_read_again():
    a = ConceptSet.from_dict(change("name", "a" * 40))
    b = ConceptSet.from_dict(change("name", "b" * 40))
    both = a.merge(b)
    assert ConceptSet.from_dict(both.to_dict()) == both


def test_the_summary_counts_every_part():
    rows = bilingual().summary()
    assert rows[0] == {
        "emotion": "joy",
        "language": "en",
        "words": 2,
        "sentences": 2,
        "situations": 2,
        "held_out": 2,
        "valence": 0.5,
        "arousal": 0.25,
    }
    assert [(row["emotion"], row["language"]) for row in rows] == [
        ("joy", "en"),
        ("joy", "de"),
        ("fear", "en"),
        ("fear", "de"),
    ]
    assert (rows[1]["words"], rows[1]["held_out"]) == (1, 0)


def test_the_parsed_document_is_not_changed_by_reading_it():
    data = document()
    before = copy.deepcopy(data)
    ConceptSet.from_dict(data)
    assert data == before

"""What crosses languages: sets of vectors, each on prompts of each language."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

import emosteer
from emosteer import ConceptSet, EmotionVectors, extraction
from emosteer._util.own_files import is_own
from emosteer.calibration import extract_languages, extracting
from emosteer.errors import ConceptError, EmosteerWarning, InputError, ToneError
from emosteer.eval import evaluate_languages, load_bench
from emosteer.eval.sampling import Answer, generate_cells
from emosteer.eval.steering.crossing_report import notes, tables, write_report
from tests.conftest import small_concepts, tiny_config, tiny_model, tiny_tokenizer

TONES = ("joy", "fear")
SETS = ("en", "zh", "en,zh")
WAYS = {"natural": {"recipe": "natural"}, "asked": {"recipe": "asked"}}
WORDS = {"joy": "ha", "fear": "oh"}


class Words:
    """A judge that hears the emotion whose word is in the text, and joy in all else."""

    labels = ("joy", "fear", "neutral")

    def __init__(self, name="words", languages=None):
        self.name, self.languages = name, languages

    def probabilities(self, texts, emotions=None):
        heard = [{"fear"} if WORDS["fear"] in text else {"joy"} for text in texts]
        return {label: np.array([0.8 if label in one else 0.1 for one in heard]) for label in self.labels}


@pytest.fixture(scope="module")
def model():
    """Its context holds requests for a tone, byte by byte."""
    return tiny_model(tiny_config(max_position_embeddings=2048))


@pytest.fixture
def sets(model):
    return {name: EmotionVectors.random(model, ["joy", "fear", "calm"], seed=i) for i, name in enumerate(SETS)}


@pytest.fixture
def measure(model, tokenizer, sets):
    settings = {"judges": [Words()], "emotions": TONES, "ways": WAYS, "n_prompts": 6, "progress": False}
    return lambda **options: evaluate_languages(model, tokenizer, **{"vectors": sets, **settings, **options})


def says(made_from, language, emotion, i):
    """Whether the i-th answer has the word of the emotion: always with own vectors, but for the first prompt."""
    if emotion is None:
        return False
    return i > 0 if made_from == language else i % (2 if made_from == "en,zh" else 3) == 1


@pytest.fixture
def scripted(monkeypatch, sets):
    """Answers by script instead of a model; what was asked is kept: (set, language, number of answers)."""
    asked = []

    def generate(steered, cells, *, language, progress, **_):
        (made_from,) = (name for name, vectors in sets.items() if vectors is steered.vectors)
        asked.append((made_from, language, sum(map(len, cells.values()))))
        progress.advance(asked[-1][2])
        answers = []
        for cell, prompts in cells.items():
            for i, (prompt, number) in enumerate(prompts):
                other = "oh" if cell.emotion == "joy" else "ha"
                word = WORDS[cell.emotion] if says(made_from, language, cell.emotion, i) else other
                text, nats = f"{word}, {i}", 1.0 + 0.5 * bool(cell.emotion) + 0.1 * (i % 6)
                answers.append(Answer(cell, prompt, number, (7, i, 8), text, True, nats))
        return answers

    monkeypatch.setattr("emosteer.eval.steering.crossing.generate_cells", generate)
    return asked


def by_hand(*hits):
    """The value, and the 95 % interval over resampled prompts, of the first hits as a share of the second, or alone."""
    times = np.random.default_rng(0).multinomial(6, [1 / 6] * 6, size=1000)
    mean, *means = ((np.vstack([np.ones(6), times]) @ one) / 6 for one in hits)
    values = mean / means[0] if means else mean
    return values[0], *np.percentile(values[1:][np.isfinite(values[1:])], [2.5, 97.5])


def test_each_set_is_measured_on_each_language_and_agrees_with_a_recount(measure, scripted):
    report = measure()
    assert {(one.way, one.made_from, one.language, one.emotion) for one in report.crossings} == {
        *((way, made, spoken, e) for way in WAYS for made in SETS for spoken in ("en", "zh") for e in (*TONES, None)),
        *(("", "", spoken, e) for spoken in ("en", "zh") for e in (*TONES, None)),
    }
    n_toned = 6 * len(TONES) * len(WAYS)
    assert scripted == [
        (made, spoken, n) for spoken in ("en", "zh") for made, n in [("en", 24), *((made, n_toned) for made in SETS)]
    ]
    hits = {
        (made, spoken): np.array([says(made, spoken, "joy", i) for i in range(6)], dtype=float)
        for made in SETS
        for spoken in ("en", "zh")
    }
    for way in WAYS:
        for (made, spoken), own in hits.items():
            for emotion in (*TONES, None):
                one = report.crossing(way, made, spoken, emotion)
                assert one.n == (12 if emotion is None else 6)
                assert one.cost.value == pytest.approx(0.5)
                rate = one.hit["words"]
                assert (rate.value, rate.low, rate.high) == pytest.approx(by_hand(own))
                if made == spoken:
                    assert one.of_own == {}
                    continue
                share = one.of_own["words"]
                assert (share.value, share.low, share.high) == pytest.approx(by_hand(own, hits[spoken, spoken]))
    assert report.crossing("natural", "en", "zh").of_own["words"].value == pytest.approx(2 / 5)
    plain = report.crossing("", "", "zh")
    assert (plain.n, plain.hit["words"].value, plain.of_own) == (24, 0.5, {})  # all are heard as joy
    with pytest.raises(KeyError):
        report.crossing("natural", "es", "zh")


def test_prompts_are_those_of_each_language(model, tokenizer, sets, monkeypatch, tmp_path):
    """And what was answered is taken from the cache by a second run."""
    seen = []

    def spy(steered, cells, **options):
        seen.append((options["language"], {prompt.id for asked in cells.values() for prompt, _ in asked}))
        return generate_cells(steered, cells, **options)

    monkeypatch.setattr("emosteer.eval.steering.crossing.generate_cells", spy)
    options = {"judges": [Words()], "emotions": TONES, "n_prompts": 2, "max_new_tokens": 3, "progress": False}
    first = evaluate_languages(model, tokenizer, sets, cache=tmp_path, **options)
    assert [*first.about["ways"]] == ["natural", "asked_and_steered"]
    for language, ids in seen:
        assert ids <= {prompt.id for prompt in load_bench("held_out", language)}
        assert len(ids) == 2
    monkeypatch.setattr(emosteer.SteeredModel, "generate", None)
    assert evaluate_languages(model, tokenizer, sets, cache=tmp_path, **options) == first


def test_a_base_model_is_not_asked(model, sets, scripted):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    report = evaluate_languages(model, tokenizer, sets, judges=[Words()], emotions=TONES, n_prompts=3, progress=False)
    assert [*report.about["ways"]] == ["natural"]


def test_a_judge_hears_the_languages_that_it_knows(measure, scripted, tmp_path):
    with pytest.warns(EmosteerWarning, match="do not know"):
        report = measure(judges=[Words("english", ["en"])])
    assert report.about["judges"] == {"en": ["english"], "zh": []}
    assert set(report.crossing("natural", "zh", "en").hit) == {"english"}
    other = report.crossing("natural", "en", "zh")
    assert (other.hit, other.of_own, other.cost.value) == ({}, {}, pytest.approx(0.5))
    assert notes(report)[1:] == [
        "Left out in 'zh', which they do not know: english.",
        "No hit rates in 'zh': no judge knows it. Give one with --judge, or judges=.",
    ]
    assert [table.title for table in tables(report)] == [
        "Prompts in en: mean of the emotions",
        *(f"Prompts in en: {way}" for way in WAYS),
        "Prompts in zh: mean of the emotions",
    ]
    assert {*write_report(report, tmp_path)} == {"json", "languages"}


def test_where_own_vectors_reach_nothing_there_is_no_share(measure, scripted, monkeypatch):
    monkeypatch.setitem(globals(), "says", lambda made_from, language, emotion, i: emotion and made_from != language)
    one = measure().crossing("natural", "en", "zh", "fear")
    assert (one.hit["words"].value, one.of_own) == (1, {})


def test_the_report_is_json_a_figure_and_tables(measure, scripted, tmp_path):
    report = measure()
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["schema"] == 1
    assert told["about"]["made_from"] == [*SETS]
    first, second = (write_report(report, tmp_path / name) for name in ("one", "two"))
    assert {*first} == {"json", "languages"}
    assert json.loads(first["json"].read_text()) == told
    assert first["languages"].read_bytes() == second["languages"].read_bytes()
    assert all(map(is_own, first.values()))
    shown = tables(report)
    assert [table.row_count for table in shown] == 2 * [
        1 + len(WAYS) * len(SETS),
        *len(WAYS) * [(1 + len(SETS)) * len(TONES)],
    ]
    cells = [column._cells for column in shown[3].columns]
    row = [*zip(*cells[:2], strict=True)].index(("natural", "en"))
    one = report.crossing("natural", "en", "zh")
    assert [cells[i][row] for i in (3, 4)] == [str(one.hit["words"]), str(one.of_own["words"])]
    (tmp_path / "languages.json").write_text("{}")
    with pytest.raises(InputError, match="not emosteer's"):
        write_report(report, tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"emotions": ["hope"]}, InputError, "'hope' is not a basic emotion"),
        ({"emotions": []}, InputError, "not a basic emotion"),
        ({"emotions": ["anger"]}, ToneError, "anger"),
        ({"judges": []}, InputError, "no judge"),
        ({"judges": [Words(), Words()]}, InputError, "a name of its own"),
        ({"ways": {}}, InputError, "no way"),
        ({"n_prompts": 61}, InputError, "Give 1 to 60"),
        ({"n_prompts": 0}, InputError, "Give 1 to 60"),
        ({"vectors": ["en"]}, InputError, "'en' alone"),
        ({"vectors": ["en", "xx"]}, InputError, "no prompts in 'xx'"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_generated(measure, sets, scripted, options, error, says):
    if "vectors" in options:
        options = {"vectors": dict.fromkeys(options["vectors"], sets["en"])}
    with pytest.raises(error, match=says):
        measure(**options)
    assert scripted == []


# The sets of vectors.


@pytest.fixture
def spoken(monkeypatch):
    """Small sets of texts for `ConceptSet.load`; what was extracted is kept."""
    own = {
        name: small_concepts().subset(emotions) for name, emotions in (("en", ["joy", "fear"]), ("zh", ["joy", "calm"]))
    }
    made = []

    def load(source):
        if source == "en,zh":
            return small_concepts()
        if source not in own:
            raise ConceptError(f"There is no concept set {source!r}.")
        return own[source]

    def extract(model, tokenizer, concepts, **options):
        made.append(concepts.emotions)
        return extraction.extract(model, tokenizer, concepts, **options).scale(1.0)  # as if calibrated

    monkeypatch.setattr(ConceptSet, "load", staticmethod(load))
    monkeypatch.setattr(extracting, "extract", extract)
    return made


def test_each_language_and_all_together_are_extracted_once(model, tokenizer, spoken, tmp_path):
    extracted = partial(extract_languages, model, tokenizer, ["en", "zh"], tmp_path, progress=False)
    first = extracted()
    assert {name: vectors.emotions for name, vectors in first.items()} == {
        "en": ("joy", "fear"),
        "zh": ("joy", "calm"),
        "en,zh": ("joy", "fear", "calm"),
    }
    assert spoken == [("joy", "fear"), ("joy", "calm"), ("joy", "fear", "calm")]
    assert {file.name for file in tmp_path.iterdir()} == {"vectors-en", "vectors-zh", "vectors-en-zh"}
    again = extracted()
    assert len(spoken) == 3
    for name, vectors in first.items():
        assert all(again[name].directions[emotion].equal(vectors.directions[emotion]) for emotion in vectors.emotions)


def test_vectors_of_another_model_or_of_other_texts_are_not_taken_for_these(model, tokenizer, spoken, tmp_path):
    extract_languages(model, tokenizer, ["en", "zh"], tmp_path, progress=False)
    with pytest.raises(InputError, match="another model"):
        extract_languages(tiny_model(model.config, seed=7), tokenizer, ["en", "zh"], tmp_path, progress=False)
    EmotionVectors.from_pretrained(tmp_path / "vectors-zh").save_pretrained(tmp_path / "vectors-en")
    with pytest.raises(InputError, match=r"vectors-en holds vectors of another model, or of other texts"):
        extract_languages(model, tokenizer, ["en", "zh"], tmp_path, progress=False)
    with pytest.raises(ConceptError, match="xx"):
        extract_languages(model, tokenizer, ["en", "xx"], tmp_path / "new", progress=False)
    assert len(spoken) == 3
    assert not (tmp_path / "new").exists()


# `emosteer eval steering --languages`.


@pytest.fixture
def run(command_line, tmp_path, model):
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return partial(command_line, "eval", "steering", "-m", tmp_path / "model", "-o", tmp_path / "new", "--languages")


@pytest.mark.filterwarnings("always:The answers are in")
def test_the_command_extracts_measures_and_writes(run, spoken, tmp_path, monkeypatch):
    options = ("--emotions", "joy", "--n-prompts", 2, "--ways", "asked,natural", "--judge", "brighter-zh")
    status, out, err = run("en,zh", *options, "--json")
    assert status == 0, err
    assert "do not know" in err
    told = json.loads(out)
    assert [*told["about"]["ways"]] == ["asked", "natural"]
    assert told["about"]["emotions"] == ["joy"]
    assert told["about"]["judges"] == {"en": [], "zh": ["brighter-zh"]}
    assert told == json.loads((tmp_path / "new" / "languages.json").read_text())
    names = {"languages.json", "languages.png", "cache", "vectors-en", "vectors-zh", "vectors-en-zh"}
    assert {file.name for file in (tmp_path / "new").iterdir()} == names
    monkeypatch.setattr(emosteer.SteeredModel, "generate", None)  # the second time nothing is generated or extracted
    status, out, err = run("en,zh", *options)
    assert status == 0, err
    assert len(spoken) == 3
    assert "Prompts in zh: natural" in out
    assert "languages.png" in out.replace("\n", "")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("en,zh", "--vectors", "mine"), "--vectors cannot stand beside --languages"),
        (("en,zh", "--card"), "no card is of all"),
        (("en,zh", "--full"), "--full cannot stand beside --languages"),
        (("en,zh", "--language", "zh"), "--language cannot stand beside --languages"),
        (("en,zh", "--strengths", "1"), "--strengths cannot stand beside --languages"),
        (("en,zh", "--others", "1"), "--others cannot stand beside --languages"),
        (("en,zh", "--seeds", "1"), "--seeds cannot stand beside --languages"),
        (("en,zh", "--tasks"), "--tasks cannot stand beside --languages"),
        (("en,en",), "'en' alone"),
        (("en,xx",), "no prompts in 'xx'"),
        (("en,zh", "--emotions", "rage"), "'rage' is not a basic emotion"),
        (("en,zh", "--n-prompts", "61"), "Give 1 to 60 prompts"),
        (("en,zh", "--ways", "best"), "no way of steering 'best'"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_leaves_nothing(run, spoken, tmp_path, given, says):
    status, out, err = run(*given)
    assert (status, out) == (1, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err
    assert spoken == []
    assert not (tmp_path / "new").exists()

"""The card: nothing that the file does not hold, nothing of the file that acts in it, nothing of people's lost."""

from __future__ import annotations

import copy
import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt

from emosteer._util import strict_json
from emosteer.errors import InputError
from emosteer.models.fingerprint import BaseModel
from emosteer.vectors import card
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.measured import AlignmentSummary, SteeringSummary, known, to_json
from emosteer.vectors.types import Dose, EmotionInfo
from tests.conftest import files_of

SHIPPED = Path("vectors") / "smollm2-135m-instruct-en"
PICTURES = ("dose_response.png", "confusion.png", "alignment_circumplex.png", "alignment_words.png", "mine.png")
EMOTIONS = ("joy", "fear", "quiet-awe")
ODD = "<script>alert(1)</script>|`x`[a](javascript:b)![c](d)<!-- /emosteer -->\n---\n# H & *b* www.evil.org https://e.org\x1b[31m\u202e"


def made(seed: int = 0, *, calibrated: bool = True, results: bool = True) -> EmotionVectors:
    """Tiny vectors with made-up numbers, which are nowhere near each other."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    layers = (1, 2, 5, 6)

    def figure(n=None):
        value = round(draw.uniform(-9, 9), 4)
        found = {"value": value, "low": round(value - 0.31, 4), "high": round(value + 0.43, 4)}
        return found if n is None else {**found, "p": round(draw.uniform(0, 1), 4), "n": n}

    def figures(names, n=None):
        return {name: figure(n) for name in names}

    def tone(way, control, n):
        return {
            "way": way,
            "control": control,
            "n": n,
            "cost": figure(),
            "hit_rate": figures(("ann", "bob")),
            "probability": figures(("ann", "bob")),
        }

    each = {
        name: {"n": 31 + i, "cost": draw.uniform(-9, 9), "hit_rate": {"ann": draw.random()}, "probability": {}}
        for i, name in enumerate(EMOTIONS)
    }
    chief = ("rsa", "pc1_valence", "pc2_arousal_given_valence")
    axes = ("valence", "arousal")
    measured = {
        "steering": {
            "judges": ["ann", "bob"],
            "strength": 0.85,
            "basic": ["joy", "fear"],
            "n_prompts": 17,
            "seeds": 3,
            "n_answers": 1234,
            "max_new_tokens": 48,
            "temperature": 0.65,
            "seed": 7,
            "confidence_percent": 90,
            "ways": [{**tone("additive", None, 66), "emotions": each}, tone("natural", None, 67)],
            "controls": [tone("additive", "random", 68), tone("", "unsteered", 69)],
        },
        "alignment": {
            "languages": ["en", "zh"],
            "permutations": 4321,
            "seed": 9,
            "confidence_percent": 90,
            "geometry": [
                {
                    "language": "en",
                    "ratings": "Glasgow",
                    "layer": 3,
                    "n": 23,
                    "measures": figures(chief, 23),
                    "input_embeddings": figures(chief, 23),
                }
            ],
            "words": [
                {
                    "norms": "Glasgow",
                    "language": "en",
                    "n": 777,
                    "full": figures(axes, 777),
                    "directions": figures(axes, 777),
                    "gain_over_random": figures(axes, 777),
                    "input_embeddings": figures(axes, 777),
                }
            ],
            "ceilings": [{"between": ["Glasgow", "Other"], "rsa": figure(22)} for _ in range(3)],
        },
    }
    doses = {
        name: Dose(draw.uniform(0, 3), (2, 5), (0.5, 0.5), "all", 0.75, draw.random(), draw.random(), "budget")
        for name in EMOTIONS[:2]
    }
    return EmotionVectors(
        directions={name: torch.nn.functional.normalize(torch.randn(4, 8), dim=-1) for name in EMOTIONS},
        residual_norm=torch.rand(4) + 1,
        layers=layers,
        base_model=BaseModel("llama", 7, 8, "someone/tiny", "b" * 40, "some variant", "a" * 64),
        info={"joy": EmotionInfo({"en": "joy"}, draw.uniform(-1, 1), draw.uniform(-1, 1), "A survey of 1987")},
        doses=doses if calibrated else {},
        extraction={
            "method": "pca",
            "pooling": "last",
            "concepts": "mine",
            "concepts_digest": "c" * 64,
            "counts": {"emotional": 456, "neutral": 78},
            "languages": ["en", "zh-Hant", "zh"],
            "stability": {"joy": draw.random()},
            "templates": {"en": "d" * 64},
        },
        measured=measured if results else {},
        license="CC-BY-4.0",
    )


def config_of(vectors: EmotionVectors) -> dict:
    return strict_json.loads(files_of(vectors)["config.json"])


# ----------------------------------------------------------------------------------------------------------------------
# No figure that the file does not hold.

NUMBER = re.compile(r"(?<![\w.])[−-]?\d+(?:\.\d+)?(?![\w]|\.\d)")
SAID = re.compile(
    r"```.*?```|<!--.*?-->|\n## References.*|arXiv:\S+|doi:[^\s,;)]+|\w+://\S+|!\[[^\]]*\]\([^)]*\)|\b[0-9a-f]{16,}\b",
    re.DOTALL,
)


def numbers_and_texts(value):
    """All numbers of JSON, the lengths of its lists, and its texts but digests."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield name
            yield from numbers_and_texts(inside)
    elif isinstance(value, list):
        yield len(value)
        for inside in value:
            yield from numbers_and_texts(inside)
    elif not isinstance(value, bool | None) and not re.fullmatch(r"[0-9a-f]{16,}", str(value)):
        yield value


def invented(text: str, config: dict) -> list[str]:
    """Numbers of a card that the config does not hold, to the decimals that the card shows."""
    held = list(numbers_and_texts(config))
    texts = " ".join(value for value in held if isinstance(value, str))
    numbers = [value for value in held if not isinstance(value, str)]
    found = []
    for shown in NUMBER.findall(SAID.sub(" ", text)):
        value, decimals = float(shown.replace("−", "-")), len(shown.partition(".")[2])
        near = any(abs(value - number) <= 0.5 * 10**-decimals + 1e-9 for number in numbers)
        if not near and not re.search(rf"(?<!\d){re.escape(shown)}(?!\d)", texts):
            found.append(shown)
    return found


@pytest.fixture(scope="module")
def shipped():
    return EmotionVectors.from_pretrained(SHIPPED)


def test_the_card_of_the_shipped_vectors_has_no_number_that_their_file_does_not_hold(shipped):
    text, config = card.new(shipped.config), json.loads((SHIPPED / "config.json").read_text())
    assert len(NUMBER.findall(SAID.sub(" ", text))) > 500
    assert invented(text, config) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [{}, {"calibrated": False}, {"results": False, "calibrated": False}])
def test_no_card_has_a_number_that_the_file_does_not_hold(seed, options):
    vectors = made(seed, **options)
    text = card.new(vectors.config, PICTURES)
    assert len(NUMBER.findall(SAID.sub(" ", text))) > 10
    assert invented(text, config_of(vectors)) == []


def test_an_invented_number_is_found():
    """That is, the test above can fail: of the numbers of a card, each changed by itself, nearly all are found out."""
    vectors = made(3)
    config, body = config_of(vectors), SAID.sub(" ", card.new(vectors.config))
    places = list(NUMBER.finditer(body))
    changed = [f"{float(place[0].replace('−', '-')) + 3.07:.2f}" for place in places]
    caught = sum(
        bool(invented(body[: place.start()] + number + body[place.end() :], config))
        for place, number in zip(places[::5], changed[::5], strict=True)
    )
    assert caught > 0.9 * len(places[::5])


def rows(text: str, first: str) -> list[dict[str, str]]:
    """A table of the card, by the name of its first column."""
    lines = text.split(f"\n| {first} |", 1)[1].partition("\n\n")[0].split("\n")
    head, *body = (
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in (first + " |" + lines[0], *lines[2:])
    )
    return [dict(zip(head, row, strict=True)) for row in body]


def test_every_cell_of_the_table_of_emotions_is_the_number_of_its_column(shipped):
    config = json.loads((SHIPPED / "config.json").read_text())
    found = rows(card.render(shipped.config), "emotion")
    (additive,) = [way for way in config["measured"]["steering"]["ways"] if way["way"] == "additive"]

    def shown(value):
        return "–" if value is None else f"{value:.2f}".replace("-", "−")

    assert len(found) == len(config["emotions"])
    for row, emotion in zip(found, config["emotions"], strict=True):
        name = emotion["name"]
        dose, heard = config["doses"][name], additive["emotions"][name]
        assert row["emotion"] == name
        assert (row["valence"], row["arousal"]) == (shown(emotion["valence"]), shown(emotion["arousal"]))
        assert row["layers"] == f"{dose['layers'][0]} to {dose['layers'][-1]}"
        assert (row["dose"], row["cost"]) == (shown(dose["dose"]), shown(dose["cost"]))
        assert (row["measured cost"], row["n"]) == (shown(heard["cost"]), str(heard["n"]))
        assert row["stability"] == shown(config["extraction"]["stability"][name])
        for judge in ("goemotions", "brighter"):
            pair = [heard[kind].get(judge) for kind in ("hit_rate", "probability")]
            assert row[f"hit rate / p, {judge}"] == ("–" if pair == [None, None] else " / ".join(map(shown, pair)))


def test_means_controls_and_alignment_stand_in_tables():
    vectors = made()
    text, measured = card.new(vectors.config), vectors.measured
    means = rows(text, "tone by")
    expected = [*measured["steering"]["ways"], *measured["steering"]["controls"]]
    assert [row["n"] for row in means] == ["66", "67", "68", "69"]
    assert means[0]["tone by"] == "**additive**"
    assert "plain model" in means[3]["tone by"]
    for row, tone in zip(means, expected, strict=True):
        for name, figure in (("cost", tone["cost"]), ("hit rate, bob", tone["hit_rate"]["bob"])):
            ends = (f"{figure[end]:.2f}".replace("-", "−") for end in ("value", "low", "high"))
            assert row[name] == "{} ({} to {})".format(*ends)
    assert "| en, Glasgow | 23 |" in text
    assert "| en, Glasgow | 777 | arousal |" in text


def test_a_card_without_results_shows_what_calibration_found():
    (joy, _, awe) = rows(card.new(made(results=False).config), "emotion")
    assert joy["hit rate"] == f"{made().doses['joy'].hit_rate:.2f}"
    assert (awe["dose"], awe["layers"]) == ("fallback", "–")


def test_the_card_says_how_doses_were_found():
    config = made(results=False).config
    joy = replace(config.doses["joy"], cost=None, budget=None, divergence=0.4)
    every = {
        "were measured by generated answers": replace(joy, cost=0.4, divergence=None),
        r"were measured quickly: each moves the model by 0\.40 nats a token \(KL divergence\)": joy,
        "were given and not measured": replace(joy, divergence=None),
    }
    for says, dose in every.items():
        text = card.new(replace(config, doses=dict.fromkeys(config.emotions, dose)))
        assert re.search(rf"\. The doses {says}\. Cost", text)
    assert "The doses are the fallback, which was not measured" in card.new(replace(config, doses={}))
    first, second, third = config.emotions
    lower = replace(joy, divergence=0.31)
    mixed = card.new(replace(config, doses={first: joy, second: lower}))
    assert f"Those of {first} and {second} were measured quickly: each moves the model by 0.31 to 0.40 nats" in mixed
    assert f"Those of {third} are the fallback" in mixed


def test_figures_are_shown_that_stand_beside_and_are_of_what_the_file_holds():
    text = card.render(made().config, PICTURES)
    assert re.findall(r"\]\((\S+\.png)\)", text) == list(PICTURES[:4])
    assert ".png" not in card.render(made(results=False).config, PICTURES)
    lesser = copy.deepcopy(made().measured)
    del lesser["alignment"]["words"], lesser["steering"]
    assert re.findall(r"\]\((\S+\.png)\)", card.render(replace(made(), measured=lesser).config, PICTURES)) == [
        PICTURES[2]
    ]


def test_the_repository_is_named_in_the_code_where_it_is_known():
    assert 'from_pretrained("me/mine")' in card.new(made().config, repo_id="me/mine")
    assert 'from_pretrained("path/to/this/folder")' in card.new(made().config)
    assert "import os" not in card.new(made().config, repo_id='x")\nimport os\n("')


# ----------------------------------------------------------------------------------------------------------------------
# The front matter.


def test_the_hub_reads_the_front_matter():
    vectors = made()
    text = card.new(vectors.config)
    data = ModelCard(text).data
    assert data.to_dict() == yaml.safe_load(text.split("---\n")[1])
    assert (data.library_name, data.license, data.base_model) == ("emosteer", "cc-by-4.0", "someone/tiny")
    assert data.to_dict()["base_model_relation"] == "adapter"
    assert (data.language, data.to_dict()["language_bcp47"]) == (["en", "zh"], ["zh-Hant"])
    name, results = model_index_to_eval_results(card.metadata(text)["model-index"])
    assert name == data.model_name == "Emotion vectors for someone/tiny"
    kinds = {(one.task_type, one.dataset_config, one.dataset_split, one.metric_type) for one in results}
    assert kinds == {
        ("emotion-alignment", "en", "categories", "spearmanr"),
        ("emotion-alignment", "en", "categories", "pearsonr"),
        ("emotion-alignment", "en", "words", "pearsonr"),
        *(
            ("emotion-steering", way, None, kind)
            for way in ("additive", "natural")
            for kind in ("hit_rate", "nats_per_token")
        ),
    }
    steering, alignment = vectors.measured["steering"], vectors.measured["alignment"]
    by_name = {(one.dataset_config, one.metric_name): one for one in results}
    assert by_name["natural", "hit rate, bob, n = 67"].metric_value == steering["ways"][1]["hit_rate"]["bob"]["value"]
    rsa = by_name["en", "RSA, n = 23"]
    assert rsa.metric_value == alignment["geometry"][0]["measures"]["rsa"]["value"]
    assert rsa.metric_args["p"] == alignment["geometry"][0]["measures"]["rsa"]["p"]
    assert "model-index" not in card.metadata(card.new(made(results=False).config))


@pytest.mark.parametrize(
    ("given", "front"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("My: own #1", {"license": "other", "license_name": "my-own-1"}),
        (None, {}),
    ],
)
def test_a_license_is_one_that_the_hub_knows_or_other(given, front):
    found = card.metadata(card.new(replace(made(), license=given).config))
    assert {name: value for name, value in found.items() if name.startswith("license")} == front


THEIRS = """---
license: mit # as agreed
tags: [a,   b, emotion]
# what we ran ourselves
model-index:
- name: ours
  results:
  - task: {type: text-generation}
    dataset: {name: D, type: d}
    metrics:
    - {type: accuracy, value: 0.5}
mine:   kept
---

# Mine

My words.
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_what_people_wrote_stays_in_front_matter_and_body(tmp_path, ending):
    path = tmp_path / "README.md"
    path.write_bytes(THEIRS.replace("\n", ending).encode())
    text = card.updated(path, made().config)
    data = ModelCard(text).data
    assert data.tags == ["a", "b", "emotion", "emosteer", "steering-vectors"]
    assert (data.license, data.model_name, data.to_dict()["mine"]) == ("cc-by-4.0", "ours", "kept")
    assert [one.metric_value for one in data.eval_results if one.task_type == "text-generation"] == [0.5]
    assert len(data.eval_results) == 1 + 3 + 2 + 2 * 3
    assert f"# what we ran ourselves{ending}" in text
    assert f"mine:   kept{ending}" in text
    assert f"{ending}# Mine{ending}{ending}My words.{ending}" in text
    assert card.rewritten(text, made().config) == text
    less = card.rewritten(text, made(results=False).config)
    assert [one.metric_value for one in ModelCard(less).data.eval_results] == [0.5]


def test_what_people_wrote_after_emosteers_part_stays():
    text = f"{card.new(made(1).config)}\n# Mine\n\nMy words.\n"
    assert card.rewritten(text, made(2).config) == f"{card.new(made(2).config)}\n# Mine\n\nMy words.\n"


def test_a_card_of_emosteers_alone_comes_out_as_a_new_one():
    text = card.rewritten(card.new(made(1).config, PICTURES), made(2).config)
    assert text == card.new(made(2).config)
    without = card.rewritten(card.new(made(1).config), made(1, results=False).config)
    assert without == card.new(made(1, results=False).config)


@pytest.mark.parametrize("front", ["a: [", "- a", "model-index: 3", "a: &x 1\nb: *x", "[" * 5000])
def test_front_matter_that_cannot_be_read_is_an_error(front, tmp_path):
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")
    for ask in (lambda path: card.updated(path, made().config), card.existing):
        with pytest.raises(InputError, match="front matter of the card"):
            ask(tmp_path / "README.md")


# ----------------------------------------------------------------------------------------------------------------------
# Strangers' files.


class Shown(HTMLParser):
    """What a card comes to as HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.links = set(), set()
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links |= {value for name, value in attrs if name in ("href", "src")}


TAGS = {"h1", "h2", "p", "em", "strong", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "img"}


def hostile() -> EmotionVectors:
    vectors = made()
    text = strict_json.canonical(vectors.measured)
    for name in ("ann", "additive", "natural", "random", "joy", "Glasgow", "en"):
        text = text.replace(json.dumps(name), json.dumps(ODD + name))
    return replace(
        vectors,
        base_model=replace(vectors.base_model, repo_id=ODD, weights_variant=ODD, revision=ODD, model_type=ODD),
        info={"joy": EmotionInfo({"en": ODD}, 0.5, 0.5, ODD)},
        extraction={
            **dict.fromkeys(("method", "pooling", "concepts", "concepts_digest"), ODD),
            "templates": {ODD: ODD},
        },
        measured=json.loads(text),
        license=ODD,
    )


def test_nothing_of_a_file_acts_in_the_card():
    text = card.new(hostile().config, PICTURES)
    body = text.split("\n---\n", 1)[1]
    assert text.count("\n---\n") == 1
    assert body.count("<!--") == body.count("-->") == 2
    assert body.count("alert(1)") > 20
    shown = Shown(body)
    assert shown.tags == TAGS
    assert shown.links == set(PICTURES[:4])
    assert not re.search(r"www\.|://|javascript:[^b]|[^`]`x`", body.replace("```", ""))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert ModelCard(text).data.eval_results
    blocks = [block.split("\n") for block in body.split("\n\n") if block[:2] == "| "]
    widths = [[len(re.findall(r"(?<!\\)\|", line)) for line in block] for block in blocks]
    assert len(widths) == 4
    assert all(len(set(block)) == 1 for block in widths)


def test_the_fields_of_a_hostile_file_are_data_in_the_front_matter():
    found = card.metadata(card.new(hostile().config))
    assert set(found) == {"library_name", "tags", "license", "license_name", "model-index"}
    assert found["license"] == "other"
    assert re.fullmatch(r"[a-z0-9.-]+", found["license_name"])


VALUES = (
    None,
    True,
    0,
    -1,
    10**400,
    1e308,
    -0.0,
    "",
    "x\x1b[31m\u202e",
    [],
    {},
    [[]],
    {"value": "1"},
    {"value": 10**400},
    ODD,
)


def mutated(value, draw):
    """JSON with something else somewhere in it."""
    if draw.random() < 0.04:
        return copy.deepcopy(draw.choice(VALUES))
    if isinstance(value, dict):
        kept = {name: mutated(inside, draw) for name, inside in value.items() if draw.random() > 0.02}
        return {**kept, ODD: 1} if draw.random() < 0.05 else kept
    return [mutated(inside, draw) for inside in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seeds", [12, pytest.param(120, marks=pytest.mark.full)])
def test_whatever_stands_in_measured_the_card_is_written(seeds):
    vectors = made()
    whole = 0
    for seed in range(seeds):
        found = mutated(copy.deepcopy(vectors.measured), random.Random(seed))
        if not isinstance(found, dict):
            continue
        text = card.new(replace(vectors, measured=found).config, PICTURES)
        body = text.split("\n---\n", 1)[1]
        assert body.count("<!--") == 2
        assert Shown(body).tags <= TAGS
        ModelCardData(**yaml.safe_load(text.split("---\n")[1]))
        whole += "\n## What strength" in body and "\n## Do the emotions" in body
    assert seeds / 10 < whole < seeds - 3  # some are understood, some are not
    for value in VALUES:
        for measured in ({"steering": value, "alignment": value}, {"other": value}):
            assert "## What strength" not in card.new(replace(vectors, measured=measured).config)


def test_what_is_known_is_read_back_as_it_was_written():
    for kind, name in ((SteeringSummary, "steering"), (AlignmentSummary, "alignment")):
        data = strict_json.loads(strict_json.canonical(made().measured[name]))
        found = known(kind, data)
        assert to_json(known(kind, to_json(found))) == to_json(found)
        assert known(kind, {**data, "seed": "seven"}) is known(kind, {**data, "seed": True}) is None
        assert known(kind, {**data, "of a later emosteer": {}}) == found


def test_where_vectors_were_moved_or_read_from_stands_in_the_card():
    lost = {"halves": {"value": 0.498, "low": 0.457, "high": 0.536}, "ceiling": {"value": 0.624}}
    moved = replace(made(), extraction={"method": "transferred", "source": {"repo_id": "org/first"}, "held_out": lost})
    text = card.new(moved.config)
    assert "Moved from: org/first: emotions that the map had not seen" in text
    assert "0.50 across halves of the texts, its own with each other to 0.62" in text
    assert not invented(text, config_of(moved))
    files = {"joy": {"format": "GGUF", "producer": "re<b>peng", "coefficient": 1.0}, "fear": {"format": "npz"}}
    text = card.new(replace(made(), extraction={"method": "imported", "sources": files}).config)
    assert "Read from: GGUF of re&lt;b&gt;peng, npz; doses are the producer's" in text
    for odd in ({"sources": 5, "held_out": []}, {"sources": {"joy": None}, "held_out": {"halves": 1, "ceiling": None}}):
        assert "Moved from" not in card.new(replace(made(), extraction=odd).config)

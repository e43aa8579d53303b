"""The tone of a request: what is taken, that equal tones are equal bytes, and what is refused."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch

import emosteer
from emosteer import schedules
from emosteer.errors import InputError, ToneError
from emosteer.serving import Rules, ToneRequest, parse, request
from emosteer.serving.request import of_body
from emosteer.steering import Affect

KNOWN = ("calm", "fear", "joy")


@pytest.mark.parametrize(
    ("ways", "canonical"),
    [
        (
            [
                "joy=0.8,calm=-0.2",
                " calm = -2e-1 , joy=+.8",
                '{"emotion": {"calm": -0.2, "joy": 0.8}}',
                '{"emotion": {"joy": 0.4, "calm": -0.1, "fear": 0}, "strength": 2}',
                {"emotion": {"joy": 0.8, "calm": -0.2}, "valence": None, "recipe": "default", "scope": None},
                {"emotion": {"joy": 0.8, "calm": -0.2}, "schedule": {"keyframes": {"0": 1, "9": 1.0}}},
                {"emotion": {"joy": 0.8, "calm": -0.2}, "schedule": {"window": [None, None]}},
            ],
            '{"emotion":{"calm":-0.2,"joy":0.8}}',
        ),
        (["joy", "joy=1", {"emotion": {"joy": 1}}, {"emotion": {"joy": True + 0}}], '{"emotion":{"joy":1.0}}'),
        (["", "{}", {}, "joy=0", "joy=-0.0", {"valence": 0, "arousal": -0.0}, {"recipe": None}], "{}"),
        (
            [{"valence": 0.25, "arousal": -0.5}, {"valence": 0.5, "arousal": -1, "strength": 0.5}],
            '{"arousal":-0.5,"valence":0.25}',
        ),
        (
            [
                {"emotion": {"joy": 1}, "schedule": {"ramp": 40}, "recipe": "none"},
                {"emotion": {"joy": 1}, "schedule": {"keyframes": {"40": 1, "0": 0}}, "recipe": None},
                {"emotion": {"joy": 1}, "schedule": {"keyframes": {"4e1": 1, "0.0": 0}}, "recipe": None},
            ],
            '{"emotion":{"joy":1.0},"recipe":null,"schedule":{"keyframes":{"0.0":0.0,"40.0":1.0}}}',
        ),
        (
            [{"emotion": {"joy": 1}, "schedule": {"window": [3, None]}, "scope": "generated"}],
            '{"emotion":{"joy":1.0},"schedule":{"window":[3.0,null]},"scope":"generated"}',
        ),
    ],
)
def test_equal_tones_are_equal_bytes(ways, canonical):
    assert {parse(way).canonical for way in ways} == {canonical}
    assert parse(canonical).canonical == canonical  # which can be sent as well
    assert len({parse(way).digest("a") for way in ways}) == 1


def test_a_digest_tells_tones_scopes_recipes_and_vectors_apart():
    tones = [
        "joy=1",
        "joy=1.01",
        '{"emotion": {"joy": 1}, "scope": "prompt"}',
        '{"emotion": {"joy": 1}, "recipe": null}',
    ]
    digests = {parse(tone).digest(vectors) for tone in tones for vectors in ("a", "b")}
    assert len(digests) == 8
    assert all(len(digest) <= 128 and digest.isalnum() for digest in digests)


@pytest.mark.parametrize(
    ("written", "twin"),
    [
        ({"ramp": 8}, schedules.ramp(8)),
        ({"keyframes": {"0": 0, "4": 2, "-3": 0.5}}, schedules.keyframes({0: 0, 4: 2, -3: 0.5})),
        ({"decay": 5}, schedules.decay(5)),
        ({"window": [2, 6]}, schedules.window(2, 6)),
        ({"window": [2, None]}, schedules.window(2)),
    ],
)
def test_schedules_are_those_of_steering(written, twin):
    positions = torch.arange(-5, 12, dtype=torch.float32)
    asked = parse({"emotion": {"joy": 1}, "schedule": written})
    assert torch.equal(asked.schedule(positions), twin(positions))
    again = parse(asked.canonical)
    assert torch.equal(again.schedule(positions), twin(positions))


def test_a_client_builds_what_the_server_reads():
    built = request({"joy": 0.8}, schedule={"ramp": 40}, scope="generated")
    assert of_body({"vllm_xargs": built}) == of_body(
        {"emotion": {"joy": 0.8}, "schedule": {"ramp": 40}, "scope": "generated"}
    )
    assert all(isinstance(value, str) for value in built.values())  # vllm_xargs take no objects
    assert parse(request(valence=0.5, arousal=0.1)["emosteer"]).tone == Affect(0.5, 0.1)
    assert emosteer.serving.request is request
    with pytest.raises(ToneError):
        request({"joy": math.nan})


def test_a_body_that_says_nothing_of_a_tone_is_none():
    assert of_body({"messages": [], "vllm_xargs": None, "emotion": None}) is None
    assert of_body({"emotion": {}}) == ToneRequest()
    assert not of_body({"emotion": {}})
    assert of_body({"recipe": None}).recipe is None
    for both in ({"emotion": {"joy": 1}}, {"recipe": None}, {"valence": 0.0}):
        with pytest.raises(ToneError, match="another in vllm_xargs"):
            of_body({**both, "vllm_xargs": {"emosteer": "joy=1"}})


@pytest.mark.parametrize(
    ("rules", "asked", "found"),
    [
        (Rules(), "joy=11", "strength of 'joy' is 11, up to ±10"),
        (Rules(), "jOy=1", "'jOy' is unknown. Choose from: calm, fear, joy"),
        (Rules(), "jOy=0", "unknown"),
        (Rules(strength=2), "joy=-2.5", "up to ±2 is allowed"),
        (Rules(strength=2), {"emotion": {"joy": 1}, "schedule": {"keyframes": {"0": 3}}}, "1 times 3"),
        (Rules(), {"valence": 1, "schedule": {"keyframes": {"0": 3}}}, "mixes all emotions"),
        (Rules(emotions=("joy",)), "fear=1", "'fear' is not allowed here. Choose from: joy."),
        (Rules(emotions=("joy",)), {"valence": 1}, "Name emotions instead"),
    ],
)
def test_the_operators_rules_hold(rules, asked, found):
    with pytest.raises(ToneError, match=found):
        rules.check(parse(asked), KNOWN)
    rules.check(parse("joy=1"), KNOWN)


def test_rules_are_checked():
    for strength in (0, -1, 11, math.nan, "a", True):
        with pytest.raises(InputError, match="largest strength"):
            Rules(strength=strength)


ANYTHING = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    math.nan,
    math.inf,
    "",
    "joy",
    "joy=",
    "=",
    "\x00",
    "😀",
    [],
    [1],
    {},
    {"a": 1},
)
ANYTHING += ([[[]]], {"emotion": {}}, "9" * 50, "all", "natural", {"ramp": 1}, ["joy", 1], {"joy": {"joy": 1}})


def bad(draw: random.Random):
    """Something that is no tone, or a tone by chance: a valid one with something wrong in it."""
    tone = {
        "emotion": {"joy": 0.5},
        "strength": 1.0,
        "scope": "all",
        "schedule": {draw.choice(["ramp", "keyframes", "decay", "window", "other"]): draw.choice(ANYTHING)},
        "recipe": "natural",
    }
    for _ in range(draw.randint(1, 3)):
        match draw.randrange(5):
            case 0:
                tone[draw.choice([*tone, "valence", "arousal", "emotions", "Emotion", ""])] = draw.choice(ANYTHING)
            case 1:
                tone["emotion"] = {draw.choice(["joy", "x" * 9000, "", "calm"]): draw.choice(ANYTHING)}
            case 2:
                tone["schedule"] = {"keyframes": {draw.choice(["0", "a", "nan", "1e9", ""]): draw.choice(ANYTHING)}}
            case 3:
                tone["schedule"] = {"window": [draw.choice(ANYTHING), draw.choice(ANYTHING)]}
            case 4:
                tone.pop(draw.choice(list(tone)))
                tone = tone or {"x": 1}
    match draw.randrange(4):
        case 0:
            return json.dumps(tone)
        case 1:
            text = json.dumps(tone)
            return text[: draw.randrange(len(text))]
        case 2:
            return ",".join(f"{draw.choice(['joy', 'calm', '', '='])}={draw.choice(ANYTHING)}" for _ in range(2))
    return draw.choice([tone, draw.choice(ANYTHING)])


def test_whatever_is_written_is_a_tone_or_one_clean_error():
    """2,000 tones, most of them wrong; what is taken has a canonical form, numbers within reach and known emotions."""
    draw, refusals, rules = random.Random(0), [], Rules()
    for _ in range(2000):
        try:
            asked = parse(bad(draw))
            rules.check(asked, KNOWN)
        except ToneError as error:
            refusals.append(str(error))
        else:
            assert parse(asked.canonical).canonical == asked.canonical
            assert all(abs(strength) <= 10 for _, strength in asked.emotions)
    assert 1200 < len(refusals) < 2000
    assert all(10 < len(said) < 400 and said.endswith((".", "in that text.")) for said in refusals)


@pytest.mark.parametrize("size", [10_000, 10_000_000])
def test_size_is_bounded(size):
    for text in ("j" * size, '{"emotion": {"joy": ' + "1" * size, "joy=1," * (size // 6)):
        with pytest.raises(ToneError, match="up to 8192 are read"):
            parse(text)
    with pytest.raises(ToneError, match="up to 128"):
        parse({"emotion": {str(i): 1 for i in range(200)}})

"""Two voices: that each says what the library says, what ends them, and what a client may send."""

from __future__ import annotations

import asyncio
import html
import inspect
import itertools
import math
import threading
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.helpers import special_args

import emosteer
from emosteer import Affect, Keyframes
from emosteer.demo import controls, talk
from emosteer.demo.controls import CURVE, MIX, POINT, chosen, limited, mix_of, sampling_of, setting_of
from emosteer.demo.events import checked_text, refusal, status_line, with_errors
from emosteer.demo.pairs import Pair
from emosteer.demo.replies import reply, together
from emosteer.demo.state import VOICES, Conversation, Sampling, Scene, Turn, Visit
from emosteer.demo.talk import LONGEST_MESSAGE, Talk, as_html, forgotten, stopped, traced_so_far
from emosteer.demo.tone import MOST, STRONGEST, Curve, Mix, Point, chat_call, steered_where
from emosteer.errors import EmosteerError, HubError, InputError, ToneError
from tests.demo.visitor import EMOTIONS, HOSTILE, Held, laid_out, speaking, voices

ASKED = "How are you?"
SAMPLING = Sampling(seed=3, temperature=0.7, tokens=12)
DRAWN = {"seed": 3, "max_new_tokens": 12, "do_sample": True, "temperature": 0.7}  # the same, as chat takes it
TONES = {
    Point(0.5, -0.5): {"emotion": Affect(0.5, -0.5), "recipe": "asked_and_steered"},
    Point(-0.9, 0.1, natural=False): {"emotion": Affect(-0.9, 0.1), "recipe": None},
    Mix((("joy", 1.5), ("calm", -0.5))): {"emotion": {"joy": 1.5, "calm": -0.5}, "recipe": "asked_and_steered"},
    Mix((("fear", 2.0),), natural=False): {"emotion": {"fear": 2.0}, "recipe": None},
    Curve("calm", "joy", 2.0, 6): {"emotion": Keyframes({0: {"calm": 2.0}, 6: {"joy": 2.0}})},
    Curve(None, "fear", 2.0, 4): {"emotion": Keyframes({0: None, 4: {"fear": 2.0}})},
    Mix(): {},
}
ALL = 10  # seconds that a test waits at most


@pytest.fixture(scope="module")
def steered():
    return speaking()


@pytest.fixture(autouse=True)
def silent():
    """No voice goes on speaking after a test."""
    yield
    assert voices() == []


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def asked_alike() -> dict[str, list[dict[str, str]]]:
    return {voice: [user(ASKED)] for voice in VOICES}


def joined(pieces) -> dict[str, str]:
    said: dict[str, str] = {}
    for voice, piece in pieces:
        said[voice] = said.get(voice, "") + piece
    return said


# What voices say.


@pytest.mark.parametrize("setting", TONES, ids=repr)
def test_a_voice_says_what_the_library_says(steered, setting):
    history = [user("Hello."), {"role": "assistant", "content": "Good day."}, user(ASKED)]
    asked = {"plain": history, "toned": [user("Hello."), {"role": "assistant", "content": "Hi, hi!"}, user(ASKED)]}
    said = joined(reply(steered, asked, setting, SAMPLING))
    oracle = {
        "plain": steered.chat(asked["plain"], **DRAWN),
        "toned": steered.chat(asked["toned"], **TONES[setting], **DRAWN),
    }
    assert said == oracle
    assert (steered.chat(history, **TONES[setting], **DRAWN) == oracle["plain"]) == (not TONES[setting])


def test_the_tone_is_that_of_the_second_voice_alone(steered):
    said = joined(reply(steered, asked_alike(), Mix((("fear", 2.0),)), SAMPLING))
    assert said["plain"] == steered.chat(ASKED, **DRAWN) != said["toned"]
    assert joined(reply(steered, {"toned": [user(ASKED)]}, Mix((("fear", 2.0),)), SAMPLING)) == {"toned": said["toned"]}


def test_the_likeliest_tokens(steered):
    said = joined(reply(steered, {"toned": [user(ASKED)]}, Mix(), Sampling(0, 0.0, 9)))
    assert said == {"toned": steered.chat(ASKED, do_sample=False, max_new_tokens=9)}


@pytest.mark.parametrize("setting", [Mix((("envy", 1.0),)), Curve("envy", "joy")])
def test_a_tone_that_cannot_be_given_is_an_error_before_anybody_speaks(steered, setting):
    with pytest.raises(ToneError, match="no emotion 'envy'"):
        reply(steered, asked_alike(), setting, SAMPLING)


def test_an_answer_that_is_not_heard_out_stops_the_model(steered):
    pieces = reply(steered, asked_alike(), Mix(), Sampling(tokens=200))
    next(pieces)
    assert set(voices()) >= {"voice-plain", "voice-toned"}
    pieces.close()
    assert voices() == []
    assert steered.chat(ASKED, **DRAWN) == joined(reply(steered, {"plain": [user(ASKED)]}, Mix(), SAMPLING))["plain"]


class Stream:
    """Pieces without end, until it is closed."""

    def __init__(self, pieces=itertools.repeat("x")) -> None:  # noqa: B008 - has no state
        self._pieces, self.closed = iter(pieces), False

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._pieces)

    def close(self) -> None:
        self.closed = True


def test_streams_run_at_the_same_time():
    meet = threading.Barrier(2, timeout=ALL)  # broken if one would wait for the other to end

    def speak():
        for i in range(3):
            meet.wait()
            yield str(i)

    found = list(together({"a": speak(), "b": speak()}))
    assert joined(found) == {"a": "012", "b": "012"}
    assert {name for name, _ in found[:2]} == {"a", "b"}
    assert list(together({})) == []


def test_an_error_of_one_ends_all():
    def fail():
        yield "one"
        raise ZeroDivisionError("deep")

    other = Stream()
    with pytest.raises(ZeroDivisionError, match="deep"):
        list(together({"a": other, "b": fail()}))
    assert other.closed
    assert voices() == []


def test_closing_closes_every_stream():
    streams = {"a": Stream(), "b": Stream()}
    pieces = together(streams)
    assert next(pieces)[1] == "x"
    pieces.close()
    assert all(one.closed for one in streams.values())
    assert voices() == []


def test_a_stream_that_has_nothing_to_close_and_one_that_ends_at_once():
    assert list(together({"a": iter(["x"]), "b": iter([])})) == [("a", "x")]


# What a client may send.

VALUES = [POINT, 0.5, -0.25, ["joy", "fear"], 1.0, -1.0, 1.0, 1.0, 1.0, "calm", "joy", 1.0, 60, True]
WRONG = [
    None, "", "joy", HOSTILE, "1", 0, -1, 1e9, -1e9, 1e300, math.nan, math.inf, -math.inf, 10**400, True, [], {},
    ["joy"], [None], [["joy"]], [1.0], {"joy": 1}, list(EMOTIONS) * 3, ["x" * 10**5], b"joy",
]  # fmt: skip


@pytest.mark.parametrize("way", [POINT, MIX, CURVE, "no such way", None, 7, [POINT]])
@pytest.mark.parametrize("place", range(1, len(VALUES)))
def test_whatever_is_sent_is_a_setting_or_one_clear_error(steered, way, place):
    valid, told_of = 0, []
    for wrong in WRONG:
        sent = [way, *VALUES[1:]]
        sent[place] = wrong
        try:
            setting = setting_of(*sent)
            assert setting.words()
            assert setting.code()
            assert steered_where(steered.vectors, setting)
            with steered.steer(setting.emotion):  # the library takes it
                valid += 1
        except EmosteerError as error:
            told_of.append(str(error))
            continue
        for number in numbers(setting):
            assert abs(number) <= (200 if isinstance(setting, Curve) else STRONGEST)
    assert valid
    assert all(len(one) < 400 for one in told_of)


def numbers(setting) -> list[float]:
    if isinstance(setting, Mix):
        assert len(setting.strengths) <= MOST
        return [strength for _, strength in setting.strengths]
    return [setting.valence, setting.arousal] if isinstance(setting, Point) else [setting.strength, setting.tokens]


def sent(**changes):
    names = ["way", "valence", "arousal", "emotions", *"12345", "start", "end", "loudness", "span", "natural"]
    return setting_of(*({**dict(zip(names, VALUES, strict=True)), **changes}[name] for name in names))


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({}, Point(0.5, -0.25)),
        ({"valence": 1e9, "arousal": -math.inf, "natural": None}, Point(1.0, -1.0, natural=False)),
        ({"valence": None, "arousal": 0.123456}, Point(0.0, 0.12)),
        ({"way": MIX}, Mix((("joy", 1.0), ("fear", -1.0)))),
        ({"way": "?", "1": 9, "2": -9, "natural": False}, Mix((("joy", 2.0), ("fear", -2.0)), natural=False)),
        ({"way": MIX, "emotions": None}, Mix()),
        ({"way": MIX, "emotions": list("abcdefg"), "2": 1.0}, Mix(tuple((one, 1.0) for one in "abcde"))),
        ({"way": CURVE}, Curve("calm", "joy", 1.0, 60)),
        ({"way": CURVE, "start": "", "end": None, "loudness": 7, "span": 1e9}, Curve(None, None, 2.0, 200)),
        ({"way": CURVE, "span": -3.7}, Curve("calm", "joy", 1.0, 1)),
        ({"way": CURVE, "span": None, "loudness": None}, Curve("calm", "joy", 0.0, 60)),
    ],
)
def test_numbers_are_held_in_bounds(changes, setting):
    assert sent(**changes) == setting


@pytest.mark.parametrize(
    "changes",
    [
        {"valence": math.nan},
        {"arousal": "0.5"},
        {"way": MIX, "1": math.nan},
        {"way": MIX, "1": [1.0]},
        {"way": MIX, "emotions": "joy"},
        {"way": MIX, "emotions": [["joy"]]},
        {"way": CURVE, "start": ["joy"]},
        {"way": CURVE, "end": 7},
        {"way": CURVE, "span": math.nan},
        {"way": CURVE, "loudness": "loud"},
    ],
)
def test_what_is_none_is_said(changes):
    with pytest.raises(InputError, match=r"is no (number|emotion|list of emotions)\."):
        sent(**changes)


def test_the_same_for_the_named_api():
    assert mix_of({"joy": 9, "fear": None}.items()) == Mix((("joy", 2.0), ("fear", 0.0)))
    assert str(limited(-0.001, 1)) == "0.0"
    with pytest.raises(InputError, match="no emotion"):
        mix_of([(["joy"], 1.0)])


@pytest.mark.parametrize(
    ("given", "sampling"),
    [
        ((7, 0.5, 20), Sampling(7, 0.5, 20)),
        ((None, None, None), Sampling()),
        ((-5, -1, 0), Sampling(0, 0.0, 1)),
        ((math.inf, 1e9, 1e9), Sampling(2**31 - 1, 2.0, 200)),
        ((1e300, 1e-300, 10**400), Sampling(2**31 - 1, 0.0, 200)),
        ((3.9, 0, 12.7), Sampling(3, 0.0, 12)),
    ],
)
def test_sampling_is_held_in_bounds(given, sampling):
    assert sampling_of(*given) == sampling
    assert [type(one) for one in vars(sampling_of(*given)).values()][::2] == [int, int]


@pytest.mark.parametrize("wrong", [math.nan, "7", [1], {}, HOSTILE])
@pytest.mark.parametrize("place", range(3))
def test_sampling_by_what_is_no_number_is_refused(wrong, place):
    given = [0, 0.8, 80]
    given[place] = wrong
    with pytest.raises(InputError, match="is no number"):
        sampling_of(*given)


@pytest.mark.parametrize("text", ["", "  \n", None, 7, ["a"], "x" * 11])
def test_texts_are_bounded(text):
    with pytest.raises(InputError):
        checked_text(text, 10)
    assert checked_text("x" * 10, 10) == "x" * 10


def page_of(places):
    with gr.Blocks():
        return controls.controls(places)


def test_the_widgets_say_what_they_show(steered):
    given = laid_out(lambda: page_of(Held(steered).places()))
    assert setting_of(*(one.value for one in given.tone)) == Point(0.7, 0.4)
    assert sampling_of(*(one.value for one in given.sampling)) == Sampling(seed=controls.SEED)
    values = {one: one.value for one in given.tone}
    assert setting_of(*{**values, given.way: CURVE}.values()) == Curve("calm", "joy")
    changed = dict(zip([given.way, given.emotions, *given.strengths], chosen({"joy": 0.5, "fear": -1.0}), strict=True))
    assert setting_of(*{**values, **changed}.values()) == Mix((("joy", 0.5), ("fear", -1.0)))
    fresh = laid_out(lambda: controls.renamed({"envy": None, "joy": (0.1, 0.2)}))
    by = dict(zip(given.named, fresh, strict=True))
    assert by[given.emotions] == gr.update(choices=["envy", "joy"], value=[])
    assert by[given.start]["value"] == ""
    assert by[given.end]["value"] == "joy"
    assert [by[mood]["visible"] for mood in given.moods] == [mood.value == "joy" for mood in given.moods]
    assert by[given.rise]["visible"] is False
    assert given.way not in by or by[given.way]["value"] == MIX  # a point needs more emotions that are rated


PLACED = {name: (0.1 * i, -0.2) for i, name in enumerate(("joy", "fear", "calm", "awe"))}


@pytest.mark.parametrize("places", [PLACED, {**PLACED, "fear": None}, {**PLACED, "envy": None}], ids=len)
def test_the_widgets_of_other_vectors(steered, places):
    given, fresh = laid_out(lambda: (page_of(Held(steered).places()), controls.renamed(places)))
    by = dict(zip(given.named, fresh, strict=True))
    rated = {name: place for name, place in places.items() if place}
    # Two axes cannot be told apart by three emotions.
    assert by[given.way] == (gr.skip() if len(rated) > 3 else gr.update(value=MIX))
    pad = by[given.pad].emotions
    assert {one["name"]: (one["valence"], one["arousal"]) for one in pad} == rated
    assert by[given.start]["value"] == "calm"
    assert by[given.rise]["visible"] is True
    assert {mood.value for mood in given.moods if by[mood]["visible"]} == {"joy", "fear", "calm", "awe"}


def test_no_mood_is_offered_that_the_vectors_do_not_have():
    given = laid_out(lambda: page_of({"joy": None, "envy": None}))
    assert [mood.value for mood in given.moods if mood.visible] == ["joy"]
    assert not given.rise.visible
    assert (given.start.value, given.end.value) == ("", "joy")


# The tab's events.

MIXED = [MIX, 0, 0, ["joy", "fear"], 1.5, -0.5, 1, 1, 1, "", "", 1, 60, True]
JOY = Mix((("joy", 1.5), ("fear", -0.5)))
TONED = {"emotion": {"joy": 1.5, "fear": -0.5}, "recipe": "asked_and_steered"}
WIDGETS = [*MIXED, 3, 0.7, 12]


@pytest.fixture
def tab(steered):
    return Talk(Held(steered))


def visit_of(*turns: Turn) -> Visit:
    return Visit(Scene(Conversation(turns)))


def answered(tab: Talk, visit: Visit) -> Conversation:
    """What has been said when the model has had its turn; the page shows just that."""
    scene = visit.scene
    *_, (plain, toned, _, _) = tab.answer(Pair(), visit)
    said = visit.scene.conversation
    assert visit.scene is scene
    assert not scene.due
    for voice, window in (("plain", plain), ("toned", toned)):  # the windows get HTML that says the same
        assert [one | {"content": html.unescape(one["content"])} for one in window] == said.messages(voice)
        assert not any("<" in one["content"] for one in window)
    return said


def edit_of(voice: str, index, value) -> SimpleNamespace:
    return SimpleNamespace(target=SimpleNamespace(elem_id=f"voice-{voice}"), index=index, value=value)


def test_a_message_is_answered_in_two_voices(tab, steered):
    visit = visit_of()
    emptied, plain, toned, status, _ = tab.send(ASKED, visit, *WIDGETS)
    assert (emptied, plain, toned) == ("", [user(ASKED)], [user(ASKED)])  # it is there at once
    assert status == status_line("Waiting for the model …")
    said = answered(tab, visit)
    oracle = {"plain": steered.chat(ASKED, **DRAWN), "toned": steered.chat(ASKED, **TONED, **DRAWN)}
    assert said.turns == (Turn(ASKED, JOY, SAMPLING, oracle),)
    tab.send("And now?", visit, *WIDGETS)
    more = answered(tab, visit)
    for voice, tone in (("plain", {}), ("toned", TONED)):
        history = [user(ASKED), {"role": "assistant", "content": oracle[voice]}, user("And now?")]
        assert more.turns[1].answers[voice] == steered.chat(history, **tone, **DRAWN)
    assert more.turns[0] == said.turns[0]


def test_what_is_waited_for_is_told(tab):
    visit = visit_of()
    tab.send(ASKED, visit, *WIDGETS)
    told_of = [one[2] for one in tab.answer(Pair(), visit)]
    assert told_of[0] == status_line("Reading <b> …")
    assert told_of[1] == status_line("Thinking …")
    assert told_of[-1] == status_line(f"In tone: {JOY.words()}. Reading what was said …")


def test_blanks_are_no_message_and_end_nothing(tab):
    visit = visit_of(*TURNS)
    tab.send(ASKED, visit, *WIDGETS)
    scene = visit.scene
    assert tab.send("  \n", visit, *WIDGETS) == ("", *talk.shown(scene))
    assert visit.scene is scene


def test_again_draws_by_the_next_seed(tab, steered):
    visit = visit_of()
    tab.send(ASKED, visit, *WIDGETS)
    first = answered(tab, visit)
    tab.again(visit, *MIXED, 99, 0.7, 12)
    again = answered(tab, visit)
    assert [turn.sampling.seed for turn in again.turns] == [4]
    assert again.turns[0].answers["toned"] == steered.chat(ASKED, **TONED, **{**DRAWN, "seed": 4})
    assert again.turns[0].answers != first.turns[0].answers
    tab.again(visit, *WIDGETS)
    assert answered(tab, visit).last.sampling.seed == 5
    with pytest.raises(InputError, match="nothing to answer again"):
        tab.again(visit_of(), *WIDGETS)


def test_another_tone_keeps_the_plain_answer_and_the_seed(tab, steered):
    before = Turn("Hello.", Mix(), Sampling(), {"plain": "Good day.", "toned": "Hi, hi!"})
    old = Turn(ASKED, Mix(), SAMPLING, {"plain": "kept as it was", "toned": "gone"})
    visit = visit_of(before, old)
    tab.retone(True, visit, *MIXED, 99, 0.1, 50)
    now = answered(tab, visit)
    assert now.turns[0] == before
    assert now.last.setting == JOY
    assert now.last.sampling == SAMPLING
    history = [user("Hello."), {"role": "assistant", "content": "Hi, hi!"}, user(ASKED)]
    assert now.last.answers == {"plain": "kept as it was", "toned": steered.chat(history, **TONED, **DRAWN)}


@pytest.mark.parametrize("half", ["", "the first half of"])
def test_another_tone_before_the_plain_answer_was_whole(tab, steered, half):
    visit = visit_of(Turn(ASKED, Mix(), SAMPLING, {"plain": half, "toned": half}, whole=False))
    tab.retone(True, visit, *WIDGETS)
    assert answered(tab, visit).last.answers["plain"] == steered.chat(ASKED, **DRAWN)


@pytest.mark.parametrize(
    ("wanted", "turns", "widgets"),
    [
        (False, (Turn(ASKED),), WIDGETS),
        (True, (), WIDGETS),
        (True, (Turn(ASKED, JOY),), WIDGETS),
        (True, (Turn(ASKED, JOY),), [MIX, 0, 0, [], *WIDGETS[4:]]),
    ],
    ids=["not wanted", "nothing said", "not moved", "no emotion named yet"],
)
def test_another_tone_where_there_is_nothing_to_do(tab, wanted, turns, widgets):
    visit = visit_of(*turns)
    scene = visit.scene
    assert tab.retone(wanted, visit, *widgets) == talk.shown(scene)
    assert visit.scene is scene
    assert list(tab.answer(Pair(), visit)) == [talk.shown(visit.scene)]


TURNS = (
    Turn("a", answers={"plain": "A", "toned": "α"}),
    Turn("b", answers={"plain": "", "toned": "β"}),
    Turn("c", answers={"plain": "C", "toned": "δ"}),
)


@pytest.mark.parametrize(
    ("voice", "index", "kept"),
    [("plain", 0, 0), ("plain", 2, 1), ("plain", 3, 2), ("toned", 2, 1), ("toned", 4, 2)],
)
def test_a_changed_message_is_answered_and_what_came_after_it_is_gone(tab, steered, voice, index, kept):
    visit = visit_of(*TURNS)
    tab.edited(edit_of(voice, index, "anew"), visit, *WIDGETS)
    now = answered(tab, visit)
    assert now.turns[:-1] == TURNS[:kept]
    assert now.last.message == "anew"
    history = [
        message
        for turn in TURNS[:kept]
        if turn.answers["toned"]
        for message in (user(turn.message), {"role": "assistant", "content": turn.answers["toned"]})
    ]
    assert now.last.answers["toned"] == steered.chat([*history, user("anew")], **TONED, **DRAWN)


def test_a_changed_message_is_what_was_written(tab):
    """The window gives back the HTML that it was handed."""
    visit = visit_of(*TURNS)
    tab.edited(edit_of("plain", 0, "1 &lt; 2 &amp;amp; so"), visit, *WIDGETS)
    assert visit.scene.conversation.last.message == "1 < 2 &amp; so"


@pytest.mark.parametrize(
    ("voice", "index", "value"),
    [("plain", 9, "x"), ("plain", -1, "x"), ("plain", [0, 1], "x"), ("", 0, "x"), ("plain", 0, ""), ("plain", 0, [])],
)
def test_a_change_of_nothing_is_refused(tab, voice, index, value):
    visit = visit_of(*TURNS)
    scene = visit.scene
    with pytest.raises(InputError):
        tab.edited(edit_of(voice, index, value), visit, *WIDGETS)
    assert visit.scene is scene


def test_what_had_been_said_stays_when_an_answer_fails(tab):
    envy = [MIX, 0, 0, ["envy"], *WIDGETS[4:]]
    for ask, message in ((lambda v: tab.send(ASKED, v, *envy), ASKED), (lambda v: tab.again(v, *envy), "c")):
        visit = visit_of(*TURNS)
        ask(visit)
        assert visit.scene.conversation.last.message == message  # it is there while it is waited for
        shown = []
        with pytest.raises(ToneError, match="no emotion 'envy'"):
            shown.extend(tab.answer(Pair(), visit))
        assert visit.scene.conversation == Conversation(TURNS)
        assert shown[-1][0] == Conversation(TURNS).messages("plain")
        assert shown[-1][2] == status_line("That did not work.")
        assert list(tab.answer(Pair(), visit)) == [talk.shown(visit.scene)]


@pytest.mark.parametrize("reads", [True, False])
def test_answers_and_their_trace_are_shown_as_they_grow(steered, monkeypatch, reads):
    held = Held(steered)
    monkeypatch.setattr(held, "reads", lambda _: reads)
    monkeypatch.setattr(talk, "PACE", -1.0)
    monkeypatch.setattr(talk, "TRACE_PACE", -1.0)
    says(monkeypatch, ("plain", "I am "), ("toned", "I am "), ("toned", "so glad."), ("plain", "well."))
    made, visit = Talk(held), visit_of()
    made.send(ASKED, visit, *WIDGETS)
    growing = [one for one in made.answer(Pair(), visit) if one[2] == status_line("Answering …")]
    assert [[window[1]["content"] if window[1:] else "" for window in one[:2]] for one in growing] == [
        *(["I am ", ""], ["I am ", "I am "], ["I am ", "I am so glad."], ["I am well.", "I am so glad."])
    ]
    assert [isinstance(one[3], str) for one in growing] == [reads] * 4
    monkeypatch.setattr(talk, "PACE", 1e9)
    monkeypatch.setattr(talk, "TRACE_PACE", 1e9)
    made.again(visit, *WIDGETS)
    outputs = list(made.answer(Pair(), visit))
    assert "Answering" not in "".join(one[2] for one in outputs)
    assert all(one[3] == gr.skip() for one in outputs)


def says(monkeypatch, *pieces: tuple[str, str]) -> list[bool]:
    """Has both voices say this; tells whether they were left to finish."""
    ended = []

    def speak(*_):
        try:
            yield from pieces
        except GeneratorExit:
            ended.append(False)
            raise
        ended.append(True)

    monkeypatch.setattr(talk, "reply", speak)
    monkeypatch.setattr(talk, "PACE", -1.0)
    return ended


def test_an_answer_that_ends_inside_a_character(tab, monkeypatch):
    says(monkeypatch, ("plain", "a\ufffd"), ("toned", "b\"'\ufffd\ufffd"))
    visit = visit_of()
    tab.send(ASKED, visit, *WIDGETS)
    *_, (plain, toned, *_) = tab.answer(Pair(), visit)
    assert visit.scene.conversation.last.answers == {"plain": "a", "toned": "b\"'"}
    assert (plain[1]["content"], toned[1]["content"]) == ("a", "b\"'")  # quotes are text where there is no attribute


def test_a_message_may_be_so_long(tab):
    with pytest.raises(InputError, match=str(LONGEST_MESSAGE)):
        tab.send("x" * (LONGEST_MESSAGE + 1), visit_of(), *WIDGETS)


SAYING = (("plain", "I am "), ("toned", "I am "), ("toned", "so glad."), ("plain", "well."))
MEANWHILE = {
    "stop": lambda tab, visit: stopped(visit),
    "new": lambda tab, visit: forgotten(visit),
    "send": lambda tab, visit: tab.send("And now?", visit, *WIDGETS),
    "again": lambda tab, visit: tab.again(visit, *WIDGETS),
    "edit": lambda tab, visit: tab.edited(edit_of("toned", 0, "anew"), visit, *WIDGETS),
    "tone": lambda tab, visit: tab.retone(True, visit, *MIXED[:4], 0.1, *WIDGETS[5:]),
}


@pytest.mark.parametrize("what", MEANWHILE)
@pytest.mark.parametrize("pictures", [0, 1, 3, 4])
def test_what_a_visitor_does_meanwhile_ends_the_answer_and_is_what_the_page_shows(tab, monkeypatch, what, pictures):
    """At any moment; and the last picture, which gradio shows once more, is no longer of the answer that was ended."""
    ended, visit = says(monkeypatch, *SAYING), visit_of(*TURNS)
    tab.send(ASKED, visit, *WIDGETS)
    answer = tab.answer(Pair(), visit)
    for _ in range(pictures):
        next(answer)
    MEANWHILE[what](tab, visit)
    scene = visit.scene
    said = scene.conversation
    rest = list(answer)
    assert visit.scene is scene
    if what in {"stop", "new"}:
        assert not scene.due
        assert (said == Conversation()) == (what == "new")
        assert list(tab.answer(Pair(), visit)) == [talk.shown(visit.scene)]
    if pictures:
        assert scene.conversation == said
        assert rest == [talk.shown(scene)]
        assert ended == ([False] if pictures > 2 else [])
    if pictures and scene.due:
        answered(tab, visit)
    assert not scene.due  # if it was still in line, it answered what had been asked by then


def test_stopping_keeps_what_has_been_said(tab, monkeypatch):
    says(monkeypatch, *SAYING)
    visit = visit_of()
    tab.send(ASKED, visit, *WIDGETS)
    answer = tab.answer(Pair(), visit)
    for _ in range(5):
        next(answer)
    plain, toned, status, drawn = stopped(visit)
    assert [plain[1]["content"], toned[1]["content"]] == ["I am ", "I am so glad."]
    assert status == status_line("Stopped.")
    assert drawn == gr.skip()  # the trace stays
    assert visit.scene.conversation.last.whole is False


def test_stopping_nothing_changes_nothing():
    visit = visit_of(*TURNS)
    scene = visit.scene
    assert stopped(visit) == talk.shown(scene)
    assert visit.scene is scene


def test_a_trace_while_they_speak(steered):
    both = traced_so_far(steered, Turn("?", answers={"plain": "I am well.", "toned": "I am glad."}))
    one = traced_so_far(steered, Turn("?", answers={"plain": "I am well.", "toned": ""}))
    none = traced_so_far(steered, Turn("?"))
    assert len({both, one, none}) == 3


# What is told.


@pytest.mark.parametrize("kind", [InputError, HubError, ToneError])
def test_errors_are_told_as_text(kind):
    def fail(_):
        raise kind("<b>bad</b> & isn't right.", "Do <i>this</i>.")

    def fail_late(_):
        yield 1
        raise kind("<b>bad</b> & isn't right.", "Do <i>this</i>.")

    with pytest.raises(gr.Error) as error:
        with_errors(fail)(0)
    late = with_errors(fail_late)(0)
    assert next(late) == 1
    with pytest.raises(gr.Error) as later:
        next(late)
    for one in (error.value, later.value, refusal(kind("<b>bad</b> & isn't right.", "Do <i>this</i>."))):
        assert one.message == "&lt;b&gt;bad&lt;/b&gt; &amp; isn't right. Do &lt;i&gt;this&lt;/i&gt;."
        assert one.print_exception is False


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('R&D, you & me; "it\'s"', 'R&D, you & me; "it\'s"'),
        ("5 < 6", "5 &lt; 6"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("&lt;", "&amp;lt;"),
        ("&copy 2", "&amp;copy 2"),
        ("a\n&#60;b>", "a\n&amp;#60;b&gt;"),
    ],
)
def test_a_chat_window_gets_html_that_shows_the_text_and_plain_texts_as_they_are(text, shown):
    assert as_html(text) == shown
    assert html.unescape(shown) == text


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        with_errors(lambda: 1 / 0)()


def test_what_gradio_looks_at_stays(tab):
    assert inspect.isgeneratorfunction(with_errors(tab.answer))
    assert not inspect.isgeneratorfunction(with_errors(checked_text))
    assert inspect.signature(with_errors(tab.edited)) == inspect.signature(tab.edited)
    assert with_errors(checked_text).__doc__ == checked_text.__doc__
    edit = gr.EditData(None, {"index": 0, "previous_value": "a", "value": "b"})
    inputs, _, event, _ = special_args(with_errors(tab.edited), inputs=["visit", "widget"], event_data=edit)
    assert (type(inputs[0]), inputs[0].value, event) == (gr.EditData, "b", 0)
    _, progress, _, _ = special_args(with_errors(with_progress), inputs=["pair"])
    assert progress == 1


def with_progress(pair, progress=gr.Progress()):  # noqa: B008 - gradio's way
    return pair, progress


def test_a_line_is_text():
    assert status_line(HOSTILE).count("<") == 2
    assert "role='status'" in status_line("")
    assert "aria-live='polite'" in status_line("")


# The same in Python.

HISTORIES = {"first": Conversation((TURNS[0],)), "third": Conversation(TURNS)}


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("setting", TONES, ids=repr)
def test_the_python_that_is_shown_gives_the_answer(steered, monkeypatch, capsys, setting, history):
    monkeypatch.setattr(emosteer.SteeredModel, "from_pretrained", lambda *_, **__: steered)
    asked = HISTORIES[history].asking("toned")
    answer = joined(reply(steered, {"toned": asked}, setting, SAMPLING))["toned"]
    code = Pair("m", "v").code() + chat_call(asked, setting, SAMPLING.options())
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["answer"] == answer
    assert capsys.readouterr().out == answer + "\n"


def test_the_python_of_any_message_is_python(steered, monkeypatch):
    asked = []
    monkeypatch.setattr(steered, "chat", lambda *args, **options: asked.append((args, options)))
    for text in ('"""', "'\\", "a\nb\r\u2028\x00", HOSTILE, "\ud800"):
        exec(chat_call([user(text)], Mix(), {"seed": 1}), {"steered": steered})
        assert asked.pop() == ((text,), {"emotion": None, "seed": 1})


@pytest.mark.embedded
def test_the_python_of_the_embedded_model_gives_the_answer(real, monkeypatch, capsys):
    monkeypatch.setattr(emosteer.embedded, "load", lambda dtype=None: (real.model, real.tokenizer))
    sampling, setting, asked = Sampling(1, 0.8, 10), Mix((("joy", 1.0),)), [user("How was your morning?")]
    said = joined(reply(real, dict.fromkeys(VOICES, asked), setting, sampling))
    exec(Pair().code() + chat_call(asked, setting, sampling.options()), {})
    assert capsys.readouterr().out == said["toned"] + "\n"
    assert said["plain"] != said["toned"]


def test_events_work_inside_a_loop_too(steered):
    """As gradio calls them: from a thread of a program that runs an event loop."""
    tab, visit = Talk(Held(steered)), visit_of()

    async def page():
        tab.send(ASKED, visit, *WIDGETS)
        return await asyncio.to_thread(lambda: answered(tab, visit))

    assert asyncio.run(page()).last.answers["plain"] == steered.chat(ASKED, **DRAWN)

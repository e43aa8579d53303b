"""The page as it is put together: who may call what, what waits for the model, what is shown as text."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import gradio as gr
import pytest

from emosteer.demo import build, page
from emosteer.demo.controls import CURVE, MIX, POINT
from emosteer.demo.explore import explore
from emosteer.demo.figures.pad import Pad
from emosteer.demo.readings import Seen
from emosteer.demo.state import Conversation, Scene, Turn, Visit
from emosteer.demo.studio import Pair, Studio
from emosteer.demo.talk import talk
from emosteer.errors import EmosteerError
from tests.demo.visitor import EMOTIONS, Held, laid_out, speaking

PUBLIC = {"make_reply", "two_voices", "read_emotion", "list_emotions"}
RUN = {  # the model
    *("make_reply", "two_voices", "read_emotion"),
    *("answer", "fill"),
    *("read_map", "strengths", "tones", "read"),
}


@pytest.fixture(scope="module")
def built():
    """With the embedded pair, which is not loaded."""
    return laid_out(build)


def name_of(event) -> str | None:
    return getattr(event.fn, "__name__", None)


def test_four_endpoints_are_public_and_nothing_else(built):
    public = [event.api_name for event in built.page.fns.values() if event.api_visibility == "public"]
    assert sorted(public) == sorted(PUBLIC)
    assert {event.api_visibility for event in built.page.fns.values()} == {"public", "private"}
    api = laid_out(built.page.get_api_info)
    assert set(api["named_endpoints"]) == {f"/{name}" for name in PUBLIC}
    assert api["unnamed_endpoints"] == {}


def test_what_runs_the_model_waits_in_one_line(built):
    queued = {name_of(event) for event in built.page.fns.values() if event.concurrency_id == "model"}
    assert queued == RUN
    for event in built.page.fns.values():
        if name_of(event) in RUN:
            assert (event.concurrency_id, event.concurrency_limit, event.queue) == ("model", 1, True), name_of(event)


def test_who_comes_when_the_line_is_full_is_not_taken(built):
    assert built.page._queue.max_size == page.WAITING == 24


def test_the_page_begins_with_the_vectors_that_were_asked_for(tmp_path):
    speaking().vectors.save_pretrained(tmp_path / "mine")
    pair = Pair("nobody/model", str(tmp_path / "mine"))
    assert laid_out(lambda: build(pair)).studio.first == pair
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(EmosteerError):
            laid_out(lambda missing=missing: build(Pair("nobody/model", str(missing))))


def test_talk_says_what_it_speaks_with_also_when_that_changes(built):
    (line,) = (block for block in built.page.blocks.values() if block.elem_id == "speaking")
    assert "comes with emosteer" in line.value
    assert [name_of(event) for event in built.page.fns.values() if line in event.outputs] == ["in_use"]


def test_nothing_that_changes_is_markdown(built):
    changing = {id(block) for event in built.page.fns.values() for block in event.outputs}
    blocks = list(built.page.blocks.values())
    assert not [block for block in blocks if isinstance(block, gr.Markdown) and id(block) in changing]
    windows = [block for block in blocks if isinstance(block, gr.Chatbot)]
    assert [window.elem_id for window in windows] == ["voice-plain", "voice-toned"]
    for window in windows:
        assert (window.render_markdown, window.sanitize_html, window.latex_delimiters) == (False, True, [])


def test_html_is_never_filled_into_a_template(built):
    """But for the pad's own, which has nothing to fill in."""
    for block in built.page.blocks.values():
        if isinstance(block, gr.HTML) and not isinstance(block, Pad):
            assert block.html_template == "${value}"


def test_nothing_is_fetched_from_outside(built, monkeypatch):
    given = {}
    opened = []

    def launched(**options):
        given.update(options)
        assert not opened  # the page comes before the model
        return None, "http://here/", None

    monkeypatch.setattr(built.page, "launch", launched)
    monkeypatch.setattr(Studio, "open", lambda self: opened.append(self))  # noqa: PLW0108  # a method, not a built-in
    monkeypatch.setattr(page, "PATIENCE", 0.0)
    start, timers = threading.Timer.start, []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: timers.append(timer.daemon) or start(timer))
    assert built.launch(server_port=7) == "http://here/"
    for _ in range(500):
        if not opened:
            time.sleep(0.01)
    assert opened == [built.studio]  # without a visitor too
    assert given.pop("server_port") == 7
    theme = given["theme"]
    assert theme._stylesheets == []
    assert not re.search(r"@import|url\(.?http", theme._get_theme_css())
    for path in given["css_paths"]:
        assert not re.search(r"url\(|@import|https?:", Path(path).read_text(encoding="utf-8"))
    assert given.keys() == {"theme", "css_paths", "max_file_size", "ssr_mode", "footer_links", "prevent_thread_lock"}
    assert given["ssr_mode"] is False
    assert given["max_file_size"] == 128 * 2**20
    assert given["css_paths"]
    assert timers == [True]  # which the program does not wait for when it ends
    assert built.page.analytics_enabled is False
    shown = [str(block.get_config()) for block in built.page.blocks.values()]
    assert not [one for one in shown if re.search(r"(src|href)=.?https?:|url\(.?https?:", one)]


# What a visitor does, and what answers it. Components are told apart by their id, label or text, states by what they
# hold.


def called(block) -> str:
    if isinstance(block, gr.State):
        return type(block.value).__name__
    return block.elem_id or getattr(block, "label", None) or str(getattr(block, "value", ""))


def begun_by(blocks, who: str, what: str) -> list:
    """The events that something begins."""
    return [
        event
        for event in blocks.fns.values()
        if any(
            name == what and target in blocks.blocks and called(blocks.blocks[target]) == who
            for target, name in event.targets
        )
    ]


def chain(blocks, event) -> list[str | None]:
    """The functions that run one after the other, the later ones if those before did not fail."""
    following = [one for one in blocks.fns.values() if one.trigger_after == event._id]
    assert len(following) < 2
    return [name_of(event), *(name for one in following for name in chain(blocks, one))]


READ = ["learn_to_read", "fill"]
ANSWER = ["answer", *READ]
VOICES = ("voice-plain", "voice-toned")
MOODS = ("joy", "sadness", "anger", "fear", "calm", "awe")
SLIDERS = ("Valence", "Arousal", "Strength", "Over")
WAY = "Set the tone by"
CHOICES = (WAY, "emotions-of-tone", "From", "To", "Natural wording")
BEGINS = {
    ("message", "submit"): ["send", *ANSWER],
    ("again", "click"): ["again", *ANSWER],
    **{(voice, "retry"): ["again", *ANSWER] for voice in VOICES},
    **{(voice, "edit"): ["edited", *ANSWER] for voice in VOICES},
    **{(mood, "click"): ["<lambda>", "retone", *ANSWER] for mood in (*MOODS, "calm → joy")},
    **{(one, "release"): ["retone", *ANSWER] for one in ("pad", *SLIDERS)},
    **{(one, "input"): ["retone", *ANSWER] for one in CHOICES},
    ("stop", "click"): ["stopped", *READ],
    ("new", "click"): ["forgotten", "fill"],
    **{(voice, "clear"): ["forgotten", "fill"] for voice in VOICES},
    ("emotions-of-tone", "change"): ["_shown"],
    ("Set the tone by", "change"): ["_used"],
    ("tint", "input"): ["strips"],
    ("Map", "select"): ["measured"],
    ("read-map", "click"): ["read_map"],
    ("five", "click"): ["strengths"],
    ("every", "click"): ["tones"],
    ("read", "click"): ["read"],
    ("text", "submit"): ["read"],
    ("read-tint", "input"): ["<lambda>"],
}


@pytest.mark.parametrize(("who", "what"), BEGINS)
def test_what_a_visitor_does_is_answered(built, who, what):
    chains = [chain(built.page, event) for event in begun_by(built.page, who, what) if event.fn is not None]
    assert chains == [BEGINS[who, what]]


def test_what_is_read_is_of_an_answer_that_came(built):
    for event in built.page.fns.values():
        if name_of(event) in READ and name_of(built.page.fns[event.trigger_after]) in {"answer", "learn_to_read"}:
            assert event.trigger_only_on_success
        if name_of(event) == "learn_to_read":  # whoever waits here keeps nobody else waiting
            assert (event.concurrency_limit, event.concurrency_id == "model") == (None, False)


TONE = [
    *("Set the tone by", "Valence", "Arousal", "emotions-of-tone", *["Strength"] * 5, "From", "To", "Strength", "Over"),
    *("Natural wording", "Seed", "Temperature", "Longest answer"),
]
SHOWN = [*VOICES, "status", "trace"]
WIRED = {  # what functions take, and what they fill
    "send": (["message", "Visit", *TONE], ["message", *SHOWN]),
    "again": (["Visit", *TONE], SHOWN),
    "edited": (["Visit", *TONE], SHOWN),
    "retone": (["Answer again when the tone moves", "Visit", *TONE], SHOWN),
    "answer": (["Pair", "Visit"], SHOWN),
    "stopped": (["Visit"], SHOWN),
    "forgotten": (["Visit"], SHOWN),
    "learn_to_read": (["Pair"], []),
    "fill": (
        ["Pair", "Visit", "Seen", "tint"],
        ["Seen", "summary", "trace", "strip-plain", "strip-toned", "why", "code", "status"],
    ),
    "strips": (["Seen", "tint"], ["strip-plain", "strip-toned"]),
    "_shown": (["emotions-of-tone"], ["Strength"] * 5),
    "status": (["Pair"], ["waiting"]),
    "measured": (["Pair"], ["map"]),
    "read_map": (["Pair", "Right", "Left"], ["map-read"]),
    "strengths": (["Pair", "Question", "Emotion", "Seed"], ["strengths"]),
    "tones": (["Pair", "Question", "Seed"], ["tones"]),
    "read": (["Pair", "text", "read-tint"], ["NoneType", "read-whole", "read-words", "read-way"]),
}


@pytest.mark.parametrize("name", WIRED)
def test_functions_take_and_fill_what_they_are_made_for(built, name):
    events = [event for event in built.page.fns.values() if name_of(event) == name]
    assert events
    for event in events:
        assert ([*map(called, event.inputs)], [*map(called, event.outputs)]) == WIRED[name]


@pytest.mark.parametrize(
    ("who", "what"),
    [
        *(("stop", "click"), ("new", "click"), ("message", "submit"), ("again", "click")),
        *((one, "clear") for one in VOICES),
        *((one, "edit") for one in VOICES),
    ],
)
def test_what_ends_an_answer_waits_for_nobody(built, who, what):
    """It does so by itself: gradio's cancelling comes late, and shows an error where there is none."""
    events = [event for event in begun_by(built.page, who, what) if event.fn is not None]
    assert events
    assert all(not event.queue or event.concurrency_limit is None for event in events)
    assert not any(event.cancels for event in built.page.fns.values())


def test_who_asks_while_an_answer_ends_gets_his_own(built):
    events = [event for event in built.page.fns.values() if name_of(event) == "answer"]
    assert {event.trigger_mode for event in events} == {"always_last"}
    assert all(event.trigger_only_on_success for event in events)


def test_the_page_says_at_once_what_it_waits_for(built):
    (event,) = (event for event in built.page.fns.values() if name_of(event) == "status")
    assert [what for _, what in event.targets] == ["load"]
    assert (event.queue, event.concurrency_limit) == (True, None)  # for any number of visitors


def test_while_the_tone_moves_the_last_place_counts(built):
    assert [event.trigger_mode for event in begun_by(built.page, "pad", "release") if event.fn] == ["always_last"]


def test_the_point_and_its_numbers_move_together(built):
    ways = [(["pad"], ["Valence", "Arousal", WAY], "valence"), (["Valence", "Arousal"], ["pad", WAY], "v, a")]
    for who, way in (("pad", ways[0]), ("Valence", ways[1]), ("Arousal", ways[1])):
        for what in ("input", "release") if who == "pad" else ("input",):
            (event,) = (one for one in begun_by(built.page, who, what) if one.fn is None)
            assert ([*map(called, event.inputs)], [*map(called, event.outputs)]) == way[:2]
            assert way[2] in event.js
            assert repr(POINT) in event.js  # whatever was chosen before
            assert not event.queue


def filled(event, *given) -> list:
    """What a function gives, each with the component that it is for."""
    values = event.fn(*given)
    return list(zip(event.outputs, values if len(event.outputs) > 1 else [values], strict=True))


def pressed(blocks, who: str, what: str, *given) -> dict:
    (event,) = (one for one in begun_by(blocks, who, what) if one.fn is not None)
    return {f"{i} {called(block)}": value for i, (block, value) in enumerate(filled(event, *given))}


@pytest.mark.parametrize("mood", MOODS)
def test_a_mood_is_one_emotion_at_a_full_dose(built, mood):
    strengths = {f"{i} Strength": 1.0 for i in range(2, 7)}
    assert pressed(built.page, mood, "click") == {"0 Set the tone by": MIX, "1 emotions-of-tone": [mood], **strengths}


def test_other_buttons_of_the_tone(built):
    curve = {"0 Set the tone by": CURVE, "1 From": "calm", "2 To": "joy"}
    assert pressed(built.page, "calm → joy", "click") == curve
    shown = pressed(built.page, "emotions-of-tone", "change", ["joy", "fear"]).values()
    assert [one["visible"] for one in shown] == [True, True, False, False, False]
    assert [one["label"] for one in shown][:2] == ["Strength of joy", "Strength of fear"]


@pytest.mark.parametrize(("way", "widget"), [(POINT, None), (MIX, "emotions-of-tone"), (CURVE, "From")])
def test_only_the_widgets_of_the_way_are_shown_and_the_point_that_is_not_used_says_so(built, way, widget):
    (event,) = begun_by(built.page, WAY, "change")
    (point, update), *others = filled(event, way)
    assert "pad" in map(called, below(point))
    assert update["elem_classes"] == ([] if way == POINT else ["em-idle"])
    shown = [group for group, update in others if update["visible"]]
    assert [[widget in map(called, below(group))] for group in shown] == ([[True]] if widget else [])


def below(block):
    for child in getattr(block, "children", ()):
        yield child
        yield from below(child)


def test_another_model_renews_all_that_is_of_the_vectors():
    held, visit = Held(speaking()), Visit(Scene(Conversation((Turn("Hello."),))))

    def other():
        with gr.Blocks() as blocks:
            pair = gr.State(Pair())
            talk(held, pair)
            explore(held, pair)
            return blocks, {
                called(block): value
                for event in begun_by(blocks, "Pair", "change")
                if event.fn is not None
                for block, value in filled(event, *[Pair(), visit][: len(event.inputs)])
            }

    blocks, fresh = laid_out(other)
    names = list(EMOTIONS)
    for menu, choices in {
        **dict.fromkeys(("emotions-of-tone", "Emotion"), names),
        **{menu: ["", *names] for menu in ("From", "To")},
        **{menu: ["valence", "arousal", *names] for menu in ("tint", "read-tint")},
        "Left": ["People", "en"],
        "Right": ["en"],
    }.items():
        assert fresh[menu]["choices"] == choices, menu
        assert fresh[menu]["value"] in ([], *choices), menu
    assert fresh["Seen"] == Seen({}, {}, None)
    assert visit.scene == Scene()
    assert fresh["NoneType"] is None
    assert [fresh[voice] for voice in VOICES] == [[], []]
    assert "Ask something." in fresh["status"]
    empty = {one for one in fresh if fresh[one] == ""}
    assert empty >= {"summary", "strip-plain", "strip-toned", "why", "code", "strengths", "tones", "map-read"}
    assert empty >= {"read-whole", "read-words", "read-way"}
    (tint,) = begun_by(blocks, "read-tint", "input")
    assert tint.fn(None, "joy") is None  # nothing has been read yet

"""The widgets that set the tone, and the `Setting` that their values make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from emosteer.demo.events import SWIFT
from emosteer.demo.figures.pad import Pad
from emosteer.demo.state import Sampling
from emosteer.demo.studio import Places
from emosteer.demo.tone import MOST, STRONGEST, Curve, Mix, Point, Setting
from emosteer.errors import InputError
from emosteer.steering.affect import FEWEST

POINT, MIX, CURVE = "Point", "Emotions", "Curve"
PRESETS = ("joy", "sadness", "anger", "fear", "calm", "awe")
SEED = 4  # chosen by hand, for a first answer of the small model that makes sense
DOSES = "0: off · marked: calibrated · beyond: loud"
LONGEST = 200

__all__ = ["Controls", "chosen", "controls", "limited", "mix_of", "on_pad", "renamed", "sampling_of", "setting_of"]


@dataclass(frozen=True)
class Controls:
    """The widgets of the left column."""

    way: gr.Radio
    pad: Pad
    valence: gr.Slider
    arousal: gr.Slider
    emotions: gr.Dropdown
    strengths: tuple[gr.Slider, ...]
    start: gr.Dropdown
    end: gr.Dropdown
    loudness: gr.Slider
    span: gr.Slider
    natural: gr.Checkbox
    again: gr.Checkbox
    seed: gr.Number
    temperature: gr.Slider
    length: gr.Slider
    presets: list[Any]
    moods: tuple[gr.Button, ...]
    rise: gr.Button

    @property
    def tone(self) -> list[Any]:
        """The arguments of `setting_of`."""
        curve = [self.start, self.end, self.loudness, self.span]
        return [self.way, self.valence, self.arousal, self.emotions, *self.strengths, *curve, self.natural]

    @property
    def sampling(self) -> list[Any]:
        """The arguments of `sampling_of`."""
        return [self.seed, self.temperature, self.length]

    @property
    def named(self) -> list[Any]:
        """The widgets that depend on the emotions, in the order of `renamed`."""
        return [self.way, self.pad, self.emotions, self.start, self.end, *self.moods, self.rise]

    @property
    def moved(self) -> list[Any]:
        """The events that change the tone."""
        sliders = (self.valence, self.arousal, *self.strengths, self.loudness, self.span)
        chosen = (self.way, self.emotions, self.start, self.end, self.natural)
        return [self.pad.release, *(slider.release for slider in sliders), *(widget.input for widget in chosen)]


def setting_of(
    way: str,
    valence: float,
    arousal: float,
    emotions: Sequence[str] | None,
    *rest: Any,
) -> Setting:
    """Make a setting from the values of the widgets. Numbers are limited to their bounds, since clients may send any.

    Args:
        way: Which of the three sets the tone.
        valence: Valence of the point.
        arousal: Arousal of the point.
        emotions: Emotions of the mix.
        *rest: The strengths of the mix, then start, end, strength and tokens of the curve, then whether the tone
            is asked for in words too.

    Raises:
        InputError: A value has the wrong type.
    """
    strengths, (start, end, loudness, span, natural) = rest[:MOST], rest[MOST:]
    if way == POINT:
        return Point(limited(valence, 1), limited(arousal, 1), bool(natural))
    if way == CURVE:
        begin, finish = (_named(name) if name else None for name in (start, end))
        return Curve(begin, finish, limited(loudness, STRONGEST), int(_within(span, 1, LONGEST, Curve.tokens)))
    if not isinstance(emotions or [], list | tuple):
        raise InputError(f"{str(emotions)[:80]} is no list of emotions.")
    return mix_of(zip((emotions or [])[:MOST], strengths, strict=False), bool(natural))


def mix_of(pairs: Iterable[tuple[Any, Any]], natural: bool = True) -> Mix:
    """Make a mix from emotions and strengths, which are limited to their bounds.

    Raises:
        InputError: A name is not a string, or a strength not a number.
    """
    return Mix(tuple((_named(name), limited(strength, STRONGEST)) for name, strength in pairs), natural)


def sampling_of(seed: float | None, temperature: float | None, length: float | None) -> Sampling:
    """Make the sampling options from values that are limited to their bounds. None is the default.

    Raises:
        InputError: A value is not a number.
    """
    usual = Sampling()
    return Sampling(
        int(_within(seed, 0, 2**31 - 1, usual.seed)),
        round(_within(temperature, 0, 2, usual.temperature), 2),  # logits divided by a tiny temperature overflow
        int(_within(length, 1, LONGEST, usual.tokens)),
    )


def limited(number: float | None, limit: float) -> float:
    """Return a number limited to ±limit and rounded to two places; 0 for None.

    Raises:
        InputError: The value is not a number.
    """
    return round(_within(number, -limit, limit, 0.0), 2) + 0.0  # + 0.0: never minus zero


def _within(number: Any, low: float, high: float, usual: float) -> float:
    if number is None:
        return usual
    if not isinstance(number, int) and not (isinstance(number, float) and not math.isnan(number)):
        raise InputError(f"{str(number)[:80]} is no number.")
    return min(max(number, low), high)


def _named(emotion: Any) -> str:
    if not isinstance(emotion, str):
        raise InputError(f"{str(emotion)[:80]} is no emotion.")
    return emotion


def controls(places: Places) -> Controls:
    """Lay out the widgets in the current block.

    Args:
        places: The emotions of the vectors.
    """
    names = list(places)
    way = gr.Radio(
        [POINT, MIX, CURVE], value=POINT, label="Set the tone by", info="A point, named emotions, or a change."
    )
    with gr.Row(elem_classes="em-presets"):
        moods = tuple(gr.Button(name, size="sm", min_width=60, visible=name in places) for name in PRESETS)
        rise = gr.Button("calm → joy", size="sm", min_width=60, visible={"calm", "joy"} <= set(names))
    with gr.Group() as by_point:  # always visible, so that one can return to the point
        pad = Pad(emotions=on_pad(places), value={"valence": 0.7, "arousal": 0.4}, elem_id="pad")
        valence = gr.Slider(-1, 1, 0.7, step=0.05, label="Valence", info="−1 unpleasant · 1 pleasant")
        arousal = gr.Slider(-1, 1, 0.4, step=0.05, label="Arousal", info="−1 still · 1 stirred up")
    with gr.Group(visible=False) as by_name:
        emotions = gr.Dropdown(
            names,
            value=[],
            multiselect=True,
            max_choices=MOST,
            label="Emotions",
            info=f"Up to {MOST}.",
            elem_id="emotions-of-tone",
        )
        strengths = tuple(
            gr.Slider(
                -STRONGEST,
                STRONGEST,
                1.0,
                step=0.05,
                label="Strength",
                info=f"{DOSES} · below 0: away",
                visible=False,
                elem_classes="em-dose",
            )
            for _ in range(MOST)
        )
    with gr.Group(visible=False) as by_curve:
        start = gr.Dropdown(["", *names], value="calm" if "calm" in names else "", label="From")
        end = gr.Dropdown(["", *names], value="joy" if "joy" in names else "", label="To")
        loudness = gr.Slider(
            0, STRONGEST, 1.0, step=0.05, label="Strength", info=DOSES, elem_classes=["em-dose", "em-dose-up"]
        )
        span = gr.Slider(10, LONGEST, 60, step=10, label="Over", info="Tokens of the answer (a word is one or two).")
    natural = gr.Checkbox(
        True,
        label="Natural wording",
        info="Also asks for the tone in words, and favours the emotion's words where they fit. Not for a curve.",
    )
    again = gr.Checkbox(True, label="Answer again when the tone moves", info="Same question, same seed, another tone.")
    with gr.Accordion("Seed, temperature, length", open=False):
        seed = gr.Number(SEED, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        temperature = gr.Slider(0, 1.5, 0.8, step=0.05, label="Temperature", info="0: always the likeliest token")
        length = gr.Slider(10, LONGEST, 80, step=10, label="Longest answer", info="In tokens.")
    way.change(_used, way, [by_point, by_name, by_curve], **SWIFT)
    for event in (pad.input, pad.release):
        event(None, pad, [valence, arousal, way], js=f"p => [p.valence, p.arousal, {POINT!r}]", **SWIFT)
    for slider in (valence, arousal):
        slider.input(
            None, [valence, arousal], [pad, way], js=f"(v, a) => [{{valence: v, arousal: a}}, {POINT!r}]", **SWIFT
        )
    emotions.change(_shown, emotions, list(strengths), **SWIFT)
    mix = [way, emotions, *strengths]
    pressed = [
        *(mood.click(lambda name=mood.value: chosen({name: 1.0}), None, mix, **SWIFT) for mood in moods),
        rise.click(lambda: (CURVE, "calm", "joy"), None, [way, start, end], **SWIFT),
    ]
    return Controls(
        way, pad, valence, arousal, emotions, strengths, start, end, loudness, span, natural, again,
        seed, temperature, length, pressed, moods, rise,
    )  # fmt: skip


def _used(way: str) -> list[Any]:
    """Return updates that show which group of widgets sets the tone."""
    idle = [] if way == POINT else ["em-idle"]
    return [gr.update(elem_classes=idle), *(gr.update(visible=way == group) for group in (MIX, CURVE))]


def renamed(places: Places) -> list[Any]:
    """Return updates of the widgets for the emotions of other vectors. What was chosen is reset."""
    names = list(places)
    rated = len(on_pad(places)) >= FEWEST
    return [
        gr.skip() if rated else gr.update(value=MIX),
        Pad(emotions=on_pad(places)),
        gr.update(choices=names, value=[]),
        gr.update(choices=["", *names], value="calm" if "calm" in names else ""),
        gr.update(choices=["", *names], value="joy" if "joy" in names else ""),
        *(gr.update(visible=name in places) for name in PRESETS),
        gr.update(visible={"calm", "joy"} <= set(names)),
    ]


def chosen(strengths: dict[str, float]) -> list[Any]:
    """Return the values of the widgets for a mix: the way, the emotions and each strength."""
    values = [*strengths.values(), *[1.0] * (MOST - len(strengths))]
    return [MIX, list(strengths), *values]


def on_pad(places: Places) -> list[dict[str, Any]]:
    """Return the emotions with human ratings, for the pad."""
    return [
        {"name": name, "valence": place[0], "arousal": place[1]} for name, place in places.items() if place is not None
    ]


def _shown(emotions: list[str]) -> list[Any]:
    """Return updates that show one strength slider per chosen emotion."""
    return [
        gr.update(visible=i < len(emotions), label=f"Strength of {emotions[i]}" if i < len(emotions) else "Strength")
        for i in range(MOST)
    ]

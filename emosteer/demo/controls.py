"""The widgets that set the tone, and what they say as a `Setting`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from emosteer.demo.figures.pad import Pad
from emosteer.demo.state import Sampling
from emosteer.demo.studio import Places
from emosteer.demo.told import SWIFT
from emosteer.demo.tone import MOST, STRONGEST, Curve, Mix, Point, Setting
from emosteer.errors import InputError
from emosteer.steering.affect import FEWEST

POINT, MIX, CURVE = "Point", "Emotions", "Curve"
PRESETS = ("joy", "sadness", "anger", "fear", "calm", "awe")
SEED = 4  # chosen by hand: what the small model first says by it makes sense, which is not so by each
DOSES = "0: off · marked: calibrated · beyond: loud"
LONGEST = 200

__all__ = ["Controls", "chosen", "controls", "held", "mix_of", "on_pad", "renamed", "sampling_of", "setting_of"]


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
        """What `setting_of` takes."""
        curve = [self.start, self.end, self.loudness, self.span]
        return [self.way, self.valence, self.arousal, self.emotions, *self.strengths, *curve, self.natural]

    @property
    def sampling(self) -> list[Any]:
        """What `Sampling` takes."""
        return [self.seed, self.temperature, self.length]

    @property
    def named(self) -> list[Any]:
        """What depends on the emotions that there are: what `renamed` gives."""
        return [self.way, self.pad, self.emotions, self.start, self.end, *self.moods, self.rise]

    @property
    def moved(self) -> list[Any]:
        """The events after which the tone is another."""
        sliders = (self.valence, self.arousal, *self.strengths, self.loudness, self.span)
        chosen = (self.way, self.emotions, self.start, self.end, self.natural)
        return [self.pad.release, *(one.release for one in sliders), *(one.input for one in chosen)]


def setting_of(
    way: str,
    valence: float,
    arousal: float,
    emotions: Sequence[str] | None,
    *rest: Any,
) -> Setting:
    """What the widgets say; numbers that a client may send are held within bounds.

    Args:
        way: By which of the three the tone is set.
        valence: Of the point.
        arousal: Of the point.
        emotions: Of the mix.
        *rest: The strengths of the mix, then the curve's start, end, strength and tokens, then whether the natural
            recipe is used.

    Raises:
        InputError: A number or an emotion is none.
    """
    strengths, (start, end, loudness, span, natural) = rest[:MOST], rest[MOST:]
    if way == POINT:
        return Point(held(valence, 1), held(arousal, 1), bool(natural))
    if way == CURVE:
        begin, finish = (_named(name) if name else None for name in (start, end))
        return Curve(begin, finish, held(loudness, STRONGEST), int(_within(span, 1, LONGEST, Curve.tokens)))
    if not isinstance(emotions or [], list | tuple):
        raise InputError(f"{str(emotions)[:80]} is no list of emotions.")
    return mix_of(zip((emotions or [])[:MOST], strengths, strict=False), bool(natural))


def mix_of(pairs: Iterable[tuple[Any, Any]], natural: bool = True) -> Mix:
    """Emotions with their strengths, held within bounds.

    Raises:
        InputError: A name is no text, or a strength no number.
    """
    return Mix(tuple((_named(name), held(strength, STRONGEST)) for name, strength in pairs), natural)


def sampling_of(seed: float | None, temperature: float | None, length: float | None) -> Sampling:
    """How the answers are drawn, held within bounds; as usual where nothing is said.

    Raises:
        InputError: One is no number.
    """
    usual = Sampling()
    return Sampling(
        int(_within(seed, 0, 2**31 - 1, usual.seed)),
        round(_within(temperature, 0, 2, usual.temperature), 2),  # logits divided by next to nothing are no numbers
        int(_within(length, 1, LONGEST, usual.tokens)),
    )


def held(number: float | None, limit: float) -> float:
    """A number within plus and minus a limit, to two places; 0 for none.

    Raises:
        InputError: It is no number.
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
    """Lay the widgets out, in the block that is open.

    Args:
        places: The emotions that there are.
    """
    names = list(places)
    way = gr.Radio(
        [POINT, MIX, CURVE], value=POINT, label="Set the tone by", info="A point, named emotions, or a change."
    )
    with gr.Row(elem_classes="em-presets"):
        moods = tuple(gr.Button(name, size="sm", min_width=60, visible=name in places) for name in PRESETS)
        rise = gr.Button("calm → joy", size="sm", min_width=60, visible={"calm", "joy"} <= set(names))
    with gr.Group() as by_point:  # always there: whoever has named an emotion may take the point again
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
        True, label="Natural wording", info="Also favours the emotion's words where they fit. Not for a curve."
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
        *(one.click(lambda name=one.value: chosen({name: 1.0}), None, mix, **SWIFT) for one in moods),
        rise.click(lambda: (CURVE, "calm", "joy"), None, [way, start, end], **SWIFT),
    ]
    return Controls(
        way, pad, valence, arousal, emotions, strengths, start, end, loudness, span, natural, again,
        seed, temperature, length, pressed, moods, rise,
    )  # fmt: skip


def _used(way: str) -> list[Any]:
    """The groups of widgets: which of them set the tone."""
    idle = [] if way == POINT else ["em-idle"]
    return [gr.update(elem_classes=idle), *(gr.update(visible=way == one) for one in (MIX, CURVE))]


def renamed(places: Places) -> list[Any]:
    """The widgets with the emotions of other vectors; those that were chosen may not be among them."""
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
    """The widgets of a mix, set: the way, the emotions and each strength."""
    values = [*strengths.values(), *[1.0] * (MOST - len(strengths))]
    return [MIX, list(strengths), *values]


def on_pad(places: Places) -> list[dict[str, Any]]:
    """The emotions that people have placed, as the pad takes them."""
    return [
        {"name": name, "valence": place[0], "arousal": place[1]} for name, place in places.items() if place is not None
    ]


def _shown(emotions: list[str]) -> list[Any]:
    """A strength for each emotion that is chosen."""
    return [
        gr.update(visible=i < len(emotions), label=f"Strength of {emotions[i]}" if i < len(emotions) else "Strength")
        for i in range(MOST)
    ]

"""The command steer: an answer in a tone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from emosteer.cli import printing
from emosteer.cli.options import (
    ArousalOption,
    EmotionsOption,
    JsonOption,
    ModelOption,
    SeedOption,
    SteeredLayersOption,
    TokensOption,
    ValenceOption,
    VectorsOption,
    note_fallback,
    parse_layers,
    parse_tone,
    steered_model,
    text_of,
)
from emosteer.cli.printing import note, print_json, printable
from emosteer.errors import InputError
from emosteer.steering import Affect

__all__ = ["steer"]


def steer(
    prompt: Annotated[str, typer.Argument(help="What to ask.", callback=text_of)],
    emotion: EmotionsOption = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    layers: SteeredLayersOption = None,
    recipe: Annotated[str | None, typer.Option(help="'natural' makes more of a dose than adding it does.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the most likely token each time.")] = 0.8,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 200,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt in a tone; without one, the plain model answers."""
    tone = parse_tone(emotion, valence, arousal)
    if recipe is not None and layers is not None:
        raise InputError("A recipe steers after the layers of the dose.", "Leave out --layers or --recipe.")
    steered = steered_model(model, vectors)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    options: dict[str, Any] = {"seed": seed, "max_new_tokens": max_new_tokens, **sampling}
    by_recipe: dict[str, Any] = {} if recipe is None else {"emotion": tone, "recipe": recipe}
    with steered.steer(tone if recipe is None else None, layers=parse_layers(layers)):
        if as_json:
            text = steered.chat(prompt, **by_recipe, **options)
            asked = {"emotion": asdict(tone) if isinstance(tone, Affect) else tone, "recipe": recipe}
            print_json({"model": model, "prompt": prompt, **asked, **options, "answer": text.strip()})
        else:
            for piece in steered.chat(prompt, stream=True, **by_recipe, **options):
                printing.out.print(printable(piece), end="", markup=False, highlight=False)
            printing.out.print()
    if tone:
        note_fallback(steered.vectors, tone)
    else:
        note("Note", "No tone was given, so the plain model has answered. For a tone: -e joy=0.8")

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
    TemplateOption,
    TokensOption,
    ValenceOption,
    VectorsOption,
    parse_layers,
    parse_template,
    parse_tone,
    steered_model,
    text_of,
)
from emosteer.cli.printing import note, print_json, printable
from emosteer.steering import Affect
from emosteer.steering.recipes import BEST, recipe_of

__all__ = ["steer"]


def steer(
    prompt: Annotated[str, typer.Argument(help="What to ask.", callback=text_of)],
    emotion: EmotionsOption = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    layers: SteeredLayersOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="'natural' steers, 'asked' asks for the tone in a system message, 'asked_and_steered' does both, "
            "'none' adds the bare dose. By default asked_and_steered; for a base model, none. With '_best_of_4' behind "
            "natural or asked_and_steered, the best of four answers.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0, help="0 takes the most likely token each time; by default as the model's own settings say."
        ),
    ] = None,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 200,
    chat_template_kwargs: TemplateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt in a tone; without one, the plain model answers. A base model continues it."""
    tone = parse_tone(emotion, valence, arousal)
    how: dict[str, Any] = {"emotion": tone, "layers": parse_layers(layers)}
    if variables := parse_template(chat_template_kwargs):
        how["chat_template_kwargs"] = variables
    options: dict[str, Any] = {"seed": seed, "max_new_tokens": max_new_tokens}
    if temperature is not None:
        options |= {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    steered = steered_model(model, vectors)
    answered, best = (steered.chat, BEST) if steered.tokenizer.chat_template else (steered.complete, None)
    how["recipe"] = {None: best if tone else None, "none": None}.get(recipe, recipe)
    if as_json:
        answer = answered(prompt, details=True, **how, **options)
        asked = {"emotion": asdict(tone) if isinstance(tone, Affect) else tone, "recipe": how["recipe"]}
        told = {**asdict(answer), "answer": answer.text.strip()}
        del told["text"]
        print_json({"model": model, "prompt": prompt, **asked, **options, **told})
    else:
        stream = None
        found = recipe_of(how["recipe"], carried=True)
        if tone and found and found.drafts > 1:  # one of them is chosen at the end
            answer = answered(prompt, details=True, **how, **options)
            pieces = iter([answer.text])
        else:
            pieces = stream = answered(prompt, stream=True, **how, **options)
        for piece in pieces:
            printing.out.print(printable(piece), end="", markup=False, highlight=False)
        printing.out.print()
        ended = stream.answer if stream else answer
        if ended.finish_reason != "stop":
            note("Note", f"The answer was cut after {ended.completion_tokens} tokens: see --max-new-tokens.")
    if not tone:
        note("Note", "No tone was given, so the plain model has answered. For a tone: -e joy=0.8")

"""Commands that answer and read: quickstart, steer, read."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.columns import Columns
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

import emosteer
from emosteer.cli import printing
from emosteer.cli.options import (
    JsonOption,
    ModelOption,
    SeedOption,
    TokensOption,
    VectorsOption,
    numbers_of,
    steered_model,
    strength_of,
)
from emosteer.cli.printing import COOL, WARM, panel, print_json, printable, shown, tinted
from emosteer.errors import InputError

if TYPE_CHECKING:
    from emosteer.cli.quickstart import Answer


def quickstart(
    question: Annotated[str | None, typer.Argument(help="What to ask.", show_default=False)] = None,
    strength: Annotated[float, typer.Option(help="Of each tone, in calibrated doses.")] = 1.0,
    build: Annotated[bool, typer.Option("--build", help="Build the vectors anew instead of loading them.")] = False,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 40,
    as_json: JsonOption = False,
) -> None:
    """Ask the small embedded model one question and read its answer plainly and in five tones."""
    from emosteer import embedded
    from emosteer.cli.quickstart import QUESTION, TONES, answers, embedded_vectors, python_example
    from emosteer.model import SteeredModel

    with printing.err.status("Loading the embedded model …"):
        model, tokenizer = embedded.load()
    vectors, folder = embedded_vectors(model, tokenizer, build=build)
    steered = SteeredModel(model, tokenizer, vectors)
    asked = QUESTION if question is None else question
    options: dict[str, Any] = {"strength": strength, "seed": seed, "max_new_tokens": max_new_tokens}
    example = python_example("embedded", shown(folder))
    found: list[Answer] = []
    with printing.err.status("Answering …") as status:
        for answer in answers(steered, asked, **options):
            found.append(answer)
            status.update(f"Answering … {len(found)} of {len(TONES) + 1}")
    if as_json:
        print_json(
            {
                "model": embedded.MODEL_ID,
                "question": asked,
                **options,
                "answers": [answer.to_dict() for answer in found],
                "python": example,
            }
        )
        return
    printing.out.print(Text.assemble(("Asked: ", "bold"), asked))
    panels = [panel(answer) for answer in found]
    if printing.out.width >= printing.SIDE_BY_SIDE:
        printing.out.print(Columns(panels, width=printing.out.width // 3 - 1, equal=True))
    else:
        printing.out.print(*panels, sep="\n")
    printing.out.print(
        "Cost: how much more surprising the answer is to the plain model, in nats a token (one answer each)."
    )
    if uncalibrated := [tone for tone in TONES if tone not in vectors.doses]:
        printing.out.print(f"Strength 1.0 is the fallback dose, not yet calibrated, for: {', '.join(uncalibrated)}.")
    printing.out.print("\nThe same in Python:")
    printing.out.print(Syntax(example, "python", background_color="default", word_wrap=True))


def steer(
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    emotion: Annotated[
        list[str] | None, typer.Option("--emotion", "-e", help="EMOTION or EMOTION=STRENGTH; may be given many times.")
    ] = None,
    valence: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Instead of emotions: unpleasant −1 to pleasant 1.")
    ] = None,
    arousal: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Instead of emotions: still −1 to stirred up 1.")
    ] = None,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    layers: Annotated[str | None, typer.Option(help="Steer after these layers, as 10-19 or 8,12,16.")] = None,
    recipe: Annotated[str | None, typer.Option(help="'natural' makes more of a dose than adding it does.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the most likely token each time.")] = 0.8,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 200,
    as_json: JsonOption = False,
) -> None:
    """Answer a prompt in a tone."""
    tone: dict[str, float] = dict(strength_of(item) for item in emotion or ())
    point = None if valence is None and arousal is None else emosteer.Affect(valence or 0.0, arousal or 0.0)
    if tone and point:
        raise InputError("A tone is either emotions or valence and arousal.", "Leave out one of them.")
    if recipe and layers:
        raise InputError("A recipe steers after the layers of the dose.", "Leave out --layers or --recipe.")
    steered = steered_model(model, vectors)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    options: dict[str, Any] = {"seed": seed, "max_new_tokens": max_new_tokens, **sampling}
    by_recipe: dict[str, Any] = {"emotion": point or tone, "recipe": recipe} if recipe else {}
    with steered.steer(None if recipe else point or tone, layers=numbers_of(layers) if layers else None):
        if as_json:
            text = steered.chat(prompt, **by_recipe, **options)
            asked = {"emotion": asdict(point) if point else tone, "recipe": recipe}
            print_json({"model": model, "prompt": prompt, **asked, **options, "answer": text.strip()})
            return
        for piece in steered.chat(prompt, stream=True, **by_recipe, **options):
            printing.out.print(printable(piece), end="", markup=False, highlight=False)
        printing.out.print()


def read(
    text: Annotated[str, typer.Argument(help="What to read, or - for standard input.")],
    emotion: Annotated[str | None, typer.Option("--emotion", "-e", help="Colour the text by this emotion.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many emotions the table shows.")] = 8,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the emotion in a text: token by token and as a whole, against neutral text."""
    given = sys.stdin.read() if text == "-" else text
    if not given.strip():
        raise InputError("The text is empty.")
    steered = steered_model(model, vectors)
    if emotion is not None:
        steered.vectors.dose(emotion)  # a misspelt one is an error now
    reading = steered.read(given)
    if as_json:
        print_json(reading.to_dict())
        return
    scores = reading.token_scores[emotion] if emotion else reading.token_axes.get("valence")
    if scores:
        printing.out.print(tinted(reading.tokens, scores, 6.0 if emotion else 0.8))
        more, less = (f"more {emotion}", f"less {emotion}") if emotion else ("pleasant", "unpleasant")
        printing.out.print(Text.assemble("marked: ", (more, WARM), " ", (less, COOL), " (bold: strongly)\n"))
    table = Table("emotion", "score", "±", title_justify="left", title="In standard deviations of neutral text")
    for name, score in sorted(reading.scores.items(), key=lambda item: -item[1])[:top]:
        table.add_row(name, f"{score:+.2f}", f"{1.96 * reading.uncertainty[name]:.2f}")
    for axis, value in (("valence", reading.valence), ("arousal", reading.arousal)):
        if value is not None:
            table.add_row(f"{axis}, −1 to 1", f"{value:+.2f}", f"{1.96 * reading.axis_uncertainty[axis]:.2f}")
    printing.out.print(table)
    printing.out.print("±: 95 % of the uncertainty of the mean over tokens. A small model reads roughly.")

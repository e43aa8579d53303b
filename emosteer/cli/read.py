"""The command read: the emotion in a text."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from emosteer.cli import printing
from emosteer.cli.options import JsonOption, ModelOption, VectorsOption, steered_model, text_of
from emosteer.cli.printing import COOL, WARM, print_json, tinted
from emosteer.cli.streams import read_input
from emosteer.errors import InputError

__all__ = ["read"]


def read(
    text: Annotated[str, typer.Argument(help="What to read, or - for standard input.", callback=text_of)],
    emotion: Annotated[str | None, typer.Option("--emotion", "-e", help="Colour the text by this emotion.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many emotions the table shows.")] = 8,
    model: ModelOption = "embedded",
    vectors: VectorsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the emotion in a text: token by token and as a whole, against neutral text."""
    passage = read_input() if text == "-" else text
    if not passage.strip():
        raise InputError("The text is empty.")
    steered = steered_model(model, vectors)
    if emotion is not None:
        steered.vectors.dose(emotion)  # a misspelt one is an error now
    reading = steered.read(passage)
    if as_json:
        print_json(reading.to_dict())
        return
    scores = reading.token_scores[emotion] if emotion else reading.token_axes.get("valence")
    if scores:
        printing.out.print(tinted(reading.tokens, scores, 6.0 if emotion else 0.8))
        more, less = (f"more {emotion}", f"less {emotion}") if emotion else ("pleasant", "unpleasant")
        printing.out.print(Text.assemble("marked: ", (more, WARM), " ", (less, COOL), " (bold: strongly)\n"))
    table = Table("emotion", "score", "± (95 %)", title_justify="left", title="In standard deviations of neutral text")
    ranked = sorted(reading.scores.items(), key=lambda item: -item[1])
    for name, score in [*ranked[:top], *(item for item in ranked[top:] if item[0] == emotion)]:
        table.add_row(name, f"{score:+.2f}", f"{1.96 * reading.uncertainty[name]:.2f}")
    for axis, value in (("valence", reading.valence), ("arousal", reading.arousal)):
        if value is not None:
            table.add_row(f"{axis}, −1 to 1", f"{value:+.2f}", f"{1.96 * reading.axis_uncertainty[axis]:.2f}")
    printing.out.print(table)
    printing.out.print(
        "±: 95 %, 1.96 standard errors of the mean over tokens; --json has the standard errors, as uncertainty. "
        "A small model reads roughly."
    )

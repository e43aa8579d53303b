"""The command transfer: vectors from one model to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

import emosteer
from emosteer.cli import printing
from emosteer.cli.loading import loading
from emosteer.cli.options import BatchOption, JsonOption, OutputOption, VectorsArgument, require_folder
from emosteer.cli.printing import cell, print_json, say

_ROWS = {  # figure in the file → what the table calls it
    "cosine": "transferred with extracted",
    "random_map": "by a random map",
    "shuffled_texts": "by a map fitted on shuffled texts",
    "halves": "transferred with extracted, other half of the texts",
    "ceiling": "extracted with extracted, other half of the texts",
}

__all__ = ["transfer"]


def transfer(
    vectors: VectorsArgument,
    source: Annotated[str, typer.Option("--from", help="The model they were made from.", show_default=False)],
    target: Annotated[str, typer.Option("--to", help="The model they are wanted for.", show_default=False)],
    output: OutputOption,
    concepts: Annotated[
        str, typer.Option(help="Texts that both models read: built-in concept sets, as en or en,zh; or a JSON file.")
    ] = "en",
    batch_size: BatchOption = 32,
    as_json: JsonOption = False,
) -> None:
    """Move vectors from one model to another, and measure what is lost.

    For emotions whose texts you do not have; with the texts, `extract` gives better vectors. A model is 'embedded', a
    Hub id, a folder or a .gguf file. Refused, with the figures, where too little comes through. Doses do not come
    along: a quick calibration on the target measures them.
    """
    from emosteer.calibration import with_quick_doses
    from emosteer.extraction.transfer import transfer
    from emosteer.models.loading import load_model

    loaded = emosteer.EmotionVectors.from_pretrained(vectors)
    texts = emosteer.ConceptSet.load(concepts)
    require_folder(output)  # before minutes of reading
    with loading(source, target):
        models = (*load_model(source), *load_model(target))
    moved = with_quick_doses(*models[2:], transfer(loaded, *models, texts, batch_size=batch_size))
    moved.save_pretrained(output)
    if as_json:
        print_json({"output": str(output), "emotions": list(moved.emotions), "extraction": dict(moved.extraction)})
        return
    _print(moved.extraction)
    say(f"{len(moved.emotions)} emotions at {len(moved.layers)} layers: {output}")


def _print(extraction: Mapping[str, Any]) -> None:
    held_out = extraction["held_out"]
    layers = Table("layer", "from layer", "held-out R²", "cosine")
    rows = zip(extraction["map"]["source_layers"], held_out["r2"], held_out["cosine_by_layer"], strict=True)
    for layer, (source, r2, cosine) in enumerate(rows):
        layers.add_row(str(layer), str(source), cell(r2), cell(cosine))
    printing.out.print(layers)
    table = Table("held-out emotions", "cosine", "95 %")
    for name, label in _ROWS.items():
        figure = held_out[name]
        table.add_row(label, cell(figure["value"]), f"{cell(figure['low'])} to {cell(figure['high'])}")
    printing.out.print(table)
    share = held_out["halves"]["value"] / held_out["ceiling"]["value"]
    printing.out.print(
        f"Across halves of the texts, directions of emotions that the map has not seen agree with the target's own "
        f"{share:.0%} as well as the target's own do with each other.",
        highlight=False,
    )

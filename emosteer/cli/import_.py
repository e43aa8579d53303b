"""The command import: steering vectors of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from emosteer.cli import printing
from emosteer.cli.loading import loading
from emosteer.cli.options import JsonOption, KeptLayersOption, ModelOption, OutputOption, parse_layers, require_folder
from emosteer.cli.printing import print_json, say, span

__all__ = ["import_"]


def import_(
    files: Annotated[list[Path], typer.Argument(help="GGUF, safetensors, .npz or torch files.", show_default=False)],
    output: OutputOption,
    model: ModelOption = "embedded",
    emotion: Annotated[
        list[str] | None,
        typer.Option("--emotion", "-e", help="What to call it; once for each emotion, in the order of the files."),
    ] = None,
    coefficient: Annotated[float, typer.Option(help="What the producer would multiply the vectors with.")] = 1.0,
    layers: KeptLayersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn steering vectors of other libraries into emotion vectors.

    Reads GGUF control vectors (repeng, llama.cpp), a SteeringVector of steering-vectors or tensors written by
    torch.save, and .npz and safetensors files with one array (layers × width) an emotion, or one array a layer, named
    as direction.7, model.layers.7 or joy.7. Layer 0 is the output of the first block. One direction that does not say
    its layer takes the one of --layers. No code in a file is run, and what is not for adding to the output of blocks
    is refused.

    Strength 1.0 adds what the producer adds with the same coefficient, at every token but the first.
    """
    from emosteer import importing
    from emosteer.models.loading import load_model

    require_folder(output)
    foreign = [importing.read(file) for file in files]  # before minutes of loading a model
    with loading(model):
        parts = load_model(model)
    vectors = importing.convert(
        foreign,
        *parts,
        emotion=emotion or None,
        coefficient=coefficient,
        layers=parse_layers(layers),
    )
    vectors.save_pretrained(output)
    if as_json:
        print_json({**vectors.summary(), "output": str(output)})
        return
    table = Table("emotion", "format", "producer", "layers", "dose at strength 1.0")
    for name, source in vectors.extraction["sources"].items():
        dose = vectors.doses[name]
        table.add_row(name, source["format"], source["producer"] or "–", span(dose.layers), f"{dose.dose:.3g}")
    printing.out.print(table)
    printing.out.print(
        f"Doses are in residual norms, summed over the layers, and as the producer's coefficient ({coefficient:g}): "
        "what they cost has not been measured.",
        highlight=False,
    )
    say(f"Written: {output}")
